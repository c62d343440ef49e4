/* SPDX-License-Identifier: MIT */
/*
 * sizeclass.h - size <-> class, and the shape of a slab of each class.
 *
 * Small classes: every 16 bytes to 512, then sixteen steps per doubling to
 * 32 KiB: at most 1/17 (5.9 %) of a block is rounding above 512 bytes.  Eight
 * steps, the usual choice, cost 4 % of a heap of mixed sizes where sixteen cost
 * 2 %; more classes cost little here, because a slab page is resident only once
 * it is used and returned when it no longer is.
 *
 * Medium classes: 8 steps per doubling to 256 KiB, all multiples of 4 KiB.  One
 * block is one page run; they have classes only so that thread caches can hold
 * them.  Their rounding is untouched pages and so costs no memory.
 *
 * The class number is also the byte the page map holds for a block's first
 * page; further values say "a run without a class", "its own mapping", and that
 * the block is of an arena whose blocks caches must not mix with others, or that a
 * sampled block hides the class.
 *
 * Everything here is constant after rcl_sizeclass_init(), which depends only on
 * the page size.  Before it every size is in class NONE, which no cache serves.
 */
#ifndef RCL_SIZECLASS_H
#define RCL_SIZECLASS_H

#include "base.h"

enum {
    RCL_CLASS_NONE = 0, /* not the start of a block */
    RCL_CLASS_FIRST = 1,
    RCL_SMALL_LINEAR = 32, /* 16, 32, ... 512 */
    RCL_SMALL_STEPS = 16,  /* per doubling, 512 .. 32 KiB */
    RCL_SMALL_LAST = RCL_SMALL_LINEAR + 6 * RCL_SMALL_STEPS,
    RCL_MEDIUM_STEPS = 8, /* per doubling, 32 KiB .. 256 KiB */
    RCL_MEDIUM_LAST = RCL_SMALL_LAST + 3 * RCL_MEDIUM_STEPS,
    RCL_CLASS_LARGE = RCL_MEDIUM_LAST + 1, /* a page run, size as given */
    RCL_CLASS_HUGE = RCL_CLASS_LARGE + 1,  /* a mapping of its own */
    /* A block of an explicit arena (arena.h): out of every cache; its descriptor has the class. */
    RCL_CLASS_APART = RCL_CLASS_HUGE + 1,
    /* A sampled block begins on the granule (prof_live.h): its descriptor has the class. */
    RCL_CLASS_SAMPLED = RCL_CLASS_APART + 1,
    RCL_CLASS_SAMPLED_HUGE = RCL_CLASS_SAMPLED + 1, /* the same, and it is huge */
    RCL_NCLASSES = RCL_CLASS_SAMPLED_HUGE + 1,
};

/* From this size on thread caches count as many blocks as they have places for. */
enum { RCL_TCACHE_LARGER = 16 << 10 };

#ifndef RCL_TCACHE_CAP_MAX
#define RCL_TCACHE_CAP_MAX \
    511 /* blocks of one class in one thread cache; with the sentinel 4 KiB */
#endif

/*
 * Extents: the sizes by which blocks of whole pages are counted, for statistics: the medium
 * classes, then four steps per doubling up to more than there are addresses.
 */
enum {
    RCL_EXTENTS_MEDIUM = RCL_MEDIUM_LAST - RCL_SMALL_LAST,
    RCL_EXTENT_STEPS = 4,
    RCL_EXTENT_LG_FIRST = 18, /* RCL_MEDIUM_MAX */
    RCL_EXTENT_LG_LAST = 48,
    RCL_EXTENTS_RUN = RCL_EXTENTS_MEDIUM + 2 * RCL_EXTENT_STEPS, /* to RCL_LARGE_MAX */
    RCL_EXTENTS = RCL_EXTENTS_MEDIUM +
                  (RCL_EXTENT_LG_LAST - RCL_EXTENT_LG_FIRST) * RCL_EXTENT_STEPS,
};

#define RCL_EXTENT_MAX ((size_t)1 << RCL_EXTENT_LG_LAST)

#define RCL_SMALL_MAX (32 * KIB)
#define RCL_MEDIUM_MAX (256 * KIB)
#define RCL_LARGE_MAX (1 * MIB)        /* largest page run; above: huge */
#define RCL_SLAB_PAGES_MAX 64          /* a slab's page masks are one word */
#define RCL_SLAB_BYTES_MAX (128 * KIB) /* more would reserve much for a class used once */

struct rcl_class {
    uint32_t size;       /* bytes of a block */
    uint32_t reciprocal; /* ceil(2^32 / size), see rcl_class_slot */
    uint16_t slab_pages; /* 1 .. RCL_SLAB_PAGES_MAX (small), pages of the run (medium) */
    uint16_t slots;      /* blocks per slab; 1 for medium */
    uint16_t cache_max;  /* blocks a thread cache may hold */
    uint16_t cache_min;  /* blocks it starts with */
};

extern struct rcl_class rcl_classes[RCL_NCLASSES];
extern uint8_t rcl_small_table[RCL_SMALL_MAX / 16 + 1];
extern uint8_t rcl_medium_table[RCL_MEDIUM_MAX / RCL_GRANULE + 1];

void rcl_sizeclass_init(size_t page_size);

/* size <= RCL_SMALL_MAX; 0 is served as 1. */
static inline unsigned rcl_class_of_small(size_t size)
{
    return rcl_small_table[(size + 15) / 16];
}

/* RCL_SMALL_MAX < size <= RCL_MEDIUM_MAX. */
static inline unsigned rcl_class_of_medium(size_t size)
{
    return rcl_medium_table[(size + RCL_GRANULE - 1) / RCL_GRANULE];
}

/*
 * offset / size for an offset into a slab.  Exact: the reciprocal is too large by
 * less than size / 2^32, which makes less than 1 / size for any such offset.
 */
_Static_assert(RCL_SLAB_BYTES_MAX *RCL_SMALL_MAX <= (uint64_t)1 << 32, "division in 64 bits");

static inline size_t rcl_class_slot(const struct rcl_class *c, size_t offset)
{
    return offset * c->reciprocal >> 32;
}

/* A class that has blocks of one size: small or medium. */
static inline bool rcl_class_is_cached(unsigned cls)
{
    return cls - RCL_CLASS_FIRST < RCL_MEDIUM_LAST;
}

static inline bool rcl_class_is_small(unsigned cls)
{
    return cls - RCL_CLASS_FIRST < RCL_SMALL_LAST;
}

/*
 * The smallest small class of at least `size` whose blocks are all aligned to `align`, a power of
 * two, or NONE (of size 0, too).  Slots stand at multiples of their size from a page boundary.
 * Between two powers of two all classes are multiples of one step, a power of two as well: if it
 * divides the alignment, the size rounded up is itself a class; if not, all classes there will do.
 */
static inline unsigned rcl_class_of_aligned(size_t size, size_t align)
{
    if (unlikely(size - 1 >= RCL_SMALL_MAX || align > RCL_GRANULE))
        return RCL_CLASS_NONE;
    return rcl_small_table[((size - 1) | (align - 1)) / 16 + 1];
}

/* The extent by which a block of so many bytes counts: the smallest that is no smaller. */
unsigned rcl_extent_of(size_t bytes);

/* extent: 0 .. RCL_EXTENTS - 1. */
size_t rcl_extent_size(unsigned extent);

#endif
