/* SPDX-License-Identifier: MIT */
/*
 * jemalloc.h - jemalloc's interface as libreclaim answers it, for programs that want it
 * without jemalloc's own header.
 *
 * A program that was compiled with <jemalloc/jemalloc.h> of jemalloc 5 needs nothing of
 * this: names, types and flags are the same.  One that includes this file in that one's
 * place compiles, unless it fills in extent hooks, which there are not.
 * doc/jemalloc-compat.md has the state of each name.
 */
#ifndef RECLAIM_JEMALLOC_H
#define RECLAIM_JEMALLOC_H

/* What jemalloc's header brings along: malloc and free, aligned_alloc, bool, malloc_usable_size. */
#include <limits.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The jemalloc whose manual is followed: mallctl("version") begins so. */
#define JEMALLOC_VERSION "5.3.0-0-g0"
#define JEMALLOC_VERSION_MAJOR 5
#define JEMALLOC_VERSION_MINOR 3
#define JEMALLOC_VERSION_BUGFIX 0
#define JEMALLOC_VERSION_NREV 0
#define JEMALLOC_VERSION_GID "0"

/* The flags: alignment, as a power of two or as itself; zeroed; which cache; which arena. */
#define MALLOCX_LG_ALIGN(lg) ((int)(lg))
#define MALLOCX_ALIGN(a) ((int)(__builtin_ffsl((long)(a)) - 1))
#define MALLOCX_ZERO ((int)0x40)
#define MALLOCX_TCACHE(id) ((int)(((unsigned)(id) + 2) << 8))
#define MALLOCX_TCACHE_NONE ((int)0x100)
#define MALLOCX_ARENA(index) ((int)(((unsigned)(index) + 1) << 20))

/* In the place of an arena's index in mallctl names: all arenas, or all destroyed ones. */
#define MALLCTL_ARENAS_ALL 4096
#define MALLCTL_ARENAS_DESTROYED 4097

/*
 * Only for pointers to it, all of them null: who has hooks to give finds out when compiling
 * that arenas.create would refuse them.
 */
typedef struct extent_hooks_s extent_hooks_t;

/* Out of memory is NULL; errno is left alone. */
void *mallocx(size_t size, int flags);
void *rallocx(void *p, size_t size, int flags);

/* In place: the bytes the block has now, less than `size` if it could not grow. */
size_t xallocx(void *p, size_t size, size_t extra, int flags);

size_t sallocx(const void *p, int flags);
void dallocx(void *p, int flags);
void sdallocx(void *p, size_t size, int flags);

/* The bytes a block of that request would have; 0: more than there can be. */
size_t nallocx(size_t size, int flags);

/*
 * Read and write by name, or by a name translated once.  0, or ENOENT (no such name),
 * EPERM (not readable, not writable), EINVAL (wrong length or value), EAGAIN (no memory),
 * EFAULT (could not be done).
 */
int mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen);
int mallctlnametomib(const char *name, size_t *mibp, size_t *miblenp);
int mallctlbymib(const size_t *mib, size_t miblen, void *oldp, size_t *oldlenp, void *newp,
                 size_t newlen);

/* Statistics as text, or with 'J' among `opts` as JSON; see reclaim.h. */
void malloc_stats_print(void (*write_cb)(void *, const char *), void *cbopaque, const char *opts);

/* Options, where the program defines it; and where messages go, where it is set. */
extern const char *malloc_conf;
extern void (*malloc_message)(void *opaque, const char *text);

#ifdef __cplusplus
}
#endif

#endif
