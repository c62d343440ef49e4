/* SPDX-License-Identifier: MIT */
/*
 * new.c - the C++ operators new and delete, in C: their mangled names are asm labels.
 *
 * A program may replace operator new(size_t) and operator delete(void *) alone, and then
 * every other form must end in its two.  So a form that C++ defines by another calls that one
 * as anybody would, by its name, unless nothing is replaced: then it is a hit of its own.
 * That question costs the hit nothing, because it is asked by a comparison that is there
 * anyway: sizes and addresses are compared with bounds, and where something is replaced the
 * bounds are zero and every hit is a miss.  They are zero too until our constructor has run.
 *
 * The new-handler and the throw are the C++ run time's.  The shared library serves programs
 * without one too, and looks for it when a block is refused.  In a static link this file is an
 * object of its own, reclaim-cxx.o: it needs the run time, and in an archive only a strong
 * reference finds something.  The definitions are weak, so that the program's own win.
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

/* Weak, and so never inlined nor called but by name, whatever the compiler is told. */
#define OPERATOR RCL_EXPORT __attribute__((weak))

/* Two names of one body would be a jump from the one to the other. */
#if __has_attribute(no_icf)
#define APART __attribute__((no_icf))
#else
#define APART
#endif

typedef void new_handler(void);

#ifdef RCL_STATIC
#define RUN_TIME
#else
#define RUN_TIME __attribute__((weak))
#endif
extern new_handler *std_get_new_handler(void) __asm__("_ZSt15get_new_handlerv") RUN_TIME;
extern void std_throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv") RUN_TIME
    __attribute__((noreturn));

/*
 * For forms that C++ defines by others: sizes, and entries of the page map's root, that miss.
 * Not static: of two possible values clang would make a flag, and then choose in every hit.
 */
extern size_t rcl_new_bound, rcl_delete_bound;
size_t rcl_new_bound;
size_t rcl_delete_bound;

/* --- the C++ run time --------------------------------------------------------------------- */

#ifdef RCL_STATIC
#define FROM_RUN_TIME(function, name) (function)
#else
#define FROM_RUN_TIME(function, name) \
    ((function) != NULL ? (function) : (__typeof__(function) *)find_in_run_time(name))

/* Weak, for libraries of a C library that has them elsewhere. */
extern __typeof__(dlsym) dlsym __attribute__((weak));
extern __typeof__(dlopen) dlopen __attribute__((weak));
extern __typeof__(dlclose) dlclose __attribute__((weak));

/*
 * Weak references are bound when the program starts, and an interpreter may get its C++ run time
 * with an extension later, out of sight of RTLD_DEFAULT.  Not remembered: it may go again.
 * No lock is held, so that the dynamic linker may allocate.
 */
static RCL_COLD void *find_in_run_time(const char *name)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1"};
    if (dlsym == NULL)
        return NULL;
    void *found = dlsym(RTLD_NEXT, name);
    for (size_t i = 0; found == NULL && dlopen != NULL && i < array_len(libraries); i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
        if (library != NULL) {
            found = dlsym(library, name);
            dlclose(library); /* the caller's code keeps it */
        }
    }
    return found;
}
#endif

static RCL_COLD new_handler *current_handler(void)
{
    new_handler *(*get)(void) = FROM_RUN_TIME(std_get_new_handler, "_ZSt15get_new_handlerv");
    return get != NULL ? get() : NULL;
}

/* --- operator new ------------------------------------------------------------------------- */

RCL_OWN static void *new_aligned(size_t size, size_t align)
{
    return align > RCL_MIN_ALIGN ? rcl_heap_alloc_aligned(align, size) : rcl_heap_alloc(size);
}

/* [new.delete.single]: call the new-handler and try again, until there is none. */
RCL_OWN static RCL_COLD void *new_failed(size_t size, size_t align)
{
    new_handler *handler;
    while ((handler = current_handler()) != NULL) {
        handler();
        void *p = new_aligned(size, align);
        if (p != NULL)
            return p;
    }
    void (*throw_bad_alloc)(void) = FROM_RUN_TIME(std_throw_bad_alloc, "_ZSt17__throw_bad_allocv");
    if (throw_bad_alloc != NULL)
        throw_bad_alloc();
    rcl_die("operator new: out of memory for %zu bytes, and no C++ run time to throw bad_alloc",
            size);
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

static inline void *new_hit(size_t size, size_t bound)
{
    if (unlikely(size >= bound))
        return NULL;
    struct rcl_tls *self = &rcl_tls;
    void *p = rcl_tcache_pop(rcl_thread_begin_alloc(self), rcl_class_of_small(size));
    if (likely(p != NULL))
        rcl_thread_end(self);
    return p;
}

/* own_NAME: the form itself, for us; whoever says NAME gets what the program put in its place. */
/* clang-format off */
#define OWN(name, mangled)                                                      \
    extern __typeof__(name) own_##name __asm__("rcl_own" mangled)               \
        __attribute__((alias(mangled), visibility("hidden")));

#define NEW(name, mangled)                                                      \
    OPERATOR void *name(size_t size) __asm__(mangled);                          \
    RCL_OWN void *name(size_t size)                                             \
    {                                                                           \
        void *p = new_hit(size, RCL_SMALL_MAX + 1);                             \
        return likely(p != NULL) ? p : new_slow(size);                          \
    }                                                                           \
    OWN(name, mangled)
#define NEW_FROM(other, name, mangled)                                          \
    OPERATOR void *name(size_t size) __asm__(mangled);                          \
    RCL_OWN void *name(size_t size)                                             \
    {                                                                           \
        void *p = new_hit(size, rcl_new_bound);                                 \
        return likely(p != NULL) ? p : other(size);                             \
    }                                                                           \
    OWN(name, mangled)
#define NEW_ALIGNED(name, mangled)                                              \
    OPERATOR void *name(size_t size, size_t align) __asm__(mangled);            \
    RCL_OWN void *name(size_t size, size_t align)                               \
    {                                                                           \
        void *p = new_aligned(size, align);                                     \
        return likely(p != NULL) ? p : new_failed(size, align);                 \
    }                                                                           \
    OWN(name, mangled)
#define NEW_ALIGNED_FROM(other, name, mangled)                                  \
    OPERATOR void *name(size_t size, size_t align) __asm__(mangled);            \
    RCL_OWN void *name(size_t size, size_t align)                               \
    {                                                                           \
        return other(size, align);                                              \
    }                                                                           \
    OWN(name, mangled)

NEW(rcl_new, "_Znwm")
NEW_FROM(rcl_new, rcl_new_array, "_Znam")
NEW_ALIGNED(rcl_new_aligned, "_ZnwmSt11align_val_t")
NEW_ALIGNED_FROM(rcl_new_aligned, rcl_new_array_aligned, "_ZnamSt11align_val_t")

/* --- operator delete ---------------------------------------------------------------------- */

/* Whatever else delete is told (size, alignment, nothrow), the pointer says it all. */
static inline bool delete_hit(void *p, size_t bound)
{
    struct rcl_tls *self = &rcl_tls;
    bool hit = rcl_tcache_push(rcl_thread_begin_free(self), rcl_pagemap_class_within(p, bound), p);
    if (likely(hit))
        rcl_thread_end(self);
    return hit;
}

#define DELETE(name, mangled)                                                   \
    OPERATOR void name(void *p) __asm__(mangled);                               \
    APART void name(void *p)                                                    \
    {                                                                           \
        if (unlikely(!delete_hit(p, RCL_ROOT_ENTRIES)))                         \
            rcl_heap_free(p, "operator delete");                                \
    }                                                                           \
    OWN(name, mangled)
#define DELETE_FROM(other, name, mangled)                                       \
    OPERATOR void name(void *p) __asm__(mangled);                               \
    APART void name(void *p)                                                    \
    {                                                                           \
        if (unlikely(!delete_hit(p, rcl_delete_bound)))                         \
            other(p);                                                           \
    }                                                                           \
    OWN(name, mangled)
/* The alignment is passed on: the program's own may look at it. */
#define DELETE_ALIGNED(name, mangled)                                           \
    OPERATOR void name(void *p, size_t align) __asm__(mangled);                 \
    APART void name(void *p, size_t align)                                      \
    {                                                                           \
        (void)align;                                                            \
        if (unlikely(!delete_hit(p, RCL_ROOT_ENTRIES)))                         \
            rcl_heap_free(p, "operator delete");                                \
    }                                                                           \
    OWN(name, mangled)
#define DELETE_ALIGNED_FROM(other, name, mangled)                               \
    OPERATOR void name(void *p, size_t align) __asm__(mangled);                 \
    APART void name(void *p, size_t align)                                      \
    {                                                                           \
        if (unlikely(!delete_hit(p, rcl_delete_bound)))                         \
            other(p, align);                                                    \
    }                                                                           \
    OWN(name, mangled)
#define DELETE_SIZED_ALIGNED_FROM(other, name, mangled)                         \
    OPERATOR void name(void *p, size_t size, size_t align) __asm__(mangled);    \
    APART void name(void *p, size_t size, size_t align)                         \
    {                                                                           \
        (void)size;                                                             \
        if (unlikely(!delete_hit(p, rcl_delete_bound)))                         \
            other(p, align);                                                    \
    }

DELETE(rcl_delete, "_ZdlPv")
DELETE_FROM(rcl_delete, rcl_delete_array, "_ZdaPv")
DELETE_FROM(rcl_delete, rcl_delete_sized, "_ZdlPvm")
DELETE_FROM(rcl_delete_array, rcl_delete_array_sized, "_ZdaPvm")
DELETE_FROM(rcl_delete, rcl_delete_nothrow, "_ZdlPvRKSt9nothrow_t")
DELETE_FROM(rcl_delete_array, rcl_delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")
DELETE_ALIGNED(rcl_delete_aligned, "_ZdlPvSt11align_val_t")
DELETE_ALIGNED_FROM(rcl_delete_aligned, rcl_delete_array_aligned, "_ZdaPvSt11align_val_t")
DELETE_SIZED_ALIGNED_FROM(rcl_delete_aligned, rcl_delete_sized_aligned, "_ZdlPvmSt11align_val_t")
DELETE_SIZED_ALIGNED_FROM(rcl_delete_array_aligned, rcl_delete_array_sized_aligned,
                          "_ZdaPvmSt11align_val_t")
DELETE_ALIGNED_FROM(rcl_delete_aligned, rcl_delete_aligned_nothrow,
                    "_ZdlPvSt11align_val_tRKSt9nothrow_t")
DELETE_ALIGNED_FROM(rcl_delete_array_aligned, rcl_delete_array_aligned_nothrow,
                    "_ZdaPvSt11align_val_tRKSt9nothrow_t")
/* clang-format on */

/* --- does the program bring its own? ------------------------------------------------------ */

/* Of those that others are defined by.  The loader has bound the names; they stay so. */
static bool is_replaced(void)
{
    static const void *const named[] = {
        rcl_new,    rcl_new_array,    rcl_new_aligned,    rcl_new_array_aligned,
        rcl_delete, rcl_delete_array, rcl_delete_aligned, rcl_delete_array_aligned,
    };
    const void *const ours[] = {
        own_rcl_new,    own_rcl_new_array,    own_rcl_new_aligned,    own_rcl_new_array_aligned,
        own_rcl_delete, own_rcl_delete_array, own_rcl_delete_aligned, own_rcl_delete_array_aligned,
    };
    for (size_t i = 0; i < array_len(named); i++) {
        const void *one = named[i];
        __asm__("" : "+r"(one)); /* whether the two are the same is not for the compiler to know */
        if (one != ours[i])
            return true;
    }
    return false;
}

__attribute__((constructor)) static void operators_boot(void)
{
    if (is_replaced())
        return;
    rcl_new_bound = RCL_SMALL_MAX + 1;
    rcl_delete_bound = RCL_ROOT_ENTRIES;
}

/* --- operator new(nothrow) ---------------------------------------------------------------- */

#ifndef RCL_STATIC /* a static link takes the run time's own */
/*
 * The nothrow forms call the ordinary ones and turn what these, or the new-handler, throw into
 * NULL.  C cannot catch; the run time's own nothrow forms can, and the operators they call are
 * those of everybody: ours or the program's.
 */
RCL_OWN static RCL_NOINLINE void *nothrow_slow(size_t size, const void *tag, const char *form,
                                               void *(*other)(size_t))
{
    bool ours = !is_replaced();
    if (ours) {
        void *p = rcl_heap_alloc(size);
        if (likely(p != NULL) || current_handler() == NULL)
            return p;
    }
    void *(*found)(size_t, const void *) = find_in_run_time(form);
    if (found != NULL)
        return found(size, tag);
    return ours ? NULL : other(size);
}

RCL_OWN static RCL_NOINLINE void *nothrow_aligned(size_t size, size_t align, const void *tag,
                                                  const char *form, void *(*other)(size_t, size_t))
{
    bool ours = !is_replaced();
    if (ours) {
        void *p = new_aligned(size, align);
        if (likely(p != NULL) || current_handler() == NULL)
            return p;
    }
    void *(*found)(size_t, size_t, const void *) = find_in_run_time(form);
    if (found != NULL)
        return found(size, align, tag);
    return ours ? NULL : other(size, align);
}

/* clang-format off */
#define NEW_NOTHROW(other, name, mangled)                                       \
    OPERATOR void *name(size_t size, const void *tag) __asm__(mangled);         \
    RCL_OWN void *name(size_t size, const void *tag)                            \
    {                                                                           \
        void *p = new_hit(size, rcl_new_bound);                                 \
        return likely(p != NULL) ? p : nothrow_slow(size, tag, mangled, other); \
    }
#define NEW_ALIGNED_NOTHROW(other, name, mangled)                               \
    OPERATOR void *name(size_t size, size_t align, const void *tag) __asm__(mangled); \
    RCL_OWN void *name(size_t size, size_t align, const void *tag)              \
    {                                                                           \
        return nothrow_aligned(size, align, tag, mangled, other);               \
    }

NEW_NOTHROW(rcl_new, rcl_new_nothrow, "_ZnwmRKSt9nothrow_t")
NEW_NOTHROW(rcl_new_array, rcl_new_array_nothrow, "_ZnamRKSt9nothrow_t")
NEW_ALIGNED_NOTHROW(rcl_new_aligned, rcl_new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t")
NEW_ALIGNED_NOTHROW(rcl_new_array_aligned, rcl_new_array_aligned_nothrow,
                    "_ZnamSt11align_val_tRKSt9nothrow_t")
/* clang-format on */
#endif
