/* SPDX-License-Identifier: MIT */
/*
 * purge.h - when memory goes back: too much of it, too old, or on request.
 *
 * All calls are made inside the gate, with no lock held.
 */
#ifndef RCL_PURGE_H
#define RCL_PURGE_H

#include "account.h"
#include "base.h"
#include "demand.h"
#include "os.h"
#include "thread.h"

/* Less than this is not worth a thread, or a delay of fork. */
#define RCL_PURGE_WORTH_BYTES MIB

/*
 * Pages that thread caches keep resident.  A cached block of n bytes lies on 1 + n / page of them
 * on average, and keeps them if all around it is free in the slab; but all cached blocks together
 * keep no more than there is free beside live ones.  What they keep now, about; and what they
 * might at the worst.
 */
static inline int64_t rcl_pages_pinned(int64_t bytes, int64_t beside)
{
    int64_t pages = bytes >> rcl_page_shift();
    int64_t holes = rcl_account_get(&rcl_account.hole_bytes) >> rcl_page_shift();
    int64_t less = beside < holes ? beside : holes;
    return pages + (less > 0 ? less : 0);
}

static inline int64_t rcl_purge_pinned(void)
{
    int64_t blocks = rcl_account_get(&rcl_account.cached_blocks);
    return rcl_pages_pinned(rcl_account_get(&rcl_account.cached_bytes),
                            blocks > 0 ? (int64_t)rcl_account_pins((size_t)blocks) : 0);
}

/* What many that are never counted may keep beside that: half of their places. */
static inline int64_t rcl_purge_uncounted(void)
{
    if (likely(rcl_account_get(&rcl_account.caches) <= RCL_TCACHES_FEW))
        return 0;
    int64_t places = rcl_account_get(&rcl_account.cache_bytes);
    int64_t more = places - rcl_account_get(&rcl_account.cached_bytes);
    return more > 0 ? more / 2 >> rcl_page_shift() : 0;
}

static inline int64_t rcl_purge_pinned_most(void)
{
    return rcl_pages_pinned(rcl_account_get(&rcl_account.cache_bytes),
                            rcl_account_get(&rcl_account.cache_blocks));
}

/* Pages that describe what is mapped: nine bytes for each granule (pagemap.h), at the worst. */
static inline int64_t rcl_purge_described(void)
{
    return (int64_t)(rcl_account_read(&rcl_account.mapped_bytes) / RCL_GRANULE * 9) >>
           rcl_page_shift();
}

/* Free pages that may be resident and can be returned, in runs, slabs and kept mappings. */
static inline int64_t rcl_purge_dirty(void)
{
    return rcl_account_get(&rcl_account.dirty_pages) - rcl_account_get(&rcl_account.refused_pages);
}

/*
 * Amount: called by every free that goes the slow way.  What is dirty, what caches
 * may pin and the page map count against the ceiling (demand.h); of what the second and
 * further caches pin, a part stands beside it.  Above it, a thread whose own cache pins a large
 * part of that makes it smaller; then, if an eighth of the ceiling or more is dirty, memory is
 * returned, oldest first, until somewhat below, but not more than a fixed amount of work per
 * call, which is several times what the call can have freed, so the excess cannot grow.
 */
void rcl_purge_excess(struct rcl_tls *self);

/* Time: one decay step, for everything.  `self` as in rcl_threads_drain. */
void rcl_purge_step(struct rcl_tls *self);

/* After a step: return about `budget` pages whose window is over; 0: nothing left. */
size_t rcl_purge_old(size_t budget);

/* Request: everything that can be returned, caches included.  Bytes returned. */
size_t rcl_purge_all(struct rcl_tls *self);

/* The same for what is dirty in one arena; old: only what is due. */
void rcl_purge_arena(struct rcl_arena *a, bool old);

/* Could a request for so many bytes, which the kernel has refused, be served after that? */
bool rcl_purge_may_help(size_t bytes);

/*
 * Before a fork: all that is dirty, and all caches, unless that is too little to
 * mind.  Afterwards nothing waits for the helper thread, which fork ends; and a
 * page kept for its next use would be copied for it, which costs more than a fresh one.
 */
void rcl_purge_before_fork(struct rcl_tls *self);

/* Length of a step in ns; 0: nothing decays by time. */
uint64_t rcl_purge_step_ns(void);

#endif
