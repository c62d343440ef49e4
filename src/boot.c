/* SPDX-License-Identifier: MIT */
/* boot.c - see boot.h. */
#include "boot.h"

#include "arena.h"
#include "background.h"
#include "conf.h"
#include "demand.h"
#include "die.h"
#include "fork.h"
#include "huge.h"
#include "options.h"
#include "os.h"
#include "prof.h"
#include "purge.h"
#include "sizeclass.h"
#include "thread.h"
#include "xcache.h"

enum { NOT_BOOTED, BOOTING };

uint32_t rcl_boot_state;
static bool options_read;

/* --- stage 1 ------------------------------------------------------------------------------ */

/* The priority must be said first of all: gcc forgets one that comes with the definition. */
__attribute__((constructor(101))) static void second_stage(void);

static bool first_stage(void)
{
    rcl_thread_before_boot(second_stage);
    rcl_os_init();
    rcl_sizeclass_init(rcl_page_size());
    options_read = rcl_conf_read();
    rcl_demand_boot();
    rcl_huge_init(rcl_arena_window_ns(), (unsigned)rcl_opt.thp);
    if (!rcl_arena_boot())
        return false;
    rcl_os_process_barrier(); /* registers for it: instantaneous with one thread */
    if (rcl_opt.confirm_conf)
        rcl_conf_confirm(rcl_arena_limit());
    return true;
}

static bool boot(void)
{
    for (;;) {
        uint32_t state = NOT_BOOTED;
        if (__atomic_compare_exchange_n(&rcl_boot_state, &state, BOOTING, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_ACQUIRE)) {
            bool done = first_stage();
            __atomic_store_n(&rcl_boot_state, done ? RCL_BOOT_DONE : NOT_BOOTED, __ATOMIC_RELEASE);
            return done;
        }
        if (state == RCL_BOOT_DONE)
            return true;
        rcl_os_yield();
    }
}

bool rcl_boot_slow(void)
{
    /* A handler that allocates would wait for the thread it has interrupted. */
    uint64_t signals = rcl_os_block_signals();
    bool done = boot();
    rcl_os_restore_signals(signals);
    return done;
}

/* --- stage 2 ------------------------------------------------------------------------------ */

/* Before an abort, for rcl_die(). */
static void let_go(void)
{
    if (rcl_os_thread_is_bare())
        rcl_background_let_go();
    else
        rcl_thread_let_go(&rcl_tls);
}

/* Or the first slow path of a second thread, where that comes before (thread.c). */
static void second_stage(void)
{
    static bool begun;
    rcl_boot();
    if (__atomic_exchange_n(&begun, true, __ATOMIC_ACQ_REL))
        return;
    rcl_die_let_go = let_go;
    if (!options_read) {
        /* The first allocation came before the environment; what is made keeps its defaults. */
        options_read = rcl_conf_read();
        rcl_arena_boot();
        if (rcl_opt.confirm_conf)
            rcl_conf_confirm(rcl_arena_limit());
        /* What is cached was not looked at by options that want to see every block. */
        rcl_gate_enter_patient(&rcl_tls.gate);
        rcl_thread_drop_cache(&rcl_tls);
        rcl_gate_leave(&rcl_tls.gate);
    }
    rcl_thread_boot(rcl_background_kick);
    rcl_fork_boot();
    rcl_prof_boot();
}

/*
 * What waits in the caches of this thread, of those that have ended and of guests has not been
 * looked at: a block freed twice, or a pointer into one, is said before the process ends.  Not by
 * _exit, and not where exit() was called in a handler that interrupted us.
 */
__attribute__((destructor(101))) static void last_look(void)
{
    struct rcl_tls *self = &rcl_tls;
    if (self->busy || self->gate.inside != 0 || self->gate.crossing || !rcl_gate_enter(&self->gate))
        return;
    rcl_thread_drop_cache(self);
    rcl_threads_drop_parked();
    rcl_xcaches_drain(true); /* those that threads share who have only freed */
    rcl_gate_leave(&self->gate);
}
