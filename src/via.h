/* SPDX-License-Identifier: MIT */
/*
 * via.h - which cache and which arena serve a request, and take a block back.
 *
 * As a rule the thread's; others where the program says so (doc/control.md).  A guest
 * (thread.h) frees into a cache that it shares.
 *
 * All calls inside the gate (gate.h), but for rcl_via_refuses().
 */
#ifndef RCL_VIA_H
#define RCL_VIA_H

#include "base.h"
#include "pagemap.h"
#include "span.h"
#include "thread.h"

struct rcl_arena;

struct rcl_via {
    struct rcl_arena *arena; /* NULL: the thread's */
    unsigned cache;          /* one of these, or RCL_VIA_EXPLICIT + the number of a cache */
};
enum { RCL_VIA_THREAD, RCL_VIA_NONE, RCL_VIA_EXPLICIT };

/*
 * The cache to allocate from or to free `p` into, rcl_tcache_none where there is none;
 * afterwards: end.  via may be NULL: as a rule.
 */
struct rcl_tcache *rcl_via_begin(struct rcl_tls *self, const struct rcl_via *via);
struct rcl_tcache *rcl_via_begin_free(struct rcl_tls *self, const struct rcl_via *via,
                                      const void *p);
void rcl_via_end(const struct rcl_tcache *tc);

/* The arena of a request that this cache is for.  Never NULL. */
struct rcl_arena *rcl_via_arena(const struct rcl_tls *self, const struct rcl_tcache *tc,
                                const struct rcl_via *via);

/* Of an explicit arena: only the program's caches and that of a thread bound to it take it. */
static inline bool rcl_via_refuses(const struct rcl_tcache *tc, const void *p)
{
    if (likely(rcl_pagemap_class(p) <= RCL_CLASS_HUGE) || tc->arena == NULL)
        return false;
    const struct rcl_span *s = rcl_pagemap_desc(p);
    return s->chunk->runs->apart && s->arena != tc->arena;
}

#endif
