/* SPDX-License-Identifier: MIT */
/* heap.c - see heap.h. */
#include "heap.h"

#include "arena.h"
#include "background.h"
#include "boot.h"
#include "die.h"
#include "gate.h"
#include "huge.h"
#include "large.h"
#include "pagemap.h"
#include "prof.h"
#include "purge.h"
#include "slab.h"
#include "thread.h"

#include <string.h>

/* What is asked for. */
struct request {
    size_t size;
    size_t align; /* at least RCL_MIN_ALIGN */
    bool zero;
    unsigned cls;     /* small or medium class that fits, or LARGE or HUGE */
    uint32_t sampled; /* found on the way: the mode under which the block was drawn, or 0 */
};

static unsigned class_of(size_t size, size_t align)
{
    if (align > RCL_MIN_ALIGN) {
        unsigned cls = rcl_class_of_aligned(size, align);
        if (cls != RCL_CLASS_NONE)
            return cls;
        /* A medium block starts on a page. */
        if (align > rcl_page_size() || size <= RCL_SMALL_MAX)
            return size <= RCL_LARGE_MAX && align <= RCL_LARGE_MAX ? RCL_CLASS_LARGE
                                                                   : RCL_CLASS_HUGE;
    }
    if (size <= RCL_SMALL_MAX)
        return rcl_class_of_small(size);
    if (size <= RCL_MEDIUM_MAX)
        return rcl_class_of_medium(size);
    return size <= RCL_LARGE_MAX ? RCL_CLASS_LARGE : RCL_CLASS_HUGE;
}

/* What a live block occupies. */
static size_t block_bytes(const void *p)
{
    unsigned cls = rcl_block_class(p);
    if (likely(rcl_class_is_cached(cls)))
        return rcl_classes[cls].size;
    return cls == RCL_CLASS_LARGE ? rcl_large_bytes(rcl_pagemap_desc(p))
                                  : ((const struct rcl_huge *)rcl_pagemap_desc(p))->bytes;
}

/* --- bad pointers ------------------------------------------------------------------------- */

static RCL_COLD __attribute__((noreturn)) void not_a_block(const void *p, const char *caller)
{
    /* Look for what it might have meant; the program ends, so time is no matter. */
    const struct rcl_huge *h = rcl_boot() ? rcl_huge_around(p) : NULL;
    if (h != NULL)
        rcl_die("%s(): invalid pointer %p: not the start of a block (%zu bytes into a block of %zu "
                "bytes at %p)",
                caller, p, (size_t)((const char *)p - h->base), h->bytes, (const void *)h->base);
    for (size_t back = 1; back <= RCL_LARGE_MAX / RCL_GRANULE; back++) {
        const char *q = (const char *)rcl_align_down((uintptr_t)p, RCL_GRANULE);
        if ((uintptr_t)q < back * RCL_GRANULE)
            break;
        q -= back * RCL_GRANULE;
        unsigned cls = rcl_block_class(q);
        if (cls == RCL_CLASS_NONE)
            continue;
        if (cls > RCL_SMALL_LAST && cls <= RCL_CLASS_LARGE) {
            const struct rcl_span *s = rcl_pagemap_desc(q);
            if ((size_t)((const char *)p - s->base) < rcl_large_bytes(s))
                rcl_die("%s(): invalid pointer %p: not the start of a block (%zu bytes into a "
                        "block of %zu bytes at %p)",
                        caller, p, (size_t)((const char *)p - s->base), rcl_large_bytes(s),
                        (const void *)s->base);
        }
        break;
    }
    rcl_die("%s(): invalid pointer %p: no block of this allocator starts there (it was never "
            "allocated here, or has been freed already)",
            caller, p);
}

/* --- while fork has the gate closed and somebody waits for us: no lock, see gate.h -------- */

static RCL_COLD void *alloc_without_locks(const struct request *r)
{
    return rcl_huge_take_unlisted(r->size, r->align); /* fresh memory: zero anyway */
}

/* The class of a block that is about to go, sampled or not.  Inside the gate. */
static unsigned real_class(void *p)
{
    unsigned cls = rcl_pagemap_class(p);
    return likely(cls < RCL_CLASS_SAMPLED) ? cls : rcl_prof_freed(p);
}

/* Frees that were put off.  Inside the gate. */
static RCL_COLD void free_deferred(void *p)
{
    while (p != NULL) {
        void *next = *(void **)p;
        unsigned cls = real_class(p);
        if (cls == RCL_CLASS_HUGE)
            rcl_huge_give(rcl_pagemap_desc(p));
        else if (cls == RCL_CLASS_LARGE)
            rcl_large_give(rcl_pagemap_desc(p), RCL_AGE_NEW);
        else if (cls == RCL_CLASS_NONE)
            not_a_block(p, "free");
        else
            rcl_blocks_put(cls, &p, 1, RCL_AGE_NEW, "free");
        p = next;
    }
}

/* --- the way in and out of a slow path ---------------------------------------------------- */

/* False: the gate stays closed. */
static bool enter(struct rcl_tls *self)
{
    /* A hit path that missed left `busy` set; from here on, being inside the gate says the same. */
    bool in = rcl_gate_enter(&self->gate);
    rcl_thread_end(self);
    if (likely(in)) {
        void *deferred = rcl_gate_deferred();
        if (unlikely(deferred != NULL))
            free_deferred(deferred);
    }
    return in;
}

static void leave(struct rcl_tls *self)
{
    rcl_gate_leave(&self->gate);
    rcl_thread_register(self);
}

/* --- allocation --------------------------------------------------------------------------- */

/* Zero the pages of a fresh run that may hold old data; the kernel has zeroed the others. */
static void zero_run(void *p, size_t size, const struct rcl_run *run)
{
    for (size_t at = rcl_bits_next_set(run->dirty, 0, run->pages); at < run->pages;) {
        size_t end = rcl_bits_next_clear(run->dirty, at, run->pages);
        size_t from = at << rcl_page_shift(), to = rcl_min(end << rcl_page_shift(), size);
        if (from < to)
            memset((char *)p + from, 0, to - from);
        at = rcl_bits_next_set(run->dirty, end, run->pages);
    }
}

static void *take_run(struct rcl_arena *a, const struct request *r)
{
    struct rcl_run run;
    size_t bytes = r->cls == RCL_CLASS_LARGE ? rcl_max(r->size, 1) : rcl_classes[r->cls].size;
    void *p = rcl_large_take(&a->runs, a, bytes, r->align, r->cls, &run);
    if (p != NULL && r->zero)
        zero_run(p, r->size, &run);
    return p;
}

/* While allocations are counted. */
static void *take_counted(struct rcl_tls *self, struct rcl_tcache *tc, struct request *r,
                          bool *zero)
{
    uint64_t *random = rcl_thread_random(self);
    bool sampled = false;
    void *p = rcl_tcache_pop(&tc->counted->side, r->cls);
    if (p == NULL && r->zero && !rcl_class_is_small(r->cls)) {
        p = take_run(tc->arena, r);
        *zero = true;
        sampled = p != NULL && rcl_counted_one(tc->counted, r->cls, random);
    } else if (p == NULL) {
        p = rcl_counted_refill(tc, r->cls, random, zero, &sampled);
    }
    if (sampled)
        r->sampled = tc->mode;
    return p;
}

/* A block that no cache serves has been taken. */
static void note_run(struct rcl_tls *self, struct request *r, const void *p)
{
    if (unlikely(rcl_thread_counting()) && rcl_thread_due(self, block_bytes(p)))
        r->sampled = self->distance_mode;
}

static void *take_cached_class(struct rcl_tls *self, struct request *r)
{
    struct rcl_tcache *tc = rcl_thread_cache(self);
    bool zero = false;
    void *p;
    if (unlikely(tc->counted != NULL)) {
        p = take_counted(self, tc, r, &zero);
    } else {
        p = rcl_tcache_pop(tc, r->cls);
        if (p == NULL && r->zero && !rcl_class_is_small(r->cls)) {
            p = take_run(tc != &rcl_tcache_none ? tc->arena : rcl_arena_get(0), r);
            zero = true;
        } else if (p == NULL && tc != &rcl_tcache_none) {
            p = rcl_tcache_refill(tc, r->cls, &zero);
        } else if (p == NULL && rcl_blocks_take(rcl_arena_get(0), r->cls, &p, 1, &zero) == 0) {
            p = NULL;
        }
        if (p != NULL)
            note_run(self, r, p);
    }
    if (p != NULL && r->zero && !zero)
        memset(p, 0, r->size);
    return p;
}

/* Inside the gate. */
static void *take(struct rcl_tls *self, struct request *r)
{
    void *p;
    if (rcl_class_is_cached(r->cls))
        return take_cached_class(self, r);
    if (r->cls == RCL_CLASS_LARGE) {
        struct rcl_tcache *tc = rcl_thread_cache(self);
        p = take_run(tc != &rcl_tcache_none ? tc->arena : rcl_arena_get(0), r);
    } else {
        bool zero;
        p = rcl_huge_take(rcl_max(r->size, 1), r->align, &zero);
        if (p != NULL && r->zero && !zero)
            memset(p, 0, r->size);
    }
    if (p != NULL)
        note_run(self, r, p);
    return p;
}

/*
 * The first thing to try while allocations are counted: blocks this thread has freed, without the
 * gate.  The thread is busy, so its cache stays its own; NULL if it has been taken just before.
 */
static void *take_freed(struct rcl_tls *self, const struct request *r)
{
    struct rcl_tcache *side = rcl_thread_begin_alloc(self);
    struct rcl_tcache *tc = __atomic_load_n(&self->cache, __ATOMIC_RELAXED);
    void *p = NULL;
    if (tc->counted != NULL && &tc->counted->side == side) {
        p = rcl_tcache_pop(side, r->cls);
        if (p == NULL)
            p = rcl_counted_move(tc, r->cls);
    }
    if (p != NULL) {
        rcl_thread_end(self);
        if (r->zero)
            memset(p, 0, r->size);
    }
    return p;
}

RCL_OWN static void *alloc(struct request *r)
{
    struct rcl_tls *self = &rcl_tls;
    void *p;
    /* More than there are addresses: no other size has to suffer for it, below. */
    if (unlikely(r->size >> RCL_ADDRESS_BITS != 0 || !rcl_boot())) {
        rcl_thread_end(self);
        return NULL;
    }
    r->cls = class_of(r->size, r->align);
    if (unlikely(rcl_thread_is_counted(self)) && rcl_class_is_cached(r->cls) &&
        (p = take_freed(self, r)) != NULL)
        return p;
    if (unlikely(!enter(self)))
        return alloc_without_locks(r);
    p = take(self, r);
    if (unlikely(p == NULL)) {
        /* What one size holds free must not keep another from being served. */
        rcl_purge_all(self);
        p = take(self, r);
    }
    leave(self);
    if (unlikely(r->sampled != 0))
        rcl_prof_sampled(self, p, block_bytes(p), r->sampled);
    if (unlikely(p == NULL))
        rcl_prof_failed();
    return p;
}

RCL_OWN void *rcl_heap_alloc(size_t size)
{
    if (size > RCL_SMALL_MAX && size <= RCL_MEDIUM_MAX) {
        /* The hit path of medium blocks: a cached one needs no gate. */
        struct rcl_tls *self = &rcl_tls;
        void *p = rcl_tcache_pop(rcl_thread_begin_alloc(self), rcl_class_of_medium(size));
        if (likely(p != NULL)) {
            rcl_thread_end(self);
            return p;
        }
    }
    struct request r = {.size = size, .align = RCL_MIN_ALIGN};
    return alloc(&r);
}

RCL_OWN void *rcl_heap_alloc_zero(size_t size)
{
    struct request r = {.size = size, .align = RCL_MIN_ALIGN, .zero = true};
    return alloc(&r);
}

RCL_OWN void *rcl_heap_alloc_aligned(size_t align, size_t size)
{
    unsigned cls = rcl_class_of_aligned(size, align);
    if (cls != RCL_CLASS_NONE) {
        struct rcl_tls *self = &rcl_tls;
        void *p = rcl_tcache_pop(rcl_thread_begin_alloc(self), cls);
        if (likely(p != NULL)) {
            rcl_thread_end(self);
            return p;
        }
    }
    struct request r = {.size = size, .align = rcl_max(align, RCL_MIN_ALIGN)};
    return alloc(&r);
}

/* --- free --------------------------------------------------------------------------------- */

/* The descriptor of a block that is a run of its own or a mapping; its start is checked. */
static struct rcl_span *run_of(void *p, const char *caller)
{
    struct rcl_span *s = rcl_pagemap_desc(p);
    if (unlikely(p != s->base))
        rcl_die("%s(): invalid pointer %p: not the start of a block (%zu bytes into a block of %zu "
                "bytes at %p)",
                caller, p, (size_t)((char *)p - s->base), rcl_large_bytes(s), (void *)s->base);
    return s;
}

static struct rcl_huge *huge_of(void *p, const char *caller)
{
    struct rcl_huge *h = rcl_pagemap_desc(p);
    if (unlikely(p != h->base))
        not_a_block(p, caller);
    return h;
}

/* Inside the gate. */
static void give(struct rcl_tls *self, unsigned cls, void *p, const char *caller)
{
    if (cls == RCL_CLASS_HUGE) {
        rcl_huge_give(huge_of(p, caller));
    } else if (cls == RCL_CLASS_LARGE) {
        rcl_large_give(run_of(p, caller), RCL_AGE_NEW);
    } else {
        struct rcl_tcache *tc = rcl_thread_cache(self);
        if (tc == &rcl_tcache_none)
            rcl_blocks_put(cls, &p, 1, RCL_AGE_NEW, caller);
        else if (!rcl_tcache_push(tc, cls, p))
            rcl_tcache_overflow(tc, cls, p, caller);
    }
}

void rcl_heap_free(void *p, const char *caller)
{
    struct rcl_tls *self = &rcl_tls;
    unsigned cls = rcl_pagemap_class(p);
    if (unlikely(cls == RCL_CLASS_NONE)) {
        rcl_thread_end(self);
        if (p != NULL)
            not_a_block(p, caller);
        return;
    }
    /* Samples begin on its granule; but for them it would have gone to the cache by now. */
    if (cls == RCL_CLASS_SAMPLED && rcl_prof_is_plain(p) &&
        rcl_tcache_push(rcl_thread_begin_free(self), rcl_block_class(p), p)) {
        rcl_thread_end(self);
        return;
    }
    if (unlikely(!enter(self))) {
        rcl_gate_defer(p);
        return;
    }
    give(self, unlikely(cls >= RCL_CLASS_SAMPLED) ? rcl_prof_freed(p) : cls, p, caller);
    rcl_purge_excess(self);
    leave(self);
    rcl_background_kick();
}

/* --- realloc and usable size -------------------------------------------------------------- */

/* Not inside a block, and not free as far as the slab knows; a caller's block stays as it is. */
static void check_block(const void *p, unsigned cls, const char *caller)
{
    if (!rcl_class_is_small(cls)) {
        run_of((void *)p, caller);
        return;
    }
    const struct rcl_span *s = rcl_pagemap_desc(p);
    enum rcl_slab_error err = rcl_slab_check(s, p);
    if (unlikely(err != RCL_SLAB_OK))
        rcl_bad_block(caller, s, p, err == RCL_SLAB_NOT_A_BLOCK);
}

size_t rcl_heap_usable(const void *p, const char *caller)
{
    unsigned cls = rcl_block_class(p);
    if (likely(rcl_class_is_cached(cls))) {
        check_block(p, cls, caller);
        return rcl_classes[cls].size;
    }
    if (cls == RCL_CLASS_LARGE)
        return rcl_large_bytes(run_of((void *)p, caller));
    if (cls == RCL_CLASS_HUGE)
        return huge_of((void *)p, caller)->bytes;
    not_a_block(p, caller);
}

/* Resize where it stands, or move its pages.  NULL: a new block must be found. */
RCL_OWN static void *resize(void *p, unsigned cls, size_t usable, size_t size)
{
    struct rcl_tls *self = &rcl_tls;
    struct request r = {.size = size, .cls = cls};
    void *q = NULL;
    if (cls == RCL_CLASS_HUGE && size > RCL_LARGE_MAX) {
        if (size <= usable && usable - size < rcl_page_size())
            return p;
        if (!enter(self))
            return NULL;
        real_class(p); /* as if it was freed and allocated again */
        q = rcl_huge_resize(huge_of(p, "realloc"), size);
    } else if (cls == RCL_CLASS_LARGE && size > RCL_MEDIUM_MAX && size <= RCL_LARGE_MAX) {
        if (!enter(self))
            return NULL;
        real_class(p);
        q = rcl_large_resize(run_of(p, "realloc"), size) ? p : NULL;
        rcl_purge_excess(self);
    } else {
        return NULL;
    }
    if (q != NULL)
        note_run(self, &r, q);
    leave(self);
    if (unlikely(r.sampled != 0))
        rcl_prof_sampled(self, q, block_bytes(q), r.sampled);
    return q;
}

RCL_OWN void *rcl_heap_realloc(void *p, size_t size)
{
    unsigned cls = rcl_block_class(p);
    size_t usable = rcl_heap_usable(p, "realloc");
    if (size > PTRDIFF_MAX)
        return NULL;
    if (rcl_class_is_cached(cls)) {
        /* A block somewhat too large may stay: copying would cost more than it saves. */
        if (size <= usable && size >= usable - usable / 4)
            return p;
        if (class_of(size, RCL_MIN_ALIGN) == cls)
            return p;
    } else {
        void *q = resize(p, cls, usable, size);
        if (q != NULL)
            return q;
    }
    void *q = rcl_heap_alloc(size);
    if (q == NULL) {
        /* Shrinking cannot fail for want of a smaller block. */
        return size <= usable ? p : NULL;
    }
    memcpy(q, p, rcl_min(size, usable));
    rcl_heap_free(p, "realloc");
    return q;
}
