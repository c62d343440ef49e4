/* SPDX-License-Identifier: MIT */
/*
 * Tests of demand.h: what is told changes the process-wide counters and the demand.
 * What time does to the demand is decay.c's test; here it only must pass.
 */
#include "unit.h"

#include "account.h"
#include "demand.h"
#include "options.h"

#define LONG_NS UINT64_C(3600000000000)

static const struct rcl_account zero;

static void tell(struct rcl_demand *d, size_t freed, size_t taken_dirty, size_t taken_clean,
                 size_t purged)
{
    struct rcl_demand_note note = {
        .freed = freed, .taken_dirty = taken_dirty, .taken_clean = taken_clean, .purged = purged};

    rcl_demand_tell(d, &note);
}

static int64_t used(void)
{
    return rcl_account_get(&rcl_account.used_pages);
}

static int64_t dirty(void)
{
    return rcl_account_get(&rcl_account.dirty_pages);
}

static int64_t demanded(void)
{
    return rcl_account_get(&rcl_account.demand_pages);
}

static int set_up(void **state)
{
    static const struct rcl_options defaults = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#include "options.def"
#undef OPT
    };

    (void)state;
    rcl_account = zero;
    rcl_opt = defaults;
    return 0;
}

TEST(each_event_moves_pages_between_the_counters)
{
    struct rcl_demand d;

    rcl_demand_init(&d, LONG_NS);
    tell(&d, 0, 0, 100, 0); /* taken from the system */
    assert_int_equal(used(), 100);
    assert_int_equal(dirty(), 0);
    tell(&d, 60, 0, 0, 0); /* freed */
    assert_int_equal(used(), 40);
    assert_int_equal(dirty(), 60);
    tell(&d, 0, 0, 0, 25); /* purged */
    assert_int_equal(used(), 40);
    assert_int_equal(dirty(), 35);
    assert_int_equal(rcl_account_read(&rcl_account.purged_pages), 25);
    tell(&d, 0, 35, 10, 0); /* taken back */
    assert_int_equal(used(), 85);
    assert_int_equal(dirty(), 0);
    assert_int_equal(rcl_account_read(&rcl_account.refaulted_pages), 10);
    assert_int_equal(demanded(), 45);
}

TEST(what_went_for_its_age_and_is_taken_back_counts_but_is_no_demand)
{
    struct rcl_demand d;

    rcl_demand_init(&d, LONG_NS);
    tell(&d, 0, 0, 100, 0);
    tell(&d, 100, 0, 0, 0);
    rcl_demand_tell(&d, &(struct rcl_demand_note){.purged = 100, .aged = true});
    assert_int_equal(dirty(), 0);
    tell(&d, 0, 0, 80, 0);
    assert_int_equal(rcl_account_read(&rcl_account.purged_pages), 100);
    assert_int_equal(rcl_account_read(&rcl_account.refaulted_pages), 80);
    assert_int_equal(demanded(), 0);
    assert_int_equal(rcl_account_get(&rcl_account.regret_pages), 0);
}

TEST(new_pages_are_growth_and_not_taken_back)
{
    struct rcl_demand a, b;

    rcl_demand_init(&a, LONG_NS);
    rcl_demand_init(&b, LONG_NS);
    tell(&a, 0, 0, 100, 0);
    tell(&a, 100, 0, 0, 0);
    tell(&a, 0, 0, 0, 100);
    rcl_demand_tell(&a, &(struct rcl_demand_note){.taken_clean = 90, .taken_new = 70});
    rcl_demand_tell(&b, &(struct rcl_demand_note){.taken_clean = 40, .taken_new = 30});
    assert_int_equal(used(), 90 + 40);
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), 70 + 30);
    assert_int_equal(rcl_account_get(&rcl_account.regret_pages), 20);
    assert_int_equal(demanded(), 20);
    assert_int_equal(rcl_account_read(&rcl_account.refaulted_pages), 20);
}

TEST(an_empty_note_changes_nothing)
{
    struct rcl_demand d;

    rcl_demand_init(&d, LONG_NS);
    tell(&d, 0, 0, 0, 0);
    assert_memory_equal(&rcl_account, &zero, sizeof zero);
}

TEST(several_events_in_one_note)
{
    struct rcl_demand d;

    rcl_demand_init(&d, LONG_NS);
    tell(&d, 0, 0, 1000, 0);
    tell(&d, 500, 0, 0, 0);
    tell(&d, 7, 30, 20, 100);
    assert_int_equal(used(), 1000 - 500 - 7 + 50);
    assert_int_equal(dirty(), 500 + 7 - 30 - 100);
    /* Shrunk in place: freed and unmapped at once. */
    tell(&d, 5, 0, 0, 5);
    assert_int_equal(dirty(), 500 + 7 - 30 - 100);
    assert_int_equal(used(), 1000 - 500 - 7 + 50 - 5);
}

TEST(demand_is_the_sum_over_all)
{
    struct rcl_demand a, b;

    rcl_demand_init(&a, LONG_NS);
    rcl_demand_init(&b, LONG_NS);
    tell(&a, 0, 70, 0, 0);
    tell(&b, 0, 30, 0, 0);
    assert_int_equal(demanded(), 100);
    /* One burst, however large, adds nothing. */
    tell(&b, 0, 0, 1000000, 0);
    tell(&b, 1000000, 0, 0, 0);
    assert_int_equal(demanded(), 100);
    tell(&a, 0, 5, 0, 0);
    assert_int_equal(demanded(), 105);
}

TEST(demand_is_withdrawn_by_a_tick_a_window_later)
{
    enum { WINDOW_MS = 40 };
    struct rcl_demand a, b;

    rcl_demand_init(&a, WINDOW_MS * UINT64_C(1000000));
    rcl_demand_init(&b, LONG_NS);
    tell(&a, 0, 70, 0, 0);
    tell(&b, 0, 30, 0, 0);
    rcl_demand_tell(&a, &(struct rcl_demand_note){.taken_clean = 5, .taken_new = 5});
    rcl_demand_tell(&b, &(struct rcl_demand_note){.taken_clean = 7, .taken_new = 7});
    assert_int_equal(demanded(), 100);
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), 12);
    unit_sleep_ms(2 * WINDOW_MS);
    assert_int_equal(demanded(), 100); /* nobody has looked */
    rcl_demand_tick(&a);
    rcl_demand_tick(&b);
    assert_int_equal(demanded(), 30);
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), 7);
}

/* --- the ceiling -------------------------------------------------------------------------- */

TEST(regret_is_the_sum_over_all)
{
    struct rcl_demand d[2];

    for (size_t i = 0; i < 2; i++) {
        rcl_demand_init(&d[i], LONG_NS);
        tell(&d[i], 100, 0, 0, 100);
        tell(&d[i], 0, 0, 30 + i, 0);
    }
    assert_int_equal(rcl_account_get(&rcl_account.regret_pages), 61);
    rcl_demand_tell(&d[0], &(struct rcl_demand_note){.taken_clean = 3, .taken_new = 3});
    rcl_demand_tell(&d[1], &(struct rcl_demand_note){.taken_clean = 4, .taken_new = 4});
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), 7);
    /* Another window, and nothing is remembered. */
    rcl_demand_set_window(&d[0], LONG_NS);
    assert_int_equal(rcl_account_get(&rcl_account.regret_pages), 31);
    assert_int_equal(rcl_account_get(&rcl_account.grown_pages), 4);
}

TEST(ceiling_by_options)
{
    size_t page = rcl_page_size();

    rcl_opt.dirty_min = (int64_t)(1000 * page);
    rcl_opt.dirty_share = 8;
    assert_int_equal(rcl_demand_ceiling(), 1000);
    rcl_account.used_pages = 7992;
    assert_int_equal(rcl_demand_ceiling(), 1000);
    rcl_account.used_pages = 80000;
    assert_int_equal(rcl_demand_ceiling(), 2500);
    rcl_account.regret_pages = 80000;
    assert_int_equal(rcl_demand_ceiling(), 10000);
    rcl_account.grown_pages = 16000;
    assert_int_equal(rcl_demand_ceiling(), 8000);
    rcl_account.grown_pages = 0;
    /* Pages that are held by survivors count by what is in use on them. */
    rcl_account.hole_bytes = (int64_t)(56000 * page);
    assert_int_equal(rcl_demand_ceiling(), 3000);
    rcl_account.hole_bytes = (int64_t)(72000 * page);
    rcl_account.regret_pages = 0;
    assert_int_equal(rcl_demand_ceiling(), 1000);
    rcl_account.regret_pages = 80000;
    assert_int_equal(rcl_demand_ceiling(), 1250); /* a quarter more than the minimum */
    rcl_account.hole_bytes = (int64_t)(90000 * page);
    assert_int_equal(rcl_demand_ceiling(), 1250);
    rcl_account.hole_bytes = 0;
    rcl_opt.dirty_share = 0;
    assert_int_equal(rcl_demand_ceiling(), 1000);
    rcl_account.demand_pages = 8000;
    assert_int_equal(rcl_demand_ceiling(), 9000);
    rcl_opt.dirty_min = 0;
    rcl_account.demand_pages = 0;
    assert_int_equal(rcl_demand_ceiling(), 0);
}

TEST(ceiling_by_default)
{
    rcl_account.used_pages = 0;
    assert_int_equal(rcl_demand_ceiling(), (size_t)rcl_opt.dirty_min / rcl_page_size());
}

TEST(with_no_decay_time_nothing_may_stay)
{
    rcl_opt.dirty_decay_ms = 0;
    rcl_account.used_pages = 1000000;
    rcl_account.demand_pages = 1000000;
    assert_int_equal(rcl_demand_ceiling(), 0);
}

TEST(with_no_end_of_the_decay_time_all_may_stay)
{
    rcl_opt.dirty_decay_ms = -1;
    rcl_opt.dirty_min = 0;
    rcl_account.used_pages = 0;
    rcl_account.demand_pages = 0;
    assert_true(rcl_demand_ceiling() == RCL_NO_CEILING);
}

TEST(counters_below_zero_for_a_moment_do_no_harm)
{
    rcl_opt.dirty_min = (int64_t)(10 * rcl_page_size());
    rcl_account.used_pages = -5;
    rcl_account.demand_pages = -5;
    assert_int_equal(rcl_demand_ceiling(), 10);
}

/* --- threads ------------------------------------------------------------------------------ */

enum { THREADS = 4, ROUNDS = 5000 };

static struct rcl_demand both[2];

static void *tell_much(void *arg)
{
    struct unit_random random = {(uintptr_t)arg};

    for (int i = 0; i < ROUNDS; i++) {
        struct rcl_demand *d = &both[unit_below(&random, 2)];
        size_t n = unit_below(&random, 10), gone = unit_below(&random, n + 1);

        tell(d, 0, 0, n, 0);
        tell(d, n, 0, 0, 0);
        tell(d, 0, 0, 0, gone);
        tell(d, 0, n - gone, gone, 0);
        tell(d, n, 0, 0, n);
    }
    return NULL;
}

TEST(what_comes_and_goes_leaves_no_trace)
{
    char args[THREADS];

    rcl_demand_init(&both[0], LONG_NS);
    rcl_demand_init(&both[1], LONG_NS);
    unit_threads(THREADS, tell_much, args, 1);
    assert_int_equal(used(), 0);
    assert_int_equal(dirty(), 0);
    assert_int_equal(demanded(), both[0].demand + both[1].demand);
    assert_int_equal(rcl_account_get(&rcl_account.regret_pages), both[0].regret + both[1].regret);
}

TEST(blocks_of_slabs_leave_holes)
{
    struct rcl_demand d;
    int64_t page = (int64_t)rcl_page_size();

    rcl_demand_init(&d, LONG_NS);
    rcl_demand_tell(&d, &(struct rcl_demand_note){.taken_clean = 4, .slab = true, .handed = 100});
    assert_int_equal(rcl_account_get(&rcl_account.slab_pages), 4);
    assert_int_equal(rcl_account_get(&rcl_account.hole_bytes), 4 * page - 100);
    rcl_demand_tell(&d, &(struct rcl_demand_note){.slab = true, .handed = -40});
    assert_int_equal(rcl_account_get(&rcl_account.hole_bytes), 4 * page - 60);
    rcl_demand_tell(&d, &(struct rcl_demand_note){.freed = 4, .slab = true, .handed = -60});
    assert_int_equal(rcl_account_get(&rcl_account.slab_pages), 0);
    assert_int_equal(rcl_account_get(&rcl_account.hole_bytes), 0);
    assert_int_equal(used(), 0);
    tell(&d, 0, 0, 3, 0); /* another's pages */
    assert_int_equal(rcl_account_get(&rcl_account.slab_pages), 0);
}

/* From here on the process is told of much only. */
TEST(little_is_told_when_it_has_come_to_much)
{
    struct rcl_demand d;
    size_t few = RCL_DRIFT_BYTES >> rcl_page_shift();

    rcl_demand_boot();
    if (few == 0)
        skip(); /* pages so large that each is much */
    rcl_demand_init(&d, LONG_NS);
    for (size_t i = 0; i < few; i++) {
        tell(&d, 0, 0, 1, 0);
        assert_int_equal(used(), 0);
    }
    tell(&d, 0, 0, 1, 0);
    assert_int_equal(used(), few + 1);
    for (unsigned i = 0; i < 1000; i++) { /* to and fro */
        tell(&d, few / 2, 0, 0, 0);
        tell(&d, 0, few / 2, 0, 0);
        assert_int_equal(used(), few + 1);
        assert_int_equal(dirty(), 0);
    }
    tell(&d, few, 0, 0, 0);
    assert_int_equal(dirty(), 0);
    rcl_demand_tick(&d);
    assert_int_equal(used(), 1);
    assert_int_equal(dirty(), few);
    tell(&d, 1, 0, 0, 0);
    assert_int_equal(dirty(), few);
    tell(&d, 0, 0, 0, 2); /* what goes back is told at once, with all there is */
    assert_int_equal(used(), 0);
    assert_int_equal(dirty(), few - 1);
    tell(&d, 0, few - 1, 0, 0);
    rcl_demand_set_window(&d, 0); /* nothing is to be kept, so every page is told */
    assert_int_equal(dirty(), 0);
    tell(&d, 1, 0, 0, 0);
    assert_int_equal(dirty(), 1);
}

TEST(what_comes_and_goes_leaves_no_trace_of_little)
{
    char args[THREADS];

    rcl_demand_init(&both[0], LONG_NS);
    rcl_demand_init(&both[1], LONG_NS);
    unit_threads(THREADS, tell_much, args, 1);
    for (unsigned i = 0; i < 2; i++)
        rcl_demand_tick(&both[i]);
    assert_int_equal(used(), 0);
    assert_int_equal(dirty(), 0);
    assert_int_equal(demanded(), both[0].demand + both[1].demand);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_event_moves_pages_between_the_counters, set_up),
        cmocka_unit_test_setup(what_went_for_its_age_and_is_taken_back_counts_but_is_no_demand,
                               set_up),
        cmocka_unit_test_setup(new_pages_are_growth_and_not_taken_back, set_up),
        cmocka_unit_test_setup(an_empty_note_changes_nothing, set_up),
        cmocka_unit_test_setup(several_events_in_one_note, set_up),
        cmocka_unit_test_setup(demand_is_the_sum_over_all, set_up),
        cmocka_unit_test_setup(demand_is_withdrawn_by_a_tick_a_window_later, set_up),
        cmocka_unit_test_setup(regret_is_the_sum_over_all, set_up),
        cmocka_unit_test_setup(ceiling_by_options, set_up),
        cmocka_unit_test_setup(ceiling_by_default, set_up),
        cmocka_unit_test_setup(with_no_decay_time_nothing_may_stay, set_up),
        cmocka_unit_test_setup(with_no_end_of_the_decay_time_all_may_stay, set_up),
        cmocka_unit_test_setup(counters_below_zero_for_a_moment_do_no_harm, set_up),
        cmocka_unit_test_setup(what_comes_and_goes_leaves_no_trace, set_up),
        cmocka_unit_test_setup(blocks_of_slabs_leave_holes, set_up),
        cmocka_unit_test_setup(little_is_told_when_it_has_come_to_much, set_up),
        cmocka_unit_test_setup(what_comes_and_goes_leaves_no_trace_of_little, set_up),
    };

    rcl_os_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
