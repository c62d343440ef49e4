/* SPDX-License-Identifier: MIT */
/*
 * ctlstat.h - the numbers behind mallctl's stats.*: those of one moment, the last epoch.
 *
 * A program that reads ten of them one after the other must not see ten different
 * moments; so they are taken at once (stats.h) when the program writes `epoch`, or at its
 * first question, and kept.
 *
 * Locking: one lock, held while a number is copied.  All outside the gate.
 */
#ifndef RCL_CTLSTAT_H
#define RCL_CTLSTAT_H

#include "arena.h"
#include "base.h"
#include "runs.h"
#include "sizeclass.h"

enum {
    CTL_BINS = RCL_SMALL_LAST,
    CTL_EXTENTS = RCL_RUN_KINDS + 1, /* the last: huge blocks */
    CTL_ARENAS_ALL = 4096,
    CTL_ARENAS_DESTROYED = 4097,
};

enum ctl_stat {
    STAT_ALLOCATED,
    STAT_ACTIVE,
    STAT_METADATA,
    STAT_RESIDENT,
    STAT_MAPPED,
    STAT_RETAINED,
    STAT_PURGE_RUNS,
};

enum ctl_arena_stat {
    ARENA_THREADS,
    ARENA_DECAY,
    ARENA_UPTIME,
    ARENA_PACTIVE,
    ARENA_PDIRTY,
    ARENA_MAPPED,
    ARENA_RETAINED,
    ARENA_BASE,
    ARENA_CACHED,
    ARENA_RESIDENT,
    ARENA_NPURGE,
    ARENA_NMADVISE,
    ARENA_PURGED,
    ARENA_SMALL_BYTES,
    ARENA_SMALL_TAKEN,
    ARENA_SMALL_GIVEN,
    ARENA_FILLS,
    ARENA_FLUSHES,
    ARENA_LARGE_BYTES,
    ARENA_LARGE_TAKEN,
    ARENA_LARGE_GIVEN,
};

enum ctl_bin_stat {
    BIN_TAKEN,
    BIN_GIVEN,
    BIN_LIVE,
    BIN_FILLS,
    BIN_FLUSHES,
    BIN_SLABS_MADE,
    BIN_SLABS,
    BIN_OPEN,
    BIN_WAITS,
};

enum ctl_extent_stat { EXTENT_TAKEN, EXTENT_GIVEN, EXTENT_LIVE };

/* A new moment; the number of moments so far, which is never 0.  False: out of memory. */
bool rcl_ctlstat_refresh(void);
uint64_t rcl_ctlstat_epoch(void);

/*
 * `index`: of an arena, or one of CTL_ARENAS_..., or rcl_arena_indexes() for all of them.
 * False: there was no such arena at that moment, or there is no memory for a first one.
 */
bool rcl_ctlstat_knows(size_t index);
bool rcl_ctlstat(enum ctl_stat what, uint64_t *value);
bool rcl_ctlstat_arena(size_t index, enum ctl_arena_stat what, uint64_t *value);

/* bin: 0 .. CTL_BINS - 1; extent: 0 .. CTL_EXTENTS - 1. */
bool rcl_ctlstat_bin(size_t index, size_t bin, enum ctl_bin_stat what, uint64_t *value);
bool rcl_ctlstat_extent(size_t index, size_t extent, enum ctl_extent_stat what, uint64_t *value);

#endif
