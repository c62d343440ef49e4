/* SPDX-License-Identifier: MIT */
/*
 * new.c - the C++ operators new and delete, in C: their mangled names are asm
 * labels, and what they need of the C++ run time (the new-handler, the throw) is
 * referenced weakly.  So the library needs no libstdc++, and a C++ program that
 * brings one gets its exceptions from there.
 *
 * Compiled with -fexceptions, so that an exception can pass through.
 */
#include "die.h"
#include "heap.h"
#include "pagemap.h"
#include "sizeclass.h"
#include "thread.h"

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <dlfcn.h>
#include <stdlib.h>

/* Weak, so that a fully static program, which cannot have it, does without. */
extern __typeof__(dlsym) dlsym __attribute__((weak));

typedef void new_handler(void);
extern new_handler *std_get_new_handler(void) __asm__("_ZSt15get_new_handlerv")
    __attribute__((weak));
extern void std_throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv")
    __attribute__((weak, noreturn));

/* [new.delete.single]: call the new-handler and try again, until there is none. */
RCL_OWN static RCL_COLD void *new_failed(size_t size, size_t align)
{
    new_handler *handler;
    while (std_get_new_handler != NULL && (handler = std_get_new_handler()) != NULL) {
        handler();
        void *p = align > RCL_MIN_ALIGN ? rcl_heap_alloc_aligned(align, size)
                                        : rcl_heap_alloc(size);
        if (p != NULL)
            return p;
    }
    if (std_throw_bad_alloc != NULL)
        std_throw_bad_alloc();
    rcl_die("operator new: out of memory for %zu bytes, and no C++ run time to throw bad_alloc",
            size);
}

/*
 * The nothrow forms call the ordinary ones and turn what these throw, or the
 * new-handler, into NULL.  C cannot catch; the run time's own nothrow forms can,
 * and the operators they call are ours.  Without a handler there is nothing to do.
 */
static RCL_COLD void *new_failed_nothrow(size_t size, size_t align, const void *tag)
{
    if (std_get_new_handler == NULL || std_get_new_handler() == NULL || dlsym == NULL)
        return NULL;
    void *found = dlsym(RTLD_NEXT, align > RCL_MIN_ALIGN ? "_ZnwmSt11align_val_tRKSt9nothrow_t"
                                                         : "_ZnwmRKSt9nothrow_t");
    if (found == NULL)
        return NULL;
    if (align > RCL_MIN_ALIGN)
        return ((void *(*)(size_t, size_t, const void *))found)(size, align, tag);
    return ((void *(*)(size_t, const void *))found)(size, tag);
}

static inline void *new_hit(size_t size)
{
    if (unlikely(size > RCL_SMALL_MAX))
        return NULL;
    struct rcl_tls *self = &rcl_tls;
    void *p = rcl_tcache_pop(rcl_thread_begin_alloc(self), rcl_class_of_small(size));
    if (likely(p != NULL))
        rcl_thread_end(self);
    return p;
}

/* The hit while profiling, after a miss. */
static inline void *new_counted(size_t size)
{
    return size <= RCL_SMALL_MAX ? rcl_thread_pop_counted(&rcl_tls, rcl_class_of_small(size))
                                 : NULL;
}

RCL_OWN static RCL_NOINLINE void *new_slow(size_t size)
{
    void *p = new_counted(size);
    if (p == NULL)
        p = rcl_heap_alloc(size);
    return likely(p != NULL) ? p : new_failed(size, RCL_MIN_ALIGN);
}

RCL_OWN static RCL_NOINLINE void *new_slow_nothrow(size_t size, const void *tag)
{
    void *p = new_counted(size);
    if (p == NULL)
        p = rcl_heap_alloc(size);
    return likely(p != NULL) ? p : new_failed_nothrow(size, RCL_MIN_ALIGN, tag);
}

RCL_OWN static void *new_aligned(size_t size, size_t align)
{
    return align > RCL_MIN_ALIGN ? rcl_heap_alloc_aligned(align, size) : rcl_heap_alloc(size);
}

/* clang-format off */
#define NEW(name, mangled)                                                      \
    RCL_EXPORT void *name(size_t size) __asm__(mangled);                        \
    RCL_OWN void *name(size_t size)                                             \
    {                                                                           \
        void *p = new_hit(size);                                                \
        return likely(p != NULL) ? p : new_slow(size);                          \
    }
#define NEW_NOTHROW(name, mangled)                                              \
    RCL_EXPORT void *name(size_t size, const void *tag) __asm__(mangled);       \
    RCL_OWN void *name(size_t size, const void *tag)                            \
    {                                                                           \
        void *p = new_hit(size);                                                \
        return likely(p != NULL) ? p : new_slow_nothrow(size, tag);             \
    }
#define NEW_ALIGNED(name, mangled)                                              \
    RCL_EXPORT void *name(size_t size, size_t align) __asm__(mangled);          \
    RCL_OWN void *name(size_t size, size_t align)                               \
    {                                                                           \
        void *p = new_aligned(size, align);                                     \
        return likely(p != NULL) ? p : new_failed(size, align);                 \
    }
#define NEW_ALIGNED_NOTHROW(name, mangled)                                      \
    RCL_EXPORT void *name(size_t size, size_t align, const void *tag) __asm__(mangled); \
    RCL_OWN void *name(size_t size, size_t align, const void *tag)              \
    {                                                                           \
        void *p = new_aligned(size, align);                                     \
        return likely(p != NULL) ? p : new_failed_nothrow(size, align, tag);    \
    }

NEW(rcl_new, "_Znwm")
NEW(rcl_new_array, "_Znam")
NEW_NOTHROW(rcl_new_nothrow, "_ZnwmRKSt9nothrow_t")
NEW_NOTHROW(rcl_new_array_nothrow, "_ZnamRKSt9nothrow_t")
NEW_ALIGNED(rcl_new_aligned, "_ZnwmSt11align_val_t")
NEW_ALIGNED(rcl_new_array_aligned, "_ZnamSt11align_val_t")
NEW_ALIGNED_NOTHROW(rcl_new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t")
NEW_ALIGNED_NOTHROW(rcl_new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t")

/* Whatever else delete is told (size, alignment, nothrow), the pointer says it all. */
#define DELETE(name, mangled)                                                   \
    RCL_EXPORT void name(void *p) __asm__(mangled);                             \
    void name(void *p)                                                          \
    {                                                                           \
        struct rcl_tls *self = &rcl_tls;                                        \
        if (likely(rcl_tcache_push(rcl_thread_begin_free(self), rcl_pagemap_class(p), p))) \
            rcl_thread_end(self);                                               \
        else                                                                    \
            rcl_heap_free(p, "operator delete");                                \
    }

DELETE(rcl_delete, "_ZdlPv")
DELETE(rcl_delete_array, "_ZdaPv")
DELETE(rcl_delete_sized, "_ZdlPvm")
DELETE(rcl_delete_array_sized, "_ZdaPvm")
DELETE(rcl_delete_nothrow, "_ZdlPvRKSt9nothrow_t")
DELETE(rcl_delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")
DELETE(rcl_delete_aligned, "_ZdlPvSt11align_val_t")
DELETE(rcl_delete_array_aligned, "_ZdaPvSt11align_val_t")
DELETE(rcl_delete_sized_aligned, "_ZdlPvmSt11align_val_t")
DELETE(rcl_delete_array_sized_aligned, "_ZdaPvmSt11align_val_t")
DELETE(rcl_delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t")
DELETE(rcl_delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t")
/* clang-format on */
