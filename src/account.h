/* SPDX-License-Identifier: MIT */
/*
 * account.h - what the whole process holds, in a handful of counters.
 *
 * Every field is changed with relaxed atomics by whoever changes the thing it
 * counts.  Sums over arenas, so a reader sees a value that was true a moment ago;
 * and pages and holes are told by each arena when they have come to something
 * (demand.h).  Good enough to decide whether to purge, and exact when the process
 * is quiet and time has passed.
 */
#ifndef RCL_ACCOUNT_H
#define RCL_ACCOUNT_H

#include "base.h"

enum {
    RCL_PINNED_ONE = 1 << 20,
    RCL_PINNED_MEMORY = 1024, /* blocks that it is a mean over, about */
};

struct rcl_account {
    /* Written with batches that go from a bin to a cache or back. */
    /* Bytes of slabs that are neither handed out nor on returnable pages: free beside live ones. */
    int64_t hole_bytes RCL_ALIGNED(RCL_CACHELINE);
    /*
     * How many pages a cached small block keeps beside its bytes, in 1/RCL_PINNED_ONE: what came
     * free with blocks that went back from caches lately (rcl_account_unpinned), and what it would
     * be if cached blocks lay at random among all (rcl_account_spread).  The higher one counts.
     */
    uint32_t pinned_each, pinned_spread;

    /* Written where whole pages come or go. */
    /* Pages in slabs, page runs and huge blocks: what the program holds, roughly. */
    int64_t used_pages RCL_ALIGNED(RCL_CACHELINE);
    int64_t slab_pages; /* of used_pages */
    /* Free pages that may be resident: of free runs, slabs and kept mappings. */
    int64_t dirty_pages;
    /* Those of them that the kernel did not take and that nobody tries again just now. */
    int64_t refused_pages;
    /* Pages the program has shown it takes back, and new ones (decay.h), summed over arenas. */
    int64_t demand_pages, regret_pages, grown_pages;
    uint64_t mapped_bytes; /* chunks and huge mappings now */

    /* Written now and then. */
    /* What thread caches may hold at most, summed over threads. */
    int64_t cache_bytes RCL_ALIGNED(RCL_CACHELINE);
    int64_t cache_blocks;
    /* What they do hold, as of the last time that each was counted. */
    int64_t cached_bytes;
    int64_t cached_blocks;
    int64_t cache_shown;        /* bytes that they may hold because they have fetched them again */
    int64_t cached_small_bytes; /* of blocks of which a page holds two and more */
    int64_t cached_small_blocks;
    int64_t caches;

    /* Since the start: for statistics only. */
    /* Times that somebody set out to return memory. */
    uint64_t purge_runs RCL_ALIGNED(RCL_CACHELINE);
    uint64_t purge_calls;
    uint64_t purged_pages;
    uint64_t purge_ns;
    uint64_t purge_refused;   /* batches of which the kernel refused some: locked memory */
    uint64_t refaulted_pages; /* taken again after they had been purged */
    uint64_t chunk_bytes;     /* chunks alone, now, */
    uint64_t chunk_bytes_max; /* and at most */
    uint64_t cache_misses;    /* of caches that are gone: a class was empty, */
    uint64_t cache_overflows; /* or full */
    uint64_t zero_reallocs;   /* calls of realloc with a size of 0 */
};

extern struct rcl_account rcl_account;

static inline void rcl_account_add(int64_t *field, int64_t n)
{
    __atomic_fetch_add(field, n, __ATOMIC_RELAXED);
}

static inline void rcl_account_count(uint64_t *field, uint64_t n)
{
    __atomic_fetch_add(field, n, __ATOMIC_RELAXED);
}

/* A count that also falls, and the highest it was. */
static inline void rcl_account_peak(uint64_t *field, uint64_t n, uint64_t *most)
{
    uint64_t now = __atomic_add_fetch(field, n, __ATOMIC_RELAXED);
    uint64_t old = __atomic_load_n(most, __ATOMIC_RELAXED);
    while (now > old &&
           !__atomic_compare_exchange_n(most, &old, now, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        continue;
}

static inline int64_t rcl_account_get(const int64_t *field)
{
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

static inline uint64_t rcl_account_read(const uint64_t *field)
{
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

/*
 * So many blocks of `bytes` bytes together went back to their bin, and so many pages came free.
 * Where all else on a page lives, none does, and caches cost what their blocks have of bytes; where
 * a program has freed nearly everything, each takes a page with it.
 */
static inline void rcl_account_unpinned(size_t blocks, size_t bytes, size_t pages, size_t page)
{
    size_t own = bytes / page;
    size_t more = pages > own ? rcl_min(pages - own, blocks) : 0;
    int64_t old = __atomic_load_n(&rcl_account.pinned_each, __ATOMIC_RELAXED);
    int64_t step = (int64_t)(more * RCL_PINNED_ONE) - old * (int64_t)blocks;
    int64_t now = old + step / (int64_t)rcl_max(blocks, RCL_PINNED_MEMORY);
    if (now != old)
        __atomic_store_n(&rcl_account.pinned_each, (uint32_t)now, __ATOMIC_RELAXED);
}

/*
 * The same, from how full slabs are now.  Several caches that hold what is left of the same pages
 * give back most of it before the first page comes free, and learn too late what they pin.
 */
void rcl_account_spread(size_t page);

/* Pages that so many cached blocks keep beside their bytes. */
static inline size_t rcl_account_pins(size_t blocks)
{
    size_t learnt = __atomic_load_n(&rcl_account.pinned_each, __ATOMIC_RELAXED);
    size_t spread = __atomic_load_n(&rcl_account.pinned_spread, __ATOMIC_RELAXED);
    return blocks * (learnt > spread ? learnt : spread) / RCL_PINNED_ONE;
}

#endif
