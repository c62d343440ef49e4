/* SPDX-License-Identifier: MIT */
/* fork.c - see fork.h. */
#include "fork.h"

#include "background.h"
#include "gate.h"
#include "purge.h"
#include "thread.h"

#include <pthread.h>

static void before(void)
{
    struct rcl_gate_pass *me = &rcl_tls.gate;
    if (!rcl_gate_fork_begin(me))
        return;
    /*
     * In a signal handler that interrupted a slow path this thread may hold a
     * lock of ours: then it takes no other, and waits for nobody who may want it.
     */
    if (me->inside == 0) {
        rcl_background_stop();
        rcl_gate_enter_patient(me);
        rcl_purge_undemanded();
        rcl_gate_leave(me);
    }
    rcl_gate_close(me);
}

static void parent(void)
{
    struct rcl_gate_pass *me = &rcl_tls.gate;
    if (!rcl_gate_fork_end(me))
        return;
    rcl_gate_open();
    if (me->inside == 0)
        rcl_background_resume();
}

static void child(void)
{
    struct rcl_gate_pass *me = &rcl_tls.gate;
    rcl_gate_fork_end(me);
    rcl_gate_reset(me);
    rcl_background_forget();
    rcl_threads_forked(&rcl_tls);
    if (me->inside == 0)
        rcl_threads_drain(&rcl_tls, RCL_DRAIN_GONE);
}

void rcl_fork_boot(void)
{
    pthread_atfork(before, parent, child);
}
