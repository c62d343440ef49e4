/* SPDX-License-Identifier: MIT */
/*
 * prof_count.h - how many blocks of each class a thread may still allocate before the one
 * that is sampled.
 *
 * The sample points that fall into blocks of one class and thread are a Poisson process of
 * their own, so one number for each class is exact: it is the quotient of a distance
 * (prof_rate.h) and the size of the class.  The distribution has no memory, so numbers may be
 * dropped and drawn anew whenever something happens that does not depend on them.
 *
 * Locking: none; it belongs to the thread, like the cache it is in.
 */
#ifndef RCL_PROF_COUNT_H
#define RCL_PROF_COUNT_H

#include "base.h"
#include "sizeclass.h"

struct rcl_counted {
    int lg; /* rate; negative: nothing is counted, and all of `left` is 0 */
    /* Blocks to come that are not sampled.  At 0 the next one is, or it has to be drawn: `due`. */
    uint16_t left[RCL_MEDIUM_LAST + 1];
    bool due[RCL_MEDIUM_LAST + 1];
};

static inline bool rcl_counted_on(const struct rcl_counted *c)
{
    return c->lg >= 0;
}

/* Nothing drawn yet. */
void rcl_counted_start(struct rcl_counted *c, int lg);

/* A block of the class has been allocated: is it the sampled one? */
bool rcl_counted_one(struct rcl_counted *c, unsigned cls, uint64_t *random);

#endif
