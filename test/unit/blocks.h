/* SPDX-License-Identifier: MIT */
/*
 * blocks.h - what malloc and free do with blocks that caches hold, in short: for tests of
 * modules below heap.c.  Set up with block_boot().
 */
#ifndef BLOCKS_H
#define BLOCKS_H

#include "unit.h"

#include "huge.h"
#include "options.h"
#include "thread.h"

/* As boot.c does it; options are set. */
static inline void block_nothing(void)
{
}

static inline bool block_boot(uint64_t window_ns)
{
    rcl_os_init();
    rcl_sizeclass_init(rcl_page_size());
    rcl_huge_init(window_ns, RCL_THP_AUTO);
    if (!rcl_arena_boot())
        return false;
    rcl_thread_boot(block_nothing);
    return true;
}

static inline void *block_get(unsigned cls)
{
    struct rcl_tls *self = &rcl_tls;
    void *p = rcl_tcache_pop(rcl_thread_begin_alloc(self), cls);
    bool zero;

    if (p != NULL) {
        rcl_thread_end(self);
        return p;
    }
    rcl_gate_enter_patient(&self->gate);
    rcl_thread_end(self);
    struct rcl_tcache *tc = rcl_thread_cache(self);
    p = rcl_tcache_pop(tc, cls); /* it may have been away for a moment only */
    if (p == NULL && tc != &rcl_tcache_none)
        p = rcl_tcache_refill(tc, cls, &zero);
    else if (p == NULL)
        REQUIRE(rcl_blocks_take(rcl_arena_get(0), cls, &p, 1, &zero) == 1);
    rcl_gate_leave(&self->gate);
    rcl_thread_register(self);
    REQUIRE(p != NULL);
    return p;
}

static inline void block_put(unsigned cls, void *p)
{
    struct rcl_tls *self = &rcl_tls;

    if (rcl_tcache_push(rcl_thread_begin_free(self), cls, p)) {
        rcl_thread_end(self);
        return;
    }
    rcl_gate_enter_patient(&self->gate);
    rcl_thread_end(self);
    struct rcl_tcache *tc = rcl_thread_cache(self);
    if (tc == &rcl_tcache_none)
        rcl_blocks_put(cls, &p, 1, RCL_AGE_NEW, "free");
    else if (!rcl_tcache_push(tc, cls, p))
        rcl_tcache_overflow(tc, cls, p, "free");
    rcl_gate_leave(&self->gate);
    rcl_thread_register(self);
}

#endif
