/* SPDX-License-Identifier: MIT */
/* arena.c - see arena.h. */
#include "arena.h"

#include "die.h"
#include "large.h"
#include "lock.h"
#include "options.h"
#include "os.h"
#include "pagemap.h"

static struct {
    struct rcl_lock lock;
    unsigned limit;
    unsigned count; /* entries of arena[]; grows with release */
    struct rcl_arena *arena[RCL_ARENAS_MAX];
} arenas;

uint64_t rcl_arena_window_ns(void)
{
    int64_t ms = rcl_opt.dirty_decay_ms;
    /* "Never" still remembers for a while what is taken back: it decides what stays. */
    return ms < 0 ? 1000000000u : (uint64_t)ms * 1000000u;
}

/* The lock is held. */
static bool add_arena(void)
{
    struct rcl_arena *a = rcl_os_map(rcl_align_up(sizeof *a, rcl_page_size()));
    if (a == NULL)
        return false;
    rcl_os_name(a, rcl_align_up(sizeof *a, rcl_page_size()), "libreclaim arena");
    a->index = arenas.count;
    rcl_demand_init(&a->demand, rcl_arena_window_ns());
    rcl_runs_init(&a->runs, &a->demand, rcl_opt.thp);
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        rcl_bin_init(&a->bin[cls], cls, a, &a->runs);
    arenas.arena[arenas.count] = a;
    __atomic_store_n(&arenas.count, arenas.count + 1, __ATOMIC_RELEASE);
    return true;
}

bool rcl_arena_boot(void)
{
    size_t wanted = rcl_opt.narenas != 0 ? (size_t)rcl_opt.narenas : rcl_os_ncpu();
    arenas.limit = (unsigned)rcl_min(wanted, RCL_ARENAS_MAX);
    return arenas.count > 0 || add_arena();
}

struct rcl_arena *rcl_arena_assign(struct rcl_arena *prefer)
{
    unsigned count = rcl_arena_count();
    struct rcl_arena *best = prefer != NULL ? prefer : arenas.arena[0];
    uint32_t fewest = __atomic_load_n(&best->threads, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < count && fewest > 0; i++) {
        uint32_t n = __atomic_load_n(&arenas.arena[i]->threads, __ATOMIC_RELAXED);
        if (n < fewest) {
            fewest = n;
            best = arenas.arena[i];
        }
    }
    if (fewest > 0 && count < arenas.limit) {
        rcl_lock(&arenas.lock);
        if (arenas.count > count || add_arena())
            best = arenas.arena[count];
        rcl_unlock(&arenas.lock);
    }
    __atomic_fetch_add(&best->threads, 1, __ATOMIC_RELAXED);
    return best;
}

void rcl_arena_release(struct rcl_arena *a)
{
    __atomic_fetch_sub(&a->threads, 1, __ATOMIC_RELAXED);
}

unsigned rcl_arena_count(void)
{
    return __atomic_load_n(&arenas.count, __ATOMIC_ACQUIRE);
}

struct rcl_arena *rcl_arena_get(unsigned index)
{
    return arenas.arena[index];
}

unsigned rcl_arena_limit(void)
{
    return arenas.limit;
}

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
