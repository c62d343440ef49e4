/* SPDX-License-Identifier: MIT */
/*
 * Tests of purge.h: how much stays when much is freed, how long it stays, and that a
 * request returns everything.  Blocks come from the bins directly, so that what is in
 * a cache is what the test has put there.
 */
#include "unit.h"

#include "arena.h"
#include "huge.h"
#include "large.h"
#include "meta.h"
#include "options.h"
#include "pagemap.h"
#include "purge.h"
#include "xcache.h"

enum { BATCH = 32, BLOCKS_MAX = 700000 };

static const struct rcl_options defaults = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#include "options.def"
#undef OPT
};

static struct held {
    void *p;
    unsigned cls;
} held[BLOCKS_MAX];
static size_t n_held;

static struct rcl_arena *arena(void)
{
    return rcl_arena_get(0);
}

static size_t dirty_bytes(void)
{
    int64_t pages = rcl_purge_dirty();

    assert_true(pages >= 0);
    return (size_t)pages * rcl_page_size();
}

static size_t used_bytes(void)
{
    int64_t pages = rcl_account_get(&rcl_account.used_pages);

    assert_true(pages >= 0);
    return (size_t)pages * rcl_page_size();
}

static size_t ceiling(void)
{
    return rcl_demand_ceiling() * rcl_page_size();
}

/* Blocks of a small, medium, large or huge size, about so many bytes in all, all touched. */
static void take(unsigned cls, size_t bytes)
{
    bool zero;
    struct rcl_run run;

    for (size_t got = 0; got < bytes && n_held + BATCH <= BLOCKS_MAX;) {
        void *p[BATCH];
        size_t n = 1, size = rcl_classes[cls].size;
        if (rcl_class_is_cached(cls)) {
            n = rcl_blocks_take(arena(), cls, p, BATCH, &zero);
        } else if (cls == RCL_CLASS_LARGE) {
            size = RCL_LARGE_MAX / 2;
            p[0] = rcl_large_take(&arena()->runs, arena(), size, 1, cls, &run);
        } else {
            size = 3 * MIB;
            p[0] = rcl_huge_take_in(NULL, size, 1, &zero);
        }
        assert_true(n > 0 && p[0] != NULL);
        for (size_t i = 0; i < n; i++) {
            unit_stamp(p[i], size, n_held);
            held[n_held].p = p[i];
            held[n_held++].cls = cls;
        }
        got += n * size;
    }
}

/* Give the last n blocks back, as a free that goes the slow way does. */
static void give(size_t n, bool purge)
{
    void *p[BATCH];

    while (n > 0) {
        unsigned cls = held[n_held - 1].cls;
        size_t some = 0;
        while (some < rcl_min(n, BATCH) && n_held > 0 && held[n_held - 1].cls == cls)
            p[some++] = held[--n_held].p;
        if (rcl_class_is_cached(cls))
            rcl_blocks_put(cls, p, some, RCL_AGE_NEW, "free");
        for (size_t i = 0; i < some && !rcl_class_is_cached(cls); i++) {
            if (cls == RCL_CLASS_LARGE)
                rcl_large_give(rcl_pagemap_desc(p[i]), RCL_AGE_NEW);
            else
                rcl_huge_give(rcl_pagemap_desc(p[i]));
            if (purge)
                rcl_purge_excess(&rcl_tls);
        }
        if (purge)
            rcl_purge_excess(&rcl_tls);
        n -= some;
    }
}

static const unsigned kinds[] = {RCL_CLASS_FIRST + 3, RCL_SMALL_LAST - 5, RCL_SMALL_LAST + 6,
                                 RCL_CLASS_LARGE, RCL_CLASS_HUGE};

static void enter(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
}

static int set_up(void **state)
{
    (void)state;
    rcl_opt = defaults;
    rcl_opt.dirty_min = 2 * MIB;
    rcl_opt.dirty_share = 0;
    n_held = 0;
    enter();
    return 0;
}

static void forget_demand(void)
{
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        rcl_demand_init(&rcl_arena_get(i)->demand, UINT64_C(3600000000000));
    rcl_huge_init(UINT64_C(3600000000000), 0);
    rcl_account.demand_pages = rcl_account.regret_pages = rcl_account.grown_pages = 0;
}

/* Everything goes back, and no count remembers it; demand must not reach into the next test. */
static int tear_down(void **state)
{
    (void)state;
    give(n_held, false);
    rcl_purge_all(&rcl_tls);
    assert_int_equal(rcl_purge_dirty(), 0);
    assert_int_equal(rcl_purge_pinned(), 0);
    assert_int_equal(used_bytes(), 0);
    assert_int_equal(rcl_account_read(&rcl_account.mapped_bytes), 0);
    rcl_gate_leave(&rcl_tls.gate);
    forget_demand();
    return 0;
}

/* --- amount ---------------------------------------------------------------------------------- */

TEST(below_the_ceiling_everything_stays)
{
    for (size_t i = 0; i < array_len(kinds); i++) {
        take(kinds[i], MIB);
        give(n_held, true);
        if (kinds[i] != RCL_CLASS_HUGE) {
            assert_true(dirty_bytes() >= MIB);
            assert_int_equal(rcl_account_read(&rcl_account.purged_pages), 0);
        }
        rcl_purge_all(&rcl_tls);
        rcl_account.purged_pages = 0;
    }
}

TEST(the_excess_of_a_burst_goes_while_it_is_freed)
{
    for (size_t i = 0; i < array_len(kinds); i++) {
        size_t batch = rcl_max(BATCH * rcl_classes[kinds[i]].size, 3 * MIB);

        take(kinds[i], 40 * MIB);
        size_t most = n_held, top = rcl_max(ceiling(), 2 * MIB) + batch;
        while (n_held > 0) {
            give(rcl_min(n_held, BATCH), true);
            assert_true(dirty_bytes() <= top);
        }
        assert_true(most > 0);
        /* Somewhat below the ceiling, so as not to be back at once; but not at nothing. */
        assert_true(dirty_bytes() <= ceiling());
        rcl_purge_all(&rcl_tls);
    }
}

TEST(live_memory_raises_the_ceiling)
{
    rcl_opt.dirty_share = 8;
    take(RCL_CLASS_HUGE, 4 * 80 * MIB); /* without regret, a quarter of the share */
    size_t live = n_held;
    take(RCL_CLASS_LARGE, 8 * MIB);
    assert_true(ceiling() >= 10 * MIB);
    give(n_held - live, true);
    assert_true(dirty_bytes() >= 8 * MIB);
    give(n_held, true);
    assert_true(dirty_bytes() <= 2 * MIB);
}

TEST(what_is_taken_again_may_stay)
{
    for (int round = 0; round < 3; round++) {
        take(RCL_CLASS_FIRST + 40, 20 * MIB);
        give(n_held, true);
        if (round == 0)
            assert_true(dirty_bytes() <= 2 * MIB);
        else
            assert_true(dirty_bytes() >= 18 * MIB);
    }
    /* The third round touched nothing that had been given back. */
    uint64_t refaulted = rcl_account_read(&rcl_account.refaulted_pages);
    take(RCL_CLASS_FIRST + 40, 18 * MIB);
    assert_int_equal(rcl_account_read(&rcl_account.refaulted_pages), refaulted);
}

TEST(demand_that_nobody_speaks_of_any_more_is_withdrawn)
{
    const struct timespec nap = {.tv_nsec = 400000000};

    rcl_opt.dirty_decay_ms = 50;
    rcl_huge_init(50000000, 0);
    for (int round = 0; round < 2; round++) {
        take(RCL_CLASS_HUGE, 20 * MIB);
        give(n_held, true);
    }
    assert_true(rcl_account_get(&rcl_account.demand_pages) > (int64_t)(8 * MIB / rcl_page_size()));
    rcl_purge_all(&rcl_tls);
    nanosleep(&nap, NULL); /* no helper runs here */
    take(RCL_CLASS_FIRST + 40, 20 * MIB);
    give(n_held, true);
    assert_int_equal(rcl_account_get(&rcl_account.demand_pages), 0);
    assert_true(dirty_bytes() <= 2 * MIB);
}

/* A slow free of somebody else's, who finds more than dirty_min. */
static void find_much(void)
{
    const int64_t much = (int64_t)(3 * MIB / rcl_page_size());

    rcl_account_add(&rcl_account.dirty_pages, much);
    rcl_purge_excess(&rcl_tls);
    rcl_account_add(&rcl_account.dirty_pages, -much);
}

TEST(growth_and_regret_that_nobody_speaks_of_any_more_are_withdrawn)
{
    const struct timespec nap = {.tv_nsec = 400000000};
    const struct rcl_demand_note grown = {.taken_clean = 10000, .taken_new = 10000};
    const struct rcl_demand_note taken = {.taken_clean = 10000};
    const struct rcl_demand_note gone = {.freed = 10000, .purged = 10000};

    rcl_opt.dirty_decay_ms = 50;
    rcl_demand_set_window(&arena()->demand, 50000000);
    rcl_demand_tell(&arena()->demand, &grown);
    rcl_demand_tell(&arena()->demand, &gone);
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), 10000);
    nanosleep(&nap, NULL);
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), 10000);
    find_much();
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), 0);
    /* Regret outlives demand. */
    for (int round = 0; round < 2; round++) {
        rcl_demand_tell(&arena()->demand, &taken);
        rcl_demand_tell(&arena()->demand, &gone);
    }
    nanosleep(&nap, NULL);
    find_much();
    assert_int_equal(rcl_account_get(&rcl_account.demand_pages), 0);
    int64_t regret = rcl_account_get(&rcl_account.regret_pages);
    assert_true(regret < 10000);
    nanosleep(&nap, NULL);
    find_much();
    assert_true(regret == 0 || rcl_account_get(&rcl_account.regret_pages) < regret);
}

TEST(with_no_decay_time_nothing_stays)
{
    rcl_opt.dirty_decay_ms = 0;
    for (size_t i = 0; i < array_len(kinds); i++) {
        take(kinds[i], 10 * MIB);
        give(n_held, true);
        /* A call does not do all there is to do, but nothing is left over for long. */
        for (int k = 0; k < 10; k++)
            rcl_purge_excess(&rcl_tls);
        assert_int_equal(dirty_bytes(), 0);
    }
}

/* The caller's own cache, filled with this many blocks. */
static void fill_cache(unsigned cls, size_t n)
{
    void *p[1000];
    bool zero;

    assert_true(n <= array_len(p));
    for (size_t i = 0; i < n; i++) {
        struct rcl_tcache *tc = rcl_thread_cache(&rcl_tls);
        p[i] = rcl_tcache_pop(tc, cls);
        if (p[i] == NULL)
            p[i] = rcl_tcache_refill(tc, cls, &zero);
        assert_non_null(p[i]);
    }
    for (size_t i = 0; i < n; i++) {
        struct rcl_tcache *tc = rcl_thread_cache(&rcl_tls);
        if (!rcl_tcache_push(tc, cls, p[i]))
            rcl_tcache_overflow(tc, cls, p[i], "free");
    }
}

TEST(with_a_decay_time_without_end_everything_stays)
{
    uint64_t purged = rcl_account_read(&rcl_account.purged_pages);

    rcl_opt.dirty_decay_ms = -1;
    for (size_t i = 0; i < array_len(kinds); i++)
        take(kinds[i], 20 * MIB);
    give(n_held, true);
    rcl_purge_before_fork(&rcl_tls);
    assert_int_equal(rcl_account_read(&rcl_account.purged_pages), purged);
    assert_true(dirty_bytes() >= array_len(kinds) * 18 * MIB);
    /* But to a request. */
    rcl_purge_all(&rcl_tls);
    assert_int_equal(dirty_bytes(), 0);
}

TEST(what_caches_pin_counts)
{
    rcl_account.pinned_each = RCL_PINNED_ONE; /* a page each */
    assert_int_equal(rcl_purge_pinned(), 0);
    assert_int_equal(rcl_purge_pinned_most(), 0);
    fill_cache(RCL_CLASS_FIRST, 500);
    rcl_tcache_measure(rcl_thread_own_cache(&rcl_tls));
    int64_t blocks = rcl_account_get(&rcl_account.cached_blocks);
    int64_t bytes = rcl_account_get(&rcl_account.cached_bytes);
    assert_true(blocks > 0);
    assert_int_equal(bytes, blocks * rcl_classes[RCL_CLASS_FIRST].size);
    /* Never more than a page for each block, never less than the blocks themselves. */
    int64_t pages = bytes / (int64_t)rcl_page_size();
    assert_in_range(rcl_purge_pinned(), pages, blocks + pages);
    assert_true(rcl_purge_pinned_most() >= rcl_purge_pinned());
    /* It is known that all around them lives. */
    rcl_account.pinned_each = 0;
    assert_int_equal(rcl_purge_pinned(), pages);
    rcl_account.pinned_each = RCL_PINNED_ONE;
    rcl_thread_drop_cache(&rcl_tls);
    assert_int_equal(rcl_purge_pinned(), 0);
    assert_int_equal(rcl_purge_pinned_most(), 0);
}

/* --- time --------------------------------------------------------------------------------- */

/* As if so many more caches held so many bytes. */
static void pretend_caches(int64_t caches, int64_t bytes)
{
    rcl_account_add(&rcl_account.caches, caches);
    rcl_account_add(&rcl_account.cached_bytes, bytes);
}

static void pretend_hole_bytes(int64_t bytes)
{
    rcl_account_add(&rcl_account.hole_bytes, bytes);
}

TEST(what_many_caches_pin_stands_beside_the_ceiling_in_part)
{
    /* Dirty after a burst at least and at most, by what caches pin; the ceiling is 2 MiB. */
    static const struct {
        int64_t caches, pinned;
        size_t least, most;
    } rows[] = {
        {1, MIB, 3 * MIB / 4, MIB},         {2, MIB, 5 * MIB / 4, 3 * MIB / 2},
        {3, MIB, 5 * MIB / 4, 3 * MIB / 2}, {100, MIB, 5 * MIB / 4, 3 * MIB / 2},
        {100, 2 * MIB, MIB / 4, MIB / 2},   {100, 10 * MIB, 0, MIB / 4},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        int64_t bytes = rows[i].pinned;

        pretend_caches(rows[i].caches, bytes);
        take(RCL_CLASS_FIRST + 40, 20 * MIB);
        give(n_held, true);
        size_t dirty = dirty_bytes();
        pretend_caches(-rows[i].caches, -bytes);
        assert_in_range(dirty + 64 * KIB, rows[i].least, SIZE_MAX);
        assert_in_range(dirty, 0, rows[i].most + 64 * KIB);
        rcl_purge_all(&rcl_tls);
        forget_demand();
    }
}

TEST(a_little_is_not_worth_a_call_whatever_caches_pin)
{
    pretend_hole_bytes(100 * MIB);
    pretend_caches(1, 100 * MIB);
    take(RCL_CLASS_FIRST + 40, MIB);
    uint64_t calls = rcl_account_read(&rcl_account.purge_calls);
    size_t before = n_held;
    while (dirty_bytes() < 128 * KIB && n_held > 0)
        give(BATCH, true);
    assert_true(n_held > 0 && n_held < before);
    assert_int_equal(rcl_account_read(&rcl_account.purge_calls), calls);
    give(n_held, true);
    assert_true(rcl_account_read(&rcl_account.purge_calls) > calls);
    assert_true(dirty_bytes() < 256 * KIB);
    pretend_caches(-1, -100 * MIB);
    pretend_hole_bytes(-100 * MIB);
}

TEST(length_of_a_step)
{
    rcl_opt.dirty_decay_ms = 1000;
    assert_int_equal(rcl_purge_step_ns(), 1000000000u / RCL_DECAY_STEPS);
    rcl_opt.dirty_decay_ms = 3600000;
    assert_int_equal(rcl_purge_step_ns(), UINT64_C(3600000000000) / RCL_DECAY_STEPS);
    rcl_opt.dirty_decay_ms = 1;
    assert_true(rcl_purge_step_ns() > 0);
    rcl_opt.dirty_decay_ms = 0; /* for the caches of threads that sleep */
    assert_int_equal(rcl_purge_step_ns(), 250000000);
    rcl_opt.dirty_decay_ms = -1;
    assert_int_equal(rcl_purge_step_ns(), 0);
}

TEST(what_is_free_for_a_window_goes)
{
    rcl_opt.dirty_min = 100 * MIB;
    for (size_t i = 0; i < array_len(kinds); i++)
        take(kinds[i], 3 * MIB);
    /* A survivor in each slab of the small ones. */
    size_t all = n_held;
    give(all - 1, true);
    size_t dirty = dirty_bytes();
    assert_true(dirty > 8 * MIB);
    for (unsigned step = 1; step <= RCL_AGE_MAX; step++) {
        assert_int_equal(rcl_purge_old(SIZE_MAX), 0);
        assert_int_equal(dirty_bytes(), dirty);
        rcl_purge_step(NULL);
    }
    size_t pages = rcl_purge_old(SIZE_MAX);
    assert_int_equal(pages * rcl_page_size(), dirty);
    assert_int_equal(dirty_bytes(), 0);
    assert_int_equal(rcl_purge_old(SIZE_MAX), 0);
    assert_true(unit_stamped(held[0].p, rcl_classes[held[0].cls].size, 0));
}

TEST(what_is_used_within_the_window_stays)
{
    rcl_opt.dirty_min = 100 * MIB;
    for (unsigned step = 0; step < 3 * RCL_AGE_MAX; step++) {
        take(RCL_CLASS_LARGE, 4 * MIB);
        give(n_held, true);
        rcl_purge_step(NULL);
        assert_int_equal(rcl_purge_old(SIZE_MAX), 0);
    }
}

TEST(old_pages_go_in_slices)
{
    rcl_opt.dirty_min = 100 * MIB;
    take(RCL_CLASS_LARGE, 16 * MIB);
    give(n_held, true);
    for (unsigned step = 0; step < RCL_AGE_MAX; step++)
        rcl_purge_step(NULL);
    size_t calls = 0, slice = 64, sum = 0, pages;
    while ((pages = rcl_purge_old(slice)) > 0) {
        assert_true(pages <= 2 * slice);
        sum += pages;
        calls++;
    }
    assert_true(sum * rcl_page_size() >= 16 * MIB);
    assert_true(calls >= sum / slice / 2);
}

TEST(an_idle_cache_is_emptied)
{
    fill_cache(RCL_CLASS_FIRST + 7, 200);
    assert_ptr_not_equal(rcl_tls.cache, &rcl_tcache_none);
    for (int step = 0; step < 4; step++)
        rcl_purge_step(&rcl_tls);
    assert_ptr_equal(rcl_tls.cache, &rcl_tcache_none);
    /* It has been idle for a window already. */
    assert_true(dirty_bytes() > 0);
    rcl_purge_old(SIZE_MAX);
    assert_int_equal(dirty_bytes(), 0);
    assert_int_equal(used_bytes(), 0);
}

/* --- request ------------------------------------------------------------------------------ */

TEST(a_request_returns_everything)
{
    rcl_opt.dirty_min = 100 * MIB;
    for (size_t i = 0; i < array_len(kinds); i++)
        take(kinds[i], 3 * MIB);
    give(n_held - 1, true);
    fill_cache(RCL_CLASS_FIRST + 20, 300);
    size_t dirty = dirty_bytes();
    size_t returned = rcl_purge_all(&rcl_tls);
    assert_true(returned >= dirty);
    assert_int_equal(dirty_bytes(), 0);
    assert_int_equal(rcl_purge_pinned(), 0);
    assert_ptr_equal(rcl_tls.cache, &rcl_tcache_none);
    /* Of what is left one block is alive: on one page, in one mapping. */
    assert_true(unit_stamped(held[0].p, rcl_classes[held[0].cls].size, 0));
    assert_true(used_bytes() <= 2 * rcl_page_size());
    assert_true(rcl_account_read(&rcl_account.mapped_bytes) <= rcl_max(RCL_CHUNK_BYTES, MIB));
    assert_int_equal(rcl_purge_all(&rcl_tls), 0);
}

TEST(metadata_goes_too)
{
    size_t mapped, before, live;

    rcl_meta_usage(&mapped, &before);
    take(RCL_SMALL_LAST + 1, 40 * MIB); /* a descriptor each */
    give(n_held, false);
    rcl_meta_usage(&mapped, &live);
    rcl_purge_all(&rcl_tls);
    assert_int_equal(rcl_meta_purge(0), 0);
    rcl_meta_usage(&mapped, &live);
    assert_true(live <= before);
}

/* --- fork --------------------------------------------------------------------------------- */

TEST(before_a_fork_little_is_left_and_much_is_returned)
{
    rcl_opt.dirty_min = 100 * MIB;
    take(RCL_CLASS_FIRST + 40, 256 * KIB);
    give(n_held, true);
    size_t dirty = dirty_bytes();
    rcl_purge_before_fork(&rcl_tls);
    assert_int_equal(dirty_bytes(), dirty);

    take(RCL_CLASS_FIRST + 40, 6 * MIB);
    give(n_held, true);
    fill_cache(RCL_CLASS_FIRST, 100);
    rcl_purge_before_fork(&rcl_tls);
    assert_int_equal(dirty_bytes(), 0);
    assert_int_equal(rcl_purge_pinned(), 0);
}

/* Of a guest, or made by the program: 100 blocks. */
static void fill_shared_cache(unsigned id)
{
    unsigned cls = RCL_CLASS_FIRST + 30;
    bool zero;
    struct rcl_tcache *tc = rcl_xcache_begin(id);

    assert_non_null(tc);
    for (size_t i = 0; i < 100; i++) {
        void *p = NULL;
        assert_int_equal(rcl_blocks_take(rcl_arena_get(0), cls, &p, 1, &zero), 1);
        if (!rcl_tcache_push(tc, cls, p))
            rcl_tcache_overflow(tc, cls, p, "free");
    }
    rcl_xcache_end(id);
}

TEST(a_fork_and_a_request_empty_shared_caches_too)
{
    unsigned id;

    rcl_opt.dirty_min = 100 * MIB;
    assert_true(rcl_xcache_create(&id));
    for (int request = 0; request < 2; request++) {
        fill_shared_cache(rcl_xcache_of_guest(&rcl_tls));
        fill_shared_cache(id);
        assert_true(used_bytes() > 0);
        take(RCL_CLASS_FIRST + 40, 6 * MIB);
        give(n_held, true);
        if (request)
            rcl_purge_all(&rcl_tls);
        else
            rcl_purge_before_fork(&rcl_tls);
        assert_int_equal(used_bytes(), 0);
        assert_int_equal(dirty_bytes(), 0);
    }
    assert_true(rcl_xcache_destroy(id));
}

/* --- refused ------------------------------------------------------------------------------ */

static void free_locked_memory(void *arg)
{
    (void)arg;
    char *locked[16];
    size_t n = 0;

    unit_old_kernel();
    take(RCL_CLASS_LARGE, 6 * MIB);
    for (; n < n_held; n++) {
        locked[n] = held[n].p;
        if (!unit_lock(locked[n], RCL_LARGE_MAX / 2))
            _exit(UNIT_CHILD_SKIPS);
    }
    /* Every second one: a chunk of which nothing is in use would go as a whole, locked or not. */
    for (size_t i = 1; 2 * i < n_held; i++) {
        struct held even = held[2 * i];
        held[2 * i] = held[i];
        held[i] = even;
    }
    give(n_held / 2, true);
    uint64_t calls = rcl_account_read(&rcl_account.purge_calls);
    int64_t refused = rcl_account_get(&rcl_account.refused_pages);
    REQUIRE(rcl_account_read(&rcl_account.purge_refused) > 0 && refused > 0);
    for (int i = 0; i < 1000; i++)
        rcl_purge_excess(&rcl_tls);
    /* It does not insist, */
    REQUIRE(rcl_account_read(&rcl_account.purge_calls) <= calls + 20);
    /* and what can go does: the ceiling is for that. */
    take(RCL_CLASS_LARGE, 16 * MIB);
    give(n_held, true);
    for (int i = 0; i < 100; i++)
        rcl_purge_excess(&rcl_tls);
    REQUIRE(rcl_purge_dirty() <= (int64_t)rcl_demand_ceiling());
    while (n > 0) /* those that are mapped yet */
        syscall(SYS_munlock, locked[--n], RCL_LARGE_MAX / 2);
    rcl_purge_all(&rcl_tls);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == 0);
    REQUIRE(rcl_purge_dirty() == 0);
}

TEST(where_the_kernel_refuses_it_is_left_in_peace)
{
    unit_child_passes(free_locked_memory, NULL);
}

/* --- random ------------------------------------------------------------------------------- */

TEST(no_purge_touches_a_live_block)
{
    struct unit_random random = unit_random_start();

    for (int step = 0; step < 600; step++) {
        size_t kind = unit_below(&random, 10);
        if (kind < 5) {
            take(RCL_CLASS_FIRST + (unsigned)unit_below(&random, RCL_MEDIUM_LAST),
                 unit_below(&random, 200 * KIB));
        } else if (n_held > 0) {
            for (size_t i = 0; i < n_held; i++) { /* any order */
                size_t k = unit_below(&random, n_held);
                void *p = held[i].p;
                unsigned cls = held[i].cls;
                held[i] = held[k];
                held[k].p = p;
                held[k].cls = cls;
            }
            for (size_t i = 0; i < n_held; i++) {
                uint64_t mark;
                memcpy(&mark, held[i].p, sizeof mark);
                assert_true(unit_stamped(held[i].p, rcl_classes[held[i].cls].size, mark));
            }
            give(unit_below(&random, n_held + 1), unit_below(&random, 2) == 0);
        }
        if (kind == 9)
            rcl_purge_step(&rcl_tls);
        if (kind == 8)
            rcl_purge_old(unit_below(&random, 500));
        if (kind == 7 && unit_below(&random, 4) == 0)
            rcl_purge_all(&rcl_tls);
    }
}

static int boot(void **state)
{
    (void)state;
    rcl_os_init();
    rcl_sizeclass_init(rcl_page_size());
    rcl_opt.narenas = 1;
    rcl_opt.dirty_decay_ms = 3600000; /* time does not pass by itself */
    rcl_huge_init(UINT64_C(3600000000000), 0);
    return rcl_arena_boot() ? 0 : 1;
}

#define TESTED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* --- arena by arena ------------------------------------------------------------------------- */

static size_t dirty_in(struct rcl_arena *a)
{
    struct rcl_runs_stats stats;

    rcl_runs_usage(&a->runs, &stats);
    return stats.dirty;
}

/* Dirty pages in an explicit arena. */
static void leave_dirty(struct rcl_arena *a)
{
    struct rcl_run run;
    void *p = rcl_large_take(&a->runs, a, 400000, 1, RCL_CLASS_LARGE, &run);

    REQUIRE(p != NULL);
    memset(p, 1, 400000);
    rcl_large_give(rcl_pagemap_desc(p), RCL_AGE_NEW);
    REQUIRE(dirty_in(a) > 0);
}

/* A cache is idle by the window of its arena, however long the process's is. */
static void drain_by_their_own_steps(void *arg)
{
    (void)arg;
    struct rcl_arena *quick = rcl_arena_create();
    struct rcl_tls *self = &rcl_tls;
    rcl_opt.dirty_decay_ms = 60000;
    rcl_arena_set_decay_ms(quick, 100);
    REQUIRE(rcl_purge_step_ns() == 25000000);
    rcl_gate_enter_patient(&self->gate);
    rcl_thread_bind(self, quick);
    REQUIRE(rcl_thread_cache(self)->arena == quick);
    rcl_gate_leave(&self->gate);
    unsigned step = 0;
    for (; self->cache != &rcl_tcache_none && step < 20; step++)
        rcl_purge_step(self);
    REQUIRE(step >= 2 && step <= 4);
}

TEST(a_cache_is_idle_by_the_window_of_its_arena)
{
    unit_child_passes(drain_by_their_own_steps, NULL);
}

static void age_by_their_own_steps(void *arg)
{
    (void)arg;
    struct rcl_arena *quick = rcl_arena_create(), *slow = rcl_arena_create();
    struct rcl_arena *never = rcl_arena_create();
    rcl_arena_set_decay_ms(quick, 100);
    rcl_arena_set_decay_ms(slow, 400);
    rcl_arena_set_decay_ms(never, -1);
    REQUIRE(rcl_purge_step_ns() == 100 * UINT64_C(1000000) / RCL_DECAY_STEPS);
    leave_dirty(quick);
    leave_dirty(slow);
    leave_dirty(never);
    unsigned gone_quick = 0, gone_slow = 0;
    for (unsigned step = 1; step <= 20; step++) {
        rcl_purge_step(&rcl_tls);
        rcl_purge_old(SIZE_MAX);
        gone_quick = gone_quick == 0 && dirty_in(quick) == 0 ? step : gone_quick;
        gone_slow = gone_slow == 0 && dirty_in(slow) == 0 ? step : gone_slow;
    }
    REQUIRE(gone_quick == RCL_AGE_MAX);
    REQUIRE(gone_slow == 4 * RCL_AGE_MAX);
    REQUIRE(dirty_in(never) > 0);
    uint64_t runs = rcl_account_read(&rcl_account.purge_runs);
    rcl_purge_arena(never, true);
    REQUIRE(dirty_in(never) > 0);
    REQUIRE(rcl_account_read(&rcl_account.purge_runs) == runs);
    rcl_purge_arena(never, false);
    REQUIRE(dirty_in(never) == 0);
    REQUIRE(rcl_account_read(&rcl_account.purge_runs) == runs + 1);
}

TEST(arenas_age_by_their_own_steps)
{
    unit_child_passes(age_by_their_own_steps, NULL);
}

static void keep_nothing(void *arg)
{
    (void)arg;
    struct rcl_arena *a = rcl_arena_create(), *b = rcl_arena_create();
    rcl_arena_set_decay_ms(a, 0);
    leave_dirty(a);
    leave_dirty(b);
    rcl_purge_excess(&rcl_tls);
    REQUIRE(dirty_in(a) == 0 && dirty_in(b) > 0);
}

TEST(an_arena_may_keep_nothing)
{
    unit_child_passes(keep_nothing, NULL);
}

TEST(retained_address_space_stays)
{
    rcl_opt.retain = 1;
    take(kinds[3], 8 * MIB);
    size_t mapped = rcl_account_read(&rcl_account.mapped_bytes);
    give(n_held, false);
    rcl_purge_all(&rcl_tls);
    assert_int_equal(rcl_account_read(&rcl_account.mapped_bytes), mapped);
    assert_int_equal(rcl_purge_dirty(), 0);
    rcl_opt.retain = 0;
    rcl_purge_all(&rcl_tls);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TESTED(below_the_ceiling_everything_stays),
        TESTED(the_excess_of_a_burst_goes_while_it_is_freed),
        TESTED(live_memory_raises_the_ceiling),
        TESTED(what_is_taken_again_may_stay),
        TESTED(demand_that_nobody_speaks_of_any_more_is_withdrawn),
        TESTED(growth_and_regret_that_nobody_speaks_of_any_more_are_withdrawn),
        TESTED(with_no_decay_time_nothing_stays),
        TESTED(with_a_decay_time_without_end_everything_stays),
        TESTED(what_caches_pin_counts),
        TESTED(what_many_caches_pin_stands_beside_the_ceiling_in_part),
        TESTED(a_little_is_not_worth_a_call_whatever_caches_pin),
        TESTED(length_of_a_step),
        TESTED(what_is_free_for_a_window_goes),
        TESTED(what_is_used_within_the_window_stays),
        TESTED(old_pages_go_in_slices),
        TESTED(an_idle_cache_is_emptied),
        TESTED(a_request_returns_everything),
        TESTED(metadata_goes_too),
        TESTED(before_a_fork_little_is_left_and_much_is_returned),
        TESTED(a_fork_and_a_request_empty_shared_caches_too),
        TESTED(where_the_kernel_refuses_it_is_left_in_peace),
        TESTED(no_purge_touches_a_live_block),
        TESTED(arenas_age_by_their_own_steps),
        TESTED(a_cache_is_idle_by_the_window_of_its_arena),
        TESTED(an_arena_may_keep_nothing),
        TESTED(retained_address_space_stays),
    };

    return cmocka_run_group_tests(tests, boot, NULL);
}
