/* SPDX-License-Identifier: MIT */
/*
 * xcache.h - explicit caches: the program makes them, names them by number, and uses
 * each from one thread at a time.  And those of the guests, the threads that free but have
 * not allocated: they share a few (thread.h says why they have none of their own).
 *
 * A cache is taken for the length of one use by a flag, which is never waited for:
 * begin answers NULL when the cache is in use, and the caller does without.  So a
 * program that uses one from two threads loses speed only, and our own purging can
 * look into idle ones.
 *
 * All calls inside the gate (gate.h), or while it is held, but for rcl_xcache_push_guest().
 */
#ifndef RCL_XCACHE_H
#define RCL_XCACHE_H

#include "base.h"
#include "tcache.h"
#include "thread.h"

enum { RCL_XCACHES_MAX = 4094 }; /* what a flag of mallocx can name */

/* False: out of memory or of numbers. */
bool rcl_xcache_create(unsigned *id);

/*
 * Back to the bins; destroy: and the number is free again.  Who else holds it, a report or a purge,
 * is waited for.  False: no such cache, or one held for seconds (a handler interrupted the holder).
 */
bool rcl_xcache_flush(unsigned id);
bool rcl_xcache_destroy(unsigned id);

/*
 * The number of the cache that this thread shares as a guest; and the push of a hit, outside the
 * gate.  False: full, in use, or not of a cached class.
 */
unsigned rcl_xcache_of_guest(const struct rcl_tls *self);
bool rcl_xcache_push_guest(const struct rcl_tls *self, unsigned cls, void *p);

/* In a forked child: who was in the middle of such a push is not here. */
void rcl_xcaches_forked(void);

/* NULL: no such cache, or in use. */
struct rcl_tcache *rcl_xcache_begin(unsigned id);
void rcl_xcache_end(unsigned id);

/* A decay step: empty those unused for the last ones (or all that are not in use). */
void rcl_xcaches_drain(bool all);

/* Add what is in them. */
void rcl_xcaches_usage(struct rcl_caches_stats *out);

#endif
