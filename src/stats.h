/* SPDX-License-Identifier: MIT */
/*
 * stats.h - one snapshot of what the allocator holds.
 *
 * Counters of many places read one after the other: consistent when the
 * process is quiet, close when it is not.  Taking one costs a lock per bin.
 */
#ifndef RCL_STATS_H
#define RCL_STATS_H

#include "base.h"
#include "out.h"
#include "sizeclass.h"

struct rcl_stats_class {
    size_t size;
    size_t slabs;
    size_t slots; /* blocks those slabs have room for */
    size_t live;  /* handed out: to the program or to thread caches */
};

struct rcl_stats {
    struct rcl_stats_class cls[RCL_SMALL_LAST + 1]; /* by class, all arenas; entry 0 unused */
    size_t small_bytes;                             /* handed out in small classes */
    size_t large_blocks, large_bytes;               /* page runs */
    size_t huge_blocks, huge_bytes;                 /* mappings of their own */
    size_t cached_bytes;                            /* part of small and large: in thread caches */
    size_t dirty_bytes;                             /* free and may be resident, as far as known */
    size_t mapped_bytes;                            /* address space of chunks and huge blocks */
    size_t meta_bytes;                              /* descriptors in use */
    size_t caches;                                  /* threads that have a cache */
    unsigned arenas;
    uint64_t purge_calls, purged_bytes, purge_ns, refaulted_bytes;
};

/* Outside the gate. */
void rcl_stats_read(struct rcl_stats *s);

/* Bytes the program holds: handed out, less what waits in thread caches. */
size_t rcl_stats_live(const struct rcl_stats *s);

/* For people; for readers of glibc's malloc_info. */
void rcl_stats_print(const struct rcl_stats *s, struct rcl_out *o);
void rcl_stats_xml(const struct rcl_stats *s, struct rcl_out *o);

#endif
