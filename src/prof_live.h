/* SPDX-License-Identifier: MIT */
/*
 * prof_live.h - the table of sampled blocks that are in use.
 *
 * By address, in shards chosen by the granule (pagemap.h) at which the block begins.
 * While a granule has a sample its class byte is SAMPLED or SAMPLED_HUGE, which no
 * thread cache holds: so every free of a block that begins there takes the slow path
 * and asks here.  The byte is written under the shard's lock and nowhere else.
 *
 * Thread-safe: one lock per shard.  All calls inside the gate.
 */
#ifndef RCL_PROF_LIVE_H
#define RCL_PROF_LIVE_H

#include "base.h"
#include "prof_stack.h"

/* Map the tables, for good; false: no memory.  Before the first sample; idempotent. */
bool rcl_live_boot(void);

/*
 * The block `p` of `bytes`, which its owner does not know yet, is a sample drawn under `mode`
 * (thread.h).  False: out of memory, or all samples of that mode have been forgotten.
 */
bool rcl_live_add(void *p, size_t bytes, struct rcl_stack *stack, uint32_t mode);

/*
 * Without lock or gate, for blocks on marked granules: false: `p` is no sample.  Counts of
 * samples by a hash of the address; the thread that frees a block has its address from the one
 * that allocated it, and so sees its count.
 */
enum { RCL_LIVE_COUNTS = 1 << 15 };
extern uint32_t *rcl_live_counts; /* NULL: there has been no sample */

static inline size_t rcl_live_count_index(const void *p)
{
    return ((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15u >> 49;
}

static inline bool rcl_live_maybe(const void *p)
{
    const uint32_t *counts = __atomic_load_n(&rcl_live_counts, __ATOMIC_RELAXED);
    return counts != NULL &&
           __atomic_load_n(&counts[rcl_live_count_index(p)], __ATOMIC_RELAXED) != 0;
}

/* The block is given back or resized: false if it was no sample. */
bool rcl_live_remove(void *p);

/* All samples end of which `gone` says so: their blocks are about to be discarded. */
void rcl_live_end(bool (*gone)(const void *arg, const void *p), const void *arg);

/* Forget all samples, and refuse those drawn under modes up to `mode`. */
void rcl_live_forget(uint32_t mode);

#endif
