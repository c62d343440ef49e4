/* SPDX-License-Identifier: MIT */
/* tcache.c - misses and overflows of tcache.h. */
#include "tcache.h"

#include "account.h"
#include "die.h"
#include "meta.h"
#include "options.h"
#include "os.h"

#include <string.h>

enum {
    USED_SHARE = 16, /* all caches together may hold 1/16 of what the program uses, */
    ONE_SHARE = 2,   /* and one thread's half of it */
};
#define CACHES_BYTES_MIN (4 * MIB) /* or this much, where that is more */

static void *const null_slot[1] = {NULL};

#define NULL_BIN                                               \
    {                                                          \
        .top = (void **)null_slot, .limit = (void **)null_slot \
    }

const struct rcl_tcache rcl_tcache_none = {
    .bin = {[0 ... RCL_NCLASSES - 1] = NULL_BIN},
    .counted = {.lg = -1},
};

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
    if (tc->bytes + bytes > (size_t)most / ONE_SHARE ||
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
static bool grow(struct rcl_tcache *tc, unsigned cls)
{
    const struct rcl_class *c = &rcl_classes[cls];
    size_t old = tc->cap[cls];
    size_t cap = old == 0 ? c->cache_min : rcl_min(old * 2, c->cache_max);
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
    if (!grow(tc, cls) && tc->cap[cls] == 0)
        return rcl_blocks_take(a, cls, &one, 1, zero) != 0 ? one : NULL;

    /* Half, so that frees have room too; lowest address on top. */
    struct rcl_cbin *b = &tc->bin[cls];
    void **end = array_end(tc, cls);
    size_t want = (tc->cap[cls] + 1u) / 2;
    size_t got = rcl_blocks_take(a, cls, end - want, want, zero);
    if (got == 0)
        return NULL;
    if (got < want)
        memmove(end - got, end - want, got * sizeof *end);
    b->top = end - got + 1;
    return end[-(ptrdiff_t)got];
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
