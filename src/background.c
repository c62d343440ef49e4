/* SPDX-License-Identifier: MIT */
/* background.c - see background.h. */
#include "background.h"

#include "account.h"
#include "die.h"
#include "gate.h"
#include "options.h"
#include "os.h"
#include "pagemap.h"
#include "purge.h"

enum state {
    IDLE,     /* there is none */
    STARTING, /* somebody is making it */
    RUNNING,
    BLOCKED, /* fork is under way */
};

/* What the program wants now, whatever the option was. */
enum forced { AS_OPTION, FORCED_OFF, FORCED_ON };

enum {
    STACK_BYTES = 64 * 1024,
    TLS_BYTES = 4 * 1024, /* bare thread pointer: nothing thread-local is used */
    SLICE_PAGES = 1024,   /* returned per passage of the gate: fork waits about 0.3 ms at most */
    STEPS_MIN = 6,        /* a window and a bit, before a small rest may be left alone */
    STEPS_STILL = 6,      /* without any change, before a large one is given up */
};
#define RETRY_NS 1000000000u  /* after a failed start */
#define TRIM_BYTES (16 * MIB) /* returned since the last time: what described it may be a page */

/*
 * What is true of the thread.  A child of a bare clone() or fork system call, which runs no
 * handler of ours, has no such thread: there these pages are wiped, and all zeros is "none".
 */
struct thread {
    uint32_t state;
    uint32_t stop;     /* 1 asks it to end */
    uint32_t wakes;    /* futex word: how often it was to look at that, and at the step */
    uint32_t tid_word; /* the kernel clears it at the thread's end */
    int tid;
    uint64_t deadline; /* of its next step; relaxed */
    struct rcl_gate_pass gate;
};

static struct {
    struct thread *thread;
    struct thread unwiped; /* until there are such pages, and where there are none */
    uint32_t hold;         /* fork is near: start none */
    uint32_t forced;       /* enum forced */
    uint64_t not_before;
    char tls[TLS_BYTES] RCL_ALIGNED(RCL_CACHELINE);
    char stack[STACK_BYTES] RCL_ALIGNED(RCL_CACHELINE);
} helper = {.thread = &helper.unwiped};

static bool change(enum state from, enum state to)
{
    uint32_t expected = from;
    return __atomic_compare_exchange_n(&helper.thread->state, &expected, to, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/*
 * It never ends while RUNNING, unless it was made by a child of vfork: in that child's process,
 * with which it has gone.
 */
static bool has_died(void)
{
    struct thread *t = helper.thread;
    for (unsigned i = 0; i < 2;
         i++) /* twice, or the end of one and the start of the next looks so */
        if (likely(__atomic_load_n(&t->state, __ATOMIC_ACQUIRE) != RUNNING ||
                   __atomic_load_n(&t->tid_word, __ATOMIC_ACQUIRE) != 0))
            return false;
    return true;
}

/*
 * Bytes that could be returned sooner or later.  A cache is itself some: of many threads that rest,
 * with a block or two each, it is most of what they hold.
 */
static int64_t waiting(void)
{
    int64_t caches = rcl_account_get(&rcl_account.caches) * (int64_t)sizeof(struct rcl_tcache);
    return ((rcl_purge_dirty() + rcl_purge_pinned_most()) << rcl_page_shift()) + caches;
}

/*
 * What described memory that is gone: page by page of addresses it stays when blocks go, since the
 * same page may serve others, who write to it without a lock.
 */
static void trim_pagemap(void)
{
    static uint64_t trimmed;
    uint64_t purged = rcl_account_read(&rcl_account.purged_pages);
    struct rcl_leaf *leaf = NULL;
    if ((purged - trimmed) << rcl_page_shift() < TRIM_BYTES)
        return;
    do {
        if (!rcl_gate_try_hold(&helper.thread->gate))
            return;
        leaf = rcl_pagemap_trim(leaf);
        rcl_gate_release();
    } while (leaf != NULL && !__atomic_load_n(&helper.thread->stop, __ATOMIC_ACQUIRE));
    trimmed = purged;
}

static void helper_step(void)
{
    size_t spent;
    rcl_gate_enter_patient(&helper.thread->gate);
    rcl_purge_step(NULL);
    rcl_gate_leave(&helper.thread->gate);
    do {
        rcl_gate_enter_patient(&helper.thread->gate);
        spent = rcl_purge_old(SLICE_PAGES);
        rcl_gate_leave(&helper.thread->gate);
    } while (spent >= SLICE_PAGES && !__atomic_load_n(&helper.thread->stop, __ATOMIC_ACQUIRE));
}

/* Or until it is to stop.  The step may become another meanwhile, see rcl_background_hurry(). */
static void wait_for_step(void)
{
    struct thread *t = helper.thread;
    uint64_t since = rcl_os_now_ns();
    for (;;) {
        uint32_t wakes = __atomic_load_n(&t->wakes, __ATOMIC_SEQ_CST); /* before what it tells of */
        if (__atomic_load_n(&t->stop, __ATOMIC_SEQ_CST))
            break;
        uint64_t deadline = since + rcl_purge_step_ns(), now = rcl_os_now_ns();
        __atomic_store_n(&t->deadline, deadline, __ATOMIC_RELAXED);
        if (now >= deadline)
            break;
        rcl_os_futex_wait(&t->wakes, wakes, deadline - now);
    }
}

/* Runs as the helper thread.  No libc call, nothing thread-local. */
static void run(void *arg)
{
    (void)arg;
    unsigned steps = 0, still = 0;
    int64_t before = -1;
    /* Until the starter has noted our id, which is what stopping us needs. */
    while (__atomic_load_n(&helper.thread->state, __ATOMIC_ACQUIRE) == STARTING)
        rcl_os_yield();
    for (;;) {
        wait_for_step();
        if (__atomic_load_n(&helper.thread->stop, __ATOMIC_ACQUIRE))
            break;
        helper_step();
        steps++;
        int64_t rest = waiting();
        still = rest == before ? still + 1 : 0;
        before = rest;
        /* What does not change for so long cannot be returned: locked, or caches out of reach. */
        if (rest > 0 && still < STEPS_STILL &&
            (rest > (int64_t)RCL_PURGE_WORTH_BYTES || steps < STEPS_MIN))
            continue;
        trim_pagemap();
        /* Who frees much from here on finds IDLE and starts another; who did so before is seen. */
        __atomic_store_n(&helper.thread->state, IDLE, __ATOMIC_SEQ_CST);
        if (still >= STEPS_STILL || waiting() <= (int64_t)RCL_PURGE_WORTH_BYTES ||
            !change(IDLE, RUNNING))
            return;
        steps = 0;
    }
    __atomic_store_n(&helper.thread->state, IDLE, __ATOMIC_SEQ_CST);
}

/* The state is STARTING. */
static void start_thread(uint64_t now)
{
    /* The last one may still be on its last instructions, on the same stack. */
    if (__atomic_load_n(&helper.thread->tid_word, __ATOMIC_ACQUIRE) != 0)
        rcl_os_thread_join(&helper.thread->tid_word, helper.thread->tid);
    helper.thread->stop = 0;
    /* It says so itself once it runs; who asks before that must not hear the last one's. */
    __atomic_store_n(&helper.thread->deadline, rcl_os_now_ns() + rcl_purge_step_ns(),
                     __ATOMIC_RELAXED);
    int err = rcl_os_thread_start(run, NULL, helper.stack, sizeof helper.stack, helper.tls,
                                  sizeof helper.tls, &helper.thread->tid_word, &helper.thread->tid);
    if (err != 0)
        __atomic_store_n(&helper.not_before, now + RETRY_NS, __ATOMIC_RELAXED);
    __atomic_store_n(&helper.thread->state, err == 0 ? RUNNING : IDLE, __ATOMIC_RELEASE);
}

static RCL_COLD void start(void)
{
    uint64_t now = rcl_os_coarse_ns();
    if (now < __atomic_load_n(&helper.not_before, __ATOMIC_RELAXED) ||
        __atomic_load_n(&helper.hold, __ATOMIC_SEQ_CST))
        return;
    /* The thread inherits the mask; and no handler of ours may fork between the two states. */
    uint64_t signals = rcl_os_block_signals();
    if (change(IDLE, STARTING)) {
        /*
         * Again: whoever stops us has said so before looking at the state, and may be waiting for
         * the end of the last one, which it cannot tell from the end of the next.
         */
        if (likely(!__atomic_load_n(&helper.hold, __ATOMIC_SEQ_CST)))
            start_thread(now);
        else
            __atomic_store_n(&helper.thread->state, IDLE, __ATOMIC_RELEASE);
    }
    rcl_os_restore_signals(signals);
}

bool rcl_background_enabled(void)
{
    uint32_t forced = __atomic_load_n(&helper.forced, __ATOMIC_RELAXED);
    return likely(forced == AS_OPTION) ? rcl_opt.background_thread != 0 : forced == FORCED_ON;
}

void rcl_background_enable(bool on)
{
    __atomic_store_n(&helper.forced, on ? FORCED_ON : FORCED_OFF, __ATOMIC_RELAXED);
}

bool rcl_background_running(void)
{
    return __atomic_load_n(&helper.thread->state, __ATOMIC_RELAXED) == RUNNING;
}

void rcl_background_kick(void)
{
    if (has_died())
        change(RUNNING, IDLE);
    if (likely(__atomic_load_n(&helper.thread->state, __ATOMIC_RELAXED) != IDLE) ||
        !rcl_background_enabled() || rcl_purge_step_ns() == 0)
        return;
    if (waiting() > (int64_t)RCL_PURGE_WORTH_BYTES)
        start();
}

uint64_t rcl_background_next_ns(void)
{
    uint32_t state = __atomic_load_n(&helper.thread->state, __ATOMIC_ACQUIRE);
    if (state == STARTING)
        return rcl_os_now_ns() + rcl_purge_step_ns();
    return state == RUNNING ? __atomic_load_n(&helper.thread->deadline, __ATOMIC_RELAXED) : 0;
}

void rcl_background_hurry(void)
{
    __atomic_fetch_add(&helper.thread->wakes, 1, __ATOMIC_SEQ_CST);
    rcl_os_futex_wake(&helper.thread->wakes, 1);
}

void rcl_background_stop(void)
{
    /* Or a busy thread would start the next one as soon as this one has ended. */
    __atomic_store_n(&helper.hold, 1, __ATOMIC_SEQ_CST);
    while (!change(IDLE, BLOCKED)) {
        if (has_died()) {
            change(RUNNING, IDLE);
        } else if (__atomic_load_n(&helper.thread->state, __ATOMIC_SEQ_CST) == RUNNING) {
            __atomic_store_n(&helper.thread->stop, 1, __ATOMIC_SEQ_CST);
            rcl_background_hurry();
            rcl_os_thread_join(&helper.thread->tid_word, helper.thread->tid);
        } else {
            rcl_os_yield(); /* being started: a matter of microseconds */
        }
    }
    rcl_os_thread_join(&helper.thread->tid_word, helper.thread->tid);
}

void rcl_background_boot(void)
{
    struct thread *wiped = rcl_os_map(rcl_page_size());
    if (wiped == NULL)
        return;
    if (!rcl_os_wipe_on_fork(wiped, rcl_page_size())) {
        rcl_os_unmap(wiped, rcl_page_size());
        return;
    }
    rcl_background_stop();
    helper.thread = wiped; /* whoever still looks at the other finds BLOCKED */
    rcl_background_resume();
}

void rcl_background_resume(void)
{
    __atomic_store_n(&helper.hold, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&helper.thread->state, IDLE, __ATOMIC_RELEASE);
}

void rcl_background_forget(void)
{
    *helper.thread = (struct thread){0};
    helper.hold = 0;
}

void rcl_background_let_go(void)
{
    struct thread *t = helper.thread;
    while (t->gate.inside > 0)
        rcl_gate_leave(&t->gate);
    __atomic_store_n(&t->state, IDLE, __ATOMIC_SEQ_CST);
}
