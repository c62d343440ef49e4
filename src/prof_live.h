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

/*
 * The block `p` of `bytes`, which its owner does not know yet, is a sample drawn under `mode`
 * (thread.h).  False: out of memory, or all samples of that mode have been forgotten.
 */
bool rcl_live_add(void *p, size_t bytes, struct rcl_stack *stack, uint32_t mode);

/* The block is given back or resized: false if it was no sample. */
bool rcl_live_remove(void *p);

/* Forget all samples, and refuse those drawn under modes up to `mode`. */
void rcl_live_forget(uint32_t mode);

#endif
