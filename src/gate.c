/* SPDX-License-Identifier: MIT */
/* gate.c - see gate.h. */
#include "gate.h"

#include "die.h"
#include "lock.h"
#include "os.h"

static struct {
    struct {
        uint32_t inside;
    } RCL_ALIGNED(RCL_CACHELINE) shard[RCL_GATE_SHARDS];
    struct rcl_gate_pass *owner; /* who closed the gate; NULL: open */
    uint32_t closed;             /* futex word: 1 while closed */
    uint32_t left;               /* futex word: counts leavers while closed */
    struct rcl_lock forks;       /* one fork at a time; held from begin to end */
} gate = {.forks = RCL_LOCK_INIT(RCL_RANK_FORKS)};

void *rcl_gate_deferred_head;

/* In, if the gate is open or ours. */
static bool try_enter(struct rcl_gate_pass *me)
{
    __atomic_fetch_add(&gate.shard[me->shard].inside, 1, __ATOMIC_SEQ_CST);
    struct rcl_gate_pass *owner = __atomic_load_n(&gate.owner, __ATOMIC_SEQ_CST);
    if (likely(owner == NULL || owner == me || me->inside > 0)) {
        me->inside++;
        return true;
    }
    __atomic_fetch_sub(&gate.shard[me->shard].inside, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&gate.left, 1, __ATOMIC_SEQ_CST);
    rcl_os_futex_wake(&gate.left, 1);
    return false;
}

static RCL_COLD bool wait_and_enter(struct rcl_gate_pass *me, bool patient)
{
    uint64_t start = rcl_os_now_ns();
    for (;;) {
        rcl_os_futex_wait(&gate.closed, 1, RCL_GATE_PATIENCE_NS / 4);
        if (try_enter(me))
            return true;
        if (!patient && rcl_os_now_ns() - start > RCL_GATE_PATIENCE_NS)
            return false;
    }
}

bool rcl_gate_enter(struct rcl_gate_pass *me)
{
    return likely(try_enter(me)) || wait_and_enter(me, false);
}

void rcl_gate_enter_patient(struct rcl_gate_pass *me)
{
    if (!try_enter(me))
        wait_and_enter(me, true);
}

void rcl_gate_leave(struct rcl_gate_pass *me)
{
    rcl_assert(me->inside > 0);
    me->inside--;
    __atomic_fetch_sub(&gate.shard[me->shard].inside, 1, __ATOMIC_SEQ_CST);
    if (unlikely(__atomic_load_n(&gate.owner, __ATOMIC_SEQ_CST) != NULL)) {
        __atomic_fetch_add(&gate.left, 1, __ATOMIC_SEQ_CST);
        rcl_os_futex_wake(&gate.left, 1);
    }
}

static uint32_t count_inside(void)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < RCL_GATE_SHARDS; i++)
        n += __atomic_load_n(&gate.shard[i].inside, __ATOMIC_SEQ_CST);
    return n;
}

void rcl_gate_fork_begin(void)
{
    rcl_lock(&gate.forks);
}

void rcl_gate_fork_end(void)
{
    rcl_unlock(&gate.forks);
}

void rcl_gate_close(struct rcl_gate_pass *me)
{
    __atomic_store_n(&gate.closed, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&gate.owner, me, __ATOMIC_SEQ_CST);
    for (;;) {
        uint32_t left = __atomic_load_n(&gate.left, __ATOMIC_SEQ_CST);
        /* Sums of moving counters, but a shard at zero stays at zero except for a moment. */
        if (count_inside() <= me->inside)
            return;
        rcl_os_futex_wait(&gate.left, left, 1000000);
    }
}

void rcl_gate_open(void)
{
    __atomic_store_n(&gate.owner, NULL, __ATOMIC_SEQ_CST);
    __atomic_store_n(&gate.closed, 0, __ATOMIC_SEQ_CST);
    rcl_os_futex_wake(&gate.closed, INT32_MAX);
}

void rcl_gate_reset(struct rcl_gate_pass *me)
{
    /* Threads that were looking at the closed gate do not exist here. */
    for (unsigned i = 0; i < RCL_GATE_SHARDS; i++)
        gate.shard[i].inside = 0;
    gate.shard[me->shard].inside = me->inside;
    gate.owner = NULL;
    gate.closed = 0;
    rcl_lock_init(&gate.forks, RCL_RANK_FORKS);
}

void rcl_gate_defer(void *p)
{
    void **link = p;
    void *head = __atomic_load_n(&rcl_gate_deferred_head, __ATOMIC_RELAXED);
    do {
        *link = head;
    } while (!__atomic_compare_exchange_n(&rcl_gate_deferred_head, &head, p, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}
