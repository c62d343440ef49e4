/* SPDX-License-Identifier: MIT */
/*
 * extended.c - jemalloc's extended interface: malloc and its family with flags.  Names,
 * types and the bits of the flags are part of programs that are compiled already:
 * include/reclaim/jemalloc.h.
 *
 * None of these touches errno.
 */
#include "arena.h"
#include "boot.h"
#include "gate.h"
#include "heap.h"
#include "pagemap.h"
#include "sizeclass.h"
#include "thread.h"

#include "reclaim/jemalloc.h"

/* What the flags say. */
struct asked {
    size_t align; /* 0: any */
    bool zero;
    struct rcl_via via;
};

enum {
    LG_ALIGN_MASK = 0x3f,
    CACHE_SHIFT = 8,
    CACHE_MASK = 0xfff, /* 0: automatic, 1: none, then the number of a cache + 2: as in rcl_via */
    ARENA_SHIFT = 20,   /* 0: automatic, then the index + 1 */
};

/* NULL: no such arena, or no memory for it. */
static RCL_COLD struct rcl_arena *make_arena(unsigned index)
{
    struct rcl_tls *self = &rcl_tls;
    if (!rcl_boot())
        return NULL;
    rcl_gate_enter_patient(&self->gate);
    struct rcl_arena *a = rcl_arena_find(index, true);
    rcl_gate_leave(&self->gate);
    return a;
}

/* False: an arena is named that there is not. */
static bool decode(int flags, struct asked *a)
{
    unsigned arena = (unsigned)flags >> ARENA_SHIFT;
    unsigned lg_align = (unsigned)flags & LG_ALIGN_MASK;
    a->align = lg_align == 0 ? 0 : (size_t)1 << lg_align;
    a->zero = (flags & MALLOCX_ZERO) != 0;
    a->via.cache = ((unsigned)flags >> CACHE_SHIFT) & CACHE_MASK;
    a->via.arena = NULL;
    if (arena == 0)
        return true;
    a->via.arena = rcl_arena_find(arena - 1, false);
    if (a->via.arena == NULL)
        a->via.arena = make_arena(arena - 1);
    return a->via.arena != NULL;
}

RCL_EXPORT RCL_OWN void *mallocx(size_t size, int flags)
{
    struct asked a;
    if (likely(flags == 0)) {
        struct rcl_tls *self = &rcl_tls;
        if (likely(size <= RCL_SMALL_MAX)) {
            void *p = rcl_tcache_pop(rcl_thread_begin_alloc(self), rcl_class_of_small(size));
            if (likely(p != NULL)) {
                rcl_thread_end(self);
                return p;
            }
        }
        return rcl_heap_alloc(size);
    }
    if (!decode(flags, &a))
        return NULL;
    if (a.via.arena == NULL && a.via.cache == RCL_VIA_THREAD && !a.zero)
        return rcl_heap_alloc_aligned(rcl_max(a.align, RCL_MIN_ALIGN), size);
    return rcl_heap_alloc_via(size, a.align, a.zero, &a.via);
}

RCL_EXPORT RCL_OWN void *rallocx(void *p, size_t size, int flags)
{
    struct asked a;
    if (!decode(flags, &a))
        return NULL;
    return rcl_heap_realloc_via(p, size, a.align, a.zero, &a.via);
}

RCL_EXPORT RCL_OWN size_t xallocx(void *p, size_t size, size_t extra, int flags)
{
    size_t align = (flags & LG_ALIGN_MASK) == 0 ? 0 : (size_t)1 << (flags & LG_ALIGN_MASK);
    return rcl_heap_resize_in_place(p, size, extra, align, (flags & MALLOCX_ZERO) != 0);
}

RCL_EXPORT size_t sallocx(const void *p, int flags)
{
    (void)flags;
    return rcl_heap_usable(p, "sallocx");
}

/* A free's arena is the block's, whatever the flags say. */
static void free_with(void *p, int flags, const char *caller)
{
    struct rcl_via via = {.cache = ((unsigned)flags >> CACHE_SHIFT) & CACHE_MASK};
    if (likely(via.cache == RCL_VIA_THREAD)) {
        struct rcl_tls *self = &rcl_tls;
        if (likely(rcl_tcache_push(rcl_thread_begin_free(self), rcl_pagemap_class(p), p)))
            rcl_thread_end(self);
        else
            rcl_heap_free(p, caller);
        return;
    }
    rcl_heap_free_via(p, &via, caller);
}

RCL_EXPORT void dallocx(void *p, int flags)
{
    free_with(p, flags, "dallocx");
}

/* The size is the program's promise; the page map knows better. */
RCL_EXPORT void sdallocx(void *p, size_t size, int flags)
{
    (void)size;
    free_with(p, flags, "sdallocx");
}

RCL_EXPORT size_t nallocx(size_t size, int flags)
{
    unsigned lg_align = (unsigned)flags & LG_ALIGN_MASK;
    return rcl_heap_real_size(size, lg_align == 0 ? 0 : (size_t)1 << lg_align);
}
