/* SPDX-License-Identifier: MIT */
/* xcache.c - see xcache.h. */
#include "xcache.h"

#include "lock.h"
#include "os.h"

enum {
    XCACHE_IDLE_STEPS = 2,
    SLOTS = 256, /* that are made at once; few programs need any */
    LG_GUESTS = 3,
    GUESTS = 1 << LG_GUESTS, /* their numbers come after the program's */
    BEHIND = RCL_XCACHES_MAX + GUESTS,
    WAIT_TRIES = 100000, /* a yield each */
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
    struct {
        struct slot slot;
    } RCL_ALIGNED(RCL_CACHELINE) guest[GUESTS]; /* a cache is made by the first who wants it */
} xcaches;

static struct slot *slot_at(unsigned id)
{
    if (id >= RCL_XCACHES_MAX)
        return &xcaches.guest[id - RCL_XCACHES_MAX].slot;
    return &xcaches.slots[id / SLOTS][id % SLOTS];
}

static bool is_guest(unsigned id)
{
    return id - RCL_XCACHES_MAX < GUESTS;
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
    if (id >= __atomic_load_n(&xcaches.end, __ATOMIC_ACQUIRE) && !is_guest(id))
        return NULL;
    struct slot *s = slot_at(id);
    if (!slot_take(s))
        return NULL;
    struct rcl_tcache *tc = slot_cache(s);
    if (tc == NULL && is_guest(id) && (tc = rcl_tcache_new_for(NULL)) != NULL) {
        tc->number = id + 1;
        __atomic_store_n(&s->tc, tc, __ATOMIC_RELEASE);
    }
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
        tc->number = i + 1;
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

/*
 * A cache of the program's, with the flag, if there is one: a report or a purge may hold it for a
 * moment.  It is not waited for without end: a handler may have interrupted the holder.
 */
static struct rcl_tcache *wait_for_cache(unsigned id)
{
    for (unsigned tries = 0; tries < WAIT_TRIES; tries++) {
        if (id >= __atomic_load_n(&xcaches.end, __ATOMIC_ACQUIRE) ||
            slot_cache(slot_at(id)) == NULL)
            return NULL;
        struct rcl_tcache *tc = take_cache(id);
        if (tc != NULL)
            return tc;
        rcl_os_yield();
    }
    return NULL;
}

bool rcl_xcache_flush(unsigned id)
{
    struct rcl_tcache *tc = wait_for_cache(id);
    if (tc == NULL)
        return false;
    rcl_tcache_empty(tc, RCL_AGE_NEW);
    slot_release(slot_at(id));
    return true;
}

bool rcl_xcache_destroy(unsigned id)
{
    struct rcl_tcache *tc = wait_for_cache(id);
    if (tc == NULL)
        return false;
    __atomic_store_n(&slot_at(id)->tc, NULL, __ATOMIC_RELEASE);
    slot_release(slot_at(id));
    rcl_tcache_delete(tc, RCL_AGE_NEW);
    return true;
}

unsigned rcl_xcache_of_guest(const struct rcl_tls *self)
{
    /* Threads' words are far apart, and each hash is good for one of them. */
    uint64_t mixed = (uintptr_t)self / RCL_GRANULE * 0x9e3779b97f4a7c15;
    return RCL_XCACHES_MAX + (unsigned)(mixed >> (64 - LG_GUESTS));
}

bool rcl_xcache_push_guest(const struct rcl_tls *self, unsigned cls, void *p)
{
    struct slot *s = slot_at(rcl_xcache_of_guest(self));
    struct rcl_tcache *tc;
    if ((tc = slot_cache(s)) == NULL || !slot_take(s))
        return false;
    bool pushed = rcl_tcache_push(tc, cls, p);
    __atomic_store_n(&s->idle, 0, __ATOMIC_RELAXED);
    slot_release(s);
    return pushed;
}

void rcl_xcaches_forked(void)
{
    for (unsigned i = 0; i < GUESTS; i++)
        slot_release(&xcaches.guest[i].slot);
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

/* The number after `id` that may have a cache; BEHIND: there is none. */
static unsigned next_of(unsigned id)
{
    id++;
    if (id >= RCL_XCACHES_MAX)
        return id;
    return id < __atomic_load_n(&xcaches.end, __ATOMIC_ACQUIRE) ? id : RCL_XCACHES_MAX;
}

static unsigned first(void)
{
    return next_of(UINT32_MAX);
}

void rcl_xcaches_drain(bool all)
{
    for (unsigned id = first(); id < BEHIND; id = next_of(id)) {
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
    for (unsigned id = first(); id < BEHIND; id = next_of(id)) {
        struct rcl_tcache *tc = slot_cache(slot_at(id)) != NULL ? take_cache(id) : NULL;
        if (tc == NULL)
            continue;
        rcl_thread_add_usage(out, tc);
        slot_release(slot_at(id));
    }
}
