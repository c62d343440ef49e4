/* SPDX-License-Identifier: MIT */
/*
 * demand.h - one arena's decay.h with a lock and a clock, feeding account.h.
 *
 * Whoever moves pages between used, dirty and clean says so here, with the lock
 * of those pages held; this keeps the process-wide counters and the arena's
 * demand true.  Called once per page or per run, not per block.
 */
#ifndef RCL_DEMAND_H
#define RCL_DEMAND_H

#include "base.h"
#include "decay.h"
#include "lock.h"

struct rcl_demand {
    struct rcl_lock lock;
    struct rcl_decay decay;
    size_t published; /* our part of rcl_account.demand_pages */
};

/* window_ns as in decay.h. */
void rcl_demand_init(struct rcl_demand *d, uint64_t window_ns);

/* Pages that were used are free (and dirty) now. */
void rcl_demand_free(struct rcl_demand *d, size_t pages);

/* Free pages are used now: `dirty` that were counted as dirty, `clean` that were not. */
void rcl_demand_take(struct rcl_demand *d, size_t dirty, size_t clean);

/* Dirty pages were purged (or left our books, unmapped). */
void rcl_demand_purged(struct rcl_demand *d, size_t pages);

/* The most free pages that may stay resident now, by the options and all arenas' demand. */
size_t rcl_demand_ceiling(void);

/* Let time pass: demand that is a window old is withdrawn. */
void rcl_demand_tick(struct rcl_demand *d);

#endif
