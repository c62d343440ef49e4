/* SPDX-License-Identifier: MIT */
/*
 * stats.h - what the allocator has counted: cheap to read, no look at the pages.
 *
 * Counters of many places read one after the other, a lock at a time: consistent
 * when the process is quiet, close when it is not.  None of them is kept on the hit
 * path.  Which memory is resident is another question: snapshot.h.
 */
#ifndef RCL_STATS_H
#define RCL_STATS_H

#include "base.h"
#include "runs.h"
#include "sizeclass.h"

/* A small class, in one arena or in all. */
struct rcl_stats_class {
    size_t size;
    size_t slabs;
    size_t slots;            /* blocks those slabs have room for */
    size_t live;             /* handed out: to the program or to thread caches */
    uint64_t taken;          /* blocks handed out since the start; came back: taken - live */
    uint64_t fills, flushes; /* batches that went out, that came back */
    uint64_t slabs_made;     /* since the start */
    size_t open;             /* slabs with a block that can be taken */
    uint64_t lock_waits;
};

/* One arena, or all of them added up. */
struct rcl_stats_heap {
    struct rcl_stats_class cls[RCL_SMALL_LAST + 1]; /* entry 0 unused */
    size_t small_bytes;                             /* handed out in small classes */
    size_t large_blocks, large_bytes;               /* page runs: medium and large blocks */
    uint64_t large_taken;                           /* such blocks since the start */
    size_t huge_blocks, huge_bytes;                 /* mappings of their own */
    struct {
        uint64_t taken;
        size_t live;
    } extent[RCL_EXTENTS];  /* runs and mappings, by extent (sizeclass.h) */
    size_t chunk_bytes;     /* mapped for slabs and runs */
    size_t run_free_bytes;  /* of those: in no slab and no block */
    size_t run_dirty_bytes; /* of those: may be resident */
    uint64_t purged_pages;  /* returned, huge blocks apart; since the start, */
    uint64_t purge_calls, purge_runs;
    size_t threads; /* caches filled from here */
    uint64_t lock_waits;
};

struct rcl_stats {
    struct rcl_stats_heap heap; /* all arenas */
    unsigned arenas;
    size_t huge_blocks, huge_bytes; /* mappings of their own */
    uint64_t huge_taken;
    size_t caches;       /* threads that have a cache */
    size_t cached_bytes; /* part of small and large: in thread caches */
    size_t used_bytes;   /* pages with something handed out on them, huge blocks included */
    size_t dirty_bytes;  /* free and may be resident, as far as known */
    size_t mapped_bytes; /* address space of chunks and huge blocks */
    size_t chunk_bytes, chunk_bytes_max; /* of chunks alone: now, and at most so far */
    size_t meta_bytes;                   /* descriptors in use */
    size_t meta_mapped_bytes;
    size_t table_bytes;     /* beside them: arenas, their tables of chunks, the page map in use */
    uint64_t purge_runs;    /* times that somebody set out to return memory */
    uint64_t purge_calls;   /* system calls that returned some */
    uint64_t purge_refused; /* batches the kernel refused */
    uint64_t purged_bytes, purge_ns;
    uint64_t refaulted_bytes; /* taken again within a window of being returned */
    uint64_t cache_misses;    /* a cache had no block of a class, */
    uint64_t cache_overflows; /* or no room for one */
    uint64_t fills, flushes;  /* batches between caches and bins */
    uint64_t lock_waits;
};

/* Both outside the gate.  False: no memory to start with, or no such arena; all is zero. */
bool rcl_stats_read(struct rcl_stats *s);
bool rcl_stats_read_arena(unsigned index, struct rcl_stats_heap *h);

/* Inside the gate, or while it is held. */
void rcl_stats_collect(struct rcl_stats *s);
void rcl_stats_collect_arena(unsigned index, struct rcl_stats_heap *h);

/* Bytes the program holds: handed out, less what waits in thread caches. */
size_t rcl_stats_live(const struct rcl_stats *s);

/*
 * What jemalloc calls so, for everybody who prints it.  allocated <= active <= resident <=
 * mapped holds; active and resident are whole pages.
 */
struct rcl_totals {
    size_t allocated; /* rcl_stats_live */
    size_t active;    /* pages with something handed out on them, caches' blocks included */
    size_t metadata;
    size_t resident; /* at most: active, dirty pages, metadata */
    size_t mapped;   /* address space of all of it, less what is retained */
    size_t retained; /* free in chunks, with nothing resident */
};
struct rcl_totals rcl_stats_totals(const struct rcl_stats *s);

#endif
