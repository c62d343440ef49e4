/* SPDX-License-Identifier: MIT */
/*
 * moment.h - the counters of all arenas at one moment, and the numbers that jemalloc's
 * readers make of them: stats.* of mallctl and of the JSON report are these.
 *
 * Counted, not looked for: no page is asked after (snapshot.h does that), so it is cheap
 * enough for a program that asks ten times a second.
 */
#ifndef RCL_MOMENT_H
#define RCL_MOMENT_H

#include "base.h"
#include "sizeclass.h"
#include "stats.h"

enum {
    CTL_BINS = RCL_SMALL_LAST,
    CTL_EXTENTS = RCL_EXTENTS,
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

struct rcl_moment;

/* Room for the arenas there are now.  NULL: out of memory. */
struct rcl_moment *rcl_moment_new(void);
void rcl_moment_free(struct rcl_moment *m);

/* The numbers of now.  Inside the gate, or while it is held. */
void rcl_moment_fill(struct rcl_moment *m);

const struct rcl_stats *rcl_moment_stats(const struct rcl_moment *m);

/*
 * `index`: of an arena, or one of CTL_ARENAS_..., or the number of indexes at that moment for
 * all of them.  False: there was no such arena then.
 */
bool rcl_moment_knows(const struct rcl_moment *m, size_t index);
size_t rcl_moment_indexes(const struct rcl_moment *m);

/* How many arenas had been destroyed, and were none again. */
size_t rcl_moment_destroyed(const struct rcl_moment *m);

void rcl_moment_total(const struct rcl_moment *m, enum ctl_stat what, uint64_t *value);
bool rcl_moment_arena(const struct rcl_moment *m, size_t index, enum ctl_arena_stat what,
                      uint64_t *value);

/* bin: 0 .. CTL_BINS - 1; extent: 0 .. CTL_EXTENTS - 1. */
bool rcl_moment_bin(const struct rcl_moment *m, size_t index, size_t bin, enum ctl_bin_stat what,
                    uint64_t *value);
bool rcl_moment_extent(const struct rcl_moment *m, size_t index, size_t extent,
                       enum ctl_extent_stat what, uint64_t *value);

#endif
