/* SPDX-License-Identifier: MIT */
/* Tests of large.h: blocks that are page runs, their entries in the page map, resizing. */
#include "unit.h"

#include "account.h"
#include "large.h"
#include "meta.h"
#include "pagemap.h"
#include "sizeclass.h"

#define LONG_NS UINT64_C(3600000000000)

static struct rcl_demand demand;
static struct rcl_runs runs;
static char arena; /* only its address matters */

static void start(void)
{
    memset(&rcl_account, 0, sizeof rcl_account);
    rcl_demand_init(&demand, LONG_NS);
    rcl_runs_init(&runs, &demand, 0);
}

static int64_t blocks_out(void)
{
    int64_t n = 0;

    for (unsigned i = 0; i < RCL_RUN_KINDS; i++)
        n += (int64_t)(runs.large.kind[i].taken - runs.large.kind[i].given);
    return n;
}

/* Everything has been given back: no count remembers it. */
static void finish(void)
{
    assert_int_equal(blocks_out(), 0);
    assert_int_equal(runs.large.pages, 0);
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), 0);
    rcl_runs_purge(&runs, RCL_PURGE_ANY, SIZE_MAX);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), 0);
    rcl_runs_unmap_empty(&runs, 0, false);
    assert_int_equal(rcl_account_read(&rcl_account.mapped_bytes), 0);
}

static char *take(size_t bytes, size_t align, unsigned cls, struct rcl_run *run)
{
    return rcl_large_take(&runs, (struct rcl_arena *)&arena, bytes, align, cls, run);
}

static size_t pages_for(size_t bytes)
{
    return (bytes + rcl_page_size() - 1) / rcl_page_size();
}

/* The page map knows the start of the block and nothing else of it. */
static struct rcl_span *assert_block(char *p, size_t bytes, unsigned cls)
{
    struct rcl_span *s = rcl_pagemap_desc(p);

    assert_int_equal(rcl_pagemap_class(p), cls);
    assert_ptr_equal(s->base, p);
    assert_ptr_equal(s->arena, &arena);
    assert_int_equal(s->cls, cls);
    assert_int_equal(s->pages, pages_for(bytes));
    assert_int_equal(rcl_large_bytes(s), pages_for(bytes) * rcl_page_size());
    for (size_t at = RCL_GRANULE; at < rcl_large_bytes(s); at += RCL_GRANULE)
        assert_int_equal(rcl_pagemap_class(p + at), RCL_CLASS_NONE);
    return s;
}

TEST(every_medium_class_and_many_large_sizes)
{
    struct rcl_run run;

    start();
    for (unsigned cls = RCL_SMALL_LAST + 1; cls <= RCL_MEDIUM_LAST; cls++) {
        size_t bytes = rcl_classes[cls].size;
        char *p = take(bytes, 1, cls, &run);
        assert_non_null(p);
        struct rcl_span *s = assert_block(p, bytes, cls);
        assert_int_equal(s->pages, rcl_classes[cls].slab_pages);
        assert_int_equal(runs.large.pages, s->pages);
        rcl_large_give(s, RCL_AGE_NEW);
        assert_int_equal(rcl_pagemap_class(p), RCL_CLASS_NONE);
    }
    for (size_t bytes = 1; bytes <= RCL_LARGE_MAX; bytes += bytes / 2 + 511) {
        char *p = take(bytes, 1, RCL_CLASS_LARGE, &run);
        assert_non_null(p);
        unit_stamp(p, bytes, bytes);
        assert_true(unit_stamped(p, bytes, bytes));
        rcl_large_give(assert_block(p, bytes, RCL_CLASS_LARGE), RCL_AGE_NEW);
    }
    finish();
}

TEST(alignment)
{
    struct rcl_run run;

    start();
    for (size_t align = 1; align <= RCL_LARGE_MAX; align *= 2) {
        char *p[3];
        for (size_t i = 0; i < array_len(p); i++) {
            p[i] = take(5000, align, RCL_CLASS_LARGE, &run);
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % align, 0);
            assert_int_equal((uintptr_t)p[i] % rcl_page_size(), 0);
        }
        for (size_t i = 0; i < array_len(p); i++)
            rcl_large_give(rcl_pagemap_desc(p[i]), RCL_AGE_NEW);
    }
    finish();
}

TEST(pages_that_hold_old_data_are_told)
{
    struct rcl_run run;
    size_t page = rcl_page_size(), bytes = RCL_LARGE_MAX / 2;

    start();
    for (int round = 0; round < 3; round++) {
        char *p = take(bytes, 1, RCL_CLASS_LARGE, &run);
        assert_non_null(p);
        for (size_t i = 0; i < run.pages; i++)
            if (!rcl_bits_test(run.dirty, i))
                assert_true(unit_zero(p + i * page, page));
        /* The second finds what the first left, the third what was purged. */
        assert_int_equal(run.dirty_pages, round == 1 ? pages_for(bytes) : 0);
        memset(p, 0xff, bytes);
        rcl_large_give(rcl_pagemap_desc(p), RCL_AGE_NEW);
        if (round == 1)
            rcl_runs_purge(&runs, RCL_PURGE_ANY, SIZE_MAX);
    }
    finish();
}

TEST(age_is_handed_on)
{
    struct rcl_run run;
    char *p;

    start();
    p = take(RCL_LARGE_MAX, 1, RCL_CLASS_LARGE, &run);
    assert_non_null(p);
    rcl_large_give(rcl_pagemap_desc(p), RCL_AGE_NEW);
    assert_int_equal(rcl_runs_purge(&runs, RCL_PURGE_OLD, SIZE_MAX), 0);
    p = take(RCL_LARGE_MAX, 1, RCL_CLASS_LARGE, &run);
    rcl_large_give(rcl_pagemap_desc(p), RCL_AGE_OLD);
    assert_int_equal(rcl_runs_purge(&runs, RCL_PURGE_OLD, SIZE_MAX), pages_for(RCL_LARGE_MAX));
    finish();
}

/* --- resizing ----------------------------------------------------------------------------- */

TEST(shrinking_returns_the_tail)
{
    struct rcl_run run;
    size_t page = rcl_page_size();

    start();
    char *p = take(RCL_LARGE_MAX, 1, RCL_CLASS_LARGE, &run);
    assert_non_null(p);
    memset(p, 5, RCL_LARGE_MAX);
    for (size_t bytes = RCL_LARGE_MAX; bytes > page; bytes = bytes / 2 + 100) {
        struct rcl_span *s = rcl_pagemap_desc(p);
        assert_true(rcl_large_resize(s, bytes, RCL_CLASS_LARGE));
        assert_block(p, bytes, RCL_CLASS_LARGE);
        assert_true(p[0] == 5 && memcmp(p, p + 1, bytes - 1) == 0);
        assert_int_equal(runs.large.pages, pages_for(bytes));
        assert_int_equal(rcl_account_get(&rcl_account.used_pages), pages_for(bytes));
        assert_int_equal(rcl_account_get(&rcl_account.dirty_pages),
                         pages_for(RCL_LARGE_MAX) - pages_for(bytes));
        if (pages_for(bytes / 2 + 100) == pages_for(bytes))
            break;
    }
    rcl_large_give(rcl_pagemap_desc(p), RCL_AGE_NEW);
    finish();
}

TEST(growing_where_the_neighbour_is_free)
{
    struct rcl_run run;
    size_t page = rcl_page_size();

    start();
    char *p = take(page, 1, RCL_CLASS_LARGE, &run);
    struct rcl_span *s = assert_block(p, page, RCL_CLASS_LARGE);
    unit_stamp(p, page, 9);
    /* The first chunk may be smaller than the largest run. */
    size_t most = rcl_min(RCL_LARGE_MAX / page, run.chunk->pages);
    for (size_t pages = 2; pages <= most; pages += 1 + pages / 3) {
        assert_true(rcl_large_resize(s, pages * page, RCL_CLASS_LARGE));
        assert_block(p, pages * page, RCL_CLASS_LARGE);
        assert_int_equal(rcl_account_get(&rcl_account.used_pages), pages);
        assert_int_equal(rcl_account_get(&rcl_account.grown_pages), pages); /* all are new */
    }
    assert_true(unit_stamped(p, page, 9));
    rcl_large_give(s, RCL_AGE_NEW);
    finish();
}

TEST(growing_is_refused_where_the_neighbour_is_used)
{
    struct rcl_run run, behind;
    size_t page = rcl_page_size();

    start();
    char *p = take(3 * page, 1, RCL_CLASS_LARGE, &run);
    char *q = take(page, 1, RCL_CLASS_LARGE, &behind);
    assert_ptr_equal(q, p + 3 * page);
    struct rcl_span *s = rcl_pagemap_desc(p), before = {0};
    memcpy(&before, s, rcl_span_bytes(1));
    struct rcl_account counts = rcl_account;
    unit_stamp(q, page, 3);
    assert_false(rcl_large_resize(s, 4 * page, RCL_CLASS_LARGE));
    assert_false(rcl_large_resize(s, RCL_LARGE_MAX, RCL_CLASS_LARGE));
    assert_memory_equal(s, &before, rcl_span_bytes(1));
    assert_memory_equal(&rcl_account, &counts, sizeof counts);
    assert_true(unit_stamped(q, page, 3));
    /* Down and up again within its own pages is always possible. */
    assert_true(rcl_large_resize(s, 2 * page, RCL_CLASS_LARGE));
    assert_true(rcl_large_resize(s, 3 * page, RCL_CLASS_LARGE));
    assert_true(rcl_large_resize(s, 3 * page - 1, RCL_CLASS_LARGE));
    rcl_large_give(s, RCL_AGE_NEW);
    rcl_large_give(rcl_pagemap_desc(q), RCL_AGE_NEW);
    finish();
}

TEST(a_block_changes_its_class_where_it_stands)
{
    struct rcl_run run;
    unsigned from = RCL_SMALL_LAST + 1;

    start();
    char *p = take(rcl_classes[from].size, 1, from, &run);
    struct rcl_span *s = assert_block(p, rcl_classes[from].size, from);
    unit_stamp(p, rcl_classes[from].size, 9);
    /* Up through all medium classes and beyond, and down again. */
    for (unsigned cls = from + 1; cls <= RCL_MEDIUM_LAST; cls++) {
        assert_true(rcl_large_resize(s, rcl_classes[cls].size, cls));
        assert_block(p, rcl_classes[cls].size, cls);
        assert_int_equal(runs.large.kind[cls - from].taken, 1);
        assert_int_equal(runs.large.kind[cls - from - 1].given, 1);
    }
    size_t large = RCL_MEDIUM_MAX + 100;
    assert_true(rcl_large_resize(s, large, RCL_CLASS_LARGE));
    assert_block(p, large, RCL_CLASS_LARGE);
    assert_int_equal(rcl_large_asked(s), large);
    for (unsigned cls = RCL_MEDIUM_LAST; cls >= from; cls--) {
        assert_true(rcl_large_resize(s, rcl_classes[cls].size, cls));
        assert_block(p, rcl_classes[cls].size, cls);
        assert_int_equal(runs.large.pages, pages_for(rcl_classes[cls].size));
    }
    assert_int_equal(blocks_out(), 1);
    assert_true(unit_stamped(p, rcl_classes[from].size, 9));
    rcl_large_give(s, RCL_AGE_NEW);
    finish();
}

/* --- random ------------------------------------------------------------------------------- */

TEST(random_operations)
{
    enum { N = 60 };
    struct {
        char *p;
        size_t bytes;
        uint64_t mark;
    } block[N] = {{NULL, 0, 0}};
    struct unit_random random = unit_random_start();
    int64_t pages = 0, blocks = 0;

    start();
    for (int step = 0; step < 20000; step++) {
        size_t i = unit_below(&random, N), bytes = 1 + unit_below(&random, RCL_LARGE_MAX);
        if (block[i].p == NULL) {
            struct rcl_run run;
            block[i].p = take(bytes, (size_t)1 << unit_below(&random, 17), RCL_CLASS_LARGE, &run);
            assert_non_null(block[i].p);
            block[i].bytes = bytes;
            block[i].mark = unit_next(&random);
            pages += (int64_t)pages_for(bytes);
            blocks++;
        } else {
            assert_true(unit_stamped(block[i].p, 64, block[i].mark));
            struct rcl_span *s = rcl_pagemap_desc(block[i].p);
            pages -= s->pages;
            if (unit_below(&random, 2) == 0) {
                if (rcl_large_resize(s, bytes, RCL_CLASS_LARGE))
                    block[i].bytes = bytes;
                pages += s->pages;
            } else {
                rcl_large_give(s, unit_below(&random, 2) == 0 ? RCL_AGE_NEW : RCL_AGE_OLD);
                block[i].p = NULL;
                blocks--;
            }
        }
        if (block[i].p != NULL) {
            assert_int_equal(rcl_large_asked(rcl_pagemap_desc(block[i].p)), block[i].bytes);
            unit_stamp(block[i].p, 64, block[i].mark);
        }
        if (unit_below(&random, 20) == 0)
            rcl_runs_purge(&runs, RCL_PURGE_ANY, unit_below(&random, 500));
        assert_int_equal(blocks_out(), blocks);
        assert_int_equal(runs.large.pages, pages);
        assert_int_equal(rcl_account_get(&rcl_account.used_pages), pages);
    }
    for (size_t i = 0; i < N; i++)
        if (block[i].p != NULL)
            rcl_large_give(rcl_pagemap_desc(block[i].p), RCL_AGE_NEW);
    finish();
}

/* --- out of memory ------------------------------------------------------------------------ */

static void use_all_memory(void *arg)
{
    struct rcl_run run;
    size_t mapped, live, before, n = 0;

    (void)arg;
    char *p = take(rcl_page_size(), 1, RCL_CLASS_LARGE, &run);
    REQUIRE(p != NULL);
    unit_cover_holes();
    unit_limit_memory(2 * RCL_LARGE_MAX);
    while ((p = take(RCL_LARGE_MAX, 1, RCL_CLASS_LARGE, &run)) != NULL)
        n++;
    REQUIRE(n <= 2);
    /* A failure leaves no descriptor behind. */
    rcl_meta_usage(&mapped, &before);
    for (int i = 0; i < 100; i++)
        REQUIRE(take(RCL_LARGE_MAX, 1, RCL_CLASS_LARGE, &run) == NULL);
    rcl_meta_usage(&mapped, &live);
    REQUIRE(live == before);
    REQUIRE(blocks_out() == (int64_t)n + 1);
}

TEST(out_of_memory_is_null)
{
    start();
    unit_child_passes(use_all_memory, NULL);
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
        cmocka_unit_test(every_medium_class_and_many_large_sizes),
        cmocka_unit_test(alignment),
        cmocka_unit_test(pages_that_hold_old_data_are_told),
        cmocka_unit_test(age_is_handed_on),
        cmocka_unit_test(shrinking_returns_the_tail),
        cmocka_unit_test(growing_where_the_neighbour_is_free),
        cmocka_unit_test(growing_is_refused_where_the_neighbour_is_used),
        cmocka_unit_test(a_block_changes_its_class_where_it_stands),
        cmocka_unit_test(random_operations),
        cmocka_unit_test(out_of_memory_is_null),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
