/* SPDX-License-Identifier: MIT */
/*
 * heap.h - everything behind a miss: what the surface (malloc.c, new.c) does
 * when the thread cache cannot serve.
 *
 * Every function may be called by any thread at any time, before libc is
 * initialised included.  None touches errno; out of memory is NULL.  A pointer
 * that is no live block of ours ends the program with one line naming `caller`.
 */
#ifndef RCL_HEAP_H
#define RCL_HEAP_H

#include "base.h"
#include "block.h"
#include "sizeclass.h"
#include "thread.h"
#include "via.h"

/* `size` bytes aligned to 16, uninitialised. */
void *rcl_heap_alloc(size_t size);

/* The hit of medium blocks, which needs no gate.  NULL: no such size, or not in the cache. */
static inline void *rcl_heap_pop_medium(size_t size)
{
    if (size <= RCL_SMALL_MAX || size > RCL_MEDIUM_MAX)
        return NULL;
    struct rcl_tls *self = &rcl_tls;
    unsigned cls = rcl_class_of_medium(size);
    void *p = rcl_tcache_pop(rcl_thread_begin_alloc(self), cls);
    if (unlikely(p == NULL))
        return rcl_thread_pop_counted(self, cls);
    rcl_thread_end(self);
    return p;
}

/* The hit of the next.  NULL: no such class, which like one without a cache is empty, or a miss. */
static inline void *rcl_heap_pop_aligned(size_t align, size_t size)
{
    struct rcl_tls *self = &rcl_tls;
    void *p = rcl_tcache_pop(rcl_thread_begin_alloc(self), rcl_class_of_aligned(size, align));
    if (likely(p != NULL))
        rcl_thread_end(self);
    return p;
}

/* As rcl_heap_alloc, aligned to `align`, a power of two; a hit is here, a miss behind it. */
void *rcl_heap_alloc_aligned_slow(size_t align, size_t size);

static inline void *rcl_heap_alloc_aligned(size_t align, size_t size)
{
    void *p = rcl_heap_pop_aligned(align, size);
    return likely(p != NULL) ? p : rcl_heap_alloc_aligned_slow(align, size);
}

/* The same, aligned to 16 and zero. */
void *rcl_heap_alloc_zero(size_t size);

/* p may be NULL. */
void rcl_heap_free(void *p, const char *caller);

/* p is not NULL, size is not 0.  NULL: `p` is untouched. */
void *rcl_heap_realloc(void *p, size_t size);

/* Frees that were put off (gate.h), now. */
void rcl_heap_settle(void);

/* Bytes usable at p (not NULL); constant while the block lives. */
static inline size_t rcl_heap_usable(const void *p, const char *caller)
{
    return rcl_block_usable(p, caller);
}

/*
 * Out of memory is about to be answered for so many bytes, be it that there are not so many
 * addresses: the moment for a heap profile, and with the option xmalloc the end.  All calls of
 * this header that answer NULL have said so themselves.
 */
void rcl_heap_no_memory(size_t size);

/* --- what jemalloc's flags can ask for ---------------------------------------------------- */

/* The bytes a block for such a request has; 0: more than there can be.  align: 0 is any. */
size_t rcl_heap_real_size(size_t size, size_t align);

/* zero: all of the block.  via may be NULL. */
void *rcl_heap_alloc_via(size_t size, size_t align, bool zero, const struct rcl_via *via);

void rcl_heap_free_via(void *p, const struct rcl_via *via, const char *caller);

/* zero: what is new behind the block as it was.  Unlike rcl_heap_realloc it leaves no room. */
void *rcl_heap_realloc_via(void *p, size_t size, size_t align, bool zero,
                           const struct rcl_via *via);

/*
 * At least `size`, if possible `extra` more, shrunk to that if it is longer; the bytes it has now,
 * which may be too few.  A block of a small or medium class stays as it is.
 */
size_t rcl_heap_resize_in_place(void *p, size_t size, size_t extra, size_t align, bool zero);

#endif
