/* SPDX-License-Identifier: MIT */
/*
 * slab.h - blocks of one size on a span of pages.
 *
 * Two bits per block, out of line:
 *   free    the block is not the program's.
 *   ready   free, and all its pages are dirty: handing it out faults no page.
 * Lowest block first.  When no block is ready, the lowest free one is activated:
 * its pages become dirty and every free block that lies on dirty pages only
 * becomes ready with it.  So a fresh slab is touched page by page.
 *
 * A dirty page on which no block is in use is returnable.  That is known exactly
 * at all times: after a batch of frees the pages they touched are looked at.
 * Returning pages of a part-used slab takes two steps, so that no lock is held in
 * the system call:
 *   hold    take the blocks on them out of `ready`; the slab is `purging`, and
 *           while it is nothing in it is activated and it is not given up
 *   finish  the pages are clean now (or, if the kernel refused, ready again, and marked so)
 *
 * Locking: every call with the lock of the span's bin held.
 */
#ifndef RCL_SLAB_H
#define RCL_SLAB_H

#include "base.h"
#include "sizeclass.h"
#include "span.h"

/* All blocks free; the pages in `dirty` are returnable.  The constant fields are set already. */
void rcl_slab_init(struct rcl_span *s, uint64_t dirty);

/* Up to n ready blocks into out[], lowest first.  *retaken: returnable pages now used again. */
size_t rcl_slab_take(struct rcl_span *s, void **out, size_t n, size_t *retaken);

/*
 * Make at least one block ready; false: none is free, or the slab is purging.
 * *clean: pages that became dirty.  *zero: the lowest ready block is on fresh pages alone.
 */
bool rcl_slab_activate(struct rcl_span *s, size_t *clean, bool *zero);

enum rcl_slab_error {
    RCL_SLAB_OK,
    RCL_SLAB_NOT_A_BLOCK, /* inside a block, or behind the last one */
    RCL_SLAB_NOT_IN_USE,  /* free already */
};

/*
 * The program gives blocks back: those of p[0 .. n) up to the first address that
 * is not in this slab; *done says how many.  Their pages, and perhaps some
 * between them, are added to *touched.
 * On an error p[*done] is the bad one and unchanged.  Afterwards: rcl_slab_settle
 * with what was touched.
 */
enum rcl_slab_error rcl_slab_put(struct rcl_span *s, void *const *p, size_t n, size_t *done,
                                 uint64_t *touched);

/* Which of the touched pages are returnable now: how many.  `old`: idle for a window already. */
size_t rcl_slab_settle(struct rcl_span *s, uint64_t touched, bool old);

/* Whether `p` is the start of a block that is not free.  Of a block in use: without the lock. */
static inline enum rcl_slab_error rcl_slab_check(const struct rcl_span *s, const void *p)
{
    const struct rcl_class *c = &rcl_classes[s->cls];
    size_t offset = (size_t)((const char *)p - s->base), slot = rcl_class_slot(c, offset);
    if (unlikely(slot * c->size != offset || slot >= s->slots))
        return RCL_SLAB_NOT_A_BLOCK;
    uint64_t free = __atomic_load_n(&s->bits[slot / 64], __ATOMIC_RELAXED);
    return unlikely((free >> (slot % 64)) & 1) ? RCL_SLAB_NOT_IN_USE : RCL_SLAB_OK;
}

/* Bytes of blocks in use that lie on a page; *blocks: how many blocks those are. */
size_t rcl_slab_used_on_page(const struct rcl_span *s, unsigned page, size_t *blocks);

/* One decay step for the returnable pages. */
void rcl_slab_age(struct rcl_span *s);

/* Returnable pages whose window is over, without those that the kernel has refused. */
uint64_t rcl_slab_old(const struct rcl_span *s);

/* pages: a subset of s->returnable; refused: of those, what the kernel did not take. */
void rcl_slab_hold(struct rcl_span *s, uint64_t pages);
void rcl_slab_finish(struct rcl_span *s, uint64_t pages, uint64_t refused);

static inline bool rcl_slab_empty(const struct rcl_span *s)
{
    return s->free_slots == s->slots && !s->purging;
}

#endif
