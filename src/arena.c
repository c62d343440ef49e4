/* SPDX-License-Identifier: MIT */
/* arena.c - see arena.h. */
#include "arena.h"

#include "bits.h"
#include "die.h"
#include "huge.h"
#include "large.h"
#include "lock.h"
#include "options.h"
#include "os.h"
#include "pagemap.h"
#include "span.h"

enum {
    DISCARD_SLICE = 512, /* slabs or runs: about 0.2 ms */
    PIECE = 512,         /* entries of a table that come at once */
    PIECES = (RCL_ARENA_INDEXES + PIECE - 1) / PIECE,
};

/*
 * Up to RCL_ARENA_INDEXES arenas by number, in pieces that are made as they are needed: under
 * mlockall every byte of ours would be resident.  Stored with release, read without a lock.
 */
struct table {
    struct rcl_arena **piece[PIECES];
};

static struct rcl_arena *table_get(const struct table *t, unsigned i)
{
    struct rcl_arena **piece = __atomic_load_n(&t->piece[i / PIECE], __ATOMIC_ACQUIRE);
    return piece != NULL ? __atomic_load_n(&piece[i % PIECE], __ATOMIC_ACQUIRE) : NULL;
}

/* Room for entry i.  False: out of memory. */
static bool table_cover(struct table *t, unsigned i)
{
    size_t bytes = rcl_align_up(PIECE * sizeof(struct rcl_arena *), rcl_page_size());
    if (t->piece[i / PIECE] == NULL)
        __atomic_store_n(&t->piece[i / PIECE], rcl_os_map(bytes), __ATOMIC_RELEASE);
    return t->piece[i / PIECE] != NULL;
}

static void table_set(struct table *t, unsigned i, struct rcl_arena *a)
{
    __atomic_store_n(&t->piece[i / PIECE][i % PIECE], a, __ATOMIC_RELEASE);
}

static struct {
    struct rcl_lock lock; /* making and retiring; readers go by `count` and the pointers */
    unsigned limit;       /* of automatic arenas */
    unsigned automatic;   /* of those made */
    unsigned count;       /* entries of `made`; grows with release */
    unsigned indexes;     /* behind the last explicit one; 0: none yet */
    bool own_decay;       /* of any arena, now or to come; relaxed */
    bool next_set;
    int64_t next_decay_ms; /* of arenas to come, if set */
    struct table made;     /* by place */
    struct table by_index;
} arenas;

static uint64_t window_ns(int64_t ms)
{
    /* "Never" still remembers for a while what is taken back: it decides what stays. */
    return ms < 0 ? 1000000000u : rcl_decay_ns(ms);
}

uint64_t rcl_arena_window_ns(void)
{
    return window_ns(rcl_opt.dirty_decay_ms);
}

/* --- decay, arena by arena ---------------------------------------------------------------- */

bool rcl_arena_own_decay(void)
{
    return __atomic_load_n(&arenas.own_decay, __ATOMIC_RELAXED);
}

int64_t rcl_arena_decay_ms(const struct rcl_arena *a)
{
    return __atomic_load_n(&a->own_decay, __ATOMIC_RELAXED)
               ? __atomic_load_n(&a->decay_ms, __ATOMIC_RELAXED)
               : rcl_opt.dirty_decay_ms;
}

static void set_decay(struct rcl_arena *a, int64_t ms)
{
    __atomic_store_n(&arenas.own_decay, true, __ATOMIC_RELAXED);
    __atomic_store_n(&a->decay_ms, ms, __ATOMIC_RELAXED);
    __atomic_store_n(&a->own_decay, true, __ATOMIC_RELAXED);
}

void rcl_arena_set_decay_ms(struct rcl_arena *a, int64_t ms)
{
    set_decay(a, ms);
    rcl_demand_set_window(&a->demand, window_ns(ms));
    if (a == table_get(&arenas.by_index, 0)) {
        rcl_demand_set_decay_ms(ms);
        rcl_huge_set_window(window_ns(ms));
    }
}

int64_t rcl_arena_next_decay_ms(void)
{
    return __atomic_load_n(&arenas.next_set, __ATOMIC_RELAXED)
               ? __atomic_load_n(&arenas.next_decay_ms, __ATOMIC_RELAXED)
               : rcl_opt.dirty_decay_ms;
}

void rcl_arena_set_next_decay_ms(int64_t ms)
{
    __atomic_store_n(&arenas.next_decay_ms, ms, __ATOMIC_RELAXED);
    __atomic_store_n(&arenas.next_set, true, __ATOMIC_RELAXED);
}

/* An arena begins, anew perhaps: its window. */
static uint64_t begin_decay(struct rcl_arena *a)
{
    a->unaged_ns = 0;
    __atomic_store_n(&a->own_decay, false, __ATOMIC_RELAXED);
    if (__atomic_load_n(&arenas.next_set, __ATOMIC_RELAXED))
        set_decay(a, rcl_arena_next_decay_ms());
    return window_ns(rcl_arena_decay_ms(a));
}

/* --- making ------------------------------------------------------------------------------- */

/* The lock is held. */
static struct rcl_arena *add_arena(unsigned index, bool is_explicit)
{
    if (!table_cover(&arenas.made, arenas.count) || !table_cover(&arenas.by_index, index))
        return NULL;
    struct rcl_arena *a = rcl_os_map(rcl_align_up(sizeof *a, rcl_page_size()));
    if (a == NULL)
        return NULL;
    rcl_os_name(a, rcl_align_up(sizeof *a, rcl_page_size()), "libreclaim arena");
    a->index = index;
    a->is_explicit = is_explicit;
    a->huge.arena = a;
    a->born_ns = rcl_os_now_ns();
    rcl_demand_init(&a->demand, begin_decay(a));
    rcl_runs_init(&a->runs, &a->demand, (unsigned)rcl_opt.thp);
    a->runs.apart = is_explicit;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        rcl_bin_init(&a->bin[cls], cls, a, &a->runs);
    table_set(&arenas.made, arenas.count, a);
    table_set(&arenas.by_index, index, a);
    __atomic_store_n(&arenas.count, arenas.count + 1, __ATOMIC_RELEASE);
    return a;
}

/* The automatic arena of the lowest index that has none.  The lock is held. */
static struct rcl_arena *add_automatic(void)
{
    unsigned index = 0;
    while (index < arenas.limit && table_get(&arenas.by_index, index) != NULL)
        index++;
    struct rcl_arena *a = index < arenas.limit ? add_arena(index, false) : NULL;
    if (a != NULL)
        __atomic_store_n(&arenas.automatic, arenas.automatic + 1, __ATOMIC_RELEASE);
    return a;
}

bool rcl_arena_boot(void)
{
    size_t wanted = rcl_opt.narenas != 0 ? (size_t)rcl_opt.narenas : rcl_os_ncpu();
    arenas.limit = (unsigned)rcl_min(wanted, RCL_ARENAS_MAX);
    return arenas.count > 0 || add_automatic() != NULL;
}

/* Of the automatic ones, that with the fewest threads. */
static struct rcl_arena *emptiest(struct rcl_arena *prefer, uint32_t *fewest)
{
    unsigned count = rcl_arena_count();
    struct rcl_arena *best = prefer != NULL && !prefer->is_explicit ? prefer : rcl_arena_get(0);
    *fewest = __atomic_load_n(&best->threads, __ATOMIC_RELAXED);
    for (unsigned i = 0; i<count && * fewest> 0; i++) {
        struct rcl_arena *a = rcl_arena_get(i);
        uint32_t n = __atomic_load_n(&a->threads, __ATOMIC_RELAXED);
        if (n < *fewest && !a->is_explicit) {
            *fewest = n;
            best = a;
        }
    }
    return best;
}

struct rcl_arena *rcl_arena_assign(struct rcl_arena *prefer)
{
    for (;;) {
        uint32_t fewest;
        unsigned automatic = __atomic_load_n(&arenas.automatic, __ATOMIC_ACQUIRE);
        struct rcl_arena *best = emptiest(prefer, &fewest), *fresh = NULL;
        if (fewest > 0 && automatic < arenas.limit) {
            rcl_lock(&arenas.lock);
            bool alone = arenas.automatic == automatic;
            if (alone)
                fresh = add_automatic();
            rcl_unlock(&arenas.lock);
            if (!alone)
                continue; /* another thread has just made one */
            if (fresh != NULL)
                best = fresh;
        }
        __atomic_fetch_add(&best->threads, 1, __ATOMIC_RELAXED);
        return best;
    }
}

void rcl_arena_release(struct rcl_arena *a)
{
    __atomic_fetch_sub(&a->threads, 1, __ATOMIC_RELAXED);
}

unsigned rcl_arena_count(void)
{
    return __atomic_load_n(&arenas.count, __ATOMIC_ACQUIRE);
}

struct rcl_arena *rcl_arena_get(unsigned place)
{
    return table_get(&arenas.made, place);
}

unsigned rcl_arena_limit(void)
{
    return arenas.limit;
}

unsigned rcl_arena_indexes(void)
{
    unsigned last = __atomic_load_n(&arenas.indexes, __ATOMIC_RELAXED);
    return last > arenas.limit ? last : arenas.limit;
}

/* --- by index, and explicit ones ---------------------------------------------------------- */

struct rcl_arena *rcl_arena_find(unsigned index, bool make)
{
    if (index >= RCL_ARENA_INDEXES)
        return NULL;
    struct rcl_arena *a = table_get(&arenas.by_index, index);
    if (a == NULL && make && index < arenas.limit) {
        rcl_lock(&arenas.lock);
        a = table_get(&arenas.by_index, index);
        if (a == NULL && (a = add_arena(index, false)) != NULL)
            __atomic_store_n(&arenas.automatic, arenas.automatic + 1, __ATOMIC_RELEASE);
        rcl_unlock(&arenas.lock);
    }
    return a == NULL || __atomic_load_n(&a->destroyed, __ATOMIC_ACQUIRE) ? NULL : a;
}

/* The lock is held. */
static struct rcl_arena *revive(void)
{
    for (unsigned i = 0; i < arenas.count; i++) {
        struct rcl_arena *a = rcl_arena_get(i);
        if (!a->destroyed)
            continue;
        a->born_ns = rcl_os_now_ns();
        __atomic_store_n(&a->destroyed, false, __ATOMIC_RELEASE);
        return a;
    }
    return NULL;
}

struct rcl_arena *rcl_arena_create(void)
{
    rcl_lock(&arenas.lock);
    struct rcl_arena *a = revive(), *old = a;
    unsigned index = rcl_arena_indexes();
    if (a == NULL && index < RCL_ARENA_INDEXES) {
        a = add_arena(index, true);
        if (a != NULL)
            __atomic_store_n(&arenas.indexes, index + 1, __ATOMIC_RELAXED);
    }
    rcl_unlock(&arenas.lock);
    if (old != NULL)
        rcl_demand_set_window(&a->demand, begin_decay(a));
    return a;
}

void rcl_arena_retire(struct rcl_arena *a)
{
    rcl_assert(a->is_explicit);
    rcl_lock(&arenas.lock);
    __atomic_store_n(&a->destroyed, true, __ATOMIC_RELEASE);
    rcl_unlock(&arenas.lock);
}

/* Spans of a chunk from the front, at most so many: how many.  No page is in a purge. */
static size_t discard_chunk(struct rcl_arena *a, struct rcl_chunk *c, size_t most)
{
    size_t n = 0;
    for (size_t page = 0; n < most; n++) {
        page = rcl_bits_next_clear(c->free, page, c->pages);
        if (page >= c->pages)
            break;
        struct rcl_span *s = rcl_pagemap_desc(c->base + (page << rcl_page_shift()));
        page += s->pages;
        if (rcl_class_is_small(s->cls))
            rcl_bin_discard(&a->bin[s->cls], s);
        else
            rcl_large_give(s, RCL_AGE_NEW);
    }
    return n;
}

bool rcl_arena_discard(struct rcl_arena *a, size_t *chunk)
{
    size_t n = 0;
    for (; *chunk < a->runs.nchunks; ++*chunk) {
        struct rcl_chunk *c = a->runs.chunk[*chunk];
        if (c != NULL)
            n += discard_chunk(a, c, DISCARD_SLICE - n);
        if (n == DISCARD_SLICE)
            return true; /* there may be more in this one */
    }
    return false;
}

/* --- blocks of any arena ------------------------------------------------------------------ */

static void check_class(unsigned cls, void *p, const char *caller)
{
    if (unlikely(rcl_block_class(p) != cls))
        rcl_die("%s(): double free of %p: the block of %u bytes is free already", caller, p,
                rcl_classes[cls].size);
}

void rcl_blocks_put(unsigned cls, void **p, size_t n, enum rcl_age age, const char *caller)
{
    if (!rcl_class_is_small(cls)) {
        for (size_t i = 0; i < n; i++) {
            check_class(cls, p[i], caller);
            struct rcl_span *s = rcl_pagemap_desc(p[i]);
            if (unlikely(p[i] != s->base))
                rcl_bad_block(caller, s, p[i], true);
            rcl_large_give(s, age);
        }
        return;
    }
    while (n > 0) {
        /* The arena of the first block takes all of its own, and it has one at least. */
        check_class(cls, p[0], caller);
        struct rcl_span *s = rcl_pagemap_desc(p[0]);
        n = rcl_bin_put(&s->arena->bin[cls], p, n, age, caller);
    }
}

size_t rcl_blocks_take(struct rcl_arena *a, unsigned cls, void **out, size_t n, bool *zero)
{
    if (rcl_class_is_small(cls))
        return rcl_bin_take(&a->bin[cls], out, n, zero);
    /* A medium block is a run of its own: nothing is saved by taking several at once. */
    struct rcl_run run;
    out[0] = rcl_large_take(&a->runs, a, rcl_classes[cls].size, 1, cls, &run);
    *zero = out[0] != NULL && run.dirty_pages == 0;
    return out[0] != NULL;
}
