/* SPDX-License-Identifier: MIT */
/*
 * jemalloc.h - jemalloc's interface as libreclaim answers it, for programs that want it
 * without jemalloc's own header.
 *
 * A program that was compiled with <jemalloc/jemalloc.h> of jemalloc 5 needs nothing of
 * this: names, types and flags are the same.  doc/jemalloc-compat.md has the state of
 * each name.
 */
#ifndef RECLAIM_JEMALLOC_H
#define RECLAIM_JEMALLOC_H

#include <limits.h>
#include <stddef.h>
#include <strings.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The flags: alignment, as a power of two or as itself; zeroed; which cache; which arena. */
#define MALLOCX_LG_ALIGN(lg) ((int)(lg))
#define MALLOCX_ALIGN(a) ((int)(ffsl((long)(a)) - 1))
#define MALLOCX_ZERO ((int)0x40)
#define MALLOCX_TCACHE(id) ((int)(((unsigned)(id) + 2) << 8))
#define MALLOCX_TCACHE_NONE ((int)0x100)
#define MALLOCX_ARENA(index) ((int)(((unsigned)(index) + 1) << 20))

/* In the place of an arena's index in mallctl names: all arenas, or all destroyed ones. */
#define MALLCTL_ARENAS_ALL 4096
#define MALLCTL_ARENAS_DESTROYED 4097

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
