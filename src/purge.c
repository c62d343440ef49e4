/* SPDX-License-Identifier: MIT */
/* purge.c - see purge.h. */
#include "purge.h"

#include "arena.h"
#include "decay.h"
#include "huge.h"
#include "meta.h"
#include "options.h"

enum {
    /*
     * Work per free, in pages: at 0.2 us a page in long ranges, 0.5 us one by one,
     * 50 to 130 us.  A flush frees at most 128 KiB, 32 pages.
     */
    EXCESS_BUDGET = 256,
    CEILING_SLACK = 8,     /* go below the ceiling by 1/8, so as not to come back for each page */
    CACHE_SHARE = 4,       /* caches may pin a quarter of the ceiling, an equal part each, */
    CACHE_BLOCKS_MIN = 64, /* and so many blocks each whatever that is */
    KEEP_EMPTY_CHUNKS = 1, /* per arena: address space for the next burst */
};
#define META_KEEP_BYTES (256 * KIB) /* empty descriptors, until they have decayed */
#define REFUSED_PAUSE_NS 100000000u /* after the kernel refused (locked memory): do not insist */

static uint64_t refused_until; /* relaxed; a lost update costs a system call */

/* --- one round over everything ------------------------------------------------------------ */

/* Bins of one arena, beginning where the last round ended. */
static size_t purge_bins(struct rcl_arena *a, enum rcl_purge_what what, size_t budget)
{
    size_t spent = 0;
    unsigned first = __atomic_load_n(&a->next_purge, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < RCL_SMALL_LAST && spent < budget; i++) {
        unsigned cls = RCL_CLASS_FIRST + (first + i) % RCL_SMALL_LAST;
        if (!rcl_bin_has_work(&a->bin[cls]))
            continue;
        spent += rcl_bin_purge(&a->bin[cls], what, budget - spent);
        __atomic_store_n(&a->next_purge, (first + i) % RCL_SMALL_LAST, __ATOMIC_RELAXED);
    }
    return spent;
}

/* Free runs and kept mappings. */
static size_t purge_runs(enum rcl_purge_what what, size_t budget)
{
    size_t spent = rcl_huge_purge(what, budget);
    for (unsigned i = 0; i < rcl_arena_count() && spent < budget; i++)
        spent += rcl_runs_purge(&rcl_arena_get(i)->runs, what, budget - spent);
    return spent;
}

static size_t purge_slabs(enum rcl_purge_what what, size_t budget)
{
    size_t spent = 0;
    for (unsigned i = 0; i < rcl_arena_count() && spent < budget; i++)
        spent += purge_bins(rcl_arena_get(i), what, budget - spent);
    return spent;
}

static size_t unmap_empty(size_t keep, bool dirty_too)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        bytes += rcl_runs_unmap_empty(&rcl_arena_get(i)->runs, keep, dirty_too);
    return bytes;
}

/* --- amount ------------------------------------------------------------------------------- */

/* Return pages until at most `target` are dirty, or the budget is spent. */
static void purge_down_to(int64_t target, size_t budget)
{
    int64_t over = rcl_purge_dirty() - target;
    if (over <= 0)
        return;
    budget = rcl_min(budget, (size_t)over);
    /* Runs first: long ranges are the cheapest to return, and to do without. */
    size_t spent = purge_runs(RCL_PURGE_ANY, budget);
    if (spent < budget)
        purge_slabs(RCL_PURGE_ANY, budget - spent);
}

/* Caches pin more than `share` pages: empty the caller's if it has more than its part of it. */
static void drop_large_cache(struct rcl_tls *self, size_t share)
{
    if (rcl_purge_pinned() <= (int64_t)share)
        return;
    int64_t caches = rcl_account_get(&rcl_account.caches);
    if (rcl_tcache_room(self->cache) >
        rcl_max(share / (size_t)(caches > 0 ? caches : 1), CACHE_BLOCKS_MIN))
        rcl_thread_drop_cache(self);
}

static RCL_COLD void purge_excess(struct rcl_tls *self, size_t ceiling)
{
    drop_large_cache(self, ceiling / CACHE_SHARE);
    if (rcl_os_coarse_ns() < __atomic_load_n(&refused_until, __ATOMIC_RELAXED))
        return;
    uint64_t refused = rcl_account_read(&rcl_account.purge_refused);
    int64_t target = (int64_t)(ceiling - ceiling / CEILING_SLACK) - rcl_purge_pinned();
    purge_down_to(target > 0 ? target : 0, EXCESS_BUDGET);
    if (rcl_account_read(&rcl_account.purge_refused) != refused)
        __atomic_store_n(&refused_until, rcl_os_coarse_ns() + REFUSED_PAUSE_NS, __ATOMIC_RELAXED);
    unmap_empty(KEEP_EMPTY_CHUNKS, false);
    rcl_meta_purge(META_KEEP_BYTES);
}

void rcl_purge_excess(struct rcl_tls *self)
{
    size_t ceiling = rcl_demand_ceiling();
    if (unlikely(rcl_purge_dirty() + rcl_purge_pinned() > (int64_t)ceiling))
        purge_excess(self, ceiling);
}

void rcl_purge_before_fork(struct rcl_tls *self)
{
    int64_t least = (int64_t)(RCL_PURGE_WORTH_BYTES >> rcl_page_shift());
    if (rcl_purge_dirty() + rcl_purge_pinned() <= least)
        return;
    /* In a handler that interrupted a hit, that hit will go on with the cache as it is. */
    if (!self->busy)
        rcl_thread_drop_cache(self);
    purge_down_to(0, SIZE_MAX);
}

/* --- time --------------------------------------------------------------------------------- */

uint64_t rcl_purge_step_ns(void)
{
    int64_t ms = rcl_opt.dirty_decay_ms;
    return ms <= 0 ? 0 : (uint64_t)ms * 1000000u / RCL_DECAY_STEPS;
}

void rcl_purge_step(struct rcl_tls *self)
{
    for (unsigned i = 0; i < rcl_arena_count(); i++) {
        struct rcl_arena *a = rcl_arena_get(i);
        rcl_runs_age(&a->runs);
        for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
            if (rcl_bin_has_work(&a->bin[cls]))
                rcl_bin_age(&a->bin[cls]);
        rcl_demand_tick(&a->demand);
    }
    rcl_huge_age();
    /* After the ageing: what an idle cache held has been idle for a window already. */
    rcl_threads_drain(self, RCL_DRAIN_IDLE);
}

size_t rcl_purge_old(size_t budget)
{
    size_t spent = purge_slabs(RCL_PURGE_OLD, budget);
    if (spent < budget)
        spent += purge_runs(RCL_PURGE_OLD, budget - spent);
    if (spent < budget) {
        unmap_empty(KEEP_EMPTY_CHUNKS, false);
        rcl_meta_purge(0);
    }
    return spent;
}

/* --- request ------------------------------------------------------------------------------ */

size_t rcl_purge_all(struct rcl_tls *self)
{
    uint64_t before = rcl_account_read(&rcl_account.purged_pages);
    rcl_threads_drain(self, RCL_DRAIN_ALL);
    purge_slabs(RCL_PURGE_ANY, SIZE_MAX);
    purge_runs(RCL_PURGE_ANY, SIZE_MAX);
    unmap_empty(0, true);
    return rcl_meta_purge(0) +
           ((rcl_account_read(&rcl_account.purged_pages) - before) << rcl_page_shift());
}
