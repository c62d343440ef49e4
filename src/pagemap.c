/* SPDX-License-Identifier: MIT */
/* pagemap.c - see pagemap.h. */
#include "pagemap.h"

#include "look.h"
#include "os.h"
#include "release.h"

#include <string.h>

struct rcl_leaf *rcl_pagemap_root[RCL_ROOT_ENTRIES];
static struct rcl_leaf *leaves; /* all that are in the root; only grows */

static size_t leaf_bytes(void)
{
    return rcl_align_up(sizeof(struct rcl_leaf), rcl_page_size());
}

bool rcl_pagemap_cover(const void *addr, size_t bytes)
{
    size_t first = (uintptr_t)addr >> RCL_LEAF_SHIFT;
    size_t last = ((uintptr_t)addr + bytes - 1) >> RCL_LEAF_SHIFT;
    if (last >= RCL_ROOT_ENTRIES)
        return false;
    for (size_t i = first; i <= last; i++) {
        if (__atomic_load_n(&rcl_pagemap_root[i], __ATOMIC_ACQUIRE) != NULL)
            continue;
        size_t size = leaf_bytes();
        struct rcl_leaf *leaf = rcl_os_map(size), *none = NULL;
        if (leaf == NULL)
            return false;
        rcl_os_no_hugepage(leaf, size);
        rcl_os_name(leaf, size, "libreclaim page map");
        if (!__atomic_compare_exchange_n(&rcl_pagemap_root[i], &none, leaf, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE)) {
            rcl_os_unmap(leaf, size); /* another thread was faster */
            continue;
        }
        leaf->next = __atomic_load_n(&leaves, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&leaves, &leaf->next, leaf, true, __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED))
            ;
    }
    return true;
}

void rcl_pagemap_each(void (*fn)(void *arg, const void *addr, size_t bytes), void *arg)
{
    for (struct rcl_leaf *l = __atomic_load_n(&leaves, __ATOMIC_ACQUIRE); l != NULL; l = l->next)
        fn(arg, l, leaf_bytes());
}

/* The part of a range of granules that lies in one leaf. */
struct piece {
    struct rcl_leaf *leaf;
    size_t slot, count;
};

/* The next piece of [*at, end) in granules; moves *at behind it. */
static bool next_piece(size_t *at, size_t end, struct piece *p)
{
    if (*at >= end)
        return false;
    p->leaf = rcl_pagemap_leaf(*at / RCL_LEAF_GRANULES);
    p->slot = *at % RCL_LEAF_GRANULES;
    p->count = rcl_min(end - *at, RCL_LEAF_GRANULES - p->slot);
    *at += p->count;
    return true;
}

static size_t first_granule(const void *addr)
{
    return (uintptr_t)addr >> RCL_GRANULE_SHIFT;
}

static size_t end_granule(const void *addr, size_t bytes)
{
    return ((uintptr_t)addr + bytes + RCL_GRANULE - 1) >> RCL_GRANULE_SHIFT;
}

void rcl_pagemap_set(const void *addr, size_t bytes, unsigned cls, void *desc)
{
    struct piece p;
    for (size_t at = first_granule(addr), end = end_granule(addr, bytes);
         next_piece(&at, end, &p);) {
        for (size_t i = p.slot; i < p.slot + p.count; i++)
            p.leaf->desc[i] = desc;
        memset(&p.leaf->cls[p.slot], (int)cls, p.count);
    }
}

void rcl_pagemap_clear(const void *addr, size_t bytes)
{
    struct piece p;
    for (size_t at = first_granule(addr), end = end_granule(addr, bytes); next_piece(&at, end, &p);)
        memset(&p.leaf->cls[p.slot], RCL_CLASS_NONE, p.count);
}

void rcl_pagemap_forget(const void *addr, size_t bytes)
{
    size_t page = rcl_page_size();
    struct piece p;
    for (size_t at = first_granule(addr), end = end_granule(addr, bytes);
         next_piece(&at, end, &p);) {
        uintptr_t from = rcl_align_up((uintptr_t)&p.leaf->desc[p.slot], page);
        uintptr_t to = rcl_align_down((uintptr_t)&p.leaf->desc[p.slot + p.count], page);
        if (from < to)
            rcl_release((void *)from, to - from);
    }
}

/* --- what says nothing -------------------------------------------------------------------- */

/* Page `i` of a leaf.  Descriptors are not cleared; their granules' class bytes decide. */
static bool says_nothing(const struct rcl_leaf *leaf, size_t i)
{
    size_t page = rcl_page_size(), at = i * page, first = at, count = page;
    if (at >= sizeof leaf->cls) {
        first = (at - offsetof(struct rcl_leaf, desc)) / sizeof leaf->desc[0];
        count = page / sizeof leaf->desc[0];
    }
    if (first + count > RCL_LEAF_GRANULES)
        return false; /* what stands behind them */
    const uint8_t *cls = &leaf->cls[first];
    return cls[0] == RCL_CLASS_NONE && memcmp(cls, cls + 1, count - 1) == 0;
}

static void trim(const struct rcl_leaf *leaf, size_t first, size_t end)
{
    enum { BATCH = 64 };
    struct rcl_look in_core = {.pagemap = -1};
    uint8_t resident[BATCH];
    char *at = (char *)leaf + (first << rcl_page_shift()), *from = NULL; /* of those that go */
    for (size_t i = first; i < end; i++, at += rcl_page_size()) {
        size_t n = (i - first) % BATCH;
        if (n == 0 && rcl_look_pages(&in_core, at, rcl_min(end - i, (size_t)BATCH), resident) != 0)
            return; /* no such call here: they stay */
        bool goes = resident[n] != 0 && says_nothing(leaf, i);
        if (goes && from == NULL)
            from = at;
        if (!goes && from != NULL) {
            rcl_release(from, (size_t)(at - from));
            from = NULL;
        }
    }
    if (from != NULL)
        rcl_release(from, (size_t)(at - from));
}

struct rcl_leaf *rcl_pagemap_trim(struct rcl_leaf *after)
{
    struct rcl_leaf *leaf = after == NULL ? __atomic_load_n(&leaves, __ATOMIC_ACQUIRE)
                                          : after->next;
    size_t descriptors = offsetof(struct rcl_leaf, desc) >> rcl_page_shift();
    if (leaf == NULL)
        return NULL;
    /* Class bytes last: they are read for the descriptors. */
    trim(leaf, descriptors, leaf_bytes() >> rcl_page_shift());
    trim(leaf, 0, descriptors);
    return leaf;
}
