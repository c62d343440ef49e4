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
    rcl_gate_fork_begin();
    rcl_background_stop();
    /* From a signal handler in a slow path: this thread may hold any lock of ours. */
    if (me->inside == 0) {
        rcl_gate_enter_patient(me);
        rcl_purge_undemanded();
        rcl_gate_leave(me);
    }
    rcl_gate_close(me);
}

static void parent(void)
{
    rcl_gate_open();
    rcl_background_resume();
    rcl_gate_fork_end();
}

static void child(void)
{
    struct rcl_gate_pass *me = &rcl_tls.gate;
    rcl_gate_reset(me);
    rcl_background_forget();
    if (me->inside == 0)
        rcl_threads_forked(&rcl_tls);
}

void rcl_fork_boot(void)
{
    pthread_atfork(before, parent, child);
}
