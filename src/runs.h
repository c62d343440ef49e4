/* SPDX-License-Identifier: MIT */
/*
 * runs.h - the pages of one arena: find a run of free pages, take it, give it
 * back, and return free pages to the kernel.
 *
 * Mappings are chunks of 4 MiB (less when the kernel has no more), added when
 * nothing fits and unmapped when wholly free and clean.  State is two bits and
 * an age per page, in bitmaps of the chunk, so neighbours merge by themselves.
 *
 * Which run: one whose pages are all dirty (resident: no fault to pay), in the
 * lowest chunk, at the lowest place that fits; else, of the places around a dirty
 * run of half the length and more in the lowest few chunks that have one, that
 * with most dirty pages; else any free run, the lowest.  So the high chunks drain
 * and can go.
 *
 * Purging takes the pages out of the free map, drops the lock for the system
 * call, and puts them back as clean: to everybody else they are in use meanwhile.
 * A page that the kernel refuses stays dirty and free, and purging passes it by.
 *
 * Which pages are new to the program is told by one mark per chunk, behind the last one ever
 * taken.  A chunk that comes for one that was unmapped begins with its mark: the program has
 * had so many pages, wherever they were.
 *
 * Pages keep being counted (demand.h) as what they are when they move between a
 * slab and its runs, so taking and giving leave the counting to the caller.
 *
 * Thread-safe: one lock per struct; no system call is made with it held.
 */
#ifndef RCL_RUNS_H
#define RCL_RUNS_H

#include "base.h"
#include "demand.h"
#include "list.h"
#include "lock.h"
#include "maxindex.h"
#include "span.h"

enum {
    RCL_RUN_PAGES_MAX = 256, /* the longest run that is ever taken */
    RCL_RUN_WORDS = RCL_BITS_WORDS(RCL_RUN_PAGES_MAX),
};

enum { RCL_RUN_KINDS = RCL_EXTENTS_RUN };

/* Blocks that are runs, for statistics: changed with the lock held, read without. */
struct rcl_large_stats {
    int64_t pages; /* of blocks that are out: medium and large */
    struct {
        uint64_t taken, given; /* blocks, since the start */
    } kind[RCL_RUN_KINDS];     /* by extent; a block that changes its extent is given and taken */
};

struct rcl_runs {
    struct rcl_lock lock;
    size_t nchunks; /* entries of chunk[] in use, NULL ones included */
    size_t capacity;
    struct rcl_chunk **chunk;   /* by index */
    struct rcl_maxindex any;    /* per chunk: at least the longest run of free pages */
    struct rcl_maxindex dirty;  /* the same for free dirty pages */
    struct rcl_list dirty_list; /* chunks with dirty pages, oldest first */
    size_t empty_chunks;        /* chunks with all their pages free */
    size_t populated_chunks;    /* chunks with c->populated != 0 */
    size_t unmapped;            /* touched pages of chunks that are gone, and not made up for */
    unsigned thp;               /* RCL_THP_... of options.h */
    bool apart;                 /* of an explicit arena: blocks stay out of thread caches */
    struct rcl_demand *demand;  /* of the arena */
    struct rcl_large_stats large;
    struct rcl_spare *spare; /* descriptors for the next blocks, see large.c */
    unsigned spares;
};

/* What the page map holds for blocks of a class on these pages. */
static inline unsigned rcl_runs_mark(const struct rcl_runs *r, unsigned cls)
{
    return r->apart ? (unsigned)RCL_CLASS_APART : cls;
}

/* A run as taken: which pages, and which of them may hold old data. */
struct rcl_run {
    struct rcl_chunk *chunk;
    size_t first;
    size_t pages;
    size_t dirty_pages;
    size_t new_pages;              /* clean, and never used; the kernel's own are dirty */
    uint64_t dirty[RCL_RUN_WORDS]; /* bit i: page first + i */
};

enum rcl_age {
    RCL_AGE_NEW, /* freed by the program just now */
    RCL_AGE_OLD, /* has been idle for a window already */
};

enum rcl_purge_what {
    RCL_PURGE_OLD, /* pages whose window is over */
    RCL_PURGE_ANY, /* oldest chunks first */
    RCL_PURGE_ALL, /* the same, and what was refused before is tried again */
};

void rcl_runs_init(struct rcl_runs *r, struct rcl_demand *demand, unsigned thp);

/*
 * `pages` (1 .. RCL_RUN_PAGES_MAX) pages whose address is a multiple of
 * align_pages pages (a power of two).  False: out of memory.
 * The lock is held, and may be dropped meanwhile.
 */
bool rcl_runs_take_held(struct rcl_runs *r, size_t pages, size_t align_pages, struct rcl_run *run);

static inline bool rcl_runs_take(struct rcl_runs *r, size_t pages, size_t align_pages,
                                 struct rcl_run *run)
{
    rcl_lock(&r->lock);
    bool taken = rcl_runs_take_held(r, pages, align_pages, run);
    rcl_unlock(&r->lock);
    return taken;
}

/* The `more` pages behind a run that one holds, if they are free: then `run` is those alone. */
bool rcl_runs_extend(struct rcl_runs *r, struct rcl_chunk *chunk, size_t first, size_t pages,
                     size_t more, struct rcl_run *run);

/* Give pages back; `dirty` as in struct rcl_run, NULL: all of them.  The lock is held. */
void rcl_runs_give_held(struct rcl_runs *r, struct rcl_chunk *chunk, size_t first, size_t pages,
                        const uint64_t *dirty, enum rcl_age age);

static inline void rcl_runs_give(struct rcl_runs *r, struct rcl_chunk *chunk, size_t first,
                                 size_t pages, const uint64_t *dirty, enum rcl_age age)
{
    rcl_lock(&r->lock);
    rcl_runs_give_held(r, chunk, first, pages, dirty, age);
    rcl_unlock(&r->lock);
}

/* A decay step has passed: every free dirty page is one older. */
void rcl_runs_age(struct rcl_runs *r);

/* Return about `budget` pages or all that qualify and can go; the number returned. */
size_t rcl_runs_purge(struct rcl_runs *r, enum rcl_purge_what what, size_t budget);

/* Pages in chunks, free ones, and free ones that are dirty; how often the lock was waited for. */
struct rcl_runs_stats {
    size_t pages, free, dirty, waits;
};
void rcl_runs_usage(struct rcl_runs *r, struct rcl_runs_stats *out);

/* Where the table of chunks is, for statistics. */
size_t rcl_runs_table_bytes(const struct rcl_runs *r);

/*
 * Unmap wholly free chunks, clean or not, but for `keep` of them; those in which the kernel
 * would not take a page, in any case: it takes them as a whole.  Bytes unmapped.
 */
size_t rcl_runs_unmap_empty(struct rcl_runs *r, size_t keep, bool dirty_too);

#endif
