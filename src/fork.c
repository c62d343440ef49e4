/* SPDX-License-Identifier: MIT */
/* fork.c - see fork.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "fork.h"

#include "background.h"
#include "base.h"
#include "gate.h"
#include "huge.h"
#include "os.h"
#include "prof.h"
#include "purge.h"
#include "thread.h"
#include "xcache.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

/*
 * _Fork (POSIX.1-2024, glibc 2.34) runs no handlers.  In a program of one thread it
 * must work none the less, though the helper may be anywhere just then: so it is
 * interposed.  In a static link there is nothing to interpose (doc/design.md).
 */
#if defined(__GLIBC__) && !defined(RCL_STATIC)
#if __GLIBC_PREREQ(2, 34)
#define RCL_HAVE_FORK_WRAPPER 1
#endif
#endif

/* Not in a signal handler that interrupted a slow path, or its threshold. */
static bool at_rest(const struct rcl_gate_pass *me)
{
    return me->inside == 0 && me->crossing == 0;
}

static void begin(struct rcl_gate_pass *me)
{
    if (!rcl_gate_fork_begin(me))
        return;
    /*
     * In a signal handler that interrupted a slow path this thread may hold a
     * lock of ours: then it takes no other, and waits for nobody who may want it.
     */
    if (at_rest(me)) {
        rcl_background_stop();
        rcl_gate_enter_patient(me);
        rcl_purge_before_fork(&rcl_tls);
        rcl_gate_leave(me);
    }
    rcl_prof_before_fork();
    rcl_gate_close(me);
}

static void end(struct rcl_gate_pass *me)
{
    if (rcl_gate_fork_leave_nested())
        return;
    rcl_gate_open();
    if (at_rest(me))
        rcl_background_resume();
    rcl_gate_fork_end();
}

/*
 * A handler that forks while this thread is between two states of the gate would
 * rely on a gate that is not closed: no signals in begin and end.
 */
static void before(void)
{
    uint64_t signals = rcl_os_block_signals();
    begin(&rcl_tls.gate);
    rcl_os_restore_signals(signals);
}

static void parent(void)
{
    uint64_t signals = rcl_os_block_signals();
    end(&rcl_tls.gate);
    rcl_os_restore_signals(signals);
}

static void child(void)
{
    struct rcl_gate_pass *me = &rcl_tls.gate;
    uint64_t signals = rcl_os_block_signals();
    bool nested = rcl_gate_fork_leave_nested();
    rcl_gate_reset(me);
    rcl_background_forget();
    rcl_prof_forked();
    rcl_threads_forked(&rcl_tls);
    rcl_xcaches_forked();
    rcl_huge_forked();
    if (at_rest(me))
        rcl_threads_drain(&rcl_tls, RCL_DRAIN_GONE);
    if (!nested)
        rcl_gate_fork_end();
    rcl_os_restore_signals(signals);
}

#ifdef RCL_HAVE_FORK_WRAPPER

static pid_t (*libc_fork)(void);

RCL_EXPORT pid_t _Fork(void)
{
    /* Before the second stage of the boot there is one thread and no helper: any fork will do. */
    if (libc_fork == NULL)
        return fork();
    before();
    pid_t pid = libc_fork();
    if (pid == 0)
        child();
    else
        parent();
    return pid;
}

static void find_libc_fork(void)
{
    *(void **)&libc_fork = dlsym(RTLD_NEXT, "_Fork");
}

#else

static void find_libc_fork(void)
{
}

#endif

void rcl_fork_boot(void)
{
    find_libc_fork();
    rcl_background_boot();
    pthread_atfork(before, parent, child);
}
