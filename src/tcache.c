/* SPDX-License-Identifier: MIT */
/* tcache.c - misses and overflows of tcache.h. */
#include "tcache.h"

#include "account.h"
#include "die.h"
#include "meta.h"
#include "options.h"
#include "os.h"

#include <string.h>

/* doc/design.md, "What a cache may hold", has the reasons and measurements behind these. */
enum {
    ALONE_SHARE = 48,    /* the only cache holds 1/48 of what the program uses; where there are */
    USED_SHARE = 16,     /* more, all together hold 1/16 */
    ONE_SHARE = 3,       /* and one of them 1/3 of that; */
    REFILL_SHARE = 2,    /* a refill takes half of what may still come, at most */
    SHOWN_SHARE = 16,    /* of what is used: what all, or the only one, may show beside that */
    PLACES_SHARE = 2,    /* there may be places for twice what may be held */
    PLACES_DRIFT = 8,    /* changes by up to 1/8 of them are not told to the process, */
    PLACES_LOOKS = 16,   /* classes asked for unused places by one that wants more */
    SHRINK_SHARE = 16,   /* a cache that holds too much goes 1/16 below */
    FLUSH_PINNED = 40,   /* pages that blocks of a flush may free beside their bytes */
    FADE = 16,           /* what it has shown loses 1/16 from one count to the next */
    YOUNG_EVENTS = 256,  /* slow paths until a cache of many is treated as one in use */
    MEASURE_EVENTS = 64, /* slow paths from one count to the next, */
    MEASURE_FREES = 8,   /* or overflows with no refill between them, */
    MEASURE_REFILLS = 2, /* or refills when there seems to be little room */
};
#define ALONE_BYTES_MIN (1 * MIB)    /* where that is more than the share */
#define CACHES_BYTES_MIN (4 * MIB)   /* likewise */
#define ONE_BYTES_MAX (2 * MIB)      /* for one of them */
#define CACHE_BYTES_LEAST (32 * KIB) /* so much is not grudged to any of them, */
#define YOUNG_BYTES_LEAST (8 * KIB)  /* and to those of many that begin */
#define ALONE_SHOWN_MAX \
    (5 * MIB / 2)               /* what the only one may show, where that is more than the share, */
#define ONE_SHOWN_MAX (1 * MIB) /* one of several, */
#define CACHES_SHOWN_MAX (8 * MIB)   /* and all together, likewise */
#define PLACES_DRIFT_MAX (64 * KIB)  /* unless they come to more than this */
#define FLUSH_BYTES_MAX (320 * KIB)  /* at an overflow: no free is to take long */
#define SHRINK_BYTES_MAX (256 * KIB) /* and at a count */

static void *const null_slot[1] = {NULL};

#define NULL_BIN                                               \
    {                                                          \
        .top = (void **)null_slot, .limit = (void **)null_slot \
    }

const struct rcl_tcache rcl_tcache_none = {
    .bin = {[0 ... RCL_NCLASSES - 1] = NULL_BIN},
    .counted = {.lg = -1},
};

_Static_assert(sizeof(struct rcl_tcache) <= RCL_META_MAX, "a cache is an object");
_Static_assert((RCL_TCACHE_CAP_MAX + 1) * sizeof(void *) <= RCL_META_MAX, "an array is an object");

static size_t array_bytes(size_t cap)
{
    return (cap + 1) * sizeof(void *);
}

static void **array_end(const struct rcl_tcache *tc, unsigned cls)
{
    return tc->bin[cls].limit + tc->cap[cls];
}

size_t rcl_tcache_count(const struct rcl_tcache *tc, unsigned cls)
{
    return (size_t)(array_end(tc, cls) - tc->bin[cls].top);
}

bool rcl_tcache_holds(const struct rcl_tcache *tc, unsigned cls, const void *p)
{
    for (void **b = tc->bin[cls].top; b < array_end(tc, cls); b++)
        if (*b == p)
            return true;
    return false;
}

static void tcache_init(struct rcl_tcache *tc, struct rcl_arena *arena)
{
    *tc = rcl_tcache_none;
    tc->arena = arena;
    rcl_list_init(&tc->link);
}

static struct rcl_tcache *make(void)
{
    struct rcl_tcache *tc = rcl_meta_alloc(sizeof *tc);
    if (tc == NULL)
        return NULL;
    rcl_account_add(&rcl_account.caches, 1);
    tcache_init(tc, NULL);
    return tc;
}

struct rcl_tcache *rcl_tcache_new(struct rcl_arena *prefer)
{
    struct rcl_tcache *tc = make();
    if (tc != NULL)
        tc->arena = rcl_arena_assign(prefer);
    return tc;
}

struct rcl_tcache *rcl_tcache_new_for(struct rcl_arena *arena)
{
    struct rcl_tcache *tc = make();
    if (tc != NULL && arena != NULL) {
        tc->arena = arena;
        __atomic_fetch_add(&arena->threads, 1, __ATOMIC_RELAXED);
    }
    return tc;
}

/* A few large blocks can change much between two counts: as many count as there are places for. */
static bool by_places(unsigned cls)
{
    return rcl_classes[cls].size >= RCL_TCACHE_LARGER;
}

/* The process's sums, and what it knows of this cache. */
static void tell_contents(struct rcl_tcache *tc, size_t bytes, size_t blocks)
{
    rcl_account_add(&rcl_account.cached_bytes, (int64_t)bytes - (int64_t)tc->told_bytes);
    rcl_account_add(&rcl_account.cached_blocks, (int64_t)blocks - (int64_t)tc->told_blocks);
    __atomic_store_n(&tc->told_bytes, bytes, __ATOMIC_RELAXED); /* others look */
    __atomic_store_n(&tc->told_blocks, (uint32_t)blocks, __ATOMIC_RELAXED);
}

/* The same for its places, where they have changed by more than `most` bytes. */
static void tell_places(struct rcl_tcache *tc, int64_t most)
{
    int64_t more = (int64_t)tc->places - tc->told_places;
    int64_t blocks = tc->places_blocks - tc->told_places_blocks;
    if (more <= most && -more <= most && (most != 0 || blocks == 0))
        return;
    rcl_account_add(&rcl_account.cache_bytes, more);
    rcl_account_add(&rcl_account.cache_blocks, blocks);
    tc->told_places = (int32_t)tc->places;
    tc->told_places_blocks = tc->places_blocks;
}

/* What it may hold, class by class. */
static void set_cap(struct rcl_tcache *tc, unsigned cls, size_t cap)
{
    int64_t more = (int64_t)cap - tc->cap[cls], bytes = more * rcl_classes[cls].size;
    tc->bin[cls].limit = array_end(tc, cls) - cap;
    tc->cap[cls] = (uint16_t)cap;
    tc->places_blocks += (int32_t)more;
    __atomic_store_n(&tc->places, tc->places + (size_t)bytes, __ATOMIC_RELAXED); /* others look */
    tell_places(tc, (int64_t)rcl_min((size_t)tc->told_places / PLACES_DRIFT, PLACES_DRIFT_MAX));
    /* Now, not when it is counted: a thread that makes a few large blocks never comes to that. */
    if (by_places(cls))
        tell_contents(tc, tc->told_bytes + (size_t)bytes, tc->told_blocks + (size_t)more);
}

/* --- contents ----------------------------------------------------------------------------- */

/* Places that a class keeps, however little it is used. */
static size_t places_least(unsigned cls)
{
    return by_places(cls) ? 0 : rcl_classes[cls].cache_min;
}

void rcl_tcache_measure(struct rcl_tcache *tc)
{
    size_t bytes = 0, blocks = 0, small_bytes = 0, small_blocks = 0;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        if (tc->cap[cls] == 0)
            continue;
        size_t size = rcl_classes[cls].size;
        size_t count = by_places(cls) ? tc->cap[cls] : rcl_tcache_count(tc, cls);
        blocks += count;
        bytes += count * size;
        if (size <= rcl_page_size() / 2) {
            small_blocks = blocks;
            small_bytes = bytes;
        }
    }
    tell_contents(tc, bytes, blocks);
    tell_places(tc, 0);
    rcl_account_add(&rcl_account.cached_small_bytes, (int64_t)small_bytes - tc->told_small_bytes);
    rcl_account_add(&rcl_account.cached_small_blocks,
                    (int64_t)small_blocks - tc->told_small_blocks);
    tc->bytes = bytes;
    tc->blocks = (uint32_t)blocks;
    tc->told_small_bytes = (uint32_t)small_bytes; /* a few MiB at most */
    tc->told_small_blocks = (uint32_t)small_blocks;
    rcl_account_spread(rcl_page_size());
}

static size_t used_bytes(void)
{
    int64_t pages = rcl_account_get(&rcl_account.used_pages);
    return pages > 0 ? (size_t)pages << rcl_page_shift() : 0;
}

static bool is_alone(void)
{
    return rcl_account_get(&rcl_account.caches) <= 1;
}

/* What all caches together may hold. */
static size_t granted(void)
{
    return rcl_max(CACHES_BYTES_MIN, used_bytes() / USED_SHARE);
}

/*
 * One of many that has hardly been used.  Threads that each make a few blocks of some sizes and
 * then free them by hits alone never come to be counted, and together may hold much too much.
 */
static bool is_young(const struct rcl_tcache *tc)
{
    return tc->events < YOUNG_EVENTS && rcl_account_get(&rcl_account.caches) > RCL_TCACHES_FEW;
}

/* Of so many times that; all: what they have of it. */
static size_t part_of(const struct rcl_tcache *tc, size_t times, int64_t all)
{
    int64_t caches = rcl_account_get(&rcl_account.caches);
    if (is_alone())
        return times * (tc->shown + rcl_max(ALONE_BYTES_MIN, used_bytes() / ALONE_SHARE));
    size_t most = times * granted();
    if (caches <= ONE_SHARE || all < (int64_t)most)
        return rcl_min(most / ONE_SHARE, times * ONE_BYTES_MAX) + times * tc->shown;
    size_t least = is_young(tc) ? YOUNG_BYTES_LEAST : CACHE_BYTES_LEAST;
    return rcl_max(most / (size_t)caches, times * least) + times * tc->shown;
}

/* Bytes that it may hold, */
static size_t allowance(const struct rcl_tcache *tc)
{
    return part_of(tc, 1, rcl_account_get(&rcl_account.cached_bytes));
}

/* and have places for: what frees bring by hits alone. */
static size_t places_allowed(const struct rcl_tcache *tc)
{
    return part_of(tc, is_young(tc) ? 1 : PLACES_SHARE, rcl_account_get(&rcl_account.cache_bytes));
}

/* Must it have room even for the first places of a class? */
static bool is_held_to_places(const struct rcl_tcache *tc)
{
    return is_young(tc) && rcl_account_get(&rcl_account.cache_bytes) > (int64_t)granted();
}

/*
 * A cache that flushes what it soon fetches again is too small for its thread: so much is to be
 * added, within limits; it fades, so that a thread which changes its ways loses it.
 */
static void set_shown(struct rcl_tcache *tc, size_t bytes)
{
    rcl_account_add(&rcl_account.cache_shown, (int64_t)bytes - (int64_t)tc->shown);
    tc->shown = bytes;
}

static void note_refill(struct rcl_tcache *tc, unsigned cls, size_t blocks)
{
    size_t again = rcl_min(blocks, tc->flushed[cls]);
    if (again == 0)
        return;
    tc->flushed[cls] -= (uint16_t)again;
    size_t share = used_bytes() / SHOWN_SHARE, bytes = again * rcl_classes[cls].size;
    size_t most = is_alone() ? rcl_max(ALONE_SHOWN_MAX, share) : ONE_SHOWN_MAX;
    int64_t left = (int64_t)rcl_max(CACHES_SHOWN_MAX, share) -
                   rcl_account_get(&rcl_account.cache_shown);
    if (tc->shown < most && left > 0)
        set_shown(tc, rcl_min(tc->shown + rcl_min(bytes, (size_t)left), most));
}

static void flush_oldest(struct rcl_tcache *tc, unsigned cls, size_t give, const char *caller)
{
    /* They stand at the end: the program is least likely to have them in its caches. */
    struct rcl_cbin *b = &tc->bin[cls];
    size_t keep = rcl_tcache_count(tc, cls) - give;
    rcl_blocks_put(cls, b->top + keep, give, RCL_AGE_NEW, caller);
    memmove(b->top + give, b->top, keep * sizeof *b->top);
    b->top += give;
    tc->flushed[cls] = (uint16_t)rcl_min(tc->flushed[cls] + give, rcl_classes[cls].cache_max);
    tc->bytes -= rcl_min(tc->bytes, give * rcl_classes[cls].size);
    tc->blocks -= (uint32_t)rcl_min(tc->blocks, give);
}

/*
 * Half of one class after another goes back, beginning where the last time ended, until so much is
 * left.  From all alike: which of them the program will miss first is not known.  Each loses room
 * too, or what the program frees next would fill them again before one of them overflows.
 */
void rcl_tcache_shrink(struct rcl_tcache *tc, size_t bytes, size_t pages)
{
    rcl_tcache_measure(tc);
    size_t enough = tc->bytes - rcl_min(tc->bytes, SHRINK_BYTES_MAX);
    for (unsigned i = 0; i < RCL_MEDIUM_LAST; i++) {
        if ((tc->bytes <= bytes && rcl_tcache_pages(tc) <= pages) || tc->bytes < enough)
            break;
        unsigned cls = RCL_CLASS_FIRST + tc->victim;
        tc->victim = (uint16_t)((tc->victim + 1) % RCL_MEDIUM_LAST);
        if (tc->cap[cls] == 0)
            continue;
        size_t count = rcl_tcache_count(tc, cls), left = count / 2;
        if (count > left)
            flush_oldest(tc, cls, count - left, "free");
        /* Of large ones the places count, and none is left empty. */
        size_t places = by_places(cls) ? left : rcl_max(2 * left, places_least(cls));
        set_cap(tc, cls, rcl_min(tc->cap[cls], places));
    }
    rcl_tcache_measure(tc);
}

/* Half of the unused places of one class after another go, until there is room for so much. */
static void close_places(struct rcl_tcache *tc, size_t bytes, unsigned looks)
{
    for (unsigned i = 0; i < looks && tc->places > bytes; i++) {
        unsigned cls = RCL_CLASS_FIRST + tc->victim;
        tc->victim = (uint16_t)((tc->victim + 1) % RCL_MEDIUM_LAST);
        size_t cap = tc->cap[cls], count = rcl_tcache_count(tc, cls);
        if (cap > rcl_max(count, places_least(cls)))
            set_cap(tc, cls, rcl_max(cap - (cap - count + 1) / 2, places_least(cls)));
    }
}

/* Count, and bring it down to what is allowed. */
static void limit(struct rcl_tcache *tc)
{
    size_t most = allowance(tc);
    rcl_tcache_measure(tc);
    size_t kept = tc->shown - tc->shown / FADE;
    set_shown(tc, is_alone() ? kept : rcl_min(kept, ONE_SHOWN_MAX));
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++)
        tc->flushed[cls] -= (uint16_t)((tc->flushed[cls] + FADE - 1) / FADE);
    if (tc->bytes > most)
        rcl_tcache_shrink(tc, most - most / SHRINK_SHARE, SIZE_MAX);
    close_places(tc, places_allowed(tc), RCL_MEDIUM_LAST);
}

/*
 * In a slow path, an overflow or a refill that needs room for `wanted` bytes to be a whole one:
 * bytes that the cache may take in.  What is too much goes back now and then, not at
 * once: a cache at its limit would give back a class for each that it fills, and miss that one
 * next.  Until then it takes little at a time.  But a thread that does nothing but free fills one
 * class after another, without a word from those that are not full.
 */
static size_t room(struct rcl_tcache *tc, bool overflow, size_t wanted)
{
    tc->frees = overflow ? tc->frees + 1 : 0;
    if (++tc->events % MEASURE_EVENTS == 0 || (overflow && tc->frees % MEASURE_FREES == 0))
        limit(tc);
    size_t most = allowance(tc);
    /* A thread that does nothing but allocate has used what its refills are still counted for. */
    wanted = rcl_min(wanted, most / 2);
    if (tc->bytes + wanted > most && wanted != 0 && tc->events % MEASURE_REFILLS == 0)
        rcl_tcache_measure(tc);
    return tc->bytes < most ? most - tc->bytes : 0;
}

/* --- capacity ----------------------------------------------------------------------------- */

/* A larger array, blocks keep their order.  False: out of memory. */
static bool new_array(struct rcl_tcache *tc, unsigned cls, size_t size)
{
    void **array = rcl_meta_alloc(array_bytes(size));
    if (array == NULL)
        return false;
    struct rcl_cbin *b = &tc->bin[cls];
    size_t count = rcl_tcache_count(tc, cls), cap = tc->cap[cls];
    memcpy(array + size - count, b->top, (count + 1) * sizeof *array); /* and the sentinel */
    if (tc->size[cls] != 0)
        rcl_meta_free(array_end(tc, cls) - tc->size[cls], array_bytes(tc->size[cls]));
    b->limit = array + size - cap;
    b->top = array + size - count;
    tc->size[cls] = (uint16_t)size;
    return true;
}

/*
 * Room for more blocks, if the class, the options, what may still come in and memory allow.  Places
 * of large blocks take half of that at most: a program that uses each size once shall not fill its
 * cache with them.
 */
static bool grow(struct rcl_tcache *tc, unsigned cls, size_t more)
{
    const struct rcl_class *c = &rcl_classes[cls];
    size_t old = tc->cap[cls];
    size_t cap = old == 0 ? c->cache_min : rcl_min(old * 2, c->cache_max);
    size_t bytes = by_places(cls) ? (cap - old) * c->size : 0;
    if (cap == old || more == 0 || more / 2 < bytes || !rcl_options_caching() ||
        c->size > (size_t)rcl_opt.tcache_max)
        return false;
    size_t places = places_allowed(tc), wanted = (cap - old) * c->size;
    if (tc->places + wanted > places && (old != 0 || is_held_to_places(tc))) {
        close_places(tc, places - rcl_min(places, wanted), PLACES_LOOKS);
        if (tc->places + wanted > places)
            return false;
    }
    if (cap > tc->size[cls] && !new_array(tc, cls, cap))
        return false;
    set_cap(tc, cls, cap);
    tc->bytes += bytes;
    return true;
}

void rcl_tcache_empty(struct rcl_tcache *tc, enum rcl_age age)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        if (tc->size[cls] == 0)
            continue;
        rcl_blocks_put(cls, tc->bin[cls].top, rcl_tcache_count(tc, cls), age, "free");
        void **array = array_end(tc, cls) - tc->size[cls];
        size_t size = tc->size[cls];
        set_cap(tc, cls, 0);
        tc->bin[cls] = rcl_tcache_none.bin[cls];
        tc->size[cls] = 0;
        rcl_meta_free(array, array_bytes(size));
    }
    rcl_tcache_measure(tc);
    set_shown(tc, 0);
    memset(tc->flushed, 0, sizeof tc->flushed);
}

void rcl_tcache_delete(struct rcl_tcache *tc, enum rcl_age age)
{
    rcl_tcache_empty(tc, age);
    rcl_account_count(&rcl_account.cache_misses, tc->misses);
    rcl_account_count(&rcl_account.cache_overflows, tc->overflows);
    rcl_account_add(&rcl_account.caches, -1);
    if (tc->arena != NULL)
        rcl_arena_release(tc->arena);
    rcl_meta_free(tc, sizeof *tc);
}

/* --- miss and overflow -------------------------------------------------------------------- */

void *rcl_tcache_refill_from(struct rcl_tcache *tc, struct rcl_arena *a, unsigned cls, bool *zero)
{
    void *one;
    tc->misses++;
    size_t size = rcl_classes[cls].size;
    size_t more = room(tc, false, tc->cap[cls] * size / 2 * REFILL_SHARE);
    if (!grow(tc, cls, more) && tc->cap[cls] == 0)
        return rcl_blocks_take(a, cls, &one, 1, zero) != 0 ? one : NULL;

    /* Half, so that frees have room too; lowest address on top. */
    size_t want = (tc->cap[cls] + 1u) / 2;
    want = rcl_min(want, rcl_max(more / REFILL_SHARE / size, 1));
    struct rcl_cbin *b = &tc->bin[cls];
    void **end = array_end(tc, cls);
    size_t got = rcl_blocks_take(a, cls, end - want, want, zero);
    if (got == 0)
        return NULL;
    if (got < want)
        memmove(end - got, end - want, got * sizeof *end);
    b->top = end - got + 1;
    note_refill(tc, cls, got);
    tc->bytes += (got - 1) * size;
    tc->blocks += (uint32_t)got - 1;
    return end[-(ptrdiff_t)got];
}

/*
 * Blocks that may go at once: no free is to take long.  Towards the end of a random free a page
 * comes free with nearly each of them, however small, and is to be returned in the same call.
 */
static size_t flush_most(unsigned cls)
{
    size_t each = __atomic_load_n(&rcl_account.pinned_each, __ATOMIC_RELAXED);
    size_t most = FLUSH_BYTES_MAX / rcl_classes[cls].size;
    if (each != 0)
        most = rcl_min(most, FLUSH_PINNED * RCL_PINNED_ONE / each);
    return rcl_max(most, 1);
}

void rcl_tcache_overflow(struct rcl_tcache *tc, unsigned cls, void *p, const char *caller)
{
    tc->overflows++;
    size_t more = room(tc, true, 0);
    if (tc->bin[cls].top == tc->bin[cls].limit && !grow(tc, cls, more)) {
        size_t cap = tc->cap[cls];
        if (cap == 0) {
            rcl_blocks_put(cls, &p, 1, RCL_AGE_NEW, caller);
            return;
        }
        flush_oldest(tc, cls, rcl_min(cap - cap / 2, flush_most(cls)), caller);
    }
    rcl_tcache_push(tc, cls, p);
}
