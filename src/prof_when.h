/* SPDX-License-Identifier: MIT */
/*
 * prof_when.h - the moments at which a heap profile is written without being asked for.
 *
 * Looked at when a sample has been taken, so at the cost of nothing else: memory that
 * grows is memory that is allocated, and so sampled.  But a control group's also grows by what
 * is no malloc's, or was allocated before it is touched: that is looked at by time as well.
 * doc/profiling.md lists them.
 *
 * Outside the gate, with no lock held.
 */
#ifndef RCL_PROF_WHEN_H
#define RCL_PROF_WHEN_H

#include "base.h"

/* After a sample. */
void rcl_prof_watch(void);

/*
 * Whether somebody is to look at the control group by time; and such a look, from any thread, also
 * one without thread-local memory: ns until the next.
 */
bool rcl_prof_watches_time(void);
uint64_t rcl_prof_watch_time(void);

/* An allocation has failed, in a process that has samples. */
void rcl_prof_watch_failure(void);

/* In a forked child: its first failure is its own.  (A mark that is passed stays passed.) */
void rcl_prof_watch_forked(void);

/* All sums begin anew. */
void rcl_prof_watch_reset(void);

/* Whether there is a dump whenever more is mapped than ever. */
bool rcl_prof_gdump(void);
void rcl_prof_set_gdump(bool on);

/* Once, when options are known and libc is ready: the signal, the mark. */
void rcl_prof_watch_boot(void);

#endif
