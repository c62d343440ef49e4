/* SPDX-License-Identifier: MIT */
/*
 * base.h - words every other file uses.
 */
#ifndef RCL_BASE_H
#define RCL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define RCL_COLD __attribute__((noinline, cold))
#define RCL_NOINLINE __attribute__((noinline))
/*
 * Reads what is not ours by a pointer that may be anything, after asking the kernel: frames and
 * objects of others, what the loader has mapped.  A sanitizer would not allow it.
 */
#ifdef __SANITIZE_THREAD__
#define RCL_FOREIGN __attribute__((no_sanitize_thread, noinline)) /* inlined, it would be again */
#else
#define RCL_FOREIGN __attribute__((no_sanitize_address))
#endif
/*
 * On the way from an entry point to where a heap profile captures the stack: the section
 * tells our own frames from the program's (prof_unwind.h), in a static link too.
 */
#define RCL_OWN __attribute__((section("rcl_text")))
#define RCL_EXPORT __attribute__((visibility("default")))
#define RCL_CACHELINE 64
#define RCL_ALIGNED(n) __attribute__((aligned(n)))

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define array_len(a) (sizeof(a) / sizeof((a)[0]))

static inline size_t rcl_align_up(size_t n, size_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static inline size_t rcl_align_down(size_t n, size_t align)
{
    return n & ~(align - 1);
}

static inline size_t rcl_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t rcl_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

static inline bool rcl_is_pow2(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/*
 * The granule of the page map: the smallest page any supported machine has.
 * The real page size is a run-time value (rcl_page_size() in os.h) and a
 * multiple of this; nothing else about it is compiled in.
 */
enum { RCL_GRANULE_SHIFT = 12 };
#define RCL_GRANULE ((size_t)1 << RCL_GRANULE_SHIFT)

/* Every block is aligned at least to this, whatever its size. */
enum { RCL_MIN_ALIGN = 16 };

#endif
