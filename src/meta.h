/* SPDX-License-Identifier: MIT */
/*
 * meta.h - memory for the allocator's own structures, apart from user memory.
 *
 *   segment (1 MiB, aligned)
 *   +--------+---------+---------+-- ... --+
 *   | table  | block 1 | block 2 |         |   a block holds objects of one size
 *   +--------+---------+---------+-- ... --+
 *
 * The table at the front describes the blocks, so an empty block holds nothing
 * and its pages can be returned (rcl_meta_purge): what describes returned memory
 * must not itself stay for ever.  Objects are multiples of a cache line.
 *
 * Thread-safe; one lock, the last in rank.  Out of memory is NULL.
 */
#ifndef RCL_META_H
#define RCL_META_H

#include "base.h"

enum { RCL_META_MAX = 4096 }; /* largest object */

/* Memory of at least `bytes` (1 .. RCL_META_MAX), cache-line aligned, content unspecified. */
void *rcl_meta_alloc(size_t bytes);

/* `bytes` as given to rcl_meta_alloc. */
void rcl_meta_free(void *p, size_t bytes);

/*
 * A zeroed table of any size, for good: what is wanted only by programs that switch something on
 * has no place in everybody's data.  Without the lock, so at any point; counted in rcl_meta_usage.
 */
void *rcl_meta_table(size_t bytes, const char *name);

/* Return the pages of empty blocks, if they hold more than `keep` bytes; the number returned. */
size_t rcl_meta_purge(size_t keep);

/* Every segment and table, for statistics: nothing may be allocated meanwhile. */
void rcl_meta_each(void (*fn)(void *arg, const void *addr, size_t bytes), void *arg);

/* Bytes in segments and tables (address space), and bytes in use by live objects and tables. */
void rcl_meta_usage(size_t *mapped, size_t *live);

#endif
