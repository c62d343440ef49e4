/* SPDX-License-Identifier: MIT */
/*
 * prof_when.h - the moments at which a heap profile is written without being asked for.
 *
 * Looked at when a sample has been taken, so at the cost of nothing else: memory that
 * grows is memory that is allocated, and so sampled.  doc/profiling.md lists them.
 *
 * Outside the gate, with no lock held.
 */
#ifndef RCL_PROF_WHEN_H
#define RCL_PROF_WHEN_H

#include "base.h"

/* After a sample. */
void rcl_prof_watch(void);

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
