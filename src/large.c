/* SPDX-License-Identifier: MIT */
/* large.c - see large.h. */
#include "large.h"

#include "account.h"
#include "bits.h"
#include "die.h"
#include "meta.h"
#include "pagemap.h"
#include "sizeclass.h"

#include <string.h>

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

static void count_resized(struct rcl_runs *r, unsigned before, unsigned now)
{
    if (before == now)
        return;
    rcl_account_count(&r->large.kind[before].given, 1);
    rcl_account_count(&r->large.kind[now].taken, 1);
}

static void count_pages(struct rcl_runs *r, const struct rcl_span *s, int64_t pages, int64_t asked)
{
    rcl_account_add(&r->large.pages, pages);
    if (s->cls == RCL_CLASS_LARGE)
        rcl_account_add(&r->large.asked, asked);
}

static int64_t asked_of(const struct rcl_span *s)
{
    return (int64_t)rcl_large_asked(s);
}

void *rcl_large_take(struct rcl_runs *r, struct rcl_arena *arena, size_t bytes, size_t align,
                     unsigned cls, struct rcl_run *run)
{
    size_t page = rcl_page_size();
    size_t pages = (bytes + page - 1) / page;
    struct rcl_span *s = rcl_meta_alloc(rcl_span_bytes(1));
    if (s == NULL)
        return NULL;
    if (!rcl_runs_take(r, pages, rcl_max(align / page, 1), run)) {
        rcl_meta_free(s, rcl_span_bytes(1));
        return NULL;
    }
    rcl_demand_tell(r->demand, &(struct rcl_demand_note){.taken_dirty = run->dirty_pages,
                                                         .taken_clean = pages - run->dirty_pages});
    s->base = run->chunk->base + (run->first << rcl_page_shift());
    s->chunk = run->chunk;
    s->arena = arena;
    s->first = (uint16_t)run->first;
    s->pages = (uint16_t)pages;
    s->slots = 1;
    s->cls = (uint8_t)cls;
    s->tail = tail_of(cls, pages, bytes);
    rcl_account_count(&r->large.kind[kind_of(s)].taken, 1);
    count_pages(r, s, (int64_t)pages, asked_of(s));
    rcl_pagemap_set(s->base, 1, rcl_runs_mark(r, cls), s);
    return s->base;
}

void rcl_large_give(struct rcl_span *s, enum rcl_age age)
{
    struct rcl_runs *r = s->chunk->runs;
    rcl_pagemap_clear(s->base, 1);
    rcl_account_count(&r->large.kind[kind_of(s)].given, 1);
    count_pages(r, s, -(int64_t)s->pages, -asked_of(s));
    rcl_demand_tell(r->demand, &(struct rcl_demand_note){.freed = s->pages});
    rcl_runs_give(r, s->chunk, s->first, s->pages, NULL, age);
    rcl_meta_free(s, rcl_span_bytes(1));
}

void rcl_large_note_asked(struct rcl_span *s, size_t bytes)
{
    int64_t before = asked_of(s);
    s->tail = tail_of(s->cls, s->pages, bytes);
    count_pages(s->chunk->runs, s, 0, asked_of(s) - before);
}

bool rcl_large_resize(struct rcl_span *s, size_t bytes)
{
    struct rcl_runs *r = s->chunk->runs;
    size_t page = rcl_page_size();
    size_t pages = (bytes + page - 1) / page, old = s->pages;
    rcl_assert(s->cls == RCL_CLASS_LARGE);
    if (pages > old) {
        size_t dirty;
        if (!rcl_runs_extend(r, s->chunk, s->first, old, pages - old, &dirty))
            return false;
        rcl_demand_tell(r->demand, &(struct rcl_demand_note){.taken_dirty = dirty,
                                                             .taken_clean = pages - old - dirty});
    } else if (pages < old) {
        rcl_demand_tell(r->demand, &(struct rcl_demand_note){.freed = old - pages});
        rcl_runs_give(r, s->chunk, s->first + pages, old - pages, NULL, RCL_AGE_NEW);
    }
    int64_t before = asked_of(s);
    unsigned kind = kind_of(s);
    s->pages = (uint16_t)pages;
    s->tail = tail_of(s->cls, pages, bytes);
    count_pages(r, s, (int64_t)pages - (int64_t)old, asked_of(s) - before);
    count_resized(r, kind, kind_of(s));
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
