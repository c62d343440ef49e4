/* SPDX-License-Identifier: MIT */
/*
 * pagemap.h - from any address to what we know of it.
 *
 *   root[address / 1 GiB] -> leaf { class byte of each granule, descriptor of each granule }
 *
 * The class byte of a granule (4 KiB, whatever the page size) is nonzero where
 * a live block can start: every granule of a slab, the first granule of a page
 * run or of a mapping.  So one byte answers what free() must know, and zero
 * answers "no block of ours starts here" for every pointer there is.
 *
 * Reading takes no lock.  Writers write only granules they own (memory they have
 * taken out of the free runs, or just mapped); whoever may read them got the
 * pointer from that writer.  A leaf is created by compare-and-swap and stays.
 */
#ifndef RCL_PAGEMAP_H
#define RCL_PAGEMAP_H

#include "base.h"
#include "sizeclass.h"

enum {
#if defined(__x86_64__)
    RCL_ADDRESS_BITS = 47, /* user half; 57-bit addresses are given out only on request */
#else
    RCL_ADDRESS_BITS = 48,
#endif
    RCL_LEAF_SHIFT = 30,
    RCL_LEAF_GRANULES = 1 << (RCL_LEAF_SHIFT - RCL_GRANULE_SHIFT),
    RCL_PAGEMAP_ENTRY_BYTES = 1 + sizeof(void *), /* of a leaf, for a granule */
    RCL_ROOT_ENTRIES = 1 << (RCL_ADDRESS_BITS - RCL_LEAF_SHIFT),
};

struct rcl_leaf {
    uint8_t cls[RCL_LEAF_GRANULES];
    void *desc[RCL_LEAF_GRANULES];
    struct rcl_leaf *next; /* of all leaves */
};

extern struct rcl_leaf *rcl_pagemap_root[RCL_ROOT_ENTRIES];

static inline size_t rcl_pagemap_slot(uintptr_t a)
{
    return (a >> RCL_GRANULE_SHIFT) & (RCL_LEAF_GRANULES - 1);
}

/* Set once with release; dependent loads order themselves on both machines. */
static inline struct rcl_leaf *rcl_pagemap_leaf(size_t top)
{
    return __atomic_load_n(&rcl_pagemap_root[top], __ATOMIC_RELAXED);
}

/*
 * A sample may begin or end on the granule meanwhile (rcl_pagemap_mark).  A plain read of a byte
 * is as good as an atomic one, which costs gcc one instruction more on the hit path of free.
 */
static inline unsigned rcl_pagemap_byte(const uint8_t *byte)
{
#if defined(__SANITIZE_THREAD__)
    return __atomic_load_n(byte, __ATOMIC_RELAXED);
#else
    return *byte;
#endif
}

/* The class byte for any address at all; of a map of only so many entries. */
static inline unsigned rcl_pagemap_class_within(const void *p, size_t entries)
{
    uintptr_t a = (uintptr_t)p;
    size_t top = a >> RCL_LEAF_SHIFT;
    if (unlikely(top >= entries))
        return RCL_CLASS_NONE;
    struct rcl_leaf *leaf = rcl_pagemap_leaf(top);
    if (unlikely(leaf == NULL))
        return RCL_CLASS_NONE;
    return rcl_pagemap_byte(&leaf->cls[rcl_pagemap_slot(a)]);
}

static inline unsigned rcl_pagemap_class(const void *p)
{
    return rcl_pagemap_class_within(p, RCL_ROOT_ENTRIES);
}

/* Change the class byte of one granule that is covered, while others may read it. */
static inline void rcl_pagemap_mark(const void *p, unsigned cls)
{
    uintptr_t a = (uintptr_t)p;
    struct rcl_leaf *leaf = rcl_pagemap_root[a >> RCL_LEAF_SHIFT];
    __atomic_store_n(&leaf->cls[rcl_pagemap_slot(a)], (uint8_t)cls, __ATOMIC_RELAXED);
}

/* The descriptor of an address whose class is not NONE (or that the caller owns). */
static inline void *rcl_pagemap_desc(const void *p)
{
    uintptr_t a = (uintptr_t)p;
    return rcl_pagemap_leaf(a >> RCL_LEAF_SHIFT)->desc[rcl_pagemap_slot(a)];
}

/* Make leaves for [addr, addr + bytes).  False: out of memory. */
bool rcl_pagemap_cover(const void *addr, size_t bytes);

/* Every leaf, for statistics. */
void rcl_pagemap_each(void (*fn)(void *arg, const void *addr, size_t bytes), void *arg);

/*
 * Return the pages of one leaf after the other that say nothing: no block starts in what they
 * describe.  NULL begins; the leaf to go on with, NULL at the end.  While nobody writes.
 */
struct rcl_leaf *rcl_pagemap_trim(struct rcl_leaf *after);

/* Every granule of the range: this class and descriptor. */
void rcl_pagemap_set(const void *addr, size_t bytes, unsigned cls, void *desc);

/* Every granule of the range: no block starts here. */
void rcl_pagemap_clear(const void *addr, size_t bytes);

/*
 * The range is about to be given back to the kernel: return what described it,
 * where whole pages did.  Before the unmapping, or another thread's mapping at
 * the same address could lose its entries.
 */
void rcl_pagemap_forget(const void *addr, size_t bytes);

#endif
