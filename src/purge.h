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

/* Pages that thread caches may keep resident: they count against the ceiling as well. */
static inline int64_t rcl_purge_cached(void)
{
    return rcl_account_get(&rcl_account.cache_bytes) >> rcl_page_shift();
}

/* Free pages that may be resident, in runs, slabs and kept mappings. */
static inline int64_t rcl_purge_dirty(void)
{
    return rcl_account_get(&rcl_account.dirty_pages);
}

/*
 * Amount: called by every free that goes the slow way.  Above the ceiling
 * (demand.h) it returns memory, oldest first, until somewhat below it; not more
 * than a fixed amount of work per call, which is several times what the call can
 * have freed, so the excess cannot grow.
 */
void rcl_purge_excess(void);

/* Time: one decay step, for everything.  `self` as in rcl_threads_drain. */
void rcl_purge_step(struct rcl_tls *self);

/* After a step: return about `budget` pages whose window is over; 0: nothing left. */
size_t rcl_purge_old(size_t budget);

/* Request: everything that can be returned, caches included.  Bytes returned. */
size_t rcl_purge_all(struct rcl_tls *self);

/* The same without touching caches, down to about what the program takes back (demand). */
void rcl_purge_undemanded(void);

/* Length of a step in ns; 0: nothing decays by time. */
uint64_t rcl_purge_step_ns(void);

#endif
