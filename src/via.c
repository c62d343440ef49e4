/* SPDX-License-Identifier: MIT */
/* via.c - see via.h. */
#include "via.h"

#include "arena.h"
#include "xcache.h"

static struct rcl_tcache *or_none(struct rcl_tcache *tc)
{
    return tc != NULL ? tc : (struct rcl_tcache *)&rcl_tcache_none;
}

struct rcl_tcache *rcl_via_begin(struct rcl_tls *self, const struct rcl_via *via)
{
    if (likely(via == NULL || (via->cache == RCL_VIA_THREAD && via->arena == NULL)))
        return rcl_thread_cache(self);
    if (via->cache < RCL_VIA_EXPLICIT)
        return or_none(NULL);
    return or_none(rcl_xcache_begin(via->cache - RCL_VIA_EXPLICIT));
}

struct rcl_tcache *rcl_via_begin_free(struct rcl_tls *self, const struct rcl_via *via,
                                      const void *p)
{
    if (likely(!rcl_thread_is_guest(self)) || (via != NULL && via->cache != RCL_VIA_THREAD))
        return rcl_via_begin(self, via);
    if (rcl_pagemap_class(p) > RCL_CLASS_HUGE)
        return or_none(NULL); /* it may be an explicit arena's */
    return or_none(rcl_xcache_begin(rcl_xcache_of_guest(self)));
}

void rcl_via_end(const struct rcl_tcache *tc)
{
    if (unlikely(tc->number != 0))
        rcl_xcache_end(tc->number - 1);
}

struct rcl_arena *rcl_via_arena(const struct rcl_tls *self, const struct rcl_tcache *tc,
                                const struct rcl_via *via)
{
    if (unlikely(via != NULL && via->arena != NULL))
        return via->arena;
    return tc->arena != NULL ? tc->arena : rcl_thread_arena(self);
}
