/* SPDX-License-Identifier: MIT */
/* slab.c - see slab.h. */
#include "slab.h"

#include "die.h"
#include "os.h"

#include <string.h>

static uint64_t *free_map(struct rcl_span *s)
{
    return s->bits;
}

static uint64_t *ready_map(struct rcl_span *s)
{
    return s->bits + RCL_BITS_WORDS(s->slots);
}

static size_t block_size(const struct rcl_span *s)
{
    return rcl_classes[s->cls].size;
}

/* Blocks that touch the pages [first, last], as first block and count. */
struct slots {
    size_t first, count;
};

static struct slots slots_on_pages(const struct rcl_span *s, unsigned first, unsigned last)
{
    const struct rcl_class *c = &rcl_classes[s->cls];
    size_t lo = rcl_class_slot(c, (size_t)first << rcl_page_shift());
    size_t hi = rcl_class_slot(c, (((size_t)last + 1) << rcl_page_shift()) - 1);
    hi = rcl_min(hi, s->slots - 1u);
    return (struct slots){lo, hi + 1 - lo};
}

/* The pages that the blocks [first, first + count) touch. */
static uint64_t pages_of_slots(const struct rcl_span *s, size_t first, size_t count)
{
    size_t size = block_size(s);
    unsigned lo = (unsigned)(first * size >> rcl_page_shift());
    unsigned hi = (unsigned)(((first + count) * size - 1) >> rcl_page_shift());
    return rcl_bits_mask(lo, hi - lo + 1);
}

/* Make ready what is free among the blocks [first, first + count), all on dirty pages. */
static void make_ready(struct rcl_span *s, size_t first, size_t count)
{
    uint64_t *free = free_map(s), *ready = ready_map(s);
    for (size_t at = first, end = first + count; at < end;) {
        unsigned len = rcl_bits_piece(at, end - at);
        uint64_t add = free[at / 64] & ~ready[at / 64] & rcl_bits_mask((unsigned)(at % 64), len);
        ready[at / 64] |= add;
        s->ready_slots = (uint16_t)(s->ready_slots + rcl_popcount(add));
        at += len;
    }
}

/* After the pages [first, last] became dirty: which blocks are ready now? */
static void ready_on_pages(struct rcl_span *s, unsigned first, unsigned last)
{
    struct slots in = slots_on_pages(s, first, last);
    /* Only the outermost blocks can reach over to a page that is still clean. */
    while (in.count > 0 && (pages_of_slots(s, in.first, 1) & ~s->dirty) != 0) {
        in.first++;
        in.count--;
    }
    while (in.count > 0 && (pages_of_slots(s, in.first + in.count - 1, 1) & ~s->dirty) != 0)
        in.count--;
    if (in.count > 0)
        make_ready(s, in.first, in.count);
}

void rcl_slab_init(struct rcl_span *s, uint64_t dirty)
{
    size_t words = RCL_BITS_WORDS(s->slots);
    s->purging = false;
    s->step = 0;
    s->free_slots = s->slots;
    s->ready_slots = 0;
    s->clean_hint = 0;
    rcl_list_init(&s->link);
    rcl_list_init(&s->queue);
    s->dirty = dirty;
    s->returnable = dirty;
    s->refused = 0;
    s->age_low = 0;
    s->age_high = 0;
    memset(s->bits, 0, 2 * words * sizeof s->bits[0]);
    rcl_bits_set_range(free_map(s), 0, s->slots);
    if (dirty == rcl_bits_mask(0, s->pages)) {
        memcpy(ready_map(s), free_map(s), words * sizeof s->bits[0]);
        s->ready_slots = s->slots;
        return;
    }
    for (size_t at = rcl_bits_next_set(&dirty, 0, s->pages); at < s->pages;) {
        size_t end = rcl_bits_next_clear(&dirty, at, s->pages);
        ready_on_pages(s, (unsigned)at, (unsigned)end - 1);
        at = rcl_bits_next_set(&dirty, end, s->pages);
    }
}

/* No block on the page is in use. */
static bool page_is_free(const struct rcl_span *s, unsigned page)
{
    struct slots on = slots_on_pages(s, page, page);
    return rcl_bits_all_range(s->bits, on.first, on.count);
}

size_t rcl_slab_take(struct rcl_span *s, void **out, size_t n, size_t *retaken)
{
    uint64_t *free = free_map(s), *ready = ready_map(s);
    size_t size = block_size(s), taken = 0;
    uint64_t again = 0;
    bool gaps = false;
    n = rcl_min(n, s->ready_slots);
    for (size_t w = 0; taken < n; w++) {
        rcl_assert(w * 64 < s->slots);
        uint64_t have = ready[w], left = have;
        if (rcl_bits_contiguous(left)) {
            /* Side by side, as in most slabs: from one to the next by an addition. */
            unsigned first = rcl_ctz(left);
            size_t some = rcl_min(rcl_popcount(left), n - taken);
            char *block = s->base + (w * 64 + first) * size;
            left &= ~rcl_bits_mask(first, (unsigned)some);
            for (; some > 0; some--, block += size) {
                out[taken++] = block;
                __builtin_prefetch(block, 1);
            }
        }
        while (left != 0 && taken < n) {
            out[taken] = s->base + (w * 64 + rcl_ctz(left)) * size;
            __builtin_prefetch(out[taken++], 1);
            left &= left - 1;
        }
        uint64_t gone = have & ~left;
        if (gone == 0)
            continue;
        ready[w] = left;
        __atomic_store_n(&free[w], free[w] & ~gone, __ATOMIC_RELAXED); /* rcl_slab_check */
        if (s->returnable != 0) {
            unsigned lo = rcl_ctz(gone), hi = rcl_log2(gone);
            again |= pages_of_slots(s, w * 64 + lo, hi - lo + 1);
            gaps |= !rcl_bits_contiguous(gone);
        }
    }
    s->free_slots = (uint16_t)(s->free_slots - taken);
    s->ready_slots = (uint16_t)(s->ready_slots - taken);
    again &= s->returnable;
    /* Between the first and the last block taken there may be pages that none of them is on. */
    for (uint64_t left = gaps ? again : 0; left != 0; left &= left - 1)
        if (page_is_free(s, rcl_ctz(left)))
            again &= ~(left & -left);
    s->returnable &= ~again;
    s->refused &= ~again;
    *retaken = rcl_popcount(again);
    return taken;
}

bool rcl_slab_activate(struct rcl_span *s, size_t *clean, bool *zero)
{
    if (s->purging || s->free_slots == s->ready_slots)
        return false;
    uint64_t *free = free_map(s), *ready = ready_map(s);
    size_t w = s->clean_hint / 64;
    while ((free[w] & ~ready[w]) == 0)
        w++;
    size_t slot = w * 64 + rcl_ctz(free[w] & ~ready[w]);
    s->clean_hint = (uint16_t)slot;
    uint64_t pages = pages_of_slots(s, slot, 1);
    *zero = s->ready_slots == 0 && (s->dirty & pages) == 0;
    *clean = rcl_popcount(pages & ~s->dirty);
    s->dirty |= pages;
    ready_on_pages(s, rcl_ctz(pages), rcl_log2(pages));
    rcl_assert(rcl_bits_test(ready, slot));
    return true;
}

/* The blocks after p[0] that stand side by side, each `step` bytes behind the one before. */
static size_t row_after(void *const *p, size_t most, size_t step)
{
    size_t k = 0;
    while (k < most && (uintptr_t)p[k + 1] - (uintptr_t)p[k] == step)
        k++;
    return k;
}

enum rcl_slab_error rcl_slab_put(struct rcl_span *s, void *const *p, size_t n, size_t *done,
                                 uint64_t *touched)
{
    const struct rcl_class *c = &rcl_classes[s->cls];
    uint64_t *free = free_map(s), *ready = ready_map(s), pages = 0;
    size_t size = c->size, end = s->slots * size, i = 0;
    enum rcl_slab_error err = RCL_SLAB_OK;
    bool up = n > 1 && (uintptr_t)p[1] > (uintptr_t)p[0];
    size_t step = up ? size : -size;
    /* Neighbours often come together: a word of the maps is loaded and stored once for a group. */
    while (i < n) {
        size_t offset = (uintptr_t)p[i] - (uintptr_t)s->base;
        if (offset >= end)
            break;
        size_t w = rcl_class_slot(c, offset) / 64;
        uint64_t had = free[w], now = had;
        do {
            size_t slot = rcl_class_slot(c, offset);
            if (slot / 64 != w)
                break;
            uint64_t bit = (uint64_t)1 << (slot % 64);
            if (unlikely(slot * size != offset))
                err = RCL_SLAB_NOT_A_BLOCK;
            else if (unlikely(now & bit))
                err = RCL_SLAB_NOT_IN_USE;
            if (unlikely(err != RCL_SLAB_OK))
                break;
            now |= bit;
            if (++i == n)
                break;
            if ((uintptr_t)p[i] - (uintptr_t)p[i - 1] == step) {
                /* Those of a row are put at once; unless one is an error, then one by one. */
                unsigned at = (unsigned)slot % 64;
                size_t most = up ? rcl_min(63 - at, s->slots - 1u - slot) : at;
                unsigned row = (unsigned)row_after(&p[i - 1], rcl_min(most, n - i), step);
                uint64_t bits = row == 0 ? 0 : rcl_bits_mask(up ? at + 1 : at - row, row);
                if (likely((now & bits) == 0)) {
                    now |= bits;
                    i += row;
                    if (i == n)
                        break;
                }
            }
            offset = (uintptr_t)p[i] - (uintptr_t)s->base;
        } while (offset < end);
        uint64_t put = now & ~had;
        if (put != 0) {
            unsigned lo = rcl_ctz(put), hi = rcl_log2(put);
            __atomic_store_n(&free[w], now, __ATOMIC_RELAXED); /* rcl_slab_check */
            ready[w] |= put; /* they were in use, so their pages are dirty */
            pages |= pages_of_slots(s, w * 64 + lo, hi - lo + 1);
        }
        if (unlikely(err != RCL_SLAB_OK))
            break;
    }
    if (i < n &&
        (uintptr_t)p[i] - (uintptr_t)s->base - end < ((size_t)s->pages << rcl_page_shift()) - end)
        err = RCL_SLAB_NOT_A_BLOCK; /* behind the last one */
    s->free_slots = (uint16_t)(s->free_slots + i);
    s->ready_slots = (uint16_t)(s->ready_slots + i);
    *touched |= pages;
    *done = i;
    return err;
}

size_t rcl_slab_settle(struct rcl_span *s, uint64_t touched, bool old)
{
    uint64_t found = 0;
    for (uint64_t left = touched & s->dirty & ~s->returnable; left != 0; left &= left - 1)
        if (page_is_free(s, rcl_ctz(left)))
            found |= left & -left;
    if (old) {
        s->age_low |= found;
        s->age_high |= found;
    } else {
        s->age_low &= ~found;
        s->age_high &= ~found;
    }
    s->returnable |= found;
    return rcl_popcount(found);
}

size_t rcl_slab_used_on_page(const struct rcl_span *s, unsigned page, size_t *blocks)
{
    struct slots on = slots_on_pages(s, page, page);
    size_t size = block_size(s), last = on.first + on.count - 1;
    size_t from = (size_t)page << rcl_page_shift(), to = from + rcl_page_size();
    *blocks = on.count - rcl_bits_count_range(s->bits, on.first, on.count);
    size_t bytes = *blocks * size;
    /* What the outermost blocks have on other pages. */
    if (!rcl_bits_test(s->bits, on.first) && on.first * size < from)
        bytes -= from - on.first * size;
    if (!rcl_bits_test(s->bits, last) && (last + 1) * size > to)
        bytes -= (last + 1) * size - to;
    return bytes;
}

void rcl_slab_age(struct rcl_span *s)
{
    uint64_t low = s->age_low, high = s->age_high;
    s->age_low = ~low | high;
    s->age_high = high | low;
}

uint64_t rcl_slab_old(const struct rcl_span *s)
{
    return s->returnable & ~s->refused & s->age_low & s->age_high;
}

void rcl_slab_hold(struct rcl_span *s, uint64_t pages)
{
    rcl_assert((pages & ~s->returnable) == 0 && !s->purging);
    uint64_t *ready = ready_map(s);
    for (uint64_t left = pages; left != 0; left &= left - 1) {
        struct slots on = slots_on_pages(s, rcl_ctz(left), rcl_ctz(left));
        size_t had = rcl_bits_count_range(ready, on.first, on.count);
        rcl_bits_clear_range(ready, on.first, on.count);
        s->ready_slots = (uint16_t)(s->ready_slots - had);
        s->clean_hint = (uint16_t)rcl_min(s->clean_hint, on.first);
    }
    s->purging = true;
}

void rcl_slab_finish(struct rcl_span *s, uint64_t pages, uint64_t refused)
{
    s->purging = false;
    s->dirty &= ~(pages & ~refused);
    s->untouched = false;
    s->returnable &= ~(pages & ~refused);
    for (uint64_t left = refused; left != 0; left &= left - 1)
        ready_on_pages(s, rcl_ctz(left), rcl_ctz(left));
    s->refused = (s->refused & ~pages) | refused;
    s->age_low &= ~refused;
    s->age_high &= ~refused;
}
