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
    struct rcl_gate_pass *owner;  /* who closed the gate; NULL: open */
    uint32_t closed;              /* futex word: enum closed */
    uint32_t left;                /* futex word: counts leavers while closed */
    uint32_t impatient;           /* somebody has waited long enough: nobody waits any more */
    struct rcl_gate_pass *forker; /* who is forking */
    uint32_t nested;              /* forks of the forker from its signal handlers */
} gate;

enum closed {
    OPEN,
    CLOSING, /* nobody may enter; some are still inside and will leave by themselves */
    CLOSED,  /* nobody is at work inside; the fork is under way */
};

enum {
    FORK_WAIT_NS = 1000000,
    TRY_WAIT_NS = 1000000,
    CROSSING_WAIT_NS = 20000000,
};

void *rcl_gate_deferred_head;

/* The two steps of counting are one to a handler that forks: see quiet(). */
static void set_crossing(struct rcl_gate_pass *me, uint32_t value)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&me->crossing, value, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* In, if the gate is open or ours. */
static bool try_enter(struct rcl_gate_pass *me)
{
    set_crossing(me, 1);
    __atomic_fetch_add(&gate.shard[me->shard].inside, 1, __ATOMIC_SEQ_CST);
    struct rcl_gate_pass *owner = __atomic_load_n(&gate.owner, __ATOMIC_SEQ_CST);
    if (likely(owner == NULL || owner == me || me->inside > 0)) {
        me->inside++;
        set_crossing(me, 0);
        return true;
    }
    __atomic_fetch_sub(&gate.shard[me->shard].inside, 1, __ATOMIC_SEQ_CST);
    set_crossing(me, 0);
    __atomic_fetch_add(&gate.left, 1, __ATOMIC_SEQ_CST);
    rcl_os_futex_wake(&gate.left, 1);
    return false;
}

static RCL_COLD bool wait_and_enter(struct rcl_gate_pass *me, bool patient)
{
    uint64_t closed_since = 0; /* as far as this thread has seen */
    for (;;) {
        bool brief = !patient && __atomic_load_n(&gate.impatient, __ATOMIC_RELAXED);
        uint32_t state = __atomic_load_n(&gate.closed, __ATOMIC_SEQ_CST);
        if (state != OPEN)
            rcl_os_futex_wait(&gate.closed, state,
                              brief ? RCL_GATE_BRIEF_NS : RCL_GATE_PATIENCE_NS / 4);
        if (try_enter(me))
            return true;
        if (patient || state != CLOSED)
            continue;
        if (brief)
            return false;
        uint64_t now = rcl_os_now_ns();
        if (closed_since == 0)
            closed_since = now;
        else if (now - closed_since > RCL_GATE_PATIENCE_NS)
            __atomic_store_n(&gate.impatient, 1, __ATOMIC_RELAXED);
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
    set_crossing(me, 1);
    me->inside--;
    __atomic_fetch_sub(&gate.shard[me->shard].inside, 1, __ATOMIC_SEQ_CST);
    set_crossing(me, 0);
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

bool rcl_gate_fork_begin(struct rcl_gate_pass *me)
{
    struct rcl_gate_pass *none = NULL;
    while (!__atomic_compare_exchange_n(&gate.forker, &none, me, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
        if (none == me) {
            gate.nested++;
            return false;
        }
        none = NULL;
        uint32_t left = __atomic_load_n(&gate.left, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&gate.forker, __ATOMIC_SEQ_CST) != NULL)
            rcl_os_futex_wait(&gate.left, left, FORK_WAIT_NS);
    }
    return true;
}

bool rcl_gate_fork_leave_nested(void)
{
    if (gate.nested == 0)
        return false;
    gate.nested--;
    return true;
}

void rcl_gate_fork_end(void)
{
    __atomic_store_n(&gate.forker, NULL, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&gate.left, 1, __ATOMIC_SEQ_CST);
    rcl_os_futex_wake(&gate.left, 1);
}

/*
 * Everybody else is out, or waits for a lock that `me` holds.  If the handler that
 * forks has interrupted its thread at the threshold, one more may be that thread
 * itself: nobody else stays for so long without waiting for a lock.
 */
static bool quiet(const struct rcl_gate_pass *me, uint64_t waited_ns)
{
    uint32_t n = count_inside();
    if (n <= me->inside || (n == me->inside + me->crossing && waited_ns > CROSSING_WAIT_NS))
        return true;
    uint32_t others = n - me->inside;
    return me->inside > 0 && others == __atomic_load_n(&rcl_lock_waiters, __ATOMIC_SEQ_CST);
}

static void close_and_wait(struct rcl_gate_pass *me)
{
    uint64_t start = rcl_os_now_ns();
    __atomic_store_n(&gate.closed, CLOSING, __ATOMIC_SEQ_CST);
    __atomic_store_n(&gate.owner, me, __ATOMIC_SEQ_CST);
    if (me->inside > 0)
        __atomic_store_n(&rcl_lock_frozen, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        uint32_t left = __atomic_load_n(&gate.left, __ATOMIC_SEQ_CST);
        if (quiet(me, rcl_os_now_ns() - start))
            break;
        rcl_os_futex_wait(&gate.left, left, FORK_WAIT_NS);
    }
}

void rcl_gate_close(struct rcl_gate_pass *me)
{
    close_and_wait(me);
    __atomic_store_n(&gate.closed, CLOSED, __ATOMIC_SEQ_CST);
    rcl_os_futex_wake(&gate.closed, INT32_MAX); /* patience counts from here */
}

static void unfreeze(void)
{
    if (__atomic_exchange_n(&rcl_lock_frozen, 0, __ATOMIC_SEQ_CST) != 0)
        rcl_os_futex_wake(&rcl_lock_frozen, INT32_MAX);
}

void rcl_gate_open(void)
{
    unfreeze();
    __atomic_store_n(&gate.owner, NULL, __ATOMIC_SEQ_CST);
    __atomic_store_n(&gate.closed, OPEN, __ATOMIC_SEQ_CST);
    __atomic_store_n(&gate.impatient, 0, __ATOMIC_RELAXED);
    rcl_os_futex_wake(&gate.closed, INT32_MAX);
}

bool rcl_gate_hold(struct rcl_gate_pass *me)
{
    if (me->inside > 0 || me->crossing)
        return false;
    /* Within this thread's own fork nobody is inside already. */
    if (rcl_gate_fork_begin(me))
        close_and_wait(me); /* stays CLOSING: nobody becomes impatient */
    return true;
}

bool rcl_gate_try_hold(struct rcl_gate_pass *me)
{
    struct rcl_gate_pass *none = NULL;
    if (!__atomic_compare_exchange_n(&gate.forker, &none, me, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
        return false; /* a fork, which may be waiting for our end */
    uint64_t end = rcl_os_now_ns() + TRY_WAIT_NS;
    __atomic_store_n(&gate.closed, CLOSING, __ATOMIC_SEQ_CST);
    __atomic_store_n(&gate.owner, me, __ATOMIC_SEQ_CST);
    while (count_inside() != 0) {
        /* A handler may have interrupted who is inside, and sleep. */
        if (rcl_os_now_ns() > end) {
            rcl_gate_release();
            return false;
        }
        rcl_os_yield();
    }
    return true;
}

void rcl_gate_release(void)
{
    if (rcl_gate_fork_leave_nested())
        return;
    rcl_gate_open();
    rcl_gate_fork_end();
}

void rcl_gate_reset(struct rcl_gate_pass *me)
{
    /* Threads that were looking at the closed gate or waiting for a lock do not exist here. */
    uint32_t crossed = me->crossing && count_inside() > me->inside;
    for (unsigned i = 0; i < RCL_GATE_SHARDS; i++)
        gate.shard[i].inside = 0;
    gate.shard[me->shard].inside = me->inside + crossed;
    gate.owner = NULL;
    gate.closed = OPEN;
    gate.impatient = 0;
    rcl_lock_waiters = 0;
    rcl_lock_frozen = 0;
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
