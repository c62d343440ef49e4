/* SPDX-License-Identifier: MIT */
/*
 * Tests of tcache.h: a stack per class, filled and emptied in batches, within budgets.
 * There is no thread here: the cache belongs to whoever holds the pointer.
 */
#include "unit.h"

#include "account.h"
#include "meta.h"
#include "options.h"
#include "pagemap.h"
#include "tcache.h"

enum { BLOCKS_MAX = 4096 };

static const struct rcl_options defaults = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#include "options.def"
#undef OPT
};

static size_t meta_live(void)
{
    size_t mapped, live;

    rcl_meta_usage(&mapped, &live);
    return live;
}

static int set_up(void **state)
{
    (void)state;
    rcl_opt = defaults;
    return 0;
}

/* Every test gives everything back. */
static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), 0);
    assert_int_equal(rcl_account_get(&rcl_account.hole_bytes), 0);
    assert_int_equal(rcl_account_get(&rcl_account.slab_pages), 0);
    assert_int_equal(rcl_account_get(&rcl_account.caches), 0);
    assert_int_equal(rcl_account_get(&rcl_account.cache_bytes), 0);
    assert_int_equal(rcl_account_get(&rcl_account.cache_blocks), 0);
    assert_int_equal(rcl_account_get(&rcl_account.cached_bytes), 0);
    assert_int_equal(rcl_account_get(&rcl_account.cached_blocks), 0);
    assert_int_equal(rcl_account_get(&rcl_account.cache_shown), 0);
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        assert_int_equal(rcl_arena_get(i)->threads, 0);
    return 0;
}

static struct rcl_tcache *make(void)
{
    struct rcl_tcache *tc = rcl_tcache_new(NULL);

    assert_non_null(tc);
    return tc;
}

/* Nothing else is cached meanwhile. */
static void assert_counts(struct rcl_tcache *const *tc, size_t n)
{
    size_t bytes = 0, may_bytes = 0, may_blocks = 0;

    for (size_t i = 0; i < n; i++) {
        rcl_tcache_measure(tc[i]);
        bytes += tc[i]->bytes;
        for (unsigned cls = 0; cls < RCL_NCLASSES; cls++) {
            may_blocks += tc[i]->cap[cls];
            may_bytes += tc[i]->cap[cls] * (size_t)rcl_classes[cls].size;
            assert_true(rcl_tcache_count(tc[i], cls) <= tc[i]->cap[cls]);
            assert_true(tc[i]->cap[cls] <= tc[i]->size[cls]);
            if (rcl_class_is_cached(cls))
                assert_true(tc[i]->size[cls] <= rcl_classes[cls].cache_max);
            else
                assert_int_equal(tc[i]->size[cls], 0);
        }
    }
    assert_int_equal(rcl_account_get(&rcl_account.cached_bytes), bytes);
    assert_int_equal(rcl_account_get(&rcl_account.cache_bytes), may_bytes);
    assert_int_equal(rcl_account_get(&rcl_account.cache_blocks), may_blocks);
    assert_true(bytes <= may_bytes);
}

static void assert_budget(struct rcl_tcache *tc)
{
    assert_counts(&tc, 1);
}

/* A hit, or what follows a miss. */
static void *take(struct rcl_tcache *tc, unsigned cls)
{
    bool zero = false;
    void *p = rcl_tcache_pop(tc, cls);

    if (p == NULL)
        p = rcl_tcache_refill(tc, cls, &zero);
    assert_non_null(p);
    assert_int_equal(rcl_pagemap_class(p), cls);
    if (zero)
        assert_true(unit_zero(p, rcl_classes[cls].size));
    return p;
}

static void give(struct rcl_tcache *tc, unsigned cls, void *p)
{
    if (!rcl_tcache_push(tc, cls, p))
        rcl_tcache_overflow(tc, cls, p, "free");
}

/* --- the empty cache --------------------------------------------------------------------- */

static void assert_empty_and_full(struct rcl_tcache *tc)
{
    int block;

    for (unsigned cls = 0; cls < RCL_NCLASSES; cls++) {
        assert_null(rcl_tcache_pop(tc, cls));
        assert_false(rcl_tcache_push(tc, cls, &block));
        assert_null(rcl_tcache_pop(tc, cls));
        assert_int_equal(rcl_tcache_count(tc, cls), 0);
    }
}

TEST(the_constant_cache_is_empty_and_full)
{
    assert_empty_and_full((struct rcl_tcache *)&rcl_tcache_none);
}

TEST(a_new_cache_is_empty_and_full)
{
    size_t live = meta_live();
    struct rcl_tcache *tc = make();

    assert_empty_and_full(tc);
    assert_budget(tc);
    assert_int_equal(tc->arena->threads, 1);
    rcl_tcache_delete(tc, RCL_AGE_NEW);
    assert_int_equal(meta_live(), live);
}

TEST(what_is_never_cached_stays_empty_and_full)
{
    static const unsigned classes[] = {RCL_CLASS_NONE, RCL_CLASS_LARGE, RCL_CLASS_HUGE};
    struct rcl_tcache *tc = make();
    void *p[8];

    for (size_t i = 0; i < 8; i++)
        p[i] = take(tc, RCL_CLASS_FIRST);
    for (size_t i = 0; i < array_len(classes); i++) {
        assert_null(rcl_tcache_pop(tc, classes[i]));
        assert_false(rcl_tcache_push(tc, classes[i], p[0]));
    }
    for (size_t i = 0; i < 8; i++)
        give(tc, RCL_CLASS_FIRST, p[i]);
    rcl_tcache_delete(tc, RCL_AGE_NEW);
}

/* --- filling ----------------------------------------------------------------------------- */

TEST(a_miss_fills_half_and_the_lowest_comes_first)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        struct rcl_tcache *tc = make();
        char *last = take(tc, cls), *first = last;
        size_t held = rcl_tcache_count(tc, cls);

        assert_int_equal(tc->misses, 1);
        assert_int_equal(tc->cap[cls], rcl_classes[cls].cache_min);
        assert_true(held + 1 <= (tc->cap[cls] + 1u) / 2);
        if (!rcl_class_is_small(cls))
            assert_int_equal(held, 0);
        void *p[BLOCKS_MAX];
        for (size_t i = 0; i < held; i++) {
            p[i] = rcl_tcache_pop(tc, cls);
            assert_true((char *)p[i] > last);
            last = p[i];
        }
        assert_null(rcl_tcache_pop(tc, cls));
        assert_int_equal(tc->misses, 1);
        for (size_t i = 0; i < held; i++)
            give(tc, cls, p[i]);
        give(tc, cls, first);
        assert_budget(tc);
        rcl_tcache_delete(tc, RCL_AGE_NEW);
    }
}

TEST(last_in_first_out)
{
    unsigned cls = rcl_class_of_small(100);
    struct rcl_tcache *tc = make();
    size_t n = rcl_classes[cls].cache_max; /* more than it has room for as yet */
    void *p[BLOCKS_MAX];

    for (size_t i = 0; i < n; i++)
        p[i] = take(tc, cls);
    while (rcl_tcache_count(tc, cls) > 0)
        p[n++] = rcl_tcache_pop(tc, cls);
    size_t room = tc->cap[cls];
    for (size_t i = 0; i < room; i++)
        assert_true(rcl_tcache_push(tc, cls, p[i]));
    assert_int_equal(rcl_tcache_count(tc, cls), room);
    assert_false(rcl_tcache_push(tc, cls, p[0]));
    for (size_t i = room; i-- > 0;)
        assert_ptr_equal(rcl_tcache_pop(tc, cls), p[i]);
    assert_null(rcl_tcache_pop(tc, cls));
    for (size_t i = 0; i < n; i++)
        give(tc, cls, p[i]);
    rcl_tcache_delete(tc, RCL_AGE_NEW);
}

/* --- growing and overflowing ------------------------------------------------------------- */

TEST(capacity_doubles_up_to_the_limit_of_the_class)
{
    static const size_t sizes[] = {16, 64, 1024, 1040, 8192, RCL_SMALL_MAX};
    static void *p[BLOCKS_MAX];

    for (size_t k = 0; k < array_len(sizes); k++) {
        unsigned cls = rcl_class_of_small(sizes[k]);
        struct rcl_tcache *tc = make();
        size_t cap = 0, n = 2u * rcl_classes[cls].cache_max + 2;

        for (size_t i = 0; i < n; i++)
            p[i] = take(tc, cls);
        for (size_t i = 0; i < n; i++) {
            give(tc, cls, p[i]);
            size_t now = tc->cap[cls];
            assert_true(now == cap || cap == 0 ||
                        now == rcl_min(2 * cap, rcl_classes[cls].cache_max));
            cap = now;
            /* The block just given is on top. */
            assert_ptr_equal(rcl_tcache_pop(tc, cls), p[i]);
            assert_true(rcl_tcache_push(tc, cls, p[i]));
            assert_budget(tc);
        }
        /* Of large blocks all that the cache may hold, less than what they take to double. */
        if (sizes[k] < RCL_TCACHE_LARGER)
            assert_int_equal(cap, rcl_classes[cls].cache_max);
        else
            assert_in_range(cap, rcl_min(512 * KIB / sizes[k], rcl_classes[cls].cache_max),
                            rcl_classes[cls].cache_max);
        rcl_tcache_delete(tc, RCL_AGE_NEW);
    }
}

TEST(growing_keeps_the_order)
{
    unsigned cls = rcl_class_of_small(48);
    struct rcl_tcache *tc = make();
    static void *p[BLOCKS_MAX];
    size_t n = rcl_classes[cls].cache_max;

    for (size_t i = 0; i < n; i++)
        p[i] = take(tc, cls);
    size_t left = rcl_tcache_count(tc, cls);
    for (size_t i = 0; i < left; i++)
        p[n + i] = rcl_tcache_pop(tc, cls);
    for (size_t i = 0; i < n; i++)
        give(tc, cls, p[i]);
    assert_int_equal(rcl_tcache_count(tc, cls), n);
    for (size_t i = n; i-- > 0;)
        assert_ptr_equal(rcl_tcache_pop(tc, cls), p[i]);
    for (size_t i = 0; i < n + left; i++)
        give(tc, cls, p[i]);
    rcl_tcache_delete(tc, RCL_AGE_NEW);
}

TEST(when_it_cannot_grow_the_oldest_half_is_given_back)
{
    unsigned cls = rcl_class_of_small(256);
    struct rcl_tcache *tc = make();
    static void *p[BLOCKS_MAX];
    size_t cap = rcl_classes[cls].cache_max, kept = cap / 2;

    for (size_t i = 0; i <= cap; i++)
        p[i] = take(tc, cls);
    size_t left = rcl_tcache_count(tc, cls);
    for (size_t i = 0; i < left; i++)
        p[cap + 1 + i] = rcl_tcache_pop(tc, cls);
    for (size_t i = 0; i < cap; i++)
        give(tc, cls, p[i]);
    assert_int_equal(rcl_tcache_count(tc, cls), cap);
    size_t live = tc->arena->bin[cls].live;
    uint64_t overflows = tc->overflows;

    give(tc, cls, p[cap]);
    assert_int_equal(tc->overflows, overflows + 1);
    assert_int_equal(tc->cap[cls], cap);
    assert_int_equal(rcl_tcache_count(tc, cls), kept + 1);
    assert_int_equal(tc->arena->bin[cls].live, live - (cap - kept));
    for (size_t i = 0; i <= kept; i++)
        assert_ptr_equal(rcl_tcache_pop(tc, cls), p[cap - i]);
    for (size_t i = 0; i <= kept; i++)
        give(tc, cls, p[cap - i]);
    for (size_t i = 0; i < left; i++)
        give(tc, cls, p[cap + 1 + i]);
    rcl_tcache_delete(tc, RCL_AGE_NEW);
}

/* --- options and budgets ----------------------------------------------------------------- */

TEST(without_the_option_nothing_is_cached)
{
    rcl_opt.tcache = 0;
    struct rcl_tcache *tc = make();
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls += 5) {
        void *p = take(tc, cls);
        assert_int_equal(tc->cap[cls], 0);
        give(tc, cls, p);
        assert_int_equal(rcl_tcache_count(tc, cls), 0);
    }
    assert_empty_and_full(tc);
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), 0);
    rcl_tcache_delete(tc, RCL_AGE_NEW);
}

TEST(the_largest_block_a_cache_keeps)
{
    rcl_opt.tcache_max = 1000;
    struct rcl_tcache *tc = make();
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        void *p = take(tc, cls);
        assert_int_equal(tc->cap[cls] != 0, rcl_classes[cls].size <= 1000);
        give(tc, cls, p);
    }
    rcl_tcache_delete(tc, RCL_AGE_NEW);
}

/* Make the cache as large as it may become. */
static void use_all_classes(struct rcl_tcache *tc)
{
    static void *p[BLOCKS_MAX];

    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        size_t n = 2u * rcl_classes[cls].cache_max + 2;
        for (size_t i = 0; i < n; i++)
            p[i] = take(tc, cls);
        for (size_t i = 0; i < n; i++)
            give(tc, cls, p[i]);
    }
}

/* Blocks of every class, as a burst that is freed in turns: no class overflows often. */
static void free_a_burst(struct rcl_tcache *tc)
{
    enum { PER_CLASS = 300 };
    static void *p[RCL_NCLASSES][PER_CLASS];

    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        for (size_t i = 0; i < PER_CLASS; i++)
            p[cls][i] = take(tc, cls);
    for (size_t i = 0; i < PER_CLASS; i++)
        for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
            give(tc, cls, p[cls][i]);
    rcl_tcache_measure(tc);
}

TEST(one_cache_has_a_budget)
{
    struct rcl_tcache *tc = make();

    use_all_classes(tc);
    /* 1 MiB, and as much as comes in from one count to the next. */
    rcl_tcache_measure(tc);
    assert_true(tc->bytes <= 2 * MIB);
    if (rcl_classes[RCL_CLASS_FIRST].cache_max > 8) {
        assert_true(tc->bytes > MIB / 2);
        assert_int_equal(tc->shown, 0); /* a place or two a class overflow, and are filled again */
    }
    /* A little at a time. */
    assert_true(tc->bytes > 0);
    size_t target = rcl_min(tc->bytes, MIB) * 3 / 4, steps = 0;
    while (tc->bytes > target) {
        size_t before = tc->bytes;
        rcl_tcache_shrink(tc, target, SIZE_MAX);
        assert_true(tc->bytes < before);
        assert_true(++steps < 20);
    }
    /* Down to nothing, but that small classes keep the places they began with. */
    for (int i = 0; i < 40; i++)
        rcl_tcache_shrink(tc, 0, 0);
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        size_t least = rcl_class_is_small(cls) ? rcl_classes[cls].cache_min : 0;
        assert_int_equal(rcl_tcache_count(tc, cls), 0);
        assert_true(tc->cap[cls] <= least);
    }
    rcl_tcache_delete(tc, RCL_AGE_NEW);
}

TEST(a_burst_does_not_hide_in_classes_that_are_not_full)
{
    struct rcl_tcache *tc = make();

    for (int i = 0; i < 3; i++) {
        free_a_burst(tc);
        assert_true(tc->bytes <= 2 * MIB);
    }
    rcl_tcache_delete(tc, RCL_AGE_NEW);
}

static size_t places(const struct rcl_tcache *tc)
{
    size_t bytes = 0;

    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++)
        bytes += tc->cap[cls] * (size_t)rcl_classes[cls].size;
    assert_int_equal(tc->places, bytes);
    return bytes;
}

/* What is allocated makes places; frees that are all hits could fill them without a word. */
TEST(a_burst_of_allocations_makes_no_more_places_than_may_be_filled)
{
    enum { PER_CLASS = 300 };
    static void *p[RCL_NCLASSES][PER_CLASS];
    struct rcl_tcache *tc = make();

    for (size_t i = 0; i < PER_CLASS; i++)
        for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
            p[cls][i] = take(tc, cls);
    size_t used = (size_t)rcl_account_get(&rcl_account.used_pages) * rcl_page_size();
    /* A class begins with a few whatever there is room for. */
    size_t least = 0;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        least += rcl_classes[cls].cache_min * (size_t)rcl_classes[cls].size;
    assert_true(places(tc) <= rcl_max(2 * rcl_max(MIB, used / 48), least));
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        for (size_t i = 0; i < PER_CLASS; i++)
            give(tc, cls, p[cls][i]);
        places(tc);
    }
    rcl_tcache_delete(tc, RCL_AGE_NEW);
}

/* Many caches, each with a few blocks of some sizes, none of which is ever counted. */
TEST(what_many_caches_have_room_for_is_limited_without_a_count)
{
    enum { CACHES = 40, SIZES = 14 };
    static struct rcl_tcache *tc[CACHES];
    static void *p[CACHES][SIZES];
    struct unit_random random = {7};

    for (size_t i = 0; i < CACHES; i++)
        tc[i] = make();
    for (size_t i = 0; i < CACHES; i++) {
        for (size_t k = 0; k < SIZES; k++) {
            size_t size = 16 + unit_below(&random, 60000);
            unsigned cls = size <= RCL_SMALL_MAX ? rcl_class_of_small(size)
                                                 : rcl_class_of_medium(size);
            p[i][k] = take(tc[i], cls);
        }
    }
    /* The first few may take what there is, and 8 KiB are grudged to nobody. */
    int64_t places = rcl_account_get(&rcl_account.cache_bytes);
    assert_in_range(places, 1 * MIB, 8 * MIB + CACHES * 8 * KIB);
    /* Large blocks, of which few make much, are told of before anybody counts. */
    int64_t told = rcl_account_get(&rcl_account.cached_bytes), large = 0;
    for (size_t i = 0; i < CACHES; i++)
        for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++)
            if (rcl_classes[cls].size >= 16 * KIB)
                large += tc[i]->cap[cls] * (int64_t)rcl_classes[cls].size;
    assert_true(large > 0 && told >= large);
    for (size_t i = 0; i < CACHES; i++) {
        for (size_t k = 0; k < SIZES; k++)
            give(tc[i], rcl_pagemap_class(p[i][k]), p[i][k]);
        rcl_tcache_delete(tc[i], RCL_AGE_NEW);
    }
    assert_int_equal(rcl_account_get(&rcl_account.cached_bytes), 0);
}

/* Takes n blocks of 8 KiB and gives them back, again and again: what it has shown by that. */
static size_t show_again(struct rcl_tcache *tc, void **p, size_t n)
{
    unsigned cls = rcl_class_of_small(8192);

    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < n; i++)
            p[i] = take(tc, cls);
        for (size_t i = 0; i < n; i++)
            give(tc, cls, p[i]);
        if (round == 0)
            assert_int_equal(tc->shown, 0); /* given back and not fetched: a burst */
    }
    assert_int_equal(rcl_account_get(&rcl_account.cache_shown), tc->shown);
    return tc->shown;
}

TEST(what_is_fetched_again_is_shown_and_fades)
{
    enum { N = 1000 };
    static void *p[N];
    unsigned cls = rcl_class_of_small(8192);
    struct rcl_tcache *tc = make(), *other = make();

    size_t shown = show_again(tc, p, N);
    assert_true(shown > 0);
    assert_true(shown <= MIB);
    /* Frees alone, of what others have allocated. */
    bool zero;
    for (size_t i = 0; i < 20 * N; i++) {
        REQUIRE(rcl_blocks_take(tc->arena, cls, p, 1, &zero) == 1);
        give(tc, cls, p[0]);
    }
    assert_true(tc->shown < shown);
    rcl_tcache_delete(tc, RCL_AGE_NEW);
    rcl_tcache_delete(other, RCL_AGE_NEW);
}

TEST(the_only_cache_shows_more_than_one_of_several)
{
    enum { N = 1000 };
    static void *p[N];
    struct rcl_tcache *tc = make();
    size_t shown = show_again(tc, p, N);

#ifndef RCL_HOSTILE_H /* where a class has three places */
    assert_true(shown > MIB);
#endif
    assert_true(shown <= 2 * MIB);
    rcl_tcache_delete(tc, RCL_AGE_NEW);
}

TEST(all_caches_have_a_budget)
{
    enum { CACHES = 6 };
    struct rcl_tcache *tc[CACHES];

    for (size_t i = 0; i < CACHES; i++) {
        tc[i] = make();
        use_all_classes(tc[i]);
        assert_counts(tc, i + 1);
        /*
         * A sixteenth of what is used or 4 MiB, and what has been shown; and of each, what has come
         * in since its last count, or its part for one that begins when the others have taken all.
         */
        size_t used = (size_t)rcl_account_get(&rcl_account.used_pages) * rcl_page_size();
        size_t held = (size_t)rcl_account_get(&rcl_account.cached_bytes);
        size_t shown = (size_t)rcl_account_get(&rcl_account.cache_shown);
        assert_true(held <= rcl_max(4 * MIB, used / 16) + shown + (i + 1) * MIB / 2);
    }
    /* Each that goes on comes down to its part. */
    for (size_t i = 0; i < CACHES; i++) {
        for (int k = 0; k < 4; k++)
            free_a_burst(tc[i]);
        rcl_tcache_measure(tc[i]);
        assert_true(tc[i]->bytes <= tc[i]->shown + 2 * MIB);
    }
    for (size_t i = 0; i < CACHES; i++)
        rcl_tcache_delete(tc[i], RCL_AGE_NEW);
}

static void purge_slabs(void)
{
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
            rcl_bin_purge(&rcl_arena_get(i)->bin[cls], RCL_PURGE_ANY, SIZE_MAX);
}

/* --- giving up --------------------------------------------------------------------------- */

TEST(deleting_gives_every_block_back)
{
    purge_slabs(); /* what earlier tests have left goes with its descriptors */
    size_t live = meta_live();
    struct rcl_tcache *tc = make();

    use_all_classes(tc);
    rcl_tcache_delete(tc, RCL_AGE_OLD);
    purge_slabs();
    assert_int_equal(meta_live(), live);
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
            assert_int_equal(rcl_arena_get(i)->bin[cls].live, 0);
    /* It was idle: all of it may go at once. */
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        rcl_runs_purge(&rcl_arena_get(i)->runs, RCL_PURGE_ANY, SIZE_MAX);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), 0);
}

/* --- random ------------------------------------------------------------------------------ */

TEST(random_operations)
{
    enum { N = 2000 };
    static struct {
        void *p;
        unsigned cls;
    } own[N];
    struct unit_random random = unit_random_start();
    struct rcl_tcache *tc[2] = {make(), make()};

    memset(own, 0, sizeof own);
    for (int step = 0; step < 100000; step++) {
        size_t i = unit_below(&random, N);
        /* What one has taken the other may be given. */
        struct rcl_tcache *t = tc[unit_below(&random, 2)];
        if (own[i].p == NULL) {
            unsigned cls = unit_below(&random, 100) == 0
                               ? RCL_CLASS_FIRST + (unsigned)unit_below(&random, RCL_MEDIUM_LAST)
                               : RCL_CLASS_FIRST + (unsigned)unit_below(&random, 8);
            own[i].p = take(t, cls);
            own[i].cls = cls;
            memcpy(own[i].p, &own[i].p, sizeof(void *));
        } else {
            assert_memory_equal(own[i].p, &own[i].p, sizeof(void *));
            give(t, own[i].cls, own[i].p);
            own[i].p = NULL;
        }
        if (step % 1000 == 0)
            assert_counts(tc, array_len(tc));
    }
    for (size_t i = 0; i < N; i++)
        if (own[i].p != NULL)
            give(tc[0], own[i].cls, own[i].p);
    rcl_tcache_delete(tc[0], RCL_AGE_NEW);
    rcl_tcache_delete(tc[1], RCL_AGE_OLD);
}

/* --- bad pointers and no memory ---------------------------------------------------------- */

static void overflow_with_a_double_free(void *arg)
{
    unsigned cls = rcl_class_of_small(64);
    struct rcl_tcache *tc = make();
    size_t n = rcl_classes[cls].cache_max;
    void *p = take(tc, cls);

    (void)arg;
    /* The hit path does not look; the batch does. */
    for (size_t i = 0; i < 2 * n; i++)
        give(tc, cls, p);
}

TEST(a_double_free_is_found_when_the_cache_overflows)
{
    unit_child_dies(overflow_with_a_double_free, NULL, "libreclaim: free(): double free of 0x");
}

static void run_out_of_memory(void *arg)
{
    unsigned cls = rcl_class_of_small(RCL_SMALL_MAX);
    struct rcl_tcache *tc = make();
    bool zero;
    size_t n = 0;
    static void *p[BLOCKS_MAX];

    (void)arg;
    p[n++] = take(tc, cls);
    /* What earlier tests have left would serve for long. */
    purge_slabs();
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        rcl_runs_unmap_empty(&rcl_arena_get(i)->runs, 0, true);
    unit_cover_holes();
    unit_limit_memory(256 * KIB);
    for (; n < BLOCKS_MAX; n++) {
        p[n] = rcl_tcache_pop(tc, cls);
        if (p[n] == NULL && (p[n] = rcl_tcache_refill(tc, cls, &zero)) == NULL)
            break;
    }
    REQUIRE(n < BLOCKS_MAX);
    REQUIRE(rcl_tcache_refill(tc, cls, &zero) == NULL);
    REQUIRE(rcl_tcache_count(tc, cls) == 0);
    /* Giving back needs no memory. */
    for (size_t i = 0; i < n; i++)
        give(tc, cls, p[i]);
    REQUIRE(rcl_tcache_pop(tc, cls) == p[n - 1]);
}

TEST(out_of_memory_is_null)
{
    unit_child_passes(run_out_of_memory, NULL);
}

static void make_without_memory(void *arg)
{
    struct rcl_tcache *tc;

    (void)arg;
    unit_limit_memory(0);
    while ((tc = rcl_tcache_new(NULL)) != NULL) {}
    REQUIRE(rcl_tcache_new(NULL) == NULL);
}

TEST(without_memory_there_is_no_cache)
{
    unit_child_passes(make_without_memory, NULL);
}

static int boot(void **state)
{
    (void)state;
    rcl_os_init();
    rcl_sizeclass_init(rcl_page_size());
    rcl_opt.narenas = 2;
    return rcl_arena_boot() ? 0 : 1;
}

#define TESTED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TESTED(the_constant_cache_is_empty_and_full),
        TESTED(a_new_cache_is_empty_and_full),
        TESTED(what_is_never_cached_stays_empty_and_full),
        TESTED(a_miss_fills_half_and_the_lowest_comes_first),
        TESTED(last_in_first_out),
        TESTED(capacity_doubles_up_to_the_limit_of_the_class),
        TESTED(growing_keeps_the_order),
        TESTED(when_it_cannot_grow_the_oldest_half_is_given_back),
        TESTED(without_the_option_nothing_is_cached),
        TESTED(the_largest_block_a_cache_keeps),
        TESTED(one_cache_has_a_budget),
        TESTED(a_burst_does_not_hide_in_classes_that_are_not_full),
        TESTED(a_burst_of_allocations_makes_no_more_places_than_may_be_filled),
        TESTED(what_many_caches_have_room_for_is_limited_without_a_count),
        TESTED(what_is_fetched_again_is_shown_and_fades),
        TESTED(the_only_cache_shows_more_than_one_of_several),
        TESTED(all_caches_have_a_budget),
        TESTED(deleting_gives_every_block_back),
        TESTED(random_operations),
        TESTED(a_double_free_is_found_when_the_cache_overflows),
        TESTED(out_of_memory_is_null),
        TESTED(without_memory_there_is_no_cache),
    };

    return cmocka_run_group_tests(tests, boot, NULL);
}
