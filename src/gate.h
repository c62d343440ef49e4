/* SPDX-License-Identifier: MIT */
/*
 * gate.h - every slow path passes through here, and fork() closes it.
 *
 * A thread in a slow path (one that may hold a lock of ours) is counted in.
 * fork's prepare handler closes the gate and waits until nobody is inside: then
 * no lock of ours is held, none can be taken, and every structure is consistent;
 * that is the state the child inherits.  No lock has to be taken or repaired.
 *
 * While the gate is closed the forking thread itself passes freely, so fork
 * handlers may allocate.  Every other thread waits.  libc takes locks of its own
 * between our prepare handler and the fork (the stdio list, name services), and
 * their holder may be waiting for memory just then (glibc bug 19431).  So nobody
 * waits for ever: when the gate has been fully closed for RCL_GATE_PATIENCE_NS a
 * thread is told to do without, and its request is served without locks (huge.h,
 * rcl_huge_take_unlisted) or, if it is a free, put off (rcl_gate_defer).  From
 * then on each request waits RCL_GATE_BRIEF_NS only, which is enough to make
 * progress and too long to pile up mappings while a slow fork is on its way.
 *
 * fork from a signal handler that interrupted a slow path: then the forking
 * thread is inside itself and may hold a lock that others inside wait for.  They
 * hold none (lock.h), so they have nothing half done, and closing is complete
 * when everybody else inside is waiting for a lock.  The child goes on with the
 * interrupted slow path, as the parent does.
 *
 * Cost: two atomic additions per slow path, on one of RCL_GATE_SHARDS counters.
 */
#ifndef RCL_GATE_H
#define RCL_GATE_H

#include "base.h"

enum { RCL_GATE_SHARDS = 64 };
#define RCL_GATE_PATIENCE_NS 10000000u
#define RCL_GATE_BRIEF_NS 20000u

/* A thread as the gate knows it. */
struct rcl_gate_pass {
    uint32_t inside;   /* how often this thread is in (more than once: from a signal handler) */
    uint32_t crossing; /* it is just being counted in or out */
    uint32_t shard;
};

/* False: the gate has been closed for too long; do without locks, and do not leave. */
bool rcl_gate_enter(struct rcl_gate_pass *me);
void rcl_gate_leave(struct rcl_gate_pass *me);

/* Wait as long as it takes: for a thread that nobody waits for. */
void rcl_gate_enter_patient(struct rcl_gate_pass *me);

/*
 * One fork at a time: begin waits for another thread's.  False: this thread is
 * forking already (this one comes from a signal handler during its own fork):
 * do nothing then.  For such a one leave_nested is true and ends it; else end,
 * when all else that the fork wanted undone is.
 */
bool rcl_gate_fork_begin(struct rcl_gate_pass *me);
bool rcl_gate_fork_leave_nested(void);
void rcl_gate_fork_end(void);

/* close: nobody but `me` is at work inside when it returns.  open: parent.  reset: child. */
void rcl_gate_close(struct rcl_gate_pass *me);
void rcl_gate_open(void);
void rcl_gate_reset(struct rcl_gate_pass *me);

/*
 * Read everything at one moment: nobody is inside until the release, and whoever comes
 * waits, however long it takes, because the reader waits for nothing that others hold.
 * False: this thread is inside itself (in a signal handler).  No signals in between.
 */
bool rcl_gate_hold(struct rcl_gate_pass *me);
void rcl_gate_release(void);

/* The same for the helper, if nobody is inside or everybody leaves within a millisecond. */
bool rcl_gate_try_hold(struct rcl_gate_pass *me);

/* Put a block of at least 8 bytes aside, to be freed by whoever comes through the gate next. */
void rcl_gate_defer(void *p);

/* Blocks put aside, linked through their first word; the caller frees them. */
static inline void *rcl_gate_deferred(void);

extern void *rcl_gate_deferred_head;

static inline void *rcl_gate_deferred(void)
{
    if (likely(__atomic_load_n(&rcl_gate_deferred_head, __ATOMIC_RELAXED) == NULL))
        return NULL;
    return __atomic_exchange_n(&rcl_gate_deferred_head, NULL, __ATOMIC_ACQUIRE);
}

#endif
