/* SPDX-License-Identifier: MIT */
/* control.c - see control.h; and the calls of include/reclaim/reclaim.h. */
#include "control.h"

#include "background.h"
#include "boot.h"
#include "gate.h"
#include "heap.h"
#include "huge.h"
#include "os.h"
#include "pagemap.h"
#include "prof.h"
#include "purge.h"
#include "span.h"
#include "thread.h"
#include "xcache.h"

#include "reclaim/reclaim.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0.0.0"
#endif

size_t rcl_control_purge(void)
{
    struct rcl_tls *self = &rcl_tls;
    if (!rcl_boot())
        return 0;
    rcl_gate_enter_patient(&self->gate);
    size_t bytes = rcl_purge_all(self);
    rcl_gate_leave(&self->gate);
    return bytes;
}

void rcl_control_purge_arena(struct rcl_arena *a, bool old)
{
    struct rcl_tls *self = &rcl_tls;
    rcl_gate_enter_patient(&self->gate);
    rcl_purge_arena(a, old);
    /* Huge blocks kept for reuse are of no arena: they go with the first. */
    if (a == rcl_arena_get(0))
        rcl_huge_purge(old ? RCL_PURGE_OLD : RCL_PURGE_ALL, SIZE_MAX);
    rcl_gate_leave(&self->gate);
}

void rcl_control_decay(struct rcl_arena *a, int64_t ms)
{
    struct rcl_tls *self = &rcl_tls;
    rcl_gate_enter_patient(&self->gate);
    rcl_arena_set_decay_ms(a, ms);
    rcl_gate_leave(&self->gate);
    if (ms >= 0)
        rcl_control_purge_arena(a, false);
    rcl_background_hurry();
    rcl_background_kick();
}

/* Of the arena: its page runs and slabs, or a mapping of its own. */
static bool is_of(const void *arena, const void *p)
{
    const struct rcl_arena *a = arena;
    const void *desc = rcl_pagemap_desc(p);
    return rcl_block_class(p) == RCL_CLASS_HUGE ? ((const struct rcl_huge *)desc)->group == &a->huge
                                                : ((const struct rcl_span *)desc)->arena == a;
}

/* A slice of the walk, with nobody else at work.  False: it cannot be done here. */
static bool discard_slice(struct rcl_arena *a, size_t *chunk, bool first, bool *more)
{
    struct rcl_tls *self = &rcl_tls;
    uint64_t signals = rcl_os_block_signals();
    bool held = rcl_gate_hold(&self->gate);
    if (held) {
        if (first) {
            rcl_prof_discarded(is_of, a);
            rcl_threads_drain_of(self, RCL_DRAIN_ALL, a);
            rcl_xcaches_drain(true);
        }
        *more = rcl_arena_discard(a, chunk);
        rcl_gate_release();
    }
    rcl_os_restore_signals(signals);
    return held;
}

bool rcl_control_reset(struct rcl_arena *a, bool destroy)
{
    struct rcl_tls *self = &rcl_tls;
    size_t chunk = 0;
    bool first = true, more = true;
    if (!a->is_explicit || (destroy && __atomic_load_n(&a->bound, __ATOMIC_RELAXED) != 0))
        return false;
    rcl_heap_settle();
    while (more) {
        if (!discard_slice(a, &chunk, first, &more))
            return false;
        first = false;
    }
    rcl_gate_enter_patient(&self->gate);
    rcl_huge_discard(&a->huge);
    rcl_purge_arena(a, false);
    rcl_gate_leave(&self->gate);
    if (destroy)
        rcl_arena_retire(a);
    return true;
}

bool rcl_control_background(bool on)
{
    struct rcl_gate_pass *me = &rcl_tls.gate;
    /* In a handler that interrupted a slow path: the helper may be waiting for that. */
    if (me->inside > 0 || me->crossing)
        return false;
    rcl_background_enable(on);
    if (on) {
        rcl_background_kick(); /* for what has been freed meanwhile */
        return true;
    }
    uint64_t signals = rcl_os_block_signals();
    bool alone = rcl_gate_fork_begin(me);
    if (alone) {
        rcl_background_stop();
        rcl_background_resume();
        rcl_gate_fork_end();
    } else {
        rcl_gate_fork_leave_nested();
    }
    rcl_os_restore_signals(signals);
    return alone;
}

RCL_EXPORT const char *reclaim_version(void)
{
    return PACKAGE_VERSION;
}

RCL_EXPORT size_t reclaim_purge(void)
{
    return rcl_control_purge();
}
