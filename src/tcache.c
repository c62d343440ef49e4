/* SPDX-License-Identifier: MIT */
/* tcache.c - misses and overflows of tcache.h. */
#include "tcache.h"

#include "account.h"
#include "die.h"
#include "meta.h"
#include "options.h"
#include "os.h"
#include "prof_rate.h"

#include <string.h>

enum {
    USED_SHARE = 16,       /* all caches together may hold 1/16 of what the program uses, */
    SIDE_BYTES = 8 * 1024, /* of a class on a counted side: what comes back is still in the L1 */
    SIDE_BLOCKS_MAX = 32,
    SIDE_SIZE_MAX = 1024,
};
#define CACHES_BYTES_MIN (4 * MIB) /* or this much, */
#define CACHE_BYTES_MAX (2 * MIB)  /* and one thread's this much */

static void *const null_slot[1] = {NULL};

#define NULL_BIN                                               \
    {                                                          \
        .top = (void **)null_slot, .limit = (void **)null_slot \
    }

const struct rcl_tcache rcl_tcache_none = {.bin = {[0 ... RCL_NCLASSES - 1] = NULL_BIN}};

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

/* --- capacity ----------------------------------------------------------------------------- */

static bool budget_take(struct rcl_tcache *tc, size_t blocks, size_t size)
{
    size_t bytes = blocks * size;
    int64_t used = rcl_account_get(&rcl_account.used_pages) << rcl_page_shift();
    int64_t most = used / USED_SHARE > (int64_t)CACHES_BYTES_MIN ? used / USED_SHARE
                                                                 : (int64_t)CACHES_BYTES_MIN;
    if (tc->bytes + bytes > CACHE_BYTES_MAX ||
        rcl_account_get(&rcl_account.cache_bytes) + (int64_t)bytes > most)
        return false;
    tc->bytes += bytes;
    tc->blocks += blocks;
    rcl_account_add(&rcl_account.cache_bytes, (int64_t)bytes);
    rcl_account_add(&rcl_account.cache_blocks, (int64_t)blocks);
    return true;
}

static void budget_give(struct rcl_tcache *tc, size_t blocks, size_t bytes)
{
    tc->bytes -= bytes;
    tc->blocks -= blocks;
    rcl_account_add(&rcl_account.cache_bytes, -(int64_t)bytes);
    rcl_account_add(&rcl_account.cache_blocks, -(int64_t)blocks);
}

/* A larger array, if the class, the options and the budgets allow; blocks keep their order. */
static bool grow_to(struct rcl_tcache *tc, unsigned cls, size_t cap)
{
    const struct rcl_class *c = &rcl_classes[cls];
    size_t old = tc->cap[cls];
    if (cap == old || !rcl_options_caching() || c->size > (size_t)rcl_opt.tcache_max ||
        !budget_take(tc, cap - old, c->size))
        return false;
    void **array = rcl_meta_alloc(array_bytes(cap));
    if (array == NULL) {
        budget_give(tc, cap - old, (cap - old) * c->size);
        return false;
    }
    struct rcl_cbin *b = &tc->bin[cls];
    size_t count = rcl_tcache_count(tc, cls);
    memcpy(array + cap - count, b->top, (count + 1) * sizeof *array); /* and the sentinel */
    if (old != 0)
        rcl_meta_free(b->limit, array_bytes(old));
    b->limit = array;
    b->top = array + cap - count;
    tc->cap[cls] = (uint16_t)cap;
    return true;
}

static bool grow(struct rcl_tcache *tc, unsigned cls)
{
    const struct rcl_class *c = &rcl_classes[cls];
    size_t old = tc->cap[cls];
    return grow_to(tc, cls, old == 0 ? c->cache_min : rcl_min(old * 2, c->cache_max));
}

void rcl_tcache_empty(struct rcl_tcache *tc, enum rcl_age age)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        if (tc->cap[cls] == 0)
            continue;
        rcl_blocks_put(cls, tc->bin[cls].top, rcl_tcache_count(tc, cls), age, "free");
        rcl_meta_free(tc->bin[cls].limit, array_bytes(tc->cap[cls]));
        tc->bin[cls] = rcl_tcache_none.bin[cls];
        tc->cap[cls] = 0;
    }
    budget_give(tc, tc->blocks, tc->bytes);
}

void rcl_tcache_delete(struct rcl_tcache *tc, enum rcl_age age)
{
    if (tc->counted != NULL)
        rcl_counted_delete(tc->counted, age);
    rcl_tcache_empty(tc, age);
    rcl_account_count(&rcl_account.cache_misses, tc->misses);
    rcl_account_count(&rcl_account.cache_overflows, tc->overflows);
    rcl_account_add(&rcl_account.caches, -1);
    if (tc->arena != NULL)
        rcl_arena_release(tc->arena);
    rcl_meta_free(tc, sizeof *tc);
}

/* --- miss and overflow -------------------------------------------------------------------- */

/* So many blocks from the bin, lowest address on top, and one of them taken; how many.  0: none. */
static size_t fill(struct rcl_tcache *tc, struct rcl_arena *a, unsigned cls, size_t want,
                   void **one, bool *zero)
{
    struct rcl_cbin *b = &tc->bin[cls];
    void **end = array_end(tc, cls);
    tc->misses++;
    if (want == 0)
        return rcl_blocks_take(a, cls, one, 1, zero);
    size_t got = rcl_blocks_take(a, cls, end - want, want, zero);
    if (got == 0)
        return 0;
    if (got < want)
        memmove(end - got, end - want, got * sizeof *end);
    b->top = end - got + 1;
    *one = end[-(ptrdiff_t)got];
    return got;
}

void *rcl_tcache_refill_from(struct rcl_tcache *tc, struct rcl_arena *a, unsigned cls, bool *zero)
{
    void *one;
    grow(tc, cls);
    /* Half, so that frees have room too. */
    return fill(tc, a, cls, (tc->cap[cls] + 1u) / 2, &one, zero) != 0 ? one : NULL;
}

void rcl_tcache_overflow(struct rcl_tcache *tc, unsigned cls, void *p, const char *caller)
{
    tc->overflows++;
    if (!grow(tc, cls)) {
        size_t cap = tc->cap[cls];
        if (cap == 0) {
            rcl_blocks_put(cls, &p, 1, RCL_AGE_NEW, caller);
            return;
        }
        /* The oldest stand at the end: the program is least likely to have them in its caches. */
        struct rcl_cbin *b = &tc->bin[cls];
        size_t count = rcl_tcache_count(tc, cls), give = count - cap / 2;
        rcl_blocks_put(cls, b->top + (count - give), give, RCL_AGE_NEW, caller);
        memmove(b->top + give, b->top, (count - give) * sizeof *b->top);
        b->top += give;
    }
    rcl_tcache_push(tc, cls, p);
}

/* --- the counted side --------------------------------------------------------------------- */

/*
 * Values of `left`: a number of blocks; the same with FAR, when the sampled one lies further
 * away than can be written here: at its end nothing is sampled and the rest is drawn anew,
 * which is the same, since the distribution has no memory; UNDRAWN.
 */
#define FAR ((uint32_t)1 << 23)
#define FAR_BLOCKS (FAR - 2)
#define UNDRAWN (FAR | (FAR - 1))

/*
 * Blocks of a class that a counted side holds.  All of it can be used, as nothing is pushed
 * there.  Larger blocks go from the cache to the program one by one, each by a miss that their
 * use outweighs: a second cache of them would keep much memory from being returned.
 */
static size_t side_cap(unsigned cls)
{
    const struct rcl_class *c = &rcl_classes[cls];
    return rcl_min(rcl_min(SIDE_BYTES / c->size, SIDE_BLOCKS_MAX), c->cache_max);
}

struct rcl_counted *rcl_counted_new(const struct rcl_tcache *tc, unsigned lg)
{
    struct rcl_counted *c = rcl_meta_alloc(sizeof *c);
    _Static_assert(sizeof *c <= RCL_META_MAX, "memory for it comes from meta.c");
    if (c == NULL)
        return NULL;
    tcache_init(&c->side, tc->arena);
    c->lg = lg;
    for (unsigned cls = 0; cls < array_len(c->room); cls++) {
        c->room[cls].left = UNDRAWN;
        c->room[cls].cap = rcl_classes[cls].size > SIDE_SIZE_MAX ? RCL_ROOM_NONE : 0;
    }
    return c;
}

void rcl_counted_delete(struct rcl_counted *c, enum rcl_age age)
{
    rcl_tcache_empty(&c->side, age);
    rcl_meta_free(c, sizeof *c);
}

/* Blocks that may be handed out before the sampled one; 0: the next is it. */
static uint32_t blocks_left(struct rcl_counted *c, unsigned cls, uint64_t *random)
{
    struct rcl_room *room = &c->room[cls];
    while (room->left == UNDRAWN || room->left == FAR) {
        uint64_t blocks = rcl_prof_distance(random, c->lg) / rcl_classes[cls].size;
        room->left = (blocks < FAR ? (uint32_t)blocks : FAR | FAR_BLOCKS) & UNDRAWN;
    }
    return room->left & ~FAR;
}

bool rcl_counted_one(struct rcl_counted *c, unsigned cls, uint64_t *random)
{
    bool sampled = blocks_left(c, cls, random) == 0;
    if (sampled)
        c->room[cls].left = UNDRAWN;
    else
        c->room[cls].left--;
    return sampled;
}

/* One block straight from the cache. */
static void *pop_counted(struct rcl_tcache *tc, unsigned cls)
{
    void *p = rcl_tcache_pop(tc, cls);
    if (p != NULL)
        tc->counted->room[cls].left--;
    return p;
}

/* Short, and on few lines of memory: a program that allocates much comes here often. */
void *rcl_counted_move(struct rcl_tcache *tc, unsigned cls)
{
    struct rcl_room *room = &tc->counted->room[cls];
    uint32_t left = room->left;
    if (unlikely(left == UNDRAWN || (left &= ~FAR) == 0))
        return NULL;
    if (room->cap == RCL_ROOM_NONE)
        return pop_counted(tc, cls);
    struct rcl_cbin *from = &tc->bin[cls], *to = &tc->counted->side.bin[cls];
    size_t most = rcl_min(room->cap, left), n = rcl_min(rcl_tcache_count(tc, cls), most);
    /* Too few: then the bin adds some, or every other allocation would miss from here on. */
    if (unlikely(n == 0 || n * 2 < most))
        return NULL;
    void **at = to->limit + room->cap - n;
    memcpy(at, from->top, n * sizeof *at);
    from->top += n;
    to->top = at + 1;
    room->left = (room->left - (uint32_t)n) & UNDRAWN;
    return at[0];
}

/* There are blocks left before the sampled one, but the cache has too few of them. */
static void *refill_counted(struct rcl_tcache *tc, unsigned cls, uint32_t left, bool *zero)
{
    struct rcl_counted *c = tc->counted;
    struct rcl_room *room = &c->room[cls];
    void *p = NULL;
    grow(tc, cls); /* as every miss does: frees are waiting for it */
    if (room->cap == 0 && grow_to(&c->side, cls, side_cap(cls)))
        room->cap = (uint8_t)c->side.cap[cls];
    if (c->side.cap[cls] != 0) {
        size_t want = rcl_min(room->cap, left);
        size_t got = fill(&c->side, tc->arena, cls, want, &p, zero);
        room->left = (room->left - (uint32_t)got) & UNDRAWN;
        return p;
    }
    p = pop_counted(tc, cls);
    if (p == NULL && (p = rcl_tcache_refill_from(tc, tc->arena, cls, zero)) != NULL)
        room->left--;
    return p;
}

void *rcl_counted_refill(struct rcl_tcache *tc, unsigned cls, uint64_t *random, bool *zero,
                         bool *sampled)
{
    uint32_t left = blocks_left(tc->counted, cls, random);
    void *p;
    *sampled = false;
    if (left > 0) {
        p = rcl_counted_move(tc, cls);
        return p != NULL ? p : refill_counted(tc, cls, left, zero);
    }
    p = rcl_tcache_pop(tc, cls);
    if (p == NULL && rcl_blocks_take(tc->arena, cls, &p, 1, zero) == 0)
        return NULL;
    *sampled = rcl_counted_one(tc->counted, cls, random);
    return p;
}
