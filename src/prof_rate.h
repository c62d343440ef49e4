/* SPDX-License-Identifier: MIT */
/*
 * prof_rate.h - which allocations are sampled, and what a sample stands for.
 *
 * Sample points lie in the bytes a program allocates as the points of a Poisson
 * process do, with a mean distance of 2^lg bytes.  A block is sampled if a point
 * lies in it, so with probability p = 1 - exp(-bytes / 2^lg), and stands for 1/p
 * blocks.  With lg = 0 every block is sampled.
 *
 * Sums of weights are kept in integers, so that what a block has added is taken
 * away again to the last bit.
 *
 * Pure: no lock, no clock, no libm.
 */
#ifndef RCL_PROF_RATE_H
#define RCL_PROF_RATE_H

#include "base.h"

enum {
    RCL_PROF_LG_MAX = 40,
    RCL_PROF_UNIT = 4096, /* blocks are counted in units of 1/4096 */
};

/* A random word; SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014).  Any state will do. */
uint64_t rcl_prof_random(uint64_t *state);

/*
 * The bytes before the next sample point.  A block of `bytes` is sampled if this is
 * less than `bytes`; else `bytes` have passed of it.  Of blocks of one size, the
 * quotient is the number of those before the one to be sampled.
 */
uint64_t rcl_prof_distance(uint64_t *state, unsigned lg);

/* What one sampled block of this size stands for. */
struct rcl_prof_weight {
    uint64_t units; /* blocks, in 1/RCL_PROF_UNIT */
    uint64_t bytes;
};
struct rcl_prof_weight rcl_prof_weigh(size_t bytes, unsigned lg);

/*
 * A sum of weights as a reader of sampled profiles expects it: it will multiply both
 * numbers by 1 / (1 - exp(-(bytes / blocks) / 2^lg)), and gets the sum's bytes back.
 */
struct rcl_prof_count {
    uint64_t blocks, bytes;
};
struct rcl_prof_count rcl_prof_unweigh(struct rcl_prof_weight sum, unsigned lg);

#endif
