/* SPDX-License-Identifier: MIT */
/*
 * ctlstat.h - the numbers behind mallctl's stats.*: those of one moment, the last epoch.
 *
 * A program that reads ten of them one after the other must not see ten different
 * moments; so they are taken at once (moment.h) when the program writes `epoch`, or at its
 * first question, and kept.
 *
 * Locking: one lock, held while a number is copied.  All outside the gate.
 */
#ifndef RCL_CTLSTAT_H
#define RCL_CTLSTAT_H

#include "base.h"
#include "moment.h"

/* A new moment; the number of moments so far, which is never 0.  False: out of memory. */
bool rcl_ctlstat_refresh(void);
uint64_t rcl_ctlstat_epoch(void);

/* As in moment.h.  False, too: there is no memory for a first moment. */
bool rcl_ctlstat_knows(size_t index);
bool rcl_ctlstat(enum ctl_stat what, uint64_t *value);
bool rcl_ctlstat_arena(size_t index, enum ctl_arena_stat what, uint64_t *value);
bool rcl_ctlstat_bin(size_t index, size_t bin, enum ctl_bin_stat what, uint64_t *value);
bool rcl_ctlstat_extent(size_t index, size_t extent, enum ctl_extent_stat what, uint64_t *value);

#endif
