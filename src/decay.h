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
 *     "in use lately" = free and still resident, or purged too early: less than a window
 *     ago, and before it had been free for one
 *
 * What went because its window was over is not wanted again within a window, whoever takes it
 * next: to keep more of it would change nothing.
 *
 * Regret.  A program that frees and takes blocks of all sizes at random has no
 * swing, yet needs a stock of free pages to find runs that fit in.  It shows
 * by taking pages again that were purged too early.  The regret is their number;
 * 1/16 of it is forgotten with each step.
 *
 * Growth.  A program that takes pages it has never had is about to stand at a new peak.  Sooner or
 * later it fills each hole, those that have just been purged too, so that its regret says little;
 * and what is kept for it stands beside that peak.  New pages themselves are neither demand nor
 * regret, however many were purged.  Their number in the last window is the growth, of which two
 * are forgotten for each page that is regretted: who has stopped to grow shows it so, long before
 * the window is over.  (Which pages are new the caller says: those of runs that its arena has
 * never had.  A mapping of its own may stand for one that was unmapped, and is not called new.)
 *
 * Ceiling.  Free pages may stay resident up to
 *     max(minimum, live / share / 4, demand + max(demand / 8, regret))
 * until they are a window old, where regret counts for at most
 *     max(live / share, 5/4 minima, demand) - growth / 8
 *
 * A window is RCL_DECAY_STEPS steps.  The rings below hold one entry per step,
 * the newest at index 0; every call first moves them on to its time.
 *
 * Locking: none; a struct rcl_decay is changed with its owner's lock held.
 */
#ifndef RCL_DECAY_H
#define RCL_DECAY_H

#include "base.h"

enum { RCL_DECAY_STEPS = 4 };

struct rcl_decay {
    uint64_t step_ns;              /* window / RCL_DECAY_STEPS; 0: remember nothing */
    uint64_t start_ns;             /* when step 0 began; only moves forward */
    size_t gone[RCL_DECAY_STEPS];  /* pages purged too early in each step and not taken again */
    size_t aged[RCL_DECAY_STEPS];  /* the same of those whose window was over */
    size_t swing;                  /* pages taken again and not freed since */
    size_t high[RCL_DECAY_STEPS];  /* highest swing in each step */
    size_t regret;                 /* pages purged too early */
    size_t grown[RCL_DECAY_STEPS]; /* pages taken in each step that were new */
};

/* window_ns 0: nothing is remembered, demand stays 0. */
void rcl_decay_init(struct rcl_decay *d, uint64_t window_ns, uint64_t now_ns);

/* `pages` became free. */
void rcl_decay_free(struct rcl_decay *d, uint64_t now_ns, size_t pages);

/*
 * The program took free pages: so many that were resident, so many that were not, and so many
 * that it has never had.  Returns how many of the second had been purged in the last window.
 */
size_t rcl_decay_take(struct rcl_decay *d, uint64_t now_ns, size_t resident, size_t clean,
                      size_t fresh);

/* `pages` of the free ones were returned to the kernel; aged: they had been free for a window. */
void rcl_decay_purged(struct rcl_decay *d, uint64_t now_ns, size_t pages, bool aged);

/* Pages the program has shown it takes back, at this time. */
size_t rcl_decay_demand(struct rcl_decay *d, uint64_t now_ns);

/* Pages that should not have been purged, at the time of the last call. */
size_t rcl_decay_regret(const struct rcl_decay *d);

/* The growth, at the time of the last call. */
size_t rcl_decay_grown(const struct rcl_decay *d);

/* What the ceiling is made of, in pages. */
struct rcl_decay_sum {
    size_t minimum, live, share; /* share 0: neither live nor regret counts */
    size_t demand, regret, grown;
};

/* The most free pages that may stay resident. */
size_t rcl_decay_ceiling(const struct rcl_decay_sum *s);

#endif
