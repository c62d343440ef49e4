/* SPDX-License-Identifier: MIT */
/*
 * hostile.h - limits so small that every rare path is a common one.
 *
 * ./configure --enable-hostile puts this file in front of every source file of the
 * library, with the internal checks on.  The behaviour must be the same as always; what
 * changes is how often caches overflow, tables grow and the last chunk runs out.  Each
 * limit has its real value in an #ifndef where it belongs.
 */
#ifndef RCL_HOSTILE_H
#define RCL_HOSTILE_H 1

/* A thread's cache holds three objects of a class: nearly every burst overflows it. */
#define RCL_TCACHE_CAP_MAX 3

/* The smallest mapping that still holds the largest page run: chunks come and go. */
#define RCL_CHUNK_BYTES ((size_t)1 << 20)

/* A metadata block of one page: new blocks after a few dozen objects. */
#define RCL_META_BLOCK_BYTES ((size_t)4096)

/* One arena: all threads meet at the same locks. */
#define RCL_ARENAS_MAX 1

#endif
