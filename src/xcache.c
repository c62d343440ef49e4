/* SPDX-License-Identifier: MIT */
/* xcache.c - see xcache.h. */
#include "xcache.h"

#include "lock.h"
#include "os.h"

enum {
    XCACHE_IDLE_STEPS = 2,
    SLOTS = 256, /* that are made at once; few programs need any */
};

struct slot {
    struct rcl_tcache *tc; /* changed by who holds `used` or, from NULL, the lock */
    uint32_t used;         /* the flag */
    uint32_t idle;         /* decay steps without a use; relaxed */
};

static struct {
    struct rcl_lock lock; /* making: who fills which slot */
    unsigned end;         /* behind the highest slot ever used; grows with release */
    struct slot *slots[(RCL_XCACHES_MAX + SLOTS - 1) / SLOTS]; /* below `end` they are there */
} xcaches;

static struct slot *slot_at(unsigned id)
{
    return &xcaches.slots[id / SLOTS][id % SLOTS];
}

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
    struct slot *s = slot_at(id);
    if (!slot_take(s))
        return NULL;
    struct rcl_tcache *tc = slot_cache(s);
    if (tc == NULL)
        slot_release(s);
    return tc;
}

/* The lock is held. */
static bool slot_cover(unsigned id)
{
    size_t bytes = rcl_align_up(SLOTS * sizeof(struct slot), rcl_page_size());
    if (xcaches.slots[id / SLOTS] == NULL)
        xcaches.slots[id / SLOTS] = rcl_os_map(bytes);
    return xcaches.slots[id / SLOTS] != NULL;
}

bool rcl_xcache_create(unsigned *id)
{
    struct rcl_tcache *tc = rcl_tcache_new_for(NULL);
    unsigned i = 0;
    if (tc == NULL)
        return false;
    rcl_lock(&xcaches.lock);
    while (i < xcaches.end && slot_cache(slot_at(i)) != NULL)
        i++;
    if (i < RCL_XCACHES_MAX && slot_cover(i)) {
        __atomic_store_n(&slot_at(i)->tc, tc, __ATOMIC_RELEASE);
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
    slot_release(slot_at(id));
    return true;
}

bool rcl_xcache_destroy(unsigned id)
{
    struct rcl_tcache *tc = take_cache(id);
    if (tc == NULL)
        return false;
    __atomic_store_n(&slot_at(id)->tc, NULL, __ATOMIC_RELEASE);
    slot_release(slot_at(id));
    rcl_tcache_delete(tc, RCL_AGE_NEW);
    return true;
}

struct rcl_tcache *rcl_xcache_begin(unsigned id)
{
    struct rcl_tcache *tc = take_cache(id);
    if (tc != NULL)
        __atomic_store_n(&slot_at(id)->idle, 0, __ATOMIC_RELAXED);
    return tc;
}

void rcl_xcache_end(unsigned id)
{
    slot_release(slot_at(id));
}

void rcl_xcaches_drain(bool all)
{
    unsigned end = __atomic_load_n(&xcaches.end, __ATOMIC_ACQUIRE);
    for (unsigned id = 0; id < end; id++) {
        struct slot *s = slot_at(id);
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
        slot_release(slot_at(id));
    }
}
