/* SPDX-License-Identifier: MIT */
/*
 * tcache.h - per thread and class, a stack of free blocks.
 *
 *   array: [ . . . . b b b b 0 ]      b a block, 0 the sentinel NULL
 *            ^       ^       ^
 *            limit   top     limit + cap
 *
 * Pop reads *top: a block, or the sentinel when there is none, in one load and
 * one test.  Push is refused when top has come down to limit.  A class without
 * a cache has top == limit at a shared NULL: empty and full at once, so it needs
 * no test of its own; the classes that are never cached stay like that for ever,
 * and so does everything in rcl_tcache_none, which a thread has before its first
 * allocation, while its cache has been taken away (thread.h), and at its end.
 * No block is touched: arrays hold addresses, nothing is written into blocks.
 *
 * Capacities start small and double with use; what they hold, not what they could, is limited, for
 * one cache and for all.  A hit counts nothing, so contents are counted now and then, by the slow
 * paths, and what is too much goes back from all classes alike.
 *
 * While allocations are counted (heap profiles) the hit path of malloc is led past the cache,
 * and rcl_tcache_pop_counted() stands in for it.
 *
 * Locking: none; a cache belongs to its thread, or to whoever has taken it away.
 */
#ifndef RCL_TCACHE_H
#define RCL_TCACHE_H

#include "account.h"
#include "arena.h"
#include "base.h"
#include "list.h"
#include "os.h"
#include "prof_count.h"
#include "sizeclass.h"

/* More caches than this may hold too much together before any of them is counted. */
enum { RCL_TCACHES_FEW = 16 };

struct rcl_cbin {
    void **top;
    void **limit;
};

struct rcl_tcache {
    struct rcl_cbin bin[RCL_NCLASSES];
    uint16_t cap[RCL_NCLASSES];     /* what may stand in the array, */
    uint16_t size[RCL_NCLASSES];    /* and how long it is; 0: there is none */
    uint16_t flushed[RCL_NCLASSES]; /* blocks given back and not fetched since */
    struct rcl_arena *arena;        /* where misses go; NULL: an explicit cache, told each time */
    /* What it held when counted, changed by refills and flushes since; what account.h knows. */
    size_t bytes, told_bytes;
    uint32_t blocks, told_blocks, told_small_bytes, told_small_blocks;
    size_t shown; /* bytes given back and fetched again */
    /* Bytes and blocks that the caps come to; what account.h knows. */
    size_t places;
    int32_t told_places, places_blocks, told_places_blocks;
    uint32_t events;     /* refills and overflows */
    uint32_t frees;      /* overflows since the last refill */
    uint16_t victim;     /* the class that gives next, less the first */
    uint16_t idle_steps; /* thread.c */
    struct rcl_counted counted;
    uint32_t number;       /* xcache.c: of an explicit cache, from 1 on; 0: a thread's */
    uint32_t mode;         /* thread.c: of rcl_thread_mode, when `counted` was decided */
    struct rcl_list link;  /* thread.c: all caches */
    struct rcl_tls *owner; /* thread.c; NULL: its thread has ended */
    uintptr_t seen;        /* thread.c: all tops as of the last decay step, to see idleness, */
    uintptr_t looked;      /* and of the last look for large ones that rest */
    uint32_t generation;   /* thread.c: forks its process has come through */
    uint64_t misses, overflows;
};

extern const struct rcl_tcache rcl_tcache_none;

/* The hit path: NULL is a miss. */
static inline void *rcl_tcache_pop(struct rcl_tcache *tc, unsigned cls)
{
    struct rcl_cbin *b = &tc->bin[cls];
    void **top = b->top;
    void *p = *top;
    if (likely(p != NULL))
        b->top = top + 1;
    return p;
}

/* The hit path: false is full. */
static inline bool rcl_tcache_push(struct rcl_tcache *tc, unsigned cls, void *p)
{
    struct rcl_cbin *b = &tc->bin[cls];
    void **top = b->top;
    if (unlikely(top == b->limit))
        return false;
    *--top = p;
    b->top = top;
    return true;
}

/* A cache with no arrays yet; NULL: out of memory.  prefer: as in rcl_arena_assign. */
struct rcl_tcache *rcl_tcache_new(struct rcl_arena *prefer);

/* The same, filled from this arena; NULL: from the one that each refill names. */
struct rcl_tcache *rcl_tcache_new_for(struct rcl_arena *arena);

/* All blocks go back to their bins; empty: the cache stays, with no arrays; delete: it is gone. */
void rcl_tcache_empty(struct rcl_tcache *tc, enum rcl_age age);
void rcl_tcache_delete(struct rcl_tcache *tc, enum rcl_age age);

/* Fill after a miss of a small or medium class, and take one.  NULL: out of memory. */
void *rcl_tcache_refill_from(struct rcl_tcache *tc, struct rcl_arena *a, unsigned cls, bool *zero);

static inline void *rcl_tcache_refill(struct rcl_tcache *tc, unsigned cls, bool *zero)
{
    return rcl_tcache_refill_from(tc, tc->arena, cls, zero);
}

/* Make room by growing or by giving the oldest half back, then push. */
void rcl_tcache_overflow(struct rcl_tcache *tc, unsigned cls, void *p, const char *caller);

/* Blocks of a class it holds now; is this one of them? */
size_t rcl_tcache_count(const struct rcl_tcache *tc, unsigned cls);
bool rcl_tcache_holds(const struct rcl_tcache *tc, unsigned cls, const void *p);

/* Count what it holds, and tell account.h. */
void rcl_tcache_measure(struct rcl_tcache *tc);

/* Some go back, until it holds no more than that. */
void rcl_tcache_shrink(struct rcl_tcache *tc, size_t bytes, size_t pages);

/* Pages that it pins, about. */
static inline size_t rcl_tcache_pages(const struct rcl_tcache *tc)
{
    return rcl_account_pins(tc->blocks) + (tc->bytes >> rcl_page_shift());
}

/*
 * The same for others than its owner, by its last count; where there are many, which may never have
 * been counted, by the places there are if that is more.
 */
static inline size_t rcl_tcache_pages_most(const struct rcl_tcache *tc)
{
    bool many = rcl_account_get(&rcl_account.caches) > RCL_TCACHES_FEW;
    size_t places = many ? __atomic_load_n(&tc->places, __ATOMIC_RELAXED) >> rcl_page_shift() : 0;
    size_t told = rcl_account_pins(__atomic_load_n(&tc->told_blocks, __ATOMIC_RELAXED)) +
                  (__atomic_load_n(&tc->told_bytes, __ATOMIC_RELAXED) >> rcl_page_shift());
    return rcl_max(told, places);
}

/*
 * Pop where allocations are counted.  NULL: this is a miss, or the next block is the sampled one,
 * or nothing is counted.
 */
static inline void *rcl_tcache_pop_counted(struct rcl_tcache *tc, unsigned cls)
{
    uint16_t left = tc->counted.left[cls];
    void *p;
    if (unlikely(left == 0) || unlikely((p = rcl_tcache_pop(tc, cls)) == NULL))
        return NULL;
    tc->counted.left[cls] = (uint16_t)(left - 1);
    return p;
}

#endif
