/* SPDX-License-Identifier: MIT */
/* prof.c - see prof.h. */
#include "prof.h"

#include "die.h"
#include "gate.h"
#include "lock.h"
#include "options.h"
#include "os.h"
#include "prof_dump.h"
#include "prof_live.h"
#include "prof_python.h"
#include "prof_rate.h"
#include "prof_stack.h"
#include "prof_trace.h"
#include "prof_when.h"
#include "span.h"

#include <errno.h>
#include <stdlib.h>

static struct {
    uint32_t switching; /* somebody is changing what follows: everybody else waits */
    bool active;
    unsigned lg;
    uint32_t snapshot; /* live bytes have risen enough: the peak is taken at the next fall */
    int pid;           /* of the process that forks */
} prof = {.lg = UINT32_MAX};

/* --- samples ------------------------------------------------------------------------------ */

/* After a sample was added: is this a new peak, by a step? */
static void watch_peak(void)
{
    struct rcl_stacks_total t;
    rcl_stacks_total(&t);
    if (t.live_bytes > t.peak_bytes + t.peak_bytes / 100 * (uint64_t)rcl_opt.prof_peak_step)
        __atomic_store_n(&prof.snapshot, 1, __ATOMIC_RELAXED);
}

/* Before one is taken away. */
static void take_peak(void)
{
    if (__atomic_load_n(&prof.snapshot, __ATOMIC_RELAXED) != 0 &&
        __atomic_exchange_n(&prof.snapshot, 0, __ATOMIC_RELAXED) != 0)
        rcl_stacks_snapshot();
}

RCL_OWN void rcl_prof_sampled(struct rcl_tls *self, void *p, size_t bytes, uint32_t mode)
{
    /* What a signal handler or the capture itself allocates in the middle of it is not sampled. */
    if (self->sampling)
        return;
    self->sampling = true;
    int error = errno;
    unsigned depth = (unsigned)rcl_opt.prof_depth;
    struct rcl_trace *t = rcl_trace_take();
    if (t != NULL) {
        rcl_trace_capture(t, depth);
        if (rcl_gate_enter(&self->gate)) {
            unsigned frames = rcl_trace_resolve(t, depth);
            struct rcl_stack *stack = rcl_stack_find(t->frame, frames, rcl_prof_thread());
            rcl_live_add(p, bytes, stack, mode);
            watch_peak();
            rcl_gate_leave(&self->gate);
        }
        rcl_trace_give(t);
        rcl_prof_watch();
    }
    errno = error;
    self->sampling = false;
}

void rcl_prof_failed(void)
{
    int error = errno;
    rcl_prof_watch_failure();
    errno = error;
}

unsigned rcl_prof_freed(void *p)
{
    take_peak();
    rcl_live_remove(p);
    return rcl_block_class(p);
}

void rcl_prof_discarded(bool (*gone)(const void *arg, const void *p), const void *arg)
{
    take_peak();
    rcl_live_end(gone, arg);
}

/* --- switching ---------------------------------------------------------------------------- */

/* Not a lock of lock.h: it is held while others are taken, and by nobody inside the gate. */
static void begin_switch(void)
{
    while (__atomic_exchange_n(&prof.switching, 1, __ATOMIC_ACQUIRE) != 0)
        rcl_os_yield();
    if (prof.lg == UINT32_MAX)
        rcl_stacks_set_lg(prof.lg = (unsigned)rcl_opt.lg_prof_sample);
}

static void end_switch(void)
{
    __atomic_store_n(&prof.switching, 0, __ATOMIC_RELEASE);
}

static void count_threads(bool active)
{
    struct rcl_tls *self = &rcl_tls;
    rcl_gate_enter_patient(&self->gate);
    rcl_threads_count(self, active ? (int)prof.lg : -1);
    rcl_gate_leave(&self->gate);
}

/* What only programs that are profiled need is mapped when the first switch is made. */
static bool prepare(void)
{
    static bool warmed;
    if (!rcl_stacks_boot() || !rcl_live_boot() || !rcl_prof_dump_boot() ||
        (rcl_opt.prof_python && !rcl_python_look())) {
        rcl_warn("prof: no memory for the tables of heap profiles; profiling stays off");
        return false;
    }
    if (!warmed)
        rcl_unwind_boot();
    warmed = true;
    return true;
}

bool rcl_prof_set_active(bool active)
{
    begin_switch();
    bool was = prof.active;
    if (active && !prepare())
        active = was;
    if (active != was) {
        __atomic_store_n(&prof.active, active, __ATOMIC_RELAXED);
        count_threads(active);
    }
    end_switch();
    return was;
}

bool rcl_prof_active(void)
{
    return __atomic_load_n(&prof.active, __ATOMIC_RELAXED);
}

void rcl_prof_reset(int lg)
{
    struct rcl_tls *self = &rcl_tls;
    begin_switch();
    if (lg >= 0)
        prof.lg = (unsigned)rcl_min((size_t)lg, RCL_PROF_LG_MAX);
    /* Off meanwhile; what is drawn already under an older mode is refused from here on. */
    count_threads(false);
    rcl_gate_enter_patient(&self->gate);
    rcl_live_forget(rcl_thread_mode);
    rcl_stacks_clear();
    rcl_stacks_set_lg(prof.lg);
    rcl_prof_watch_reset();
    rcl_prof_dump_reset();
    rcl_gate_leave(&self->gate);
    if (prof.active)
        count_threads(true);
    end_switch();
}

unsigned rcl_prof_lg_sample(void)
{
    unsigned lg = __atomic_load_n(&prof.lg, __ATOMIC_RELAXED);
    return lg == UINT32_MAX ? (unsigned)rcl_opt.lg_prof_sample : lg;
}

void rcl_prof_before_fork(void)
{
    prof.pid = rcl_os_pid();
    rcl_unwind_before_fork();
}

void rcl_prof_forked(void)
{
    struct rcl_stacks_total t;
    rcl_stacks_total(&t);
    prof.switching = 0;
    rcl_unwind_forked();
    rcl_prof_watch_forked();
    rcl_prof_dump_forked(prof.pid, t.live_bytes);
}

/* --- the end ------------------------------------------------------------------------------ */

/* written: the last dump tells of this moment. */
static bool report_leaks(bool written)
{
    struct rcl_stacks_total t;
    uint64_t blocks = 0, places = 0;
    rcl_stacks_total(&t);
    if (t.live_samples == 0)
        return false;
    for (struct rcl_stack *s = rcl_stacks_first(); s != NULL; s = s->older) {
        places += s->live.units != 0;
        blocks += s->live.units / RCL_PROF_UNIT;
    }
    rcl_warn(
        "prof_leak: at the end about %llu bytes in %llu blocks are in use, allocated from %llu "
        "or more places%s%s",
        (unsigned long long)t.live_bytes, (unsigned long long)blocks, (unsigned long long)places,
        written ? "; see " : "", written ? rcl_prof_last_dump() : "");
    return true;
}

static void fail(int status, void *unused)
{
    (void)status;
    (void)unused;
    exit(EXIT_FAILURE); /* glibc goes on with what is left to be done, stdio last of all */
}

/*
 * exit() in a destructor would end the round of destructors: all destructors are one entry on
 * exit's list, and those of the libraries after this one would be left out.  What is put on the
 * list now comes after the whole of that entry.
 */
static void end_with_failure(void)
{
#ifdef __GLIBC__
    if (on_exit(fail, NULL) == 0)
        return;
#endif
    exit(EXIT_FAILURE);
}

/* Priority: after whatever else of this library is done at the end. */
__attribute__((destructor(101))) static void at_the_end(void)
{
    struct rcl_stacks_total t;
    bool leak = rcl_opt.prof_leak || rcl_opt.prof_leak_error;
    rcl_stacks_total(&t);
    if (rcl_opt.prof || t.all_samples != 0)
        rcl_prof_dump_end();
    if ((!rcl_opt.prof && t.all_samples == 0) || (!rcl_opt.prof_final && !leak))
        return;
    if (rcl_opt.prof_final && t.peak_bytes > t.live_bytes)
        rcl_prof_dump(NULL, RCL_PROF_PEAK);
    bool written = rcl_prof_dump(NULL, RCL_PROF_FINAL) == 0;
    if (leak && report_leaks(written) && rcl_opt.prof_leak_error)
        end_with_failure();
}

void rcl_prof_boot(void)
{
    rcl_stacks_set_lg(rcl_prof_lg_sample());
    rcl_prof_watch_boot();
    if (rcl_opt.prof && rcl_opt.prof_active)
        rcl_prof_set_active(true);
}

void rcl_prof_seed(struct rcl_tls *self, uint64_t seed)
{
    self->random = rcl_prof_random(&seed) | 1; /* 0 would be seeded by the clock */
    self->distance_mode = 0;
    rcl_gate_enter_patient(&self->gate);
    rcl_thread_drop_cache(self);
    rcl_gate_leave(&self->gate);
}
