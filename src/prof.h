/* SPDX-License-Identifier: MIT */
/*
 * prof.h - heap profiles: sampling, and switching it on and off (doc/profiling.md).
 *
 * Which allocation is sampled is decided below (tcache.h, thread.h); here its stack
 * is captured and the sample entered, and taken out again when the block is freed.
 * All calls with no lock held.
 */
#ifndef RCL_PROF_H
#define RCL_PROF_H

#include "base.h"
#include "prof_live.h"
#include "thread.h"

/*
 * The caller has taken block `p` of `bytes`, and it is a sample drawn under `mode`.
 * Outside the gate; errno is kept.
 */
void rcl_prof_sampled(struct rcl_tls *self, void *p, size_t bytes, uint32_t mode);

/*
 * The block is about to be given back or resized and the page map says SAMPLED: if it is
 * a sample that ends here.  Its real class.  Inside the gate.
 */
unsigned rcl_prof_freed(void *p);

/* All blocks of which `gone` says so are about to be discarded.  Inside the gate. */
void rcl_prof_discarded(bool (*gone)(const void *arg, const void *p), const void *arg);

/* Without the gate: the block is certainly no sample, though others begin on its granule. */
static inline bool rcl_prof_is_plain(const void *p)
{
    return !rcl_live_maybe(p);
}

/* There was no memory for the program, or there can never be so much; errno is kept. */
void rcl_prof_failed(void);

/* Before a fork; and in the child, before anything else. */
void rcl_prof_before_fork(void);
void rcl_prof_forked(void);

/* --- what the program may ask for; outside the gate ---------------------------------------- */

/*
 * Sampling on or off; the live samples stay.  What it was.  If there is no memory for the tables
 * it stays off, with a line on stderr.
 */
bool rcl_prof_set_active(bool active);
bool rcl_prof_active(void);

/* Forget everything, and sample with a mean distance of 2^lg bytes from now on; -1: as before. */
void rcl_prof_reset(int lg);
unsigned rcl_prof_lg_sample(void);

/* Once, when libc is ready (constructor): switched on if the options say so. */
void rcl_prof_boot(void);

/* For tests: the caller's draws from here on follow from `seed`. */
void rcl_prof_seed(struct rcl_tls *self, uint64_t seed);

#endif
