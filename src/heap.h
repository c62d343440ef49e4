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

/* `size` bytes aligned to 16, uninitialised. */
void *rcl_heap_alloc(size_t size);

/* The same, aligned to `align`, a power of two. */
void *rcl_heap_alloc_aligned(size_t align, size_t size);

/* The same, aligned to 16 and zero. */
void *rcl_heap_alloc_zero(size_t size);

/* p may be NULL. */
void rcl_heap_free(void *p, const char *caller);

/* p is not NULL, size is not 0.  NULL: `p` is untouched. */
void *rcl_heap_realloc(void *p, size_t size);

/* Bytes usable at p (not NULL); constant while the block lives. */
size_t rcl_heap_usable(const void *p, const char *caller);

#endif
