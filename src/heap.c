/* SPDX-License-Identifier: MIT */
/* heap.c - see heap.h. */
#include "heap.h"

#include "account.h"
#include "arena.h"
#include "background.h"
#include "boot.h"
#include "die.h"
#include "fill.h"
#include "gate.h"
#include "grow.h"
#include "huge.h"
#include "large.h"
#include "monitor.h"
#include "options.h"
#include "pagemap.h"
#include "prof.h"
#include "purge.h"
#include "slab.h"
#include "thread.h"
#include "via.h"
#include "xcache.h"
#include "zero.h"

#include <string.h>

/* What is asked for. */
struct request {
    size_t size;
    size_t align; /* at least RCL_MIN_ALIGN */
    size_t room;  /* wanted behind it, see rcl_grow_room */
    bool zero;
    unsigned cls;              /* small or medium class that fits, or LARGE or HUGE */
    uint32_t sampled;          /* found on the way: the mode under which it was drawn, or 0 */
    const struct rcl_via *via; /* NULL: as usual */
};

/* --- threads that count ------------------------------------------------------------------- */

/* The hit of such a thread: the block was not in the cache that the hit path looks at. */
static RCL_NOINLINE void *tallied_hit(struct rcl_tls *self, unsigned cls)
{
    struct rcl_tcache *tc = rcl_thread_begin_hidden(self);
    void *p = rcl_counted_on(&tc->counted) ? rcl_tcache_pop_counted(tc, cls)
                                           : rcl_tcache_pop(tc, cls);
    if (p != NULL)
        rcl_thread_tally_in(self, rcl_classes[cls].size);
    return p;
}

static RCL_NOINLINE bool tallied_free(struct rcl_tls *self, unsigned cls, void *p)
{
    if (!rcl_tcache_push(rcl_thread_begin_hidden(self), cls, p))
        return false;
    rcl_thread_tally_out(self, rcl_classes[cls].size);
    return true;
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
    return likely(cls < RCL_CLASS_SAMPLED) ? rcl_block_class(p) : rcl_prof_freed(p);
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
            rcl_not_a_block(p, "free");
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
    if (unlikely(__atomic_load_n(&rcl_die_pending, __ATOMIC_RELAXED)))
        rcl_die_late();
    if (likely(in)) {
        void *deferred = rcl_gate_deferred();
        if (unlikely(deferred != NULL))
            free_deferred(deferred);
    }
    return in;
}

static void leave_with_block(struct rcl_tls *self)
{
    rcl_gate_leave(&self->gate);
    rcl_thread_register(self);
    rcl_background_kick(); /* the frees of what comes now may all be hits */
    rcl_monitor_kick();
}

void rcl_heap_settle(void)
{
    struct rcl_tls *self = &rcl_tls;
    rcl_gate_enter_patient(&self->gate);
    void *deferred = rcl_gate_deferred();
    if (deferred != NULL)
        free_deferred(deferred);
    rcl_gate_leave(&self->gate);
}

/* --- allocation --------------------------------------------------------------------------- */

static void *take_run(struct rcl_arena *a, const struct request *r)
{
    struct rcl_run run;
    size_t bytes = r->size + r->room;
    bytes = r->cls == RCL_CLASS_LARGE ? rcl_max(bytes, 1) : rcl_classes[r->cls].size;
    void *p = rcl_large_take(&a->runs, a, bytes, r->align, r->cls, &run);
    if (p != NULL && r->zero)
        rcl_large_zero(p, r->size, &run);
    if (p != NULL && r->room != 0 && r->cls == RCL_CLASS_LARGE)
        rcl_large_note_asked(rcl_pagemap_desc(p), r->size);
    return p;
}

/* A block has been taken, from this cache or (NULL) past all: is it to be sampled? */
static void note(struct rcl_tls *self, struct rcl_tcache *tc, struct request *r, const void *p)
{
    if (tc != NULL && unlikely(rcl_counted_on(&tc->counted))) {
        if (rcl_counted_one(&tc->counted, r->cls, rcl_thread_random(self)))
            r->sampled = tc->mode;
    } else if (unlikely(rcl_thread_counting()) && rcl_thread_due(self, rcl_block_bytes(p))) {
        r->sampled = self->distance_mode;
    }
}

static void *take_cached_class(struct rcl_tls *self, struct request *r)
{
    struct rcl_tcache *tc = rcl_via_begin(self, r->via);
    struct rcl_arena *a = rcl_via_arena(self, tc, r->via);
    bool zero = false;
    void *p;
    rcl_asked_note(&a->asked[r->cls], r->size);
    p = rcl_tcache_pop(tc, r->cls);
    if (p == NULL && r->zero && !rcl_class_is_small(r->cls)) {
        p = take_run(a, r);
        zero = true;
    } else if (p == NULL && tc != &rcl_tcache_none) {
        p = rcl_tcache_refill_from(tc, a, r->cls, &zero);
    } else if (p == NULL && rcl_blocks_take(a, r->cls, &p, 1, &zero) == 0) {
        p = NULL;
    }
    if (p != NULL)
        note(self, tc, r, p);
    rcl_via_end(tc);
    if (p != NULL && r->zero && !zero)
        memset(p, 0, r->size);
    return p;
}

static void *take_huge(const struct rcl_tls *self, const struct request *r)
{
    struct rcl_arena *a = rcl_via_arena(self, &rcl_tcache_none, r->via);
    bool zero;
    size_t bytes = rcl_max(r->size + r->room, 1);
    if (r->room != 0) {
        void *grown = rcl_huge_take_to_grow(&a->huge, r->size);
        if (grown != NULL)
            return grown;
    }
    void *p = rcl_huge_take_in(&a->huge, bytes, r->align, &zero);
    if (p != NULL && r->zero && !zero)
        rcl_zero(p, r->size);
    if (p != NULL && r->room != 0)
        rcl_huge_note_asked(rcl_pagemap_desc(p), r->size);
    return p;
}

/* Inside the gate. */
static void *take(struct rcl_tls *self, struct request *r)
{
    void *p;
    if (rcl_class_is_cached(r->cls))
        return take_cached_class(self, r);
    if (r->cls == RCL_CLASS_LARGE)
        p = take_run(rcl_via_arena(self, rcl_thread_cache(self), r->via), r);
    else
        p = take_huge(self, r);
    if (p != NULL)
        note(self, NULL, r, p);
    return p;
}

RCL_OWN static void *try_alloc(struct request *r)
{
    struct rcl_tls *self = &rcl_tls;
    void *p;
    /* More than there are addresses: no other size has to suffer for it, below. */
    if (unlikely(r->size >> RCL_ADDRESS_BITS != 0 || !rcl_boot())) {
        rcl_thread_end(self);
        return NULL;
    }
    if (unlikely(rcl_opt.zero)) {
        /* All of the block, not only what is asked for. */
        r->zero = true;
        r->size = rcl_max(r->size, rcl_heap_real_size(r->size + r->room, r->align));
        r->room = 0;
    }
    r->cls = rcl_block_class_for(r->size + r->room, r->align);
    if (unlikely(!enter(self)))
        return alloc_without_locks(r);
    p = take(self, r);
    if (unlikely(p == NULL) && rcl_purge_may_help(r->size)) {
        /* What one size holds free must not keep another from being served. */
        rcl_purge_all(self);
        p = take(self, r);
    }
    leave_with_block(self);
    if (unlikely(r->sampled != 0))
        rcl_prof_sampled(self, p, rcl_block_bytes(p), r->sampled);
    if (unlikely(p == NULL))
        return NULL;
    if (unlikely(self->tallies))
        rcl_thread_tally_in(self, rcl_block_bytes(p));
    if (rcl_fills_new() && !r->zero)
        rcl_fill_new(p, 0, rcl_block_bytes(p));
    return p;
}

void rcl_heap_no_memory(size_t size)
{
    rcl_prof_failed();
    if (rcl_opt.xmalloc)
        rcl_die("out of memory for %zu bytes, and xmalloc asks to end then", size);
}

RCL_OWN static void *alloc(struct request *r)
{
    size_t size = r->size;
    void *p = try_alloc(r);
    if (unlikely(p == NULL))
        rcl_heap_no_memory(size);
    return p;
}

RCL_OWN void *rcl_heap_alloc(size_t size)
{
    void *p = rcl_heap_pop_medium(size);
    if (p != NULL)
        return p;
    if (unlikely(rcl_tls.tallies) && size <= RCL_MEDIUM_MAX) {
        p = tallied_hit(&rcl_tls, rcl_block_class_for(size, RCL_MIN_ALIGN));
        if (p != NULL) {
            rcl_thread_end(&rcl_tls);
            return p;
        }
    }
    struct request r = {.size = size, .align = RCL_MIN_ALIGN};
    return alloc(&r);
}

RCL_OWN void *rcl_heap_alloc_zero(size_t size)
{
    if (size <= RCL_SMALL_MAX) {
        rcl_thread_busy(&rcl_tls);
        void *p = rcl_thread_pop_counted(&rcl_tls, rcl_class_of_small(size));
        if (p != NULL)
            return memset(p, 0, size);
    }
    struct request r = {.size = size, .align = RCL_MIN_ALIGN, .zero = true};
    return alloc(&r);
}

RCL_OWN void *rcl_heap_alloc_aligned_slow(size_t align, size_t size)
{
    unsigned cls = rcl_class_of_aligned(size, align);
    if (cls != RCL_CLASS_NONE) {
        struct rcl_tls *self = &rcl_tls;
        void *p = unlikely(self->tallies) ? tallied_hit(self, cls) : NULL;
        if (p != NULL) {
            rcl_thread_end(self);
            return p;
        }
        p = rcl_thread_pop_counted(self, cls);
        if (p != NULL)
            return p;
    }
    struct request r = {.size = size, .align = rcl_max(align, RCL_MIN_ALIGN)};
    return alloc(&r);
}

/* --- free --------------------------------------------------------------------------------- */

/* Inside the gate. */
static void give(struct rcl_tls *self, unsigned cls, void *p, const struct rcl_via *via,
                 const char *caller)
{
    if (cls == RCL_CLASS_HUGE) {
        rcl_huge_give(rcl_block_huge(p, caller));
    } else if (cls == RCL_CLASS_LARGE) {
        rcl_large_give(rcl_block_run(p, caller), RCL_AGE_NEW);
    } else {
        struct rcl_tcache *tc = rcl_via_begin_free(self, via, p);
        if (tc == &rcl_tcache_none || rcl_via_refuses(tc, p))
            rcl_blocks_put(cls, &p, 1, RCL_AGE_NEW, caller);
        else if (!rcl_tcache_push(tc, cls, p))
            rcl_tcache_overflow(tc, cls, p, caller);
        rcl_via_end(tc);
    }
}

void rcl_heap_free_via(void *p, const struct rcl_via *via, const char *caller)
{
    struct rcl_tls *self = &rcl_tls;
    unsigned byte = rcl_pagemap_class(p), cls = rcl_block_class(p);
    if (unlikely(cls == RCL_CLASS_NONE)) {
        rcl_thread_end(self);
        if (p != NULL)
            rcl_not_a_block(p, caller);
        return;
    }
    if (unlikely(self->tallies)) {
        size_t bytes = rcl_heap_usable(p, caller);
        if (via == NULL && tallied_free(self, byte, p)) {
            rcl_thread_end(self);
            return;
        }
        rcl_thread_tally_out(self, bytes);
    }
    if (rcl_fills_freed())
        rcl_fill_freed(p, rcl_block_usable(p, caller));
    if (rcl_thread_is_guest(self) && via == NULL && rcl_xcache_push_guest(self, byte, p)) {
        rcl_thread_end(self);
        return;
    }
    /* Samples begin on its granule; but for them it would have gone to the cache by now. */
    if (byte == RCL_CLASS_SAMPLED && via == NULL && rcl_prof_is_plain(p)) {
        struct rcl_tcache *tc = rcl_thread_begin_free(self);
        if (!rcl_via_refuses(tc, p) && rcl_tcache_push(tc, cls, p)) {
            rcl_thread_end(self);
            return;
        }
    }
    if (unlikely(!enter(self))) {
        rcl_gate_defer(p);
        return;
    }
    give(self, unlikely(byte >= RCL_CLASS_SAMPLED) ? rcl_prof_freed(p) : cls, p, via, caller);
    rcl_purge_excess(self);
    rcl_gate_leave(&self->gate);
    rcl_background_kick();
    rcl_monitor_kick();
}

void rcl_heap_free(void *p, const char *caller)
{
    rcl_heap_free_via(p, NULL, caller);
}

/* --- changing the size -------------------------------------------------------------------- */

enum how {
    IN_PLACE, /* to any whole pages */
    EXACTLY,  /* perhaps elsewhere */
    ROOMILY,  /* likewise, with room to grow */
};

/* Whether a run or mapping can have so many bytes and be what such a request gets elsewhere. */
static bool resizable(unsigned cls, size_t size, enum how how)
{
    if (cls == RCL_CLASS_HUGE)
        return size > (how == IN_PLACE ? RCL_SMALL_MAX : RCL_LARGE_MAX);
    return !rcl_class_is_small(cls) && size > RCL_SMALL_MAX && size <= RCL_LARGE_MAX;
}

static void *resize_huge(struct rcl_huge *h, size_t size, enum how how)
{
    if (how == IN_PLACE)
        return rcl_huge_resize_in_place(h, size) ? h->base : NULL;
    return how == ROOMILY ? rcl_grow_huge(h, size) : rcl_huge_resize(h, size);
}

static bool resize_run(struct rcl_span *s, size_t size, enum how how)
{
    if (how != IN_PLACE && size <= RCL_MEDIUM_MAX) {
        unsigned cls = rcl_class_of_medium(size);
        bool done = rcl_large_resize(s, rcl_classes[cls].size, cls);
        if (done)
            rcl_asked_note(&s->arena->asked[cls], size);
        return done;
    }
    return how == ROOMILY ? rcl_grow_large(s, size) : rcl_large_resize(s, size, RCL_CLASS_LARGE);
}

/* Where it stands, or by moving its pages.  NULL: a new block must be found. */
RCL_OWN static void *resize(void *p, unsigned cls, size_t usable, size_t size, enum how how,
                            const char *caller)
{
    struct rcl_tls *self = &rcl_tls;
    struct request r = {.size = size, .cls = cls};
    void *q = NULL;
    if (!resizable(cls, size, how))
        return NULL;
    if (cls == RCL_CLASS_HUGE && size <= usable && usable - size < rcl_page_size())
        return p;
    if (!enter(self))
        return NULL;
    real_class(p); /* as if it was freed and allocated again */
    if (cls == RCL_CLASS_HUGE) {
        q = resize_huge(rcl_block_huge(p, caller), size, how);
    } else {
        struct rcl_span *s = rcl_block_run(p, caller);
        /* What waits in a cache is not to change its class there. */
        if (unlikely(rcl_class_is_cached(cls) && rcl_tcache_holds(rcl_thread_cache(self), cls, p)))
            rcl_bad_block(caller, s, p, false);
        q = resize_run(s, size, how) ? p : NULL;
        rcl_purge_excess(self);
    }
    if (q != NULL)
        note(self, NULL, &r, q);
    rcl_gate_leave(&self->gate);
    rcl_background_kick();
    if (unlikely(r.sampled != 0))
        rcl_prof_sampled(self, q, rcl_block_bytes(q), r.sampled);
    if (unlikely(self->tallies) && q != NULL) {
        rcl_thread_tally_out(self, usable);
        rcl_thread_tally_in(self, rcl_heap_usable(q, caller));
    }
    if (rcl_fills_new() && q != NULL && rcl_heap_usable(q, caller) > usable)
        rcl_fill_new(q, usable, rcl_heap_usable(q, caller));
    return q;
}

/* Into a new block. */
RCL_OWN static void *move(void *p, size_t usable, struct request *r, enum how how,
                          const char *caller)
{
    size_t size = r->size;
    if (how == ROOMILY && size > usable && size > RCL_MEDIUM_MAX)
        r->room = rcl_grow_room(size) - size;
    void *q = try_alloc(r);
    if (q == NULL && r->room != 0) {
        r->room = 0;
        q = try_alloc(r);
    }
    if (q == NULL) {
        /* Shrinking cannot fail for want of a smaller block. */
        if (size <= usable && ((uintptr_t)p & (r->align - 1)) == 0)
            return p;
        rcl_heap_no_memory(size);
        return NULL;
    }
    memcpy(q, p, rcl_min(size, usable));
    rcl_heap_free_via(p, r->via, caller);
    return q;
}

/* A huge block within its room, while nobody counts. */
static inline bool may_stay(const void *p, size_t size)
{
    if (rcl_pagemap_class(p) != RCL_CLASS_HUGE || rcl_thread_counting() || rcl_tls.tallies)
        return false;
    struct rcl_huge *h = rcl_pagemap_desc(p);
    return p == h->base && rcl_grow_within(h, size);
}

/* Neither a block that may stay nor two hits. */
RCL_OWN __attribute__((noinline)) static void *realloc_slow(void *p, unsigned cls, size_t size)
{
    struct request r = {.size = size, .align = RCL_MIN_ALIGN};
    size_t usable = rcl_heap_usable(p, "realloc");
    if (size > PTRDIFF_MAX)
        return alloc(&r); /* refused like any other */
    void *q = rcl_class_is_small(cls) ? NULL : resize(p, cls, usable, size, ROOMILY, "realloc");
    return q != NULL ? q : move(p, usable, &r, ROOMILY, "realloc");
}

RCL_OWN void *rcl_heap_realloc(void *p, size_t size)
{
    unsigned cls = rcl_block_class(p);
    if (unlikely(!rcl_class_is_cached(cls) || size > RCL_MEDIUM_MAX))
        return may_stay(p, size) ? p : realloc_slow(p, cls, size);
    rcl_block_check(p, cls, "realloc");
    size_t usable = rcl_classes[cls].size;
    unsigned wanted = size <= RCL_SMALL_MAX ? rcl_class_of_small(size) : rcl_class_of_medium(size);
    if (wanted == cls || rcl_grow_fits(usable, size))
        return p;
    if (unlikely(!rcl_class_is_small(cls)) && size > RCL_SMALL_MAX)
        return realloc_slow(p, cls, size); /* the pages behind it may be free: no copy then */

    struct rcl_tls *self = &rcl_tls;
    void *q = rcl_tcache_pop(rcl_thread_begin_alloc(self), wanted);
    if (unlikely(q == NULL))
        q = rcl_thread_pop_counted(self, wanted);
    rcl_thread_end(self);
    if (unlikely(q == NULL))
        return realloc_slow(p, cls, size);
    memcpy(q, p, rcl_min(size, usable));
    if (likely(rcl_tcache_push(rcl_thread_begin_free(self), rcl_pagemap_class(p), p)))
        rcl_thread_end(self);
    else
        rcl_heap_free(p, "realloc");
    return q;
}

/* --- what jemalloc's flags can ask for ---------------------------------------------------- */

size_t rcl_heap_real_size(size_t size, size_t align)
{
    align = rcl_max(align, RCL_MIN_ALIGN);
    if (size > RCL_EXTENT_MAX || align > RCL_EXTENT_MAX || !rcl_boot())
        return 0; /* more than there are addresses */
    unsigned cls = rcl_block_class_for(size, align);
    if (rcl_class_is_cached(cls))
        return rcl_classes[cls].size;
    return rcl_align_up(rcl_max(size, 1), rcl_page_size());
}

RCL_OWN void *rcl_heap_alloc_via(size_t size, size_t align, bool zero, const struct rcl_via *via)
{
    struct request r = {
        .size = size, .align = rcl_max(align, RCL_MIN_ALIGN), .zero = zero, .via = via};
    /* A later growth goes on from the end of the block, so all of it is zero now. */
    if (zero)
        r.size = rcl_max(size, rcl_heap_real_size(size, align));
    return alloc(&r);
}

RCL_OWN void *rcl_heap_realloc_via(void *p, size_t size, size_t align, bool zero,
                                   const struct rcl_via *via)
{
    unsigned cls = rcl_block_class(p);
    size_t usable = rcl_heap_usable(p, "rallocx"), copied = usable;
    struct request r = {.size = size, .align = rcl_max(align, RCL_MIN_ALIGN), .via = via};
    void *q = NULL;
    if (size > PTRDIFF_MAX)
        return alloc(&r); /* refused like any other */
    if (((uintptr_t)p & (r.align - 1)) == 0) {
        if (usable == rcl_heap_real_size(size, r.align))
            return p;
        q = resize(p, cls, usable, size, r.align <= rcl_page_size() ? EXACTLY : IN_PLACE,
                   "rallocx");
    }
    if (q == NULL) {
        q = move(p, usable, &r, EXACTLY, "rallocx");
        if (q != p)
            copied = rcl_min(size, usable);
    }
    if (q == NULL || !zero)
        return q;
    size_t now = rcl_heap_usable(q, "rallocx");
    if (now > copied)
        rcl_zero((char *)q + copied, now - copied);
    return q;
}

/* In whole pages; a block with a class elsewhere gets the bytes of the class. */
static size_t in_place_size(size_t size, size_t align)
{
    return size > RCL_MEDIUM_MAX ? size : rcl_heap_real_size(size, align);
}

RCL_OWN size_t rcl_heap_resize_in_place(void *p, size_t size, size_t extra, size_t align, bool zero)
{
    unsigned cls = rcl_block_class(p);
    size_t usable = rcl_heap_usable(p, "xallocx");
    size_t longest = cls == RCL_CLASS_LARGE ? RCL_LARGE_MAX : PTRDIFF_MAX;
    if (((uintptr_t)p & (rcl_max(align, RCL_MIN_ALIGN) - 1)) != 0 || rcl_class_is_cached(cls) ||
        size > longest)
        return usable;
    size_t most = in_place_size(extra > longest - size ? longest : size + extra, align);
    size_t least = in_place_size(size, align);
    if (resize(p, cls, usable, most, IN_PLACE, "xallocx") == NULL && least > usable)
        resize(p, cls, usable, least, IN_PLACE, "xallocx");
    size_t now = rcl_heap_usable(p, "xallocx");
    if (zero && now > usable)
        rcl_zero((char *)p + usable, now - usable);
    return now;
}
