/* SPDX-License-Identifier: MIT */
/* Tests of ctlstat.h: the numbers are those of one moment, by arena and together. */
#include "blocks.h"

#include "boot.h"
#include "ctlstat.h"
#include "heap.h"

static uint64_t total(enum ctl_stat what)
{
    uint64_t value;

    assert_true(rcl_ctlstat(what, &value));
    return value;
}

static uint64_t of_arena(size_t index, enum ctl_arena_stat what)
{
    uint64_t value;

    assert_true(rcl_ctlstat_arena(index, what, &value));
    return value;
}

static uint64_t of_bin(size_t index, size_t bin, enum ctl_bin_stat what)
{
    uint64_t value;

    assert_true(rcl_ctlstat_bin(index, bin, what, &value));
    return value;
}

static uint64_t of_extent(size_t index, size_t bytes, enum ctl_extent_stat what)
{
    uint64_t value;

    assert_true(rcl_ctlstat_extent(index, rcl_extent_of(bytes), what, &value));
    return value;
}

static struct rcl_arena *create(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    struct rcl_arena *a = rcl_arena_create();
    rcl_gate_leave(&rcl_tls.gate);
    assert_non_null(a);
    return a;
}

static void *take(struct rcl_arena *a, size_t size)
{
    struct rcl_via via = {.arena = a};
    void *p = rcl_heap_alloc_via(size, 0, false, &via);

    assert_non_null(p);
    return p;
}

TEST(the_first_question_makes_a_moment)
{
    assert_true(rcl_boot());
    assert_int_equal(rcl_ctlstat_epoch(), 1);
    assert_true(total(STAT_METADATA) > 0);
    assert_int_equal(rcl_ctlstat_epoch(), 1);
    assert_true(rcl_ctlstat_refresh());
    assert_int_equal(rcl_ctlstat_epoch(), 2);
}

/* As in a handler that interrupted a slow path. */
TEST(no_moment_while_a_slow_path_stands_still)
{
    uint64_t epoch = rcl_ctlstat_epoch();

    rcl_gate_enter_patient(&rcl_tls.gate);
    assert_false(rcl_ctlstat_refresh());
    rcl_gate_leave(&rcl_tls.gate);
    assert_int_equal(rcl_ctlstat_epoch(), epoch);
    assert_true(rcl_ctlstat_refresh());
}

TEST(numbers_stay_until_the_next_moment)
{
    assert_true(rcl_ctlstat_refresh());
    uint64_t before = total(STAT_ALLOCATED);
    void *p = rcl_heap_alloc(10 * MIB);
    assert_int_equal(total(STAT_ALLOCATED), before);
    assert_true(rcl_ctlstat_refresh());
    assert_int_equal(total(STAT_ALLOCATED), before + 10 * MIB);
    rcl_heap_free(p, "free");
}

TEST(an_arena_is_known_from_the_next_moment_on)
{
    assert_true(rcl_ctlstat_refresh());
    struct rcl_arena *a = create();
    uint64_t value;

    assert_true(rcl_ctlstat_knows(0));
    assert_true(rcl_ctlstat_knows(CTL_ARENAS_ALL));
    assert_true(rcl_ctlstat_knows(CTL_ARENAS_DESTROYED));
    assert_false(rcl_ctlstat_knows(a->index + 5u));
    assert_false(rcl_ctlstat_arena(a->index + 5u, ARENA_MAPPED, &value));
    assert_true(rcl_ctlstat_refresh());
    assert_true(rcl_ctlstat_knows(a->index));
    assert_true(rcl_ctlstat_knows(rcl_arena_indexes())); /* all, as jemalloc has it too */
    rcl_arena_retire(a);
    assert_true(rcl_ctlstat_refresh());
    assert_false(rcl_ctlstat_knows(a->index));
    assert_false(rcl_ctlstat_bin(a->index, 0, BIN_LIVE, &value));
}

TEST(arenas_add_up)
{
    struct rcl_arena *a = create(), *b = create();
    size_t bin = rcl_class_of_small(640) - RCL_CLASS_FIRST;
    void *p[400];

    assert_true(rcl_ctlstat_refresh());
    uint64_t of_zero = of_extent(0, 2 * MIB, EXTENT_LIVE);
    for (size_t i = 0; i < 400; i++)
        p[i] = take(i % 4 ? a : b, 640);
    void *medium = take(a, 50000), *large = take(a, 400000), *huge = take(b, 2 * MIB);
    assert_true(rcl_ctlstat_refresh());
    assert_int_equal(of_bin(a->index, bin, BIN_LIVE), 300);
    assert_int_equal(of_bin(b->index, bin, BIN_LIVE), 100);
    assert_int_equal(of_bin(a->index, bin, BIN_TAKEN), 300);
    assert_int_equal(of_bin(a->index, bin, BIN_GIVEN), 0);
    assert_true(of_bin(CTL_ARENAS_ALL, bin, BIN_LIVE) >= 400);
    assert_int_equal(of_arena(a->index, ARENA_SMALL_BYTES), 300 * 640);
    assert_int_equal(of_arena(a->index, ARENA_LARGE_TAKEN), 2);
    assert_int_equal(of_arena(a->index, ARENA_LARGE_GIVEN), 0);
    assert_true(of_arena(a->index, ARENA_LARGE_BYTES) >= 450000);
    assert_true(of_arena(a->index, ARENA_MAPPED) >= 450000 + 300 * 640);
    assert_true(of_arena(a->index, ARENA_MAPPED) >= of_arena(a->index, ARENA_RESIDENT));
    assert_true(of_arena(a->index, ARENA_RESIDENT) >=
                of_arena(a->index, ARENA_PACTIVE) * rcl_page_size());
    /* A huge block is its arena's, like any other. */
    assert_int_equal(of_arena(b->index, ARENA_LARGE_BYTES), 2 * MIB);
    assert_int_equal(of_arena(b->index, ARENA_LARGE_TAKEN), 1);
    assert_true(of_arena(b->index, ARENA_PACTIVE) * rcl_page_size() >= 2 * MIB);
    assert_int_equal(of_extent(a->index, 400000, EXTENT_LIVE), 1);
    assert_int_equal(of_extent(a->index, 2 * MIB, EXTENT_LIVE), 0);
    assert_int_equal(of_extent(b->index, 2 * MIB, EXTENT_LIVE), 1);
    assert_int_equal(of_extent(b->index, 2 * MIB, EXTENT_TAKEN), 1);
    assert_int_equal(of_extent(0, 2 * MIB, EXTENT_LIVE), of_zero);
    assert_int_equal(of_extent(CTL_ARENAS_ALL, 2 * MIB, EXTENT_LIVE), of_zero + 1);

    uint64_t in_large = 0, small = 0;
    for (unsigned i = 0; i < rcl_arena_count(); i++) {
        if (rcl_arena_get(i)->destroyed)
            continue;
        in_large += of_arena(rcl_arena_get(i)->index, ARENA_LARGE_BYTES);
        small += of_arena(rcl_arena_get(i)->index, ARENA_SMALL_BYTES);
    }
    assert_int_equal(in_large, of_arena(CTL_ARENAS_ALL, ARENA_LARGE_BYTES));
    assert_int_equal(small, of_arena(CTL_ARENAS_ALL, ARENA_SMALL_BYTES));

    for (size_t i = 0; i < 400; i++)
        rcl_heap_free(p[i], "free");
    rcl_heap_free(medium, "free");
    rcl_heap_free(large, "free");
    rcl_heap_free(huge, "free");
    assert_true(rcl_ctlstat_refresh());
    assert_int_equal(of_bin(a->index, bin, BIN_LIVE), 0);
    assert_int_equal(of_bin(a->index, bin, BIN_GIVEN), 300);
    assert_int_equal(of_arena(a->index, ARENA_LARGE_GIVEN), 2);
    assert_int_equal(of_arena(b->index, ARENA_LARGE_GIVEN), 1);
    assert_int_equal(of_arena(b->index, ARENA_LARGE_BYTES), 0);
    assert_int_equal(of_extent(b->index, 2 * MIB, EXTENT_LIVE), 0);
    rcl_arena_retire(a);
    rcl_arena_retire(b);
    assert_true(rcl_ctlstat_refresh());
    assert_true(of_bin(CTL_ARENAS_DESTROYED, bin, BIN_TAKEN) >= 400);
}

/* In any state, also where much has been handed out and never touched. */
TEST(totals_are_in_order)
{
    void *p[64];

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < array_len(p); i++)
            p[i] = rcl_heap_alloc(i * 50000 + 1);
        for (size_t i = 0; i < array_len(p); i += (size_t)round + 1) {
            rcl_heap_free(p[i], "free");
            p[i] = NULL;
        }
        assert_true(rcl_ctlstat_refresh());
        assert_true(total(STAT_ACTIVE) >= total(STAT_ALLOCATED));
        assert_true(total(STAT_RESIDENT) >= total(STAT_ACTIVE) + total(STAT_METADATA));
        assert_true(total(STAT_MAPPED) >= total(STAT_RESIDENT));
        assert_int_equal(total(STAT_ACTIVE) % rcl_page_size(), 0);
        assert_int_equal(total(STAT_RESIDENT) % rcl_page_size(), 0);
        assert_int_equal(of_arena(CTL_ARENAS_ALL, ARENA_RETAINED), total(STAT_RETAINED));
        assert_int_equal(of_arena(CTL_ARENAS_ALL, ARENA_RESIDENT), total(STAT_RESIDENT));
        assert_int_equal(of_arena(CTL_ARENAS_ALL, ARENA_MAPPED), total(STAT_MAPPED));
        assert_int_equal(of_arena(CTL_ARENAS_ALL, ARENA_PACTIVE) * rcl_page_size(),
                         total(STAT_ACTIVE));
        for (size_t i = 0; i < array_len(p); i++)
            if (p[i] != NULL)
                rcl_heap_free(p[i], "free");
    }
}

static void *ask(void *arg)
{
    for (int i = 0; i < 200; i++) {
        uint64_t value;
        REQUIRE(rcl_ctlstat_refresh());
        REQUIRE(rcl_ctlstat(STAT_ALLOCATED, &value));
        REQUIRE(rcl_ctlstat_bin(0, 3, BIN_LIVE, &value));
    }
    return arg;
}

TEST(several_threads_may_ask)
{
    char args[4];

    if (UNIT_TSAN)
        skip(); /* which does not see when memory is the kernel's between two uses */
    unit_threads(4, ask, args, 1);
}

static int boot(void **state)
{
    (void)state;
    rcl_opt.background_thread = !UNIT_TSAN; /* its run time needs threads of libc's */
    return rcl_boot() ? 0 : -1;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_question_makes_a_moment),
        cmocka_unit_test(no_moment_while_a_slow_path_stands_still),
        cmocka_unit_test(numbers_stay_until_the_next_moment),
        cmocka_unit_test(an_arena_is_known_from_the_next_moment_on),
        cmocka_unit_test(arenas_add_up),
        cmocka_unit_test(totals_are_in_order),
        cmocka_unit_test(several_threads_may_ask),
    };

    return cmocka_run_group_tests(tests, boot, NULL);
}
