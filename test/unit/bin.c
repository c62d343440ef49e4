/* SPDX-License-Identifier: MIT */
/*
 * Tests of bin.h: no block is lost, handed out twice or purged while it is in use, and
 * after every step the counters are what the slabs say.
 */
#include "unit.h"

#include "account.h"
#include "bin.h"
#include "pagemap.h"
#include "sizeclass.h"
#include "slab_verify.h"

#define LONG_NS UINT64_C(3600000000000)

enum { BATCH = 48, POOL = 3000 };

static struct rcl_demand demand;
static struct rcl_runs runs;
static struct rcl_bin bin;
static char arena_of_bin, other_arena; /* only their addresses matter */

struct block {
    char *p;
    uint64_t mark;
};

static struct block pool[POOL]; /* blocks in use, the first n_pool of them */
static size_t n_pool;

/* Threads that make a slab at the same time make more than are needed: those stay, empty. */
static size_t spare_max;

static void start(unsigned cls)
{
    memset(&rcl_account, 0, sizeof rcl_account);
    n_pool = 0;
    spare_max = 0;
    rcl_demand_init(&demand, LONG_NS);
    rcl_runs_init(&runs, &demand, 0);
    rcl_bin_init(&bin, cls, (struct rcl_arena *)&arena_of_bin, &runs);
}

/* Everything has been given back: nothing is left of it, in any count. */
static void finish(void)
{
    assert_int_equal(n_pool, 0);
    assert_int_equal(bin.live, 0);
    assert_in_range(bin.slabs, 0, spare_max + 1); /* one is kept for its pages */
    rcl_bin_purge(&bin, RCL_PURGE_ANY, SIZE_MAX);
    assert_in_range(bin.slabs, 0, spare_max);
    assert_false(rcl_bin_has_work(&bin, RCL_PURGE_ALL));
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), 0);
    assert_int_equal(rcl_account_get(&rcl_account.hole_bytes), 0);
    rcl_runs_purge(&runs, RCL_PURGE_ANY, SIZE_MAX);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), 0);
    rcl_runs_unmap_empty(&runs, 0, false);
    if (bin.slabs == 0)
        assert_int_equal(rcl_account_read(&rcl_account.mapped_bytes), 0);
}

static size_t block_bytes(void)
{
    return rcl_classes[bin.cls].size;
}

static struct rcl_span *slab_of(const void *p)
{
    assert_int_equal(rcl_pagemap_class(p), bin.cls);
    return rcl_pagemap_desc(p);
}

/* --- the whole structure against itself ---------------------------------------------------- */

static bool on_list(const struct rcl_list *head, const struct rcl_list *node)
{
    for (const struct rcl_list *n = head->next; n != head; n = n->next)
        if (n == node)
            return true;
    return false;
}

static unsigned popcount(uint64_t word)
{
    return (unsigned)__builtin_popcountll(word);
}

static void assert_slab(struct rcl_span *s)
{
    slab_verify(s);
    assert_int_equal(s->cls, bin.cls);
    assert_ptr_equal(s->arena, &arena_of_bin);
    assert_int_equal(rcl_list_linked(&s->queue), s->returnable != 0);
    for (unsigned place = 0; place < RCL_PLACES; place++)
        assert_int_equal(on_list(&bin.place[place], &s->link), s->place == place);
    assert_int_equal(s->place<RCL_PLACE_CLEAN, s->ready_slots> 0);
    assert_int_equal(s->place == RCL_PLACE_NONE, s->free_slots == 0);
}

/* Every slab has a block in use, so the pool leads to all of them. */
static void assert_true_to_itself(void)
{
    static struct rcl_span *slab[POOL];
    size_t slabs = 0, used = 0, dirty = 0;

    assert_int_equal(bin.live, n_pool);
    for (size_t i = 0; i < n_pool; i++) {
        struct rcl_span *s = slab_of(pool[i].p);
        bool seen = false;
        for (size_t k = slabs; k-- > 0 && !seen;)
            seen = slab[k] == s;
        if (!seen)
            slab[slabs++] = s;
    }
    assert_in_range(bin.slabs, slabs, slabs + spare_max + (bin.spare != NULL));
    for (size_t i = 0; i < slabs; i++) {
        assert_slab(slab[i]);
        used += popcount(slab[i]->dirty & ~slab[i]->returnable);
        dirty += popcount(slab[i]->returnable);
    }
    for (size_t i = 0; i < runs.nchunks; i++)
        dirty += runs.chunk[i] != NULL ? runs.chunk[i]->dirty_pages : 0;
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), used);
    assert_int_equal(rcl_account_get(&rcl_account.hole_bytes),
                     used * rcl_page_size() - bin.live * block_bytes());
    if (bin.slabs == slabs)
        assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), dirty);
}

/* --- operations ------------------------------------------------------------------------------- */

static size_t take(size_t n, uint64_t mark)
{
    void *out[BATCH + 1];
    bool zero;

    n = rcl_min(n, POOL - n_pool);
    if (n == 0)
        return 0;
    out[n] = &out;
    size_t got = rcl_bin_take(&bin, out, n, &zero);
    assert_in_range(got, 1, n);
    assert_ptr_equal(out[n], &out);
    if (zero)
        assert_true(unit_zero(out[0], block_bytes()));
    for (size_t i = 0; i < got; i++) {
        struct block b = {out[i], mark + i};
        assert_int_equal((uintptr_t)b.p % RCL_MIN_ALIGN, 0);
        unit_stamp(b.p, block_bytes(), b.mark);
        pool[n_pool++] = b;
    }
    return got;
}

/* Give back n random blocks (n_from .. of the pool's end when random is NULL). */
static void put(struct unit_random *random, size_t n, enum rcl_age age)
{
    void *p[BATCH];

    n = rcl_min(n, n_pool);
    for (size_t i = 0; i < n; i++) {
        struct block *b = &pool[random != NULL ? unit_below(random, n_pool) : n_pool - 1];
        assert_true(unit_stamped(b->p, block_bytes(), b->mark));
        p[i] = b->p;
        *b = pool[--n_pool];
    }
    assert_int_equal(rcl_bin_put(&bin, p, n, age, "free"), 0);
}

static void put_all(void)
{
    while (n_pool > 0)
        put(NULL, BATCH, RCL_AGE_NEW);
}

static int by_address(const void *a, const void *b)
{
    const struct block *x = a, *y = b;

    return x->p < y->p ? -1 : x->p > y->p;
}

/* --- tests ------------------------------------------------------------------------------------ */

TEST(blocks_of_every_class_do_not_overlap)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        start(cls);
        size_t wanted = rcl_min(2u * rcl_classes[cls].slots + 3, POOL);
        while (n_pool < wanted)
            take(BATCH, n_pool);
        assert_true_to_itself();
        qsort(pool, n_pool, sizeof pool[0], by_address);
        for (size_t i = 0; i < n_pool; i++) {
            struct rcl_span *s = slab_of(pool[i].p);
            size_t end = (size_t)(pool[i].p - s->base) + block_bytes();
            assert_true(unit_stamped(pool[i].p, block_bytes(), pool[i].mark));
            assert_true(i == 0 || pool[i - 1].p + block_bytes() <= pool[i].p);
            assert_true(end <= s->pages * rcl_page_size());
        }
        put_all();
        finish();
    }
}

TEST(what_is_said_to_be_zero_is_zero)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        size_t zeros = 0;

        start(cls);
        for (int i = 0; i < 12; i++) {
            void *p;
            bool zero;
            assert_int_equal(rcl_bin_take(&bin, &p, 1, &zero), 1);
            assert_true(!zero || unit_zero(p, block_bytes()));
            zeros += zero;
            memset(p, 0xff, block_bytes());
            pool[n_pool++] = (struct block){p, UINT64_MAX};
            if (i % 4 == 3) {
                put(NULL, 2, RCL_AGE_NEW);
                rcl_bin_purge(&bin, RCL_PURGE_ANY, SIZE_MAX);
            }
        }
        /* Where it is worth knowing, it is known. */
        if (block_bytes() >= 2 * rcl_page_size())
            assert_true(zeros > 0);
        put_all();
        finish();
    }
}

TEST(large_blocks_take_few_pages_ahead_of_their_use)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        start(cls);
        if (block_bytes() < rcl_page_size())
            continue;
        size_t most = rcl_max(RCL_BIN_AHEAD_BYTES / block_bytes(), 1), pages = 0;
        while (n_pool < rcl_min(rcl_classes[cls].slots, 6)) {
            assert_in_range(take(BATCH, 0), 1, most);
            struct rcl_span *s = slab_of(pool[n_pool - 1].p);
            size_t end = (size_t)(pool[n_pool - 1].p - s->base) + block_bytes();
            pages = (end + rcl_page_size() - 1) / rcl_page_size();
            assert_int_equal(popcount(s->dirty), pages);
        }
        assert_int_equal(rcl_account_get(&rcl_account.used_pages), pages);
        put_all();
        finish();
    }
}

/* Fill `slabs` slabs; then the pool is in the order of their addresses. */
static void fill(size_t slabs)
{
    size_t slots = rcl_classes[bin.cls].slots;

    while (n_pool < slabs * slots)
        take(rcl_min(BATCH, slabs * slots - n_pool), 7);
    qsort(pool, n_pool, sizeof pool[0], by_address);
    assert_int_equal(bin.slabs, slabs);
}

/* Give back so many blocks of the slab that begins at pool[from]. */
static void empty_some(size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        void *p = pool[from].p;
        assert_int_equal(rcl_bin_put(&bin, &p, 1, RCL_AGE_NEW, "free"), 0);
        memmove(&pool[from], &pool[from + 1], (n_pool - from - 1) * sizeof pool[0]);
        n_pool--;
    }
}

TEST(the_fullest_slab_is_used_first)
{
    start(rcl_class_of_small(512));
    size_t slots = rcl_classes[bin.cls].slots;
    fill(3);
    struct rcl_span *slab[] = {slab_of(pool[0].p), slab_of(pool[slots].p),
                               slab_of(pool[2 * slots].p)};

    /* The lowest becomes the emptiest, the highest the fullest. */
    empty_some(2 * slots, slots / 8);
    empty_some(slots, slots / 2);
    empty_some(0, slots - slots / 8);
    assert_true_to_itself();
    size_t room[] = {slots - slots / 8, slots / 2, slots / 8};
    for (size_t which = 3; which-- > 0;) {
        for (size_t i = 0; i < room[which]; i++) {
            take(1, 7);
            assert_ptr_equal(slab_of(pool[n_pool - 1].p), slab[which]);
        }
    }
    assert_int_equal(bin.slabs, 3);
    take(1, 7);
    assert_int_equal(bin.slabs, 4);
    put_all();
    finish();
}

TEST(resident_memory_is_used_before_a_page_is_touched)
{
    start(rcl_class_of_small(512));
    size_t slots = rcl_classes[bin.cls].slots;
    fill(2);
    struct rcl_span *first = slab_of(pool[0].p), *second = slab_of(pool[slots].p);

    /* The first keeps one block and loses its other pages; the second has one ready block. */
    empty_some(1, slots - 1);
    rcl_bin_purge(&bin, RCL_PURGE_ANY, SIZE_MAX);
    while (first->ready_slots > 0) {
        take(1, 7);
        assert_ptr_equal(slab_of(pool[n_pool - 1].p), first);
    }
    assert_int_equal(first->place, first->free_slots > 0 ? RCL_PLACE_CLEAN : RCL_PLACE_NONE);
    void *p = second->base;
    assert_int_equal(rcl_bin_put(&bin, &p, 1, RCL_AGE_NEW, "free"), 0);
    void *out;
    bool zero;
    assert_int_equal(rcl_bin_take(&bin, &out, 1, &zero), 1);
    assert_ptr_equal(out, p);
    /* A slab with clean pages before a new slab. */
    if (first->free_slots > 0) {
        take(1, 7);
        assert_ptr_equal(slab_of(pool[n_pool - 1].p), first);
    }
    assert_int_equal(bin.slabs, 2);
    for (size_t i = 0; i < n_pool; i++)
        unit_stamp(pool[i].p, block_bytes(), pool[i].mark);
    put_all();
    finish();
}

/* --- purging ------------------------------------------------------------------------------ */

TEST(one_empty_slab_is_kept_for_its_pages)
{
    start(rcl_class_of_small(512));
    fill(1);
    put_all();
    assert_int_equal(bin.slabs, 1);
    /* It is the one that is used next, and then it is kept for good. */
    char *base = bin.spare->base;
    void *p;
    bool zero;
    assert_int_equal(rcl_bin_take(&bin, &p, 1, &zero), 1);
    assert_ptr_equal(p, base);
    assert_null(bin.spare);
    /* What has been idle for a window is not kept. */
    assert_int_equal(rcl_bin_put(&bin, &p, 1, RCL_AGE_OLD, "free"), 0);
    assert_int_equal(bin.slabs, 0);
    /* With its last dirty page it goes. */
    assert_int_equal(rcl_bin_take(&bin, &p, 1, &zero), 1);
    assert_int_equal(rcl_bin_put(&bin, &p, 1, RCL_AGE_NEW, "free"), 0);
    assert_int_equal(bin.slabs, 1);
    assert_true(rcl_bin_purge(&bin, RCL_PURGE_ANY, SIZE_MAX) > 0);
    assert_int_equal(bin.slabs, 0);
    assert_null(bin.spare);
    finish();
}

TEST(a_bin_that_shrinks_keeps_no_empty_slab)
{
    start(rcl_class_of_small(512));
    fill(3);
    put_all();
    assert_int_equal(bin.slabs, 0);
    assert_null(bin.spare);
    /* Up again, it keeps one again. */
    fill(1);
    put_all();
    assert_int_equal(bin.slabs, 1);
    assert_non_null(bin.spare);
    finish();
}

TEST(one_survivor_keeps_one_page)
{
    start(rcl_class_of_small(rcl_page_size() / 8));
    size_t slots = rcl_classes[bin.cls].slots, page = rcl_page_size();
    fill(4);
    struct block keep[4];
    void *p[BATCH];

    /* One block of each slab stays. */
    for (size_t i = 0; i < 4; i++)
        keep[i] = pool[i * slots + i % slots];
    for (size_t i = 0; i < n_pool; i++)
        if (i % slots != i / slots % slots) {
            p[0] = pool[i].p;
            assert_int_equal(rcl_bin_put(&bin, p, 1, RCL_AGE_NEW, "free"), 0);
        }
    memcpy(pool, keep, sizeof keep);
    n_pool = 4;
    assert_true_to_itself();
    size_t pages = slab_of(pool[0].p)->pages;
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), 4 * (pages - 1));
    assert_int_equal(rcl_bin_has_work(&bin, RCL_PURGE_ALL), pages > 1);
    assert_int_equal(rcl_bin_purge(&bin, RCL_PURGE_ANY, SIZE_MAX), 4 * (pages - 1));
    assert_true_to_itself();
    assert_false(rcl_bin_has_work(&bin, RCL_PURGE_ALL));
    for (size_t i = 0; i < 4; i++) {
        struct rcl_span *s = slab_of(pool[i].p);
        assert_true(unit_resident(s->base, pages * page) <= page);
        assert_true(unit_stamped(pool[i].p, block_bytes(), pool[i].mark));
    }
    put_all();
    finish();
}

TEST(pages_that_have_been_used_are_not_new)
{
    start(rcl_class_of_small(rcl_page_size() / 8));
    size_t slots = rcl_classes[bin.cls].slots;
    fill(2);
    int64_t used = rcl_account_get(&rcl_account.used_pages);
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), used);
    assert_int_equal(rcl_account_get(&rcl_account.regret_pages), 0);
    /* All but one block of the first slab, purged in the slab. */
    for (size_t i = 0; i + 1 < slots; i++) {
        void *p = pool[i].p;
        assert_int_equal(rcl_bin_put(&bin, &p, 1, RCL_AGE_NEW, "free"), 0);
        pool[i] = pool[--n_pool];
    }
    assert_int_equal(rcl_bin_purge(&bin, RCL_PURGE_ANY, SIZE_MAX), used / 2 - 1);
    while (n_pool < 2 * slots)
        take(BATCH, n_pool);
    /* Each that is taken again outweighs two. */
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), 2);
    assert_int_equal(rcl_account_get(&rcl_account.regret_pages), used / 2 - 1);
    /* Both slabs, and their runs. */
    put_all();
    rcl_bin_purge(&bin, RCL_PURGE_ALL, SIZE_MAX);
    rcl_runs_purge(&runs, RCL_PURGE_ALL, SIZE_MAX);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), 0);
    fill(2);
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), 0);
    put_all();
    finish();
}

TEST(pages_are_old_after_a_window)
{
    start(rcl_class_of_small(rcl_page_size() / 4));
    fill(8);
    size_t slots = rcl_classes[bin.cls].slots;

    for (size_t i = 8; i-- > 0;)
        empty_some(i * slots + 1, slots - 1);
    int64_t dirty = rcl_account_get(&rcl_account.dirty_pages);
    for (unsigned step = 0; step < RCL_AGE_MAX; step++) {
        assert_int_equal(rcl_bin_purge(&bin, RCL_PURGE_OLD, SIZE_MAX), 0);
        assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), dirty);
        rcl_bin_age(&bin);
        assert_true_to_itself();
    }
    assert_int_equal(rcl_bin_purge(&bin, RCL_PURGE_OLD, SIZE_MAX), dirty);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), 0);
    assert_true_to_itself();
    put_all();
    finish();
}

TEST(a_page_that_was_used_again_is_young_again)
{
    start(rcl_class_of_small(rcl_page_size() / 4));
    fill(1);
    size_t slots = rcl_classes[bin.cls].slots;

    if (slots < 8)
        skip();
    empty_some(1, slots - 1);
    for (unsigned step = 0; step < RCL_AGE_MAX - 1; step++)
        rcl_bin_age(&bin);
    /* All of it taken and given back: one step before it would have been old. */
    while (n_pool < slots)
        take(1, 7);
    qsort(pool, n_pool, sizeof pool[0], by_address);
    empty_some(1, slots - 1);
    rcl_bin_age(&bin);
    assert_int_equal(rcl_bin_purge(&bin, RCL_PURGE_OLD, SIZE_MAX), 0);
    put_all();
    finish();
}

TEST(what_idle_caches_give_back_is_old_at_once)
{
    start(rcl_class_of_small(rcl_page_size() / 4));
    fill(2);
    size_t slots = rcl_classes[bin.cls].slots, pages = slab_of(pool[0].p)->pages;
    void *p[UINT8_MAX];

    if (slots > UINT8_MAX || pages < 2)
        skip();
    for (size_t i = 1; i < slots; i++)
        p[i - 1] = pool[i].p;
    assert_int_equal(rcl_bin_put(&bin, p, slots - 1, RCL_AGE_OLD, "free"), 0);
    memmove(&pool[1], &pool[slots], slots * sizeof pool[0]);
    n_pool = slots + 1;
    /* The same of the second slab, but new. */
    empty_some(2, slots - 1);
    assert_int_equal(rcl_bin_purge(&bin, RCL_PURGE_OLD, SIZE_MAX), pages - 1);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), pages - 1);
    put_all();
    finish();
}

TEST(the_budget_is_about_kept)
{
    start(rcl_class_of_small(rcl_page_size() / 2));
    fill(12);
    size_t slots = rcl_classes[bin.cls].slots;

    for (size_t i = 12; i-- > 0;)
        empty_some(i * slots + 1, slots - 1);
    for (size_t budget = 1; rcl_bin_has_work(&bin, RCL_PURGE_ALL); budget++) {
        int64_t dirty = rcl_account_get(&rcl_account.dirty_pages);
        size_t got = rcl_bin_purge(&bin, RCL_PURGE_ANY, budget);
        assert_in_range(got, rcl_min(budget, (size_t)dirty), budget + RCL_SLAB_PAGES_MAX);
        assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), dirty - (int64_t)got);
        assert_true_to_itself();
    }
    put_all();
    finish();
}

static void refuse_pages(void *arg)
{
    size_t page = rcl_page_size();
    bool all = arg != NULL; /* of the slab's pages; else one */

    unit_old_kernel();
    start(rcl_class_of_small(page / 4));
    fill(1);
    size_t slots = rcl_classes[bin.cls].slots;
    struct rcl_span *s = slab_of(pool[0].p);
    size_t pages = s->pages;

    if (pages < 3 || !unit_lock(s->base + (all ? 0 : page), all ? pages * page : page))
        _exit(UNIT_CHILD_SKIPS);
    /* The first page stays in use. */
    empty_some(1, slots - 1);
    int64_t dirty = rcl_account_get(&rcl_account.dirty_pages);
    int64_t refused = all ? dirty : 1;
    REQUIRE(dirty > 1);
    REQUIRE(rcl_bin_purge(&bin, RCL_PURGE_ANY, SIZE_MAX) == (size_t)(dirty - refused));
    REQUIRE(rcl_account_read(&rcl_account.purge_refused) == 1);
    REQUIRE(rcl_account_get(&rcl_account.dirty_pages) == refused);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == refused);
    assert_true_to_itself();
    /* Nobody insists, but on request. */
    REQUIRE(!rcl_bin_has_work(&bin, RCL_PURGE_ANY) && rcl_bin_has_work(&bin, RCL_PURGE_ALL));
    uint64_t calls = rcl_account_read(&rcl_account.purge_calls);
    REQUIRE(rcl_bin_purge(&bin, RCL_PURGE_ANY, SIZE_MAX) == 0);
    REQUIRE(rcl_account_read(&rcl_account.purge_calls) == calls);
    REQUIRE(rcl_bin_purge(&bin, RCL_PURGE_ALL, SIZE_MAX) == 0);
    REQUIRE(rcl_account_read(&rcl_account.purge_calls) == calls + 1);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == refused);
    /* The blocks on them can be had, and are like any others when they come back. */
    while (n_pool < slots)
        take(BATCH, 7);
    REQUIRE(bin.slabs == 1);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == 0);
    assert_true_to_itself();
    empty_some(1, slots - 1);
    REQUIRE(rcl_bin_has_work(&bin, RCL_PURGE_ANY));
    REQUIRE(rcl_bin_purge(&bin, RCL_PURGE_ANY, SIZE_MAX) == (size_t)(dirty - refused));
    REQUIRE(syscall(SYS_munlock, s->base, pages * page) == 0);
    REQUIRE(rcl_bin_purge(&bin, RCL_PURGE_ALL, SIZE_MAX) == (size_t)refused);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == 0);
    assert_true_to_itself();
    put_all();
    finish();
}

TEST(pages_that_are_refused_are_in_the_way_of_no_others)
{
    unit_child_passes(refuse_pages, NULL);
    unit_child_passes(refuse_pages, &bin);
}

TEST(locked_pages_go_too)
{
    start(rcl_class_of_small(rcl_page_size() / 4));
    if (!unit_can_return_locked())
        skip();
    fill(1);
    size_t slots = rcl_classes[bin.cls].slots;
    struct rcl_span *s = slab_of(pool[0].p);

    assert_true(unit_lock(s->base, s->pages * rcl_page_size()));
    empty_some(1, slots - 1);
    int64_t dirty = rcl_account_get(&rcl_account.dirty_pages);
    assert_int_equal(rcl_bin_purge(&bin, RCL_PURGE_ANY, SIZE_MAX), dirty);
    assert_int_equal(rcl_account_read(&rcl_account.purge_refused), 0);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), 0);
    assert_true_to_itself();
    assert_int_equal(syscall(SYS_munlock, s->base, s->pages * rcl_page_size()), 0);
    put_all();
    finish();
}

/* --- random ------------------------------------------------------------------------------- */

static void one_step(struct unit_random *random)
{
    size_t kind = unit_below(random, 16), n = 1 + unit_below(random, BATCH);

    if (kind < 6)
        take(n, unit_next(random));
    else if (kind < 12)
        put(random, n, kind < 7 ? RCL_AGE_OLD : RCL_AGE_NEW);
    else if (kind < 13)
        rcl_bin_age(&bin);
    else
        rcl_bin_purge(&bin, kind < 15 ? RCL_PURGE_ANY : RCL_PURGE_OLD,
                      unit_below(random, 3) == 0 ? SIZE_MAX : 1 + unit_below(random, 50));
    assert_true_to_itself();
}

TEST(random_operations)
{
    static const size_t sizes[] = {16, 48, 512, 1040, 2560, 4096, 5120, 20480, RCL_SMALL_MAX};
    struct unit_random random = unit_random_start();

    for (size_t i = 0; i < array_len(sizes); i++) {
        start(rcl_class_of_small(sizes[i]));
        for (int step = 0; step < 300; step++)
            one_step(&random);
        put_all();
        finish();
    }
}

/* --- other arenas and bad pointers -------------------------------------------------------- */

TEST(blocks_of_other_arenas_are_handed_on)
{
    struct unit_random random = unit_random_start();
    static struct rcl_bin second;
    void *p[2 * BATCH], *mine[BATCH], *others[BATCH];
    bool zero;

    start(rcl_class_of_small(64));
    rcl_bin_init(&second, bin.cls, (struct rcl_arena *)&other_arena, &runs);
    for (int round = 0; round < 100; round++) {
        size_t n = 0, n_mine = 0, n_others = 0, first_other;
        while (n_mine < BATCH)
            n_mine += rcl_bin_take(&bin, mine + n_mine, BATCH - n_mine, &zero);
        while (n_others < BATCH)
            n_others += rcl_bin_take(&second, others + n_others, BATCH - n_others, &zero);
        for (n_mine = n_others = 0; n < 2 * BATCH; n++) {
            bool one_of_mine = n_others == BATCH || (n_mine < BATCH && unit_below(&random, 2) == 0);
            p[n] = one_of_mine ? mine[n_mine++] : others[n_others++];
        }
        assert_int_equal(rcl_bin_put(&bin, p, n, RCL_AGE_NEW, "free"), BATCH);
        for (first_other = 0; first_other < BATCH; first_other++)
            assert_ptr_equal(p[first_other], others[first_other]);
        assert_int_equal(bin.live, 0);
        assert_int_equal(second.live, BATCH);
        assert_int_equal(rcl_bin_put(&second, p, BATCH, RCL_AGE_NEW, "free"), 0);
        assert_int_equal(second.live, 0);
    }
    rcl_bin_purge(&second, RCL_PURGE_ANY, SIZE_MAX);
    assert_int_equal(second.slabs, 0);
    finish();
}

static void *bad[4];
static size_t n_bad;

static void put_bad(void *arg)
{
    (void)arg;
    rcl_bin_put(&bin, bad, n_bad, RCL_AGE_NEW, "caller");
}

static void assert_bad(size_t n, const char *expected)
{
    n_bad = n;
    unit_child_dies(put_bad, NULL, expected);
}

TEST(a_pointer_that_is_no_block_in_use_ends_the_program)
{
    char line[200];

    start(rcl_class_of_small(64));
    take(8, 1);
    char *p = pool[3].p, *q = pool[5].p;
    bad[0] = p + 16;
    snprintf(line, sizeof line,
             "libreclaim: caller(): invalid pointer %p: not the start of a block (16 bytes into a "
             "block of 64 bytes at %p)\n",
             bad[0], (void *)p);
    assert_bad(1, line);

    /* Twice in one batch, beside a good one. */
    bad[0] = bad[2] = p;
    bad[1] = q;
    snprintf(line, sizeof line,
             "libreclaim: caller(): double free of %p: the block of 64 bytes is free already\n",
             (void *)p);
    assert_bad(3, line);

    /* Twice in two. */
    bad[0] = p;
    assert_int_equal(rcl_bin_put(&bin, bad, 1, RCL_AGE_NEW, "caller"), 0);
    bad[0] = p;
    assert_bad(1, line);

    /* And when its slab is long gone. */
    pool[3] = pool[--n_pool];
    put_all();
    bad[0] = p;
    assert_bad(1, line);
    finish();
}

static void count_slabs(int signal)
{
    _exit(signal == SIGABRT && bin.slabs == 1 ? 0 : 1);
}

static void put_twice_around_another(void *arg)
{
    size_t n = 0;
    void **p = arg;
    for (; n <= rcl_classes[bin.cls].slots; n++)
        p[n] = pool[n].p;
    p[n++] = p[0];
    signal(SIGABRT, count_slabs);
    rcl_bin_put(&bin, p, n, RCL_AGE_OLD, "caller");
}

TEST(a_slab_given_up_in_a_bad_batch_is_given_up_once)
{
    void *p[POOL];
    start(rcl_class_of_small(4096));
    fill(2);
    unit_child_passes(put_twice_around_another, p);
    put_all();
    finish();
}

/* --- out of memory ------------------------------------------------------------------------ */

static void use_all_memory(void *arg)
{
    void *out[BATCH], *last[BATCH];
    bool zero;
    size_t n, live = 0;

    (void)arg;
    REQUIRE(rcl_bin_take(&bin, out, 1, &zero) == 1);
    unit_cover_holes();
    unit_limit_memory(24 * rcl_page_size());
    while ((n = rcl_bin_take(&bin, out, BATCH, &zero)) > 0) {
        live += n;
        memcpy(last, out, n * sizeof out[0]);
    }
    REQUIRE(live * block_bytes() >= 12 * rcl_page_size());
    REQUIRE(bin.live == live + 1);
    /* One given back can be had again. */
    out[0] = last[0];
    REQUIRE(rcl_bin_put(&bin, out, 1, RCL_AGE_NEW, "free") == 0);
    REQUIRE(rcl_bin_take(&bin, out, BATCH, &zero) == 1 && out[0] == last[0]);
    unit_unlimit_memory();
    REQUIRE(rcl_bin_take(&bin, out, BATCH, &zero) > 0);
}

TEST(out_of_memory_is_zero_blocks)
{
    start(rcl_class_of_small(1024));
    unit_child_passes(use_all_memory, NULL);
}

/* --- threads ------------------------------------------------------------------------------ */

enum { THREADS = 4, ROUNDS = 1500, SHELF = 64 };

/* Blocks go from thread to thread: one puts on the shelf what another has taken. */
static struct block shelf[SHELF];
static struct rcl_lock shelf_lock;

static void exchange(struct unit_random *random, struct block *b)
{
    rcl_lock(&shelf_lock);
    struct block *place = &shelf[unit_below(random, SHELF)], was = *place;
    *place = *b;
    *b = was;
    rcl_unlock(&shelf_lock);
}

static void *work(void *arg)
{
    struct unit_random random = {(uintptr_t)arg};
    size_t bytes = block_bytes();

    for (int round = 0; round < ROUNDS; round++) {
        void *p[BATCH];
        struct block b;
        bool zero;
        size_t n = rcl_bin_take(&bin, p, 1 + unit_below(&random, BATCH), &zero), back = 0;

        REQUIRE(n > 0);
        REQUIRE(!zero || unit_zero(p[0], bytes));
        for (size_t i = 0; i < n; i++) {
            b = (struct block){p[i], unit_next(&random)};
            unit_stamp(b.p, bytes, b.mark);
            exchange(&random, &b);
            if (b.p != NULL) {
                REQUIRE(unit_stamped(b.p, bytes, b.mark));
                p[back++] = b.p;
            }
        }
        REQUIRE(rcl_bin_put(&bin, p, back, round % 8 == 0 ? RCL_AGE_OLD : RCL_AGE_NEW, "free") ==
                0);
        if (round % 4 == 0)
            rcl_bin_purge(&bin, round % 8 == 0 ? RCL_PURGE_ANY : RCL_PURGE_OLD, 20);
        if (round % 16 == 0)
            rcl_bin_age(&bin);
        if (round % 32 == 0)
            rcl_runs_purge(&runs, RCL_PURGE_ANY, 100);
    }
    return NULL;
}

static void several_threads(size_t size)
{
    char args[THREADS];

    start(rcl_class_of_small(size));
    memset(shelf, 0, sizeof shelf);
    spare_max = THREADS - 1;
    unit_threads(THREADS, work, args, 1);
    for (size_t i = 0; i < SHELF; i++)
        if (shelf[i].p != NULL)
            pool[n_pool++] = shelf[i];
    for (size_t i = 0; i < n_pool; i++)
        assert_true(unit_stamped(pool[i].p, block_bytes(), pool[i].mark));
    assert_true_to_itself();
    put_all();
    finish();
}

TEST(several_threads_and_small_blocks)
{
    several_threads(48);
}

TEST(several_threads_and_blocks_of_a_few_to_the_page)
{
    several_threads(rcl_page_size() / 4 + 16);
}

TEST(several_threads_and_blocks_of_several_pages)
{
    several_threads(20480);
}

static int set_up(void **state)
{
    (void)state;
    rcl_os_init();
    rcl_sizeclass_init(rcl_page_size());
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_every_class_do_not_overlap),
        cmocka_unit_test(what_is_said_to_be_zero_is_zero),
        cmocka_unit_test(large_blocks_take_few_pages_ahead_of_their_use),
        cmocka_unit_test(the_fullest_slab_is_used_first),
        cmocka_unit_test(resident_memory_is_used_before_a_page_is_touched),
        cmocka_unit_test(one_empty_slab_is_kept_for_its_pages),
        cmocka_unit_test(a_bin_that_shrinks_keeps_no_empty_slab),
        cmocka_unit_test(one_survivor_keeps_one_page),
        cmocka_unit_test(pages_that_have_been_used_are_not_new),
        cmocka_unit_test(pages_are_old_after_a_window),
        cmocka_unit_test(a_page_that_was_used_again_is_young_again),
        cmocka_unit_test(what_idle_caches_give_back_is_old_at_once),
        cmocka_unit_test(the_budget_is_about_kept),
        cmocka_unit_test(pages_that_are_refused_are_in_the_way_of_no_others),
        cmocka_unit_test(locked_pages_go_too),
        cmocka_unit_test(random_operations),
        cmocka_unit_test(blocks_of_other_arenas_are_handed_on),
        cmocka_unit_test(a_pointer_that_is_no_block_in_use_ends_the_program),
        cmocka_unit_test(a_slab_given_up_in_a_bad_batch_is_given_up_once),
        cmocka_unit_test(out_of_memory_is_zero_blocks),
        cmocka_unit_test(several_threads_and_small_blocks),
        cmocka_unit_test(several_threads_and_blocks_of_a_few_to_the_page),
        cmocka_unit_test(several_threads_and_blocks_of_several_pages),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
