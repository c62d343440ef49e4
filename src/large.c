/* SPDX-License-Identifier: MIT */
/* large.c - see large.h. */
#include "large.h"

#include "bits.h"
#include "die.h"
#include "lock.h"
#include "meta.h"
#include "pagemap.h"
#include "sizeclass.h"

#include <string.h>

enum { SPARES_MAX = 4 }; /* more could pin as many pages of descriptors */

/* What is behind the bytes asked for; where a cache may hand the block out again, nobody knows. */
static uint32_t tail_of(unsigned cls, size_t pages, size_t bytes)
{
    return cls == RCL_CLASS_LARGE ? (uint32_t)(pages * rcl_page_size() - bytes) : 0;
}

/* For statistics. */
static unsigned kind_of(const struct rcl_span *s)
{
    return s->cls == RCL_CLASS_LARGE ? rcl_extent_of(rcl_large_bytes(s))
                                     : s->cls - RCL_SMALL_LAST - 1u;
}

static void count(uint64_t *n)
{
    __atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
}

/* The lock is held. */
static void count_pages(struct rcl_runs *r, int64_t pages)
{
    __atomic_store_n(&r->large.pages, r->large.pages + pages, __ATOMIC_RELAXED);
}

/* --- descriptors: a few are kept with the runs, whose lock is taken in any case ------------- */

struct rcl_spare {
    struct rcl_spare *next;
};

/* The lock is held; others may ask without. */
static void set_spares(struct rcl_runs *r, unsigned n)
{
    __atomic_store_n(&r->spares, n, __ATOMIC_RELAXED);
}

/* A descriptor, and the lock is held; NULL: neither. */
static struct rcl_span *lock_with_descriptor(struct rcl_runs *r)
{
    if (__atomic_load_n(&r->spares, __ATOMIC_RELAXED) != 0) {
        rcl_lock(&r->lock);
        struct rcl_spare *spare = r->spare;
        if (likely(spare != NULL)) {
            r->spare = spare->next;
            set_spares(r, r->spares - 1);
            return (struct rcl_span *)spare;
        }
        rcl_unlock(&r->lock);
    }
    struct rcl_span *s = rcl_meta_alloc(rcl_span_bytes(1));
    if (s != NULL)
        rcl_lock(&r->lock);
    return s;
}

static void unlock_without_descriptor(struct rcl_runs *r, struct rcl_span *s)
{
    struct rcl_spare *spare = (struct rcl_spare *)s;
    bool keep = r->spares < SPARES_MAX;
    if (keep) {
        spare->next = r->spare;
        r->spare = spare;
        set_spares(r, r->spares + 1);
    }
    rcl_unlock(&r->lock);
    if (!keep)
        rcl_meta_free(s, rcl_span_bytes(1));
}

/* --- blocks ------------------------------------------------------------------------------- */

static void tell_taken(struct rcl_runs *r, const struct rcl_run *run)
{
    rcl_demand_tell(r->demand,
                    &(struct rcl_demand_note){.taken_dirty = run->dirty_pages,
                                              .taken_clean = run->pages - run->dirty_pages,
                                              .taken_new = run->new_pages});
}

void *rcl_large_take(struct rcl_runs *r, struct rcl_arena *arena, size_t bytes, size_t align,
                     unsigned cls, struct rcl_run *run)
{
    size_t page = rcl_page_size();
    size_t pages = (bytes + page - 1) / page;
    struct rcl_span *s = lock_with_descriptor(r);
    if (s == NULL)
        return NULL;
    if (!rcl_runs_take_held(r, pages, rcl_max(align / page, 1), run)) {
        unlock_without_descriptor(r, s);
        return NULL;
    }
    s->base = run->chunk->base + (run->first << rcl_page_shift());
    s->chunk = run->chunk;
    s->arena = arena;
    s->first = (uint16_t)run->first;
    s->pages = (uint16_t)pages;
    s->slots = 1;
    s->cls = (uint8_t)cls;
    s->tail = tail_of(cls, pages, bytes);
    count(&r->large.kind[kind_of(s)].taken);
    count_pages(r, (int64_t)pages);
    rcl_unlock(&r->lock);
    tell_taken(r, run);
    rcl_pagemap_set(s->base, 1, rcl_runs_mark(r, cls), s);
    return s->base;
}

void rcl_large_give(struct rcl_span *s, enum rcl_age age)
{
    struct rcl_runs *r = s->chunk->runs;
    rcl_pagemap_clear(s->base, 1);
    rcl_demand_tell(r->demand, &(struct rcl_demand_note){.freed = s->pages});
    rcl_lock(&r->lock);
    count(&r->large.kind[kind_of(s)].given);
    count_pages(r, -(int64_t)s->pages);
    rcl_runs_give_held(r, s->chunk, s->first, s->pages, NULL, age);
    unlock_without_descriptor(r, s);
}

void rcl_large_note_asked(struct rcl_span *s, size_t bytes)
{
    s->tail = tail_of(s->cls, s->pages, bytes);
}

bool rcl_large_resize(struct rcl_span *s, size_t bytes, unsigned cls)
{
    struct rcl_runs *r = s->chunk->runs;
    size_t page = rcl_page_size();
    size_t pages = (bytes + page - 1) / page, old = s->pages;
    rcl_assert(cls == RCL_CLASS_LARGE || bytes == rcl_classes[cls].size);
    if (pages > old) {
        struct rcl_run more;
        if (!rcl_runs_extend(r, s->chunk, s->first, old, pages - old, &more))
            return false;
        tell_taken(r, &more);
    } else if (pages < old) {
        rcl_demand_tell(r->demand, &(struct rcl_demand_note){.freed = old - pages});
        rcl_runs_give(r, s->chunk, s->first + pages, old - pages, NULL, RCL_AGE_NEW);
    }
    unsigned before = kind_of(s);
    s->pages = (uint16_t)pages;
    s->tail = tail_of(cls, pages, bytes);
    if (s->cls != cls) {
        s->cls = (uint8_t)cls;
        rcl_pagemap_set(s->base, 1, rcl_runs_mark(r, cls), s);
    }
    unsigned now = kind_of(s);
    if (pages == old && before == now)
        return true;
    rcl_lock(&r->lock);
    count_pages(r, (int64_t)pages - (int64_t)old);
    if (before != now) {
        count(&r->large.kind[before].given);
        count(&r->large.kind[now].taken);
    }
    rcl_unlock(&r->lock);
    return true;
}

void rcl_large_zero(void *p, size_t size, const struct rcl_run *run)
{
    for (size_t at = rcl_bits_next_set(run->dirty, 0, run->pages); at < run->pages;) {
        size_t end = rcl_bits_next_clear(run->dirty, at, run->pages);
        size_t from = at << rcl_page_shift(), to = rcl_min(end << rcl_page_shift(), size);
        if (from < to)
            memset((char *)p + from, 0, to - from);
        at = rcl_bits_next_set(run->dirty, end, run->pages);
    }
}
