/* SPDX-License-Identifier: MIT */
/*
 * span.h - the descriptors: chunk (a mapping cut into pages) and span (some
 * pages of it in use).  Data only; the verbs are in runs.h, slab.h and bin.h.
 *
 *   chunk   |.....SSSSSSSS..L...SSSS.....|        . free page   S slab   L one block
 *                 ^span     ^span
 *
 * The life of a page.  "Dirty" means: may be resident.
 *
 *            take (run)                    block handed out
 *   clean free ------> clean, in a slab -------------------> in use, dirty
 *     ^  ^                                                     |
 *     |  | purge                                 last block on it freed
 *     |  +---- dirty free <---- dirty, in a slab, no block <---+
 *     |        (in a run)  slab          |
 *     |                    empty         | purge
 *     +----------------------------------+
 *
 * A free dirty page that the kernel refuses to take (locked, and the kernel is old) is left
 * aside, so that it is in the way of no other, until it has been used again or somebody asks
 * for everything.
 *
 * All of this lives out of line (meta.h): nothing of ours is in user pages.
 */
#ifndef RCL_SPAN_H
#define RCL_SPAN_H

#include "base.h"
#include "bits.h"
#include "list.h"
#include "pagemap.h"

#ifndef RCL_CHUNK_BYTES
#define RCL_CHUNK_BYTES (4 * MIB)
#endif

enum {
    RCL_CHUNK_PAGES_MAX = RCL_CHUNK_BYTES / RCL_GRANULE,
    RCL_CHUNK_WORDS = RCL_BITS_WORDS(RCL_CHUNK_PAGES_MAX),
    RCL_AGE_MAX = 3, /* a page this old at the next step goes back; two bits */
};

/*
 * Pages and their age, as bit planes over the same page numbers: the age of a
 * page is 2 * high + low.  A page is aged once per decay step while it stays
 * free and dirty.
 */

/* A mapping.  All fields: lock of its struct rcl_runs. */
struct rcl_chunk {
    char *base;
    struct rcl_runs *runs;
    uint32_t index;         /* its place in runs->chunk[]; stable, lowest places fill first */
    uint32_t pages;         /* at most RCL_CHUNK_PAGES_MAX */
    uint32_t free_pages;    /* bits set in free[] */
    uint32_t dirty_pages;   /* bits set in dirty[], all of them free */
    uint32_t refused_pages; /* bits set in refused[] */
    uint32_t populated;     /* steps until its clean pages, made by the kernel, count as dirty */
    uint32_t touched;       /* pages from here on are new to the program */
    struct rcl_list dirty_link;        /* runs->dirty, oldest first; linked iff dirty_pages > 0 */
    uint64_t free[RCL_CHUNK_WORDS];    /* in no span and not being purged */
    uint64_t dirty[RCL_CHUNK_WORDS];   /* subset of free: may be resident */
    uint64_t age_low[RCL_CHUNK_WORDS]; /* meaningful where dirty */
    uint64_t age_high[RCL_CHUNK_WORDS];
    uint64_t refused[RCL_CHUNK_WORDS]; /* subset of dirty: the kernel did not take them */
};

/*
 * Pages in use: a slab (many blocks of a class) or a run (one block).
 * base .. slots are constant for a slab's life; the rest belongs to the lock
 * of its bin.  A run uses nothing behind `tail`, and its owner may make it longer
 * or shorter, of another class then (large.h).
 */
struct rcl_span {
    char *base;
    struct rcl_chunk *chunk;
    struct rcl_arena *arena;
    uint16_t first; /* page number in the chunk */
    uint16_t pages;
    uint16_t slots;
    uint8_t cls;
    uint8_t place; /* enum rcl_place: which list of the bin it is on */
    union {
        uint32_t tail; /* run without a class: bytes behind those asked for; the owner's */
        struct {
            uint16_t free_slots;  /* bits set in the free map */
            uint16_t ready_slots; /* bits set in the ready map */
        };
    };

    bool purging : 1;      /* some of its pages are in a purge, see slab.h */
    bool aside : 1;        /* linked in bin->aside, not bin->queue */
    bool untouched : 1;    /* its clean pages have never been used */
    uint8_t step;          /* decay step in which it was last aged */
    uint16_t clean_hint;   /* no free slot that is not ready below this one */
    struct rcl_list link;  /* of the bin, by place */
    struct rcl_list queue; /* bin->queue or bin->aside: linked iff returnable != 0 */
    uint64_t dirty;        /* pages that may be resident */
    uint64_t returnable;   /* the dirty pages with no block in use on them; exact */
    uint64_t refused;      /* the returnable pages that the kernel did not take */
    uint64_t age_low;      /* meaningful where returnable */
    uint64_t age_high;
    uint64_t bits[]; /* free map, then ready map: RCL_BITS_WORDS(slots) words each */
};

/* Hundreds of them describe what few survivors hold: a slab of up to 64 blocks in two lines. */
_Static_assert(offsetof(struct rcl_span, bits) + 2 * sizeof(uint64_t) <= 2 * RCL_CACHELINE,
               "grown");

/* The class of the blocks that begin around `p`: the page map's, or the descriptor's. */
static inline unsigned rcl_block_class(const void *p)
{
    unsigned cls = rcl_pagemap_class(p);
    if (likely(cls <= RCL_CLASS_HUGE))
        return cls;
    return cls == RCL_CLASS_SAMPLED_HUGE ? (unsigned)RCL_CLASS_HUGE
                                         : ((const struct rcl_span *)rcl_pagemap_desc(p))->cls;
}

/* Bytes of descriptor for a slab of that many slots; 0 or 1: a run. */
static inline size_t rcl_span_bytes(size_t slots)
{
    if (slots <= 1)
        return offsetof(struct rcl_span, step);
    return offsetof(struct rcl_span, bits) + 2 * RCL_BITS_WORDS(slots) * sizeof(uint64_t);
}

#endif
