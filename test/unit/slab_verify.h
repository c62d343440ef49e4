/* SPDX-License-Identifier: MIT */
/*
 * slab_verify.h - the invariants of a slab, told from its maps alone: dies on what does not fit.
 */
#ifndef SLAB_VERIFY_H
#define SLAB_VERIFY_H

#include "die.h"
#include "slab.h"

/* The pages that block i lies on. */
static uint64_t verify_pages(const struct rcl_span *s, size_t i)
{
    size_t size = rcl_classes[s->cls].size, shift = rcl_page_shift();
    uint64_t pages = 0;

    for (size_t page = i * size >> shift; page << shift < (i + 1) * size; page++)
        pages |= (uint64_t)1 << page;
    return pages;
}

static void slab_verify(const struct rcl_span *s)
{
    size_t words = RCL_BITS_WORDS(s->slots), free = 0, ready = 0;
    const void *base = (const void *)s->base;
    uint64_t in_use = 0;

    for (size_t i = 0; i < s->slots; i++) {
        bool is_free = rcl_bits_test(s->bits, i), is_ready = rcl_bits_test(s->bits + words, i);
        uint64_t pages = verify_pages(s, i);
        bool all_dirty = (pages & ~s->dirty) == 0;

        free += is_free;
        ready += is_ready;
        in_use |= is_free ? 0 : pages;
        if (is_ready && !is_free)
            rcl_die_of_bug("slab %p: block %zu is ready but not free", base, i);
        if ((!is_free || is_ready) && !all_dirty)
            rcl_die_of_bug("slab %p: block %zu is on a clean page", base, i);
        if (!is_free && (pages & s->returnable) != 0)
            rcl_die_of_bug("slab %p: block %zu is in use on a returnable page", base, i);
        if (is_free && !is_ready && !s->purging && all_dirty)
            rcl_die_of_bug("slab %p: block %zu should be ready", base, i);
    }
    if ((s->refused & ~s->returnable) != 0)
        rcl_die_of_bug("slab %p: a refused page is not returnable", base);
    if (free != s->free_slots || ready != s->ready_slots)
        rcl_die("slab %p: counts %u/%u, maps say %zu/%zu", base, s->free_slots, s->ready_slots,
                free, ready);
    for (unsigned page = 0; page < s->pages; page++) {
        bool dirty = (s->dirty >> page) & 1, returnable = (s->returnable >> page) & 1;

        if (returnable != (dirty && ((in_use >> page) & 1) == 0))
            rcl_die_of_bug("slab %p: page %u: dirty %d, returnable %d", base, page, dirty,
                           returnable);
    }
}

#endif
