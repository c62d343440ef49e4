/* SPDX-License-Identifier: MIT */
/* Tests of account.h: sums of several threads are exact, and no field is another's. */
#include "unit.h"

#include "account.h"

enum { THREADS = 4, ROUNDS = 50000 };

TEST(everything_begins_at_zero)
{
    /* But what is not known yet and taken for the worst. */
    static const struct rcl_account zero = {.pinned_each = RCL_PINNED_ONE};

    assert_memory_equal(&rcl_account, &zero, sizeof zero);
}

TEST(what_a_cached_block_keeps_is_learnt)
{
    enum { PAGE = 4096 };
    size_t last = rcl_account_pins(1000);

    assert_int_equal(last, 1000);
    assert_int_equal(rcl_account_pins(0), 0);
    /* All around them lives: nothing came free but them. */
    for (int i = 0; i < 400; i++) {
        rcl_account_unpinned(64, 64 * 64, i % 64 == 0, PAGE);
        size_t now = rcl_account_pins(1000);
        assert_true(now <= last);
        last = now;
    }
    assert_true(last < 5);
    /* Nothing else does: a page with each, and with large ones one beside their own. */
    for (int i = 0; i < 400; i++)
        rcl_account_unpinned(16, 16 * 64, 16, PAGE);
    assert_in_range(rcl_account_pins(1000), 950, 1000);
    for (int i = 0; i < 400; i++)
        rcl_account_unpinned(16, (size_t)16 * 2 * PAGE, 16 * 2, PAGE);
    assert_true(rcl_account_pins(1000) < 5);
    for (int i = 0; i < 40000; i++)
        rcl_account_unpinned(1, 16, 100, PAGE); /* never more than one each */
    assert_in_range(rcl_account_pins(1000), 990, 1000);
    rcl_account.pinned_each = RCL_PINNED_ONE;
}

/* Pages beside their bytes for 1000 cached blocks of 256 bytes among `handed`, on so many pages. */
static size_t spread(int64_t handed, int64_t pages)
{
    enum { PAGE = 4096, SIZE = 256, CACHED = 1000 };

    rcl_account.cached_small_blocks = CACHED;
    rcl_account.cached_small_bytes = CACHED * SIZE;
    rcl_account.slab_pages = pages;
    rcl_account.hole_bytes = pages * PAGE - handed * SIZE;
    rcl_account.pinned_each = 0;
    rcl_account_spread(PAGE);
    size_t pins = rcl_account_pins(CACHED);
    rcl_account.cached_small_blocks = rcl_account.cached_small_bytes = 0;
    rcl_account.slab_pages = rcl_account.hole_bytes = 0;
    rcl_account_spread(PAGE);
    assert_int_equal(rcl_account_pins(CACHED), 0);
    rcl_account.pinned_each = RCL_PINNED_ONE;
    assert_int_equal(rcl_account_pins(CACHED), CACHED);
    return pins;
}

TEST(what_a_cached_block_keeps_by_chance)
{
    /* Only cached ones are left, one on each page; several; whole pages of them. */
    assert_in_range(spread(1000, 1000), 937, 938);
    assert_in_range(spread(1000, 500), 437, 438);
    assert_in_range(spread(1000, 63), 0, 1);
    /* Full pages: one of 16 in 10 is cached, no page has but such ones. */
    assert_int_equal(spread(10000, 625), 0);
    assert_int_equal(spread(1000000, 62500), 0);
    /* One block on each page, a tenth of them cached. */
    assert_in_range(spread(10000, 10000), 937, 938);
    /* Two on each: as geometrically distributed, half of the pages have one, a quarter two, ... */
    assert_in_range(spread(2000, 1000), 1000 / 3 - 63, 1000 / 3 - 61);
    size_t last = 1000;
    for (int64_t handed = 1000; handed <= 16000; handed += 500) {
        size_t now = spread(handed, 1000);
        assert_true(now <= last);
        last = now;
    }
    assert_int_equal(last, 0);
}

TEST(what_cannot_be_leaves_alone_what_is_known)
{
    /* Read while others count. */
    assert_int_equal(spread(10, 1000), 0);
    assert_int_equal(spread(17000, 1000), 0);
    assert_int_equal(spread(-5, 10), 0);
    assert_int_equal(spread(1000, -10), 0);
    rcl_account.pinned_spread = RCL_PINNED_ONE / 2;
    rcl_account.cached_small_bytes = 1000;
    rcl_account.slab_pages = 0;
    rcl_account_spread(4096);
    assert_int_equal(rcl_account.pinned_spread, RCL_PINNED_ONE / 2);
    rcl_account.cached_small_bytes = 0;
    rcl_account_spread(4096);
    assert_int_equal(rcl_account.pinned_spread, 0);
}

TEST(fields_are_signed_and_apart)
{
    rcl_account_add(&rcl_account.used_pages, 5);
    rcl_account_add(&rcl_account.used_pages, -7);
    rcl_account_add(&rcl_account.dirty_pages, INT64_MAX);
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), -2);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), INT64_MAX);
    assert_int_equal(rcl_account_get(&rcl_account.demand_pages), 0);
    rcl_account_add(&rcl_account.used_pages, 2);
    rcl_account_add(&rcl_account.dirty_pages, -INT64_MAX);
    rcl_account_count(&rcl_account.mapped_bytes, 10);
    rcl_account_count(&rcl_account.mapped_bytes, -(uint64_t)10);
    assert_int_equal(rcl_account_read(&rcl_account.mapped_bytes), 0);
}

TEST(a_peak_stays)
{
    uint64_t now = 0, most = 0;

    rcl_account_peak(&now, 10, &most);
    rcl_account_count(&now, -(uint64_t)4);
    rcl_account_peak(&now, 3, &most);
    assert_int_equal(now, 9);
    assert_int_equal(most, 10);
    rcl_account_peak(&now, 2, &most);
    assert_int_equal(most, 11);
}

static uint64_t risen, highest;

static void *rise(void *arg)
{
    for (int i = 0; i < ROUNDS; i++)
        rcl_account_peak(&risen, 3, &highest);
    return arg;
}

TEST(no_peak_is_missed)
{
    char args[THREADS];

    unit_threads(THREADS, rise, args, 1);
    assert_int_equal(highest, 3 * THREADS * ROUNDS);
}

static void *count(void *arg)
{
    for (int64_t i = 0; i < ROUNDS; i++) {
        rcl_account_add(&rcl_account.used_pages, i % 7 - 2);
        rcl_account_count(&rcl_account.purged_pages, 3);
    }
    return arg;
}

TEST(sums_are_exact)
{
    char args[THREADS];
    int64_t expected = 0;

    for (int64_t i = 0; i < ROUNDS; i++)
        expected += THREADS * (i % 7 - 2);
    unit_threads(THREADS, count, args, 1);
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), expected);
    assert_int_equal(rcl_account_read(&rcl_account.purged_pages), 3 * THREADS * ROUNDS);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_begins_at_zero), /* must be the first */
        cmocka_unit_test(what_a_cached_block_keeps_is_learnt),
        cmocka_unit_test(what_a_cached_block_keeps_by_chance),
        cmocka_unit_test(what_cannot_be_leaves_alone_what_is_known),
        cmocka_unit_test(fields_are_signed_and_apart),
        cmocka_unit_test(a_peak_stays),
        cmocka_unit_test(no_peak_is_missed),
        cmocka_unit_test(sums_are_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
