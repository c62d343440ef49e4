/* SPDX-License-Identifier: MIT */
/* prof_live.c - see prof_live.h. */
#include "prof_live.h"

#include "die.h"
#include "lock.h"
#include "meta.h"
#include "os.h"
#include "pagemap.h"
#include "runs.h"
#include "sizeclass.h"
#include "span.h"

enum {
    LG_SHARDS = 6,
    SHARDS = 1 << LG_SHARDS,
    FIRST_BUCKETS = 32, /* of each shard */
    CHAIN = 2,          /* samples per bucket before there are four times as many */
};

struct sample {
    struct sample *next;
    char *addr;
    size_t bytes;
    struct rcl_stack *stack;
    uint8_t lg; /* rate at which it was drawn */
};

struct shard {
    struct rcl_lock lock;
    uint32_t forgotten; /* mode up to which samples are refused */
    size_t count;
    size_t buckets; /* a power of two */
    struct sample **bucket;
    struct sample *first[FIRST_BUCKETS];
} RCL_ALIGNED(RCL_CACHELINE);

/* Mapped when profiling is first switched on. */
struct live_tables {
    struct shard shard[SHARDS];
    uint32_t count[RCL_LIVE_COUNTS];
};

static struct live_tables *sampled;
uint32_t *rcl_live_counts;

bool rcl_live_boot(void)
{
    struct live_tables *t = sampled;
    if (t == NULL)
        t = rcl_meta_table(sizeof *t, "libreclaim samples");
    if (t == NULL)
        return false;
    __atomic_store_n(&sampled, t, __ATOMIC_RELEASE);
    __atomic_store_n(&rcl_live_counts, t->count, __ATOMIC_RELEASE);
    return true;
}

static uint32_t *count_of(const void *p)
{
    return &sampled->count[rcl_live_count_index(p)];
}

static uint64_t granule_hash(const void *p)
{
    return ((uintptr_t)p >> RCL_GRANULE_SHIFT) * 0x9e3779b97f4a7c15u;
}

static struct shard *shard_of(const void *p)
{
    return &sampled->shard[granule_hash(p) >> (64 - LG_SHARDS)];
}

/* The lock is held. */
static struct sample **bucket_of(struct shard *s, const void *p)
{
    if (unlikely(s->bucket == NULL)) {
        s->bucket = s->first;
        s->buckets = FIRST_BUCKETS;
    }
    return &s->bucket[granule_hash(p) >> 20 & (s->buckets - 1)];
}

static bool same_granule(const void *p, const void *q)
{
    return (uintptr_t)p >> RCL_GRANULE_SHIFT == (uintptr_t)q >> RCL_GRANULE_SHIFT;
}

static struct rcl_prof_weight weight_of(const struct sample *e)
{
    return rcl_prof_weigh(e->bytes, e->lg);
}

static size_t buckets_bytes(size_t buckets)
{
    return rcl_align_up(buckets * sizeof(struct sample *), rcl_page_size());
}

/* More buckets, mapped before the lock is taken. */
static RCL_COLD void more_buckets(struct shard *s, size_t buckets)
{
    struct sample **table = rcl_os_map(buckets_bytes(buckets)), **old = NULL;
    size_t old_buckets = 0;
    if (table == NULL)
        return; /* longer chains, then */
    rcl_os_name(table, buckets_bytes(buckets), "libreclaim samples");
    rcl_lock(&s->lock);
    if (s->buckets < buckets) {
        old = s->bucket;
        old_buckets = s->buckets;
        s->bucket = table;
        s->buckets = buckets;
        for (size_t i = 0; i < old_buckets; i++) {
            struct sample *next;
            for (struct sample *e = old[i]; e != NULL; e = next) {
                struct sample **to = bucket_of(s, e->addr);
                next = e->next;
                e->next = *to;
                *to = e;
            }
        }
        table = NULL;
    }
    rcl_unlock(&s->lock);
    if (table != NULL)
        rcl_os_unmap(table, buckets_bytes(buckets)); /* another thread was faster */
    else if (old != s->first)
        rcl_os_unmap(old, buckets_bytes(old_buckets));
}

bool rcl_live_add(void *p, size_t bytes, struct rcl_stack *stack, uint32_t mode)
{
    struct shard *s = shard_of(p);
    struct sample *e = rcl_meta_alloc(sizeof *e);
    if (e == NULL)
        return false;
    *e = (struct sample){
        .addr = p, .bytes = bytes, .stack = stack, .lg = (uint8_t)((mode & 0xff) - 1)};
    size_t buckets = 0;
    rcl_lock(&s->lock);
    bool wanted = (int32_t)(mode - s->forgotten) > 0;
    if (wanted) {
        struct sample **to = bucket_of(s, p);
        unsigned cls = rcl_pagemap_class(p);
        rcl_assert(cls != RCL_CLASS_NONE);
        if (cls < RCL_CLASS_SAMPLED)
            rcl_pagemap_mark(p, cls == RCL_CLASS_HUGE ? RCL_CLASS_SAMPLED_HUGE : RCL_CLASS_SAMPLED);
        e->next = *to;
        *to = e;
        if (++s->count > s->buckets * CHAIN)
            buckets = s->buckets * 4;
        __atomic_fetch_add(count_of(p), 1, __ATOMIC_RELAXED);
        rcl_stack_add(stack, weight_of(e));
    }
    rcl_unlock(&s->lock);
    if (!wanted)
        rcl_meta_free(e, sizeof *e);
    if (unlikely(buckets != 0))
        more_buckets(s, buckets);
    return wanted;
}

/* The last sample of a granule is gone.  The shard's lock is held. */
static void unmark(const void *p)
{
    unsigned cls = rcl_block_class(p);
    if (cls != RCL_CLASS_HUGE)
        cls = rcl_runs_mark(((const struct rcl_span *)rcl_pagemap_desc(p))->chunk->runs, cls);
    rcl_pagemap_mark(p, cls);
}

bool rcl_live_remove(void *p)
{
    /* A thread that has a sampled block in its hands has seen this with it. */
    if (__atomic_load_n(&sampled, __ATOMIC_ACQUIRE) == NULL)
        return false;
    struct shard *s = shard_of(p);
    struct sample *found = NULL;
    bool others = false;
    rcl_lock(&s->lock);
    for (struct sample **at = bucket_of(s, p); *at != NULL;) {
        struct sample *e = *at;
        if (e->addr == p) {
            found = e;
            *at = e->next;
            continue;
        }
        others = others || same_granule(e->addr, p);
        at = &e->next;
    }
    if (found != NULL) {
        s->count--;
        __atomic_fetch_sub(count_of(p), 1, __ATOMIC_RELAXED);
        if (!others)
            unmark(p);
        rcl_stack_remove(found->stack, weight_of(found));
    }
    rcl_unlock(&s->lock);
    if (found != NULL)
        rcl_meta_free(found, sizeof *found);
    return found != NULL;
}

/*
 * The samples of a shard that end, taken out: with each sample those on its granule.  The shard's
 * lock is held.
 */
static struct sample *take_out(struct shard *s, bool (*ends)(const void *arg, const void *p),
                               const void *arg)
{
    struct sample *out = NULL, *e;
    for (size_t b = 0; b < s->buckets; b++) {
        for (struct sample **at = &s->bucket[b]; (e = *at) != NULL;) {
            if (ends != NULL && !ends(arg, e->addr)) {
                at = &e->next;
                continue;
            }
            *at = e->next;
            s->count--;
            __atomic_fetch_sub(count_of(e->addr), 1, __ATOMIC_RELAXED);
            unmark(e->addr); /* the first one of a granule: the others find it done */
            rcl_stack_remove(e->stack, weight_of(e));
            e->next = out;
            out = e;
        }
    }
    return out;
}

static void free_samples(struct sample *e)
{
    while (e != NULL) {
        struct sample *next = e->next;
        rcl_meta_free(e, sizeof *e);
        e = next;
    }
}

void rcl_live_end(bool (*gone)(const void *arg, const void *p), const void *arg)
{
    for (unsigned i = 0; sampled != NULL && i < SHARDS; i++) {
        struct shard *s = &sampled->shard[i];
        rcl_lock(&s->lock);
        struct sample *out = take_out(s, gone, arg);
        rcl_unlock(&s->lock);
        free_samples(out);
    }
}

void rcl_live_forget(uint32_t mode)
{
    for (unsigned i = 0; sampled != NULL && i < SHARDS; i++) {
        struct shard *s = &sampled->shard[i];
        rcl_lock(&s->lock);
        s->forgotten = mode;
        struct sample *out = take_out(s, NULL, NULL);
        rcl_unlock(&s->lock);
        free_samples(out);
    }
}
