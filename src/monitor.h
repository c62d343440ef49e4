/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - statistics, and a purge, that the program need not ask for itself.
 *
 *   stats_interval_ms  a report every so often, and a last one when the program ends
 *   stats_signal       a report upon a signal
 *   purge_signal       everything freed is returned upon a signal
 *   prof_at:N%         the control group's usage is looked at by time (prof_when.h)
 *
 * With none of these options nothing here runs: no handler, no thread, no fork handler.
 *
 * A signal handler only notes what is wanted and sees to it that a thread of our own
 * does it: a bare kernel thread (os.h), made then and gone afterwards, so that it comes
 * also when every thread of the program is blocked.  With an interval or looks it stays.  Before
 * a fork it is ended, as the helper is (fork.h), so no one counts it; the next slow path
 * that comes a little later starts it again, in parent and child.
 */
#ifndef RCL_MONITOR_H
#define RCL_MONITOR_H

#include "base.h"

extern uint32_t rcl_monitor_missing; /* the thread of the interval is to be started again */

void rcl_monitor_restart(void);

/* At the end of a slow path, outside the gate. */
static inline void rcl_monitor_kick(void)
{
    if (unlikely(__atomic_load_n(&rcl_monitor_missing, __ATOMIC_RELAXED)))
        rcl_monitor_restart();
}

/*
 * Write a report where the options say; errno of what failed first.  What a program may
 * ask for is the signals' business; this is for tests and the end of the program.
 */
struct rcl_gate_pass;
int rcl_monitor_report(struct rcl_gate_pass *me);

/* Once, when libc is ready (constructor); and when the program ends. */
void rcl_monitor_boot(void);
void rcl_monitor_exit(struct rcl_gate_pass *me);

/* `path` with the process id for each %p; false: too long for `size`. */
bool rcl_monitor_path(char *to, size_t size, const char *path);

#endif
