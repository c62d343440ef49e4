/* SPDX-License-Identifier: MIT */
/*
 * decay.h - how much free memory is worth keeping, from what the program does.
 *
 * Two questions, answered in pages; no clock is read and no kernel called here:
 * time comes in as an argument and a number comes out.
 *
 * Demand.  A program that frees 300 MB once has shown no use for it.  A program
 * that frees 300 MB and takes 300 MB again has.  So we follow the swing: pages
 * taken from memory that was in use lately, less pages freed since (never below
 * zero).  The demand is the highest swing of the last window.  Memory that is
 * new to the program never counts, so a first burst has no demand, however large.
 *
 *     "in use lately" = free and still resident, or purged less than a window ago
 *
 * Regret.  A program that frees and takes blocks of all sizes at random has no
 * swing, yet needs a stock of free pages to find runs that fit in.  It shows
 * by taking pages again that were purged less than a window ago.  The regret is
 * their number; 1/16 of it is forgotten with each step.
 *
 * Ceiling.  Free pages may stay resident up to
 *     max(minimum, demand + 1/8, regret)
 * until they are a window old, where regret counts for at least a quarter of
 * live / share and at most all of it; rcl_decay_ceiling() is that sum.
 *
 * A window is RCL_DECAY_STEPS steps.  Both rings below hold one entry per step,
 * the newest at index 0; every call first moves them on to its time.
 *
 * Locking: none; a struct rcl_decay is changed with its owner's lock held.
 */
#ifndef RCL_DECAY_H
#define RCL_DECAY_H

#include "base.h"

enum { RCL_DECAY_STEPS = 4 };

struct rcl_decay {
    uint64_t step_ns;             /* window / RCL_DECAY_STEPS; 0: remember nothing */
    uint64_t start_ns;            /* when step 0 began; only moves forward */
    size_t gone[RCL_DECAY_STEPS]; /* pages purged in each step and not taken again */
    size_t swing;                 /* pages taken again and not freed since */
    size_t high[RCL_DECAY_STEPS]; /* highest swing in each step */
    size_t regret;                /* pages purged too early */
};

/* window_ns 0: nothing is remembered, demand stays 0. */
void rcl_decay_init(struct rcl_decay *d, uint64_t window_ns, uint64_t now_ns);

/* `pages` became free. */
void rcl_decay_free(struct rcl_decay *d, uint64_t now_ns, size_t pages);

/*
 * The program took free pages: so many that were resident, so many that were not.
 * Returns how many of the latter had been purged in the last window.
 */
size_t rcl_decay_take(struct rcl_decay *d, uint64_t now_ns, size_t resident, size_t clean);

/* `pages` of the free ones were returned to the kernel. */
void rcl_decay_purged(struct rcl_decay *d, uint64_t now_ns, size_t pages);

/* Pages the program has shown it takes back, at this time. */
size_t rcl_decay_demand(struct rcl_decay *d, uint64_t now_ns);

/* Pages that should not have been purged, at the time of the last call. */
size_t rcl_decay_regret(const struct rcl_decay *d);

/* The most free pages that may stay resident. share 0: neither live nor regret counts. */
size_t rcl_decay_ceiling(size_t minimum, size_t live, size_t share, size_t demand, size_t regret);

#endif
