/* SPDX-License-Identifier: MIT */
/*
 * maxindex.h - an array of small numbers that can be asked: which is the first
 * entry of at least v?
 *
 * Two levels: the numbers, and for every group of 64 an upper bound of its
 * largest.  Setting is O(1); a search reads n / 64 bounds and one group, and
 * tightens the bounds it found too high.  The caller owns the memory (so that
 * it can grow it) and the lock.
 */
#ifndef RCL_MAXINDEX_H
#define RCL_MAXINDEX_H

#include "base.h"

enum { RCL_MAXINDEX_GROUP = 64 };

struct rcl_maxindex {
    uint16_t *value; /* n entries */
    uint16_t *bound; /* one for each group: >= every value in it */
    size_t n;
};

static inline void rcl_maxindex_set(struct rcl_maxindex *m, size_t i, uint16_t v)
{
    m->value[i] = v;
    if (v > m->bound[i / RCL_MAXINDEX_GROUP])
        m->bound[i / RCL_MAXINDEX_GROUP] = v;
}

/* The lowest i >= from with value[i] >= v (v > 0), or n. */
size_t rcl_maxindex_find(struct rcl_maxindex *m, size_t from, uint16_t v);

#endif
