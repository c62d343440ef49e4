/* SPDX-License-Identifier: MIT */
/* sizeclass.c - fills the tables of sizeclass.h. */
#include "sizeclass.h"

#include "bits.h"
#include "die.h"

enum {
    CACHE_BYTES_MIN = 128 * 1024,   /* of one class in one thread cache: this much, */
    CACHE_BLOCKS = 128,             /* or so many blocks, */
    CACHE_BYTES_MAX = 640 * 1024,   /* where they are not more than this, */
    CACHE_LARGER_MAX = 2048 * 1024, /* or, of larger ones, this; */
    /* each may keep a page: of large pages fewer */
    CACHE_PAGES_BYTES = 8 * 1024 * 1024,
    SLAB_SLOTS_WANTED = 16,        /* enough to spread the cost of making a slab, */
    SLAB_BYTES_WANTED = 48 * 1024, /* and this much at least */
    SLAB_WASTE_SHARE = 128,        /* accept a tail of 1/128 of the slab */
};

struct rcl_class rcl_classes[RCL_NCLASSES];
uint8_t rcl_small_table[RCL_SMALL_MAX / 16 + 1];
uint8_t rcl_medium_table[RCL_MEDIUM_MAX / RCL_GRANULE + 1];

/* A slab of at most n pages: whole pages behind its last slot are not part of it. */
struct shape {
    size_t slots, pages, tail;
};

static struct shape shape_of(size_t n, size_t size, size_t page)
{
    size_t slots = n * page / size, pages = rcl_align_up(slots * size, page) / page;
    return (struct shape){slots, pages, pages * page - slots * size};
}

static bool tail_is_small(struct shape s, size_t page)
{
    return s.slots > 0 && s.tail * SLAB_WASTE_SHARE <= s.pages * page;
}

/*
 * The fewest pages with enough slots and a small tail; else, as many slots may not fit, the most
 * from half the limit on; else the best tail, as a share.
 */
static struct shape slab_shape(size_t size, size_t page)
{
    size_t most = rcl_min(RCL_SLAB_PAGES_MAX, rcl_max(RCL_SLAB_BYTES_MAX / page, 1));
    size_t wanted = rcl_max(size * SLAB_SLOTS_WANTED, SLAB_BYTES_WANTED);
    size_t fewest = rcl_min(most, rcl_align_up(wanted, page) / page);
    struct shape s, best = {0, 0, 0};
    for (size_t n = fewest; n <= most; n++)
        if (tail_is_small(s = shape_of(n, size, page), page))
            return s;
    for (size_t n = most; n > 0 && n >= most / 2; n--) {
        s = shape_of(n, size, page);
        if (tail_is_small(s, page))
            return s;
        if (best.slots == 0 || s.tail * best.pages < best.tail * s.pages)
            best = s;
    }
    return best;
}

static void class_fill(unsigned cls, size_t size, size_t page)
{
    struct rcl_class *c = &rcl_classes[cls];
    size_t most = size < RCL_TCACHE_LARGER ? CACHE_BYTES_MAX : CACHE_LARGER_MAX;
    size_t blocks = rcl_min(CACHE_BLOCKS, most / size);
    size_t cached = rcl_min(rcl_max(blocks, CACHE_BYTES_MIN / size), CACHE_PAGES_BYTES / page);
    c->size = (uint32_t)size;
    c->reciprocal = (uint32_t)((((uint64_t)1 << 32) + size - 1) / size);
    if (rcl_class_is_small(cls)) {
        struct shape s = slab_shape(size, page);
        c->slots = (uint16_t)s.slots;
        c->slab_pages = (uint16_t)s.pages;
    } else {
        c->slab_pages = (uint16_t)(rcl_align_up(size, page) / page);
        c->slots = 1;
    }
    c->cache_max = (uint16_t)rcl_min(rcl_max(cached, 2), RCL_TCACHE_CAP_MAX);
    c->cache_min = (uint16_t)rcl_min(c->cache_max, size <= 1024 ? 8 : 2);
}

void rcl_sizeclass_init(size_t page_size)
{
    unsigned cls = RCL_CLASS_FIRST;
    for (size_t size = 16; size <= 512; size += 16)
        class_fill(cls++, size, page_size);
    for (size_t base = 512; base < RCL_SMALL_MAX; base *= 2)
        for (unsigned step = 1; step <= RCL_SMALL_STEPS; step++)
            class_fill(cls++, base + step * base / RCL_SMALL_STEPS, page_size);
    for (size_t base = RCL_SMALL_MAX; base < RCL_MEDIUM_MAX; base *= 2)
        for (unsigned step = 1; step <= RCL_MEDIUM_STEPS; step++)
            class_fill(cls++, base + step * base / RCL_MEDIUM_STEPS, page_size);
    rcl_assert(cls == RCL_CLASS_LARGE);

    cls = RCL_CLASS_FIRST;
    for (size_t i = 0; i < array_len(rcl_small_table); i++) {
        if (i * 16 > rcl_classes[cls].size)
            cls++;
        rcl_small_table[i] = (uint8_t)cls;
    }
    cls = RCL_SMALL_LAST + 1;
    for (size_t i = RCL_SMALL_MAX / RCL_GRANULE + 1; i < array_len(rcl_medium_table); i++) {
        if (i * RCL_GRANULE > rcl_classes[cls].size)
            cls++;
        rcl_medium_table[i] = (uint8_t)cls;
    }
}

unsigned rcl_extent_of(size_t bytes)
{
    if (bytes <= RCL_MEDIUM_MAX)
        return bytes <= RCL_SMALL_MAX ? 0 : rcl_class_of_medium(bytes) - RCL_SMALL_LAST - 1;
    unsigned lg = 63u - (unsigned)__builtin_clzll(bytes - 1);
    if (lg >= RCL_EXTENT_LG_LAST)
        return RCL_EXTENTS - 1;
    unsigned step = (unsigned)((bytes - 1 - ((size_t)1 << lg)) >> (lg - 2));
    return RCL_EXTENTS_MEDIUM + (lg - RCL_EXTENT_LG_FIRST) * RCL_EXTENT_STEPS + step;
}

size_t rcl_extent_size(unsigned extent)
{
    if (extent < RCL_EXTENTS_MEDIUM)
        return rcl_classes[RCL_SMALL_LAST + 1 + extent].size;
    unsigned above = extent - RCL_EXTENTS_MEDIUM;
    size_t base = (size_t)1 << (RCL_EXTENT_LG_FIRST + above / RCL_EXTENT_STEPS);
    return base + (above % RCL_EXTENT_STEPS + 1) * (base / RCL_EXTENT_STEPS);
}
