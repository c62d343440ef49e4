/* SPDX-License-Identifier: MIT */
/*
 * malloc.c - the C, POSIX and glibc entry points: argument rules, errno, and the
 * hit path.  Everything that is not a hit is one tail call away, in heap.c.
 */
#include "account.h"
#include "boot.h"
#include "control.h"
#include "die.h"
#include "heap.h"
#include "options.h"
#include "os.h"
#include "pagemap.h"
#include "sizeclass.h"
#include "thread.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* --- the hit path ------------------------------------------------------------------------- */

static RCL_COLD void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* More than can be said in bytes; heap.c hears of what it is not asked for. */
static RCL_COLD void *too_much(void)
{
    rcl_heap_no_memory(SIZE_MAX);
    return out_of_memory();
}

RCL_OWN static RCL_NOINLINE void *malloc_slow(size_t size)
{
    void *p = rcl_heap_alloc(size);
    return likely(p != NULL) ? p : out_of_memory();
}

/* Apart from the slow path, which needs a frame. */
RCL_OWN static RCL_NOINLINE void *malloc_larger(size_t size)
{
    void *p = rcl_heap_pop_medium(size);
    return likely(p != NULL) ? p : malloc_slow(size);
}

/* A hit too, while profiling: made as short as it can be. */
RCL_OWN static RCL_NOINLINE void *malloc_missed(size_t size)
{
    /* The class is found again: to keep it would cost the hit an instruction. */
    void *p = rcl_thread_pop_counted(&rcl_tls, rcl_class_of_small(size));
    return likely(p != NULL) ? p : malloc_slow(size);
}

/* The bodies are apart from the names, so that our own uses cannot be interposed. */
static inline void *do_malloc(size_t size)
{
    if (likely(size <= RCL_SMALL_MAX)) {
        struct rcl_tls *self = &rcl_tls;
        void *p = rcl_tcache_pop(rcl_thread_begin_alloc(self), rcl_class_of_small(size));
        if (unlikely(p == NULL))
            return malloc_missed(size);
        rcl_thread_end(self);
        return p;
    }
    return malloc_larger(size);
}

RCL_OWN RCL_EXPORT void *malloc(size_t size)
{
    return do_malloc(size);
}

static RCL_NOINLINE void free_slow(void *p)
{
    rcl_heap_free(p, "free");
}

static inline void do_free(void *p)
{
    struct rcl_tls *self = &rcl_tls;
    /* Class 0, "no block starts here", and classes without a cache are full: push fails. */
    if (likely(rcl_tcache_push(rcl_thread_begin_free(self), rcl_pagemap_class(p), p)))
        rcl_thread_end(self);
    else
        free_slow(p);
}

RCL_EXPORT void free(void *p)
{
    do_free(p);
}

/* --- the rest of the C library's functions ------------------------------------------------ */

RCL_OWN RCL_EXPORT void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (unlikely(__builtin_mul_overflow(count, size, &bytes)))
        return too_much();
    if (likely(bytes <= RCL_SMALL_MAX)) {
        struct rcl_tls *self = &rcl_tls;
        void *p = rcl_tcache_pop(rcl_thread_begin_alloc(self), rcl_class_of_small(bytes));
        if (likely(p != NULL)) {
            rcl_thread_end(self);
            return memset(p, 0, bytes);
        }
    }
    void *p = rcl_heap_alloc_zero(bytes);
    return likely(p != NULL) ? p : out_of_memory();
}

/* True: the block is gone, as glibc has it; C23 leaves it undefined. */
static RCL_COLD bool realloc_to_nothing(void *p)
{
    rcl_account_count(&rcl_account.zero_reallocs, 1);
    if (rcl_opt.zero_realloc == RCL_ZERO_REALLOC_ALLOC)
        return false;
    if (rcl_opt.zero_realloc == RCL_ZERO_REALLOC_ABORT)
        rcl_die("realloc(): size 0 for %p, and zero_realloc:abort asks to end then", p);
    rcl_heap_free(p, "realloc");
    return true;
}

RCL_OWN static void *do_realloc(void *p, size_t size)
{
    if (p == NULL)
        return do_malloc(size);
    if (size == 0 && realloc_to_nothing(p))
        return NULL;
    void *q = rcl_heap_realloc(p, size);
    return likely(q != NULL) ? q : out_of_memory();
}

RCL_OWN RCL_EXPORT void *realloc(void *p, size_t size)
{
    return do_realloc(p, size);
}

RCL_OWN RCL_EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (unlikely(__builtin_mul_overflow(count, size, &bytes)))
        return too_much();
    return do_realloc(p, bytes);
}

/* C23: the size is the program's promise; the page map knows better, so it is not needed. */
RCL_EXPORT void free_sized(void *p, size_t size);
RCL_EXPORT void free_sized(void *p, size_t size)
{
    (void)size;
    do_free(p);
}

RCL_EXPORT void free_aligned_sized(void *p, size_t align, size_t size);
RCL_EXPORT void free_aligned_sized(void *p, size_t align, size_t size)
{
    (void)align;
    (void)size;
    do_free(p);
}

static RCL_NOINLINE RCL_OWN void *aligned_missed(size_t align, size_t size)
{
    void *p = align <= RCL_MIN_ALIGN ? rcl_heap_alloc(size)
                                     : rcl_heap_alloc_aligned_slow(align, size);
    return likely(p != NULL) ? p : out_of_memory();
}

/* align: a power of two. */
static inline void *aligned_or_errno(size_t align, size_t size)
{
    void *p = rcl_heap_pop_aligned(align, size);
    return likely(p != NULL) ? p : aligned_missed(align, size);
}

RCL_OWN RCL_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
    if (!rcl_is_pow2(align) || align % sizeof(void *) != 0)
        return EINVAL;
    void *p = aligned_or_errno(align, size);
    if (p == NULL)
        return ENOMEM; /* POSIX leaves errno open; programs read what glibc sets */
    *out = p;
    return 0;
}

RCL_OWN RCL_EXPORT void *aligned_alloc(size_t align, size_t size)
{
    if (unlikely(!rcl_is_pow2(align))) {
        errno = EINVAL;
        return NULL;
    }
    return aligned_or_errno(align, size);
}

RCL_OWN RCL_EXPORT void *memalign(size_t align, size_t size)
{
    /* glibc rounds an odd alignment up to a power of two, and refuses what has none. */
    if (unlikely(align > SIZE_MAX / 2 + 1)) {
        errno = EINVAL;
        return NULL;
    }
    size_t pow2 = RCL_MIN_ALIGN;
    while (pow2 < align)
        pow2 *= 2;
    return aligned_or_errno(pow2, size);
}

RCL_OWN RCL_EXPORT void *valloc(size_t size)
{
    rcl_boot(); /* knows the page size */
    return aligned_or_errno(rcl_page_size(), size);
}

RCL_OWN RCL_EXPORT void *pvalloc(size_t size)
{
    rcl_boot();
    size_t page = rcl_page_size();
    if (size > PTRDIFF_MAX - page)
        return too_much();
    return aligned_or_errno(page, rcl_align_up(size, page));
}

RCL_EXPORT size_t malloc_usable_size(void *p)
{
    /* Whether the slab knows such a block is left to free: nothing is changed here. */
    unsigned cls = rcl_pagemap_class(p);
    if (likely(rcl_class_is_small(cls)))
        return rcl_classes[cls].size;
    return p == NULL ? 0 : rcl_heap_usable(p, "malloc_usable_size");
}

/* --- glibc's own -------------------------------------------------------------------------- */

RCL_EXPORT int malloc_trim(size_t pad)
{
    /* `pad` asks to keep room at the top of glibc's heap; there is no such place here. */
    (void)pad;
    return rcl_control_purge() != 0;
}

RCL_EXPORT int mallopt(int parameter, int value)
{
    /* Most tune mechanisms that do not exist here, so there is nothing to refuse. */
    switch (parameter) {
    case M_MXFAST: /* glibc's limit */
        return value >= 0 && (size_t)value <= 80 * sizeof(size_t) / 4;
    case M_PERTURB: /* the option `junk` does so, from the start or not at all */
        return value == 0;
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_ARENA_TEST:
    case M_ARENA_MAX:
        return 1;
    default:
        return 0;
    }
}

/*
 * The names under which glibc exports its own functions: some programs call them
 * from wrappers, and in a static link they keep glibc's malloc out.
 */
#if __has_attribute(copy)
#define LIKE(of) __attribute__((copy(of)))
#else
#define LIKE(of)
#endif
#define ALIAS(name, of) RCL_EXPORT extern LIKE(of) __typeof__(of) name __attribute__((alias(#of)))
ALIAS(cfree, free);
ALIAS(__libc_malloc, malloc);
ALIAS(__libc_calloc, calloc);
ALIAS(__libc_realloc, realloc);
ALIAS(__libc_free, free);
ALIAS(__libc_memalign, memalign);
ALIAS(__libc_valloc, valloc);
ALIAS(__libc_pvalloc, pvalloc);
ALIAS(__libc_mallopt, mallopt);
ALIAS(__posix_memalign, posix_memalign);
