/* SPDX-License-Identifier: MIT */
/*
 * bin.h - the slabs of one class in one arena; blocks in batches under one lock.
 *
 * Where the next block comes from, best first:
 *   1. a slab with ready blocks, the fullest quarter before the next, so that
 *      the emptier ones drain and their pages can go;
 *   2. a slab whose free blocks are all on clean pages (a page fault each);
 *   3. a new slab.
 *
 * Slabs with returnable pages stand in a queue: those with pages whose window is
 * over in front, the others behind them in the order of their first such page.
 * Purging looks there and nowhere else.  Pages that the kernel refused are passed by;
 * a slab with no other returnable ones stands aside.
 *
 * One empty slab is kept while it has pages to return, as slabs are taken and given
 * up in quick turns elsewhere; any other goes back to the runs at once.
 *
 * Thread-safe: one lock per bin.  Page runs are taken and given back, and pages
 * purged, with the lock dropped.
 */
#ifndef RCL_BIN_H
#define RCL_BIN_H

#include "base.h"
#include "list.h"
#include "lock.h"
#include "runs.h"
#include "span.h"

enum rcl_place {
    RCL_PLACE_READY, /* four lists by fullness, the fullest first */
    RCL_PLACE_CLEAN = RCL_PLACE_READY + 4,
    RCL_PLACE_NONE, /* full, or all its free blocks are in a purge: on no list */
    RCL_PLACES = RCL_PLACE_NONE,
};

struct rcl_bin {
    struct rcl_lock lock;
    uint8_t cls;
    uint8_t step;   /* decay step, to know which slabs have been aged in it */
    bool shrinking; /* a slab has been given up since the last was taken */
    struct rcl_arena *arena;
    struct rcl_runs *runs;
    struct rcl_list place[RCL_PLACES];
    struct rcl_list queue;
    struct rcl_list aside;  /* slabs whose returnable pages the kernel has refused, all of them */
    struct rcl_span *spare; /* the one slab kept though it is empty, or NULL */
    size_t slabs;
    size_t live;             /* blocks not in the bin: the program's and in thread caches */
    uint64_t fills, flushes; /* batches */
    uint64_t taken;          /* blocks, since the start */
    uint64_t slabs_made;     /* since the start */
    size_t open;             /* slabs on a list: with a block that can be taken */
} RCL_ALIGNED(RCL_CACHELINE);

void rcl_bin_init(struct rcl_bin *b, unsigned cls, struct rcl_arena *arena, struct rcl_runs *runs);

/* Of blocks of a page and more, so much is taken from clean pages at once, or one. */
enum { RCL_BIN_AHEAD_BYTES = 32 << 10 };

/*
 * 1 .. n blocks into out[]; 0: out of memory.  *zero: the first is on fresh pages.  Of large blocks
 * few come from clean pages: those that the program does not use count as dirty all the same, and
 * that they are zero is forgotten.
 */
size_t rcl_bin_take(struct rcl_bin *b, void **out, size_t n, bool *zero);

/*
 * Give back the blocks of this bin among p[0..n) and move the others to the
 * front of p[]: how many others there are.  A pointer that is no block in use
 * ends the program with a message naming `caller`.
 */
size_t rcl_bin_put(struct rcl_bin *b, void **p, size_t n, enum rcl_age age, const char *caller);

/* Give up a slab with all its blocks.  No page of it is in a purge. */
void rcl_bin_discard(struct rcl_bin *b, struct rcl_span *s);

/* A decay step: what is returnable is one older. */
void rcl_bin_age(struct rcl_bin *b);

/* Return about `budget` pages inside slabs; as rcl_runs_purge. */
size_t rcl_bin_purge(struct rcl_bin *b, enum rcl_purge_what what, size_t budget);

/* Anything to return?  A hint, without the lock. */
static inline bool rcl_bin_has_work(const struct rcl_bin *b, enum rcl_purge_what what)
{
    return __atomic_load_n(&b->queue.next, __ATOMIC_RELAXED) != &b->queue ||
           (what == RCL_PURGE_ALL &&
            __atomic_load_n(&b->aside.next, __ATOMIC_RELAXED) != &b->aside);
}

/* Die with one line about a bad pointer handed to `caller`. */
__attribute__((noreturn, cold)) void rcl_bad_block(const char *caller, const struct rcl_span *s,
                                                   const void *p, bool in_block);

#endif
