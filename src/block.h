/* SPDX-License-Identifier: MIT */
/*
 * block.h - from an address that the program hands over to the block it means, and from
 * a size to the kind of block.
 *
 * What is no live block ends the program with one line that names `caller` and says what
 * is known of the address.  No lock is needed: who owns a block owns what describes it.
 */
#ifndef RCL_BLOCK_H
#define RCL_BLOCK_H

#include "base.h"
#include "huge.h"
#include "large.h"
#include "span.h"

/* The class of a request: small or medium, or LARGE or HUGE.  align: at least RCL_MIN_ALIGN. */
unsigned rcl_block_class_for(size_t size, size_t align);

/* The address is that of no live block. */
__attribute__((noreturn, cold)) void rcl_not_a_block(const void *p, const char *caller);

/* The descriptor of a run or a mapping, which the class says it is; its start is checked. */
struct rcl_span *rcl_block_run(const void *p, const char *caller);
struct rcl_huge *rcl_block_huge(const void *p, const char *caller);

/* Of a class that is cached: not inside a block, and not free as far as the slab knows. */
void rcl_block_check(const void *p, unsigned cls, const char *caller);

/* Bytes usable; constant while the block lives. */
size_t rcl_block_usable(const void *p, const char *caller);

/* The same for a block that is known to be one. */
size_t rcl_block_bytes(const void *p);

#endif
