/* SPDX-License-Identifier: MIT */
/*
 * demand.h - one arena's decay.h with a lock and a clock, feeding account.h.
 *
 * Whoever moves pages between used, dirty and clean says so here, right after
 * dropping the lock of those pages; this keeps the process-wide counters and the
 * arena's demand true, but for that moment.  Called per batch, not per block.
 *
 * Batches are many, and the counters of the process lie on a few cache lines that all processors
 * would write to.  So what changes by little stays here, with the lock that is needed anyway, until
 * it has come to RCL_DRIFT_BYTES: each arena may be that far ahead of the process, until the next
 * step of time, return of pages or look by statistics.
 */
#ifndef RCL_DEMAND_H
#define RCL_DEMAND_H

#include "base.h"
#include "decay.h"
#include "lock.h"

enum { RCL_DRIFT_BYTES = 64 << 10 };

/* How many pages that is: 0 before rcl_demand_boot, so that the counters are exact. */
void rcl_demand_boot(void);

/* Changes that the process has not been told, as in account.h. */
struct rcl_drift {
    int64_t used_pages, dirty_pages, slab_pages, hole_bytes;
};

struct rcl_demand {
    struct rcl_lock lock;
    struct rcl_decay decay;
    struct rcl_drift drift;
    size_t demand, regret, grown;                   /* our part of the process's in account.h */
    uint64_t purged_pages, purge_calls, purge_runs; /* since the start; statistics */
};

/* window_ns as in decay.h. */
void rcl_demand_init(struct rcl_demand *d, uint64_t window_ns);

/* Another window: what was remembered is forgotten. */
void rcl_demand_set_window(struct rcl_demand *d, uint64_t window_ns);

/*
 * Milliseconds after which what belongs to no arena goes back: huge blocks kept for reuse, idle
 * caches; and whether anything may stay at all (0: no).  The option's, until it is set.
 */
int64_t rcl_demand_decay_ms(void);
void rcl_demand_set_decay_ms(int64_t ms);

/*
 * What happened to pages while a lock was held, to be told after it is dropped:
 * no lock is ever waited for while another is held (lock.h).
 */
struct rcl_demand_note {
    size_t freed;       /* used -> free and dirty */
    size_t taken_dirty; /* free, counted as dirty -> used */
    size_t taken_clean; /* free and clean -> used; */
    size_t taken_new;   /* of those, the ones that have never been used */
    size_t purged;      /* free and dirty -> clean, or unmapped; */
    bool aged;          /* because they had been free for a window, */
    bool goes_on;       /* and not as the first of those that were looked for */
    size_t found;       /* free and new to us, but dirty: the kernel made them (mlockall) */
    bool slab;          /* the pages are a slab's, of which */
    int64_t handed;     /* so many bytes more are handed out; negative: came back */
};

void rcl_demand_tell(struct rcl_demand *d, const struct rcl_demand_note *note);

/* More pages than there can be. */
#define RCL_NO_CEILING ((size_t)1 << 52)

/*
 * The most free pages that may stay resident now, by the options and all arenas' demand; where
 * nothing is ever to be returned (a decay time of -1), RCL_NO_CEILING.
 */
size_t rcl_demand_ceiling(void);

/* Let time pass: demand that is a window old is withdrawn.  The process is told all there is. */
void rcl_demand_tick(struct rcl_demand *d);

#endif
