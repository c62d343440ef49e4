/* SPDX-License-Identifier: MIT */
/* xcache.c - see xcache.h. */
#include "xcache.h"

#include "lock.h"

enum { XCACHE_IDLE_STEPS = 2 };

static struct {
    struct rcl_lock lock; /* making: who fills which slot */
    unsigned end;         /* behind the highest slot ever used; grows with release */
    struct slot {
        struct rcl_tcache *tc; /* changed by who holds `used` or, from NULL, the lock */
        uint32_t used;         /* the flag */
        uint32_t idle;         /* decay steps without a use; relaxed */
    } slot[RCL_XCACHES_MAX];
} xcaches;

static bool slot_take(struct slot *s)
{
    return __atomic_exchange_n(&s->used, 1, __ATOMIC_ACQUIRE) == 0;
}

static void slot_release(struct slot *s)
{
    __atomic_store_n(&s->used, 0, __ATOMIC_RELEASE);
}

static struct rcl_tcache *slot_cache(const struct slot *s)
{
    return __atomic_load_n(&s->tc, __ATOMIC_ACQUIRE);
}

/* The cache, and the flag with it; NULL: neither. */
static struct rcl_tcache *take_cache(unsigned id)
{
    if (id >= __atomic_load_n(&xcaches.end, __ATOMIC_ACQUIRE))
        return NULL;
    struct slot *s = &xcaches.slot[id];
    if (!slot_take(s))
        return NULL;
    struct rcl_tcache *tc = slot_cache(s);
    if (tc == NULL)
        slot_release(s);
    return tc;
}

bool rcl_xcache_create(unsigned *id)
{
    struct rcl_tcache *tc = rcl_tcache_new_for(NULL);
    unsigned i = 0;
    if (tc == NULL)
        return false;
    rcl_lock(&xcaches.lock);
    while (i < xcaches.end && slot_cache(&xcaches.slot[i]) != NULL)
        i++;
    if (i < RCL_XCACHES_MAX) {
        __atomic_store_n(&xcaches.slot[i].tc, tc, __ATOMIC_RELEASE);
        if (i == xcaches.end)
            __atomic_store_n(&xcaches.end, i + 1, __ATOMIC_RELEASE);
        tc = NULL;
    }
    rcl_unlock(&xcaches.lock);
    *id = i;
    if (tc != NULL)
        rcl_tcache_delete(tc, RCL_AGE_NEW);
    return tc == NULL;
}

bool rcl_xcache_flush(unsigned id)
{
    struct rcl_tcache *tc = take_cache(id);
    if (tc == NULL)
        return false;
    rcl_tcache_empty(tc, RCL_AGE_NEW);
    slot_release(&xcaches.slot[id]);
    return true;
}

bool rcl_xcache_destroy(unsigned id)
{
    struct rcl_tcache *tc = take_cache(id);
    if (tc == NULL)
        return false;
    __atomic_store_n(&xcaches.slot[id].tc, NULL, __ATOMIC_RELEASE);
    slot_release(&xcaches.slot[id]);
    rcl_tcache_delete(tc, RCL_AGE_NEW);
    return true;
}

struct rcl_tcache *rcl_xcache_begin(unsigned id)
{
    struct rcl_tcache *tc = take_cache(id);
    if (tc != NULL)
        __atomic_store_n(&xcaches.slot[id].idle, 0, __ATOMIC_RELAXED);
    return tc;
}

void rcl_xcache_end(unsigned id)
{
    slot_release(&xcaches.slot[id]);
}

void rcl_xcaches_drain(bool all)
{
    unsigned end = __atomic_load_n(&xcaches.end, __ATOMIC_ACQUIRE);
    for (unsigned id = 0; id < end; id++) {
        struct slot *s = &xcaches.slot[id];
        if (slot_cache(s) == NULL ||
            (!all && __atomic_add_fetch(&s->idle, 1, __ATOMIC_RELAXED) < XCACHE_IDLE_STEPS))
            continue;
        struct rcl_tcache *tc = take_cache(id);
        if (tc == NULL)
            continue;
        rcl_tcache_empty(tc, RCL_AGE_OLD);
        slot_release(s);
    }
}

void rcl_xcaches_usage(struct rcl_caches_stats *out)
{
    unsigned end = __atomic_load_n(&xcaches.end, __ATOMIC_ACQUIRE);
    for (unsigned id = 0; id < end; id++) {
        struct rcl_tcache *tc = take_cache(id);
        if (tc == NULL)
            continue;
        rcl_thread_add_usage(out, tc);
        slot_release(&xcaches.slot[id]);
    }
}
