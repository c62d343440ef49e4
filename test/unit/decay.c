/* SPDX-License-Identifier: MIT */
/*
 * Tests of decay.h with invented time, in units of which a step has 25.  The last one
 * compares random histories with a model that forgets nothing.
 */
#include "unit.h"

#include "decay.h"

enum { STEP = 25, WINDOW = STEP * RCL_DECAY_STEPS, START = 1000 };

static struct rcl_decay fresh(void)
{
    struct rcl_decay d;

    memset(&d, 0xff, sizeof d);
    rcl_decay_init(&d, WINDOW, START);
    return d;
}

TEST(a_single_burst_has_no_demand)
{
    struct rcl_decay d = fresh();

    /* New memory, however much of it. */
    assert_int_equal(rcl_decay_take(&d, START + 1, 0, 1000000, 0), 0);
    assert_int_equal(rcl_decay_demand(&d, START + 1), 0);
    rcl_decay_free(&d, START + 2, 1000000);
    for (uint64_t now = START + 2; now < START + 5 * WINDOW; now++)
        assert_int_equal(rcl_decay_demand(&d, now), 0);
}

TEST(what_is_taken_back_while_resident_is_demand)
{
    struct rcl_decay d = fresh();

    rcl_decay_take(&d, START, 0, 300, 0);
    rcl_decay_free(&d, START + 1, 300);
    assert_int_equal(rcl_decay_take(&d, START + 2, 300, 0, 0), 0); /* nothing had been purged */
    assert_int_equal(rcl_decay_demand(&d, START + 2), 300);
    /* The demand is the highest swing, not the present one. */
    rcl_decay_free(&d, START + 3, 300);
    assert_int_equal(rcl_decay_demand(&d, START + 3), 300);
}

TEST(what_is_taken_back_after_it_was_purged_is_demand)
{
    struct rcl_decay d = fresh();

    rcl_decay_take(&d, START, 0, 300, 0);
    rcl_decay_free(&d, START + 1, 300);
    rcl_decay_purged(&d, START + 1, 200, false);
    /* 100 resident, 200 that had been purged, 50 that are new. */
    assert_int_equal(rcl_decay_take(&d, START + 2, 100, 250, 0), 200);
    assert_int_equal(rcl_decay_demand(&d, START + 2), 300);
    /* Each purged page can be taken back once. */
    assert_int_equal(rcl_decay_take(&d, START + 2, 0, 200, 0), 0);
    assert_int_equal(rcl_decay_demand(&d, START + 2), 300);
}

TEST(what_was_purged_a_window_ago_is_new_again)
{
    for (uint64_t wait = 0; wait <= 2 * WINDOW; wait++) {
        struct rcl_decay d = fresh();

        rcl_decay_free(&d, START, 300);
        rcl_decay_purged(&d, START, 300, false);
        size_t again = rcl_decay_take(&d, START + wait, 0, 300, 0);
        assert_int_equal(again, wait < WINDOW ? 300 : 0);
        assert_int_equal(rcl_decay_demand(&d, START + wait), again);
    }
}

TEST(a_swing_adds_up_over_steps)
{
    struct rcl_decay d = fresh();

    for (unsigned i = 0; i < RCL_DECAY_STEPS; i++) {
        rcl_decay_take(&d, START + i * STEP, 10, 0, 0);
        assert_int_equal(rcl_decay_demand(&d, START + i * STEP), (i + 1) * 10);
    }
    /* Freed a little and taken a little: the level counts, not the traffic. */
    for (int i = 0; i < 100; i++) {
        rcl_decay_free(&d, START + WINDOW - 1, 5);
        rcl_decay_take(&d, START + WINDOW - 1, 5, 0, 0);
    }
    assert_int_equal(rcl_decay_demand(&d, START + WINDOW - 1), RCL_DECAY_STEPS * 10);
}

TEST(a_swing_is_never_below_zero)
{
    struct rcl_decay d = fresh();

    rcl_decay_free(&d, START, 1000000);
    rcl_decay_take(&d, START, 7, 0, 0);
    assert_int_equal(rcl_decay_demand(&d, START), 7);
}

TEST(demand_is_withdrawn_a_window_later)
{
    for (uint64_t at = 0; at < STEP; at++) { /* wherever in its step it arose */
        struct rcl_decay d = fresh();

        rcl_decay_take(&d, START + at, 300, 0, 0);
        rcl_decay_free(&d, START + at, 300);
        assert_int_equal(rcl_decay_demand(&d, START + at + WINDOW - STEP), 300);
        assert_int_equal(rcl_decay_demand(&d, START + at + WINDOW), 0);
    }
}

TEST(demand_that_is_renewed_stays)
{
    struct rcl_decay d = fresh();
    uint64_t now = START;

    for (int round = 0; round < 50; round++) {
        rcl_decay_take(&d, now, 300, 0, 0);
        rcl_decay_free(&d, now + 1, 300);
        now += WINDOW - STEP;
        assert_int_equal(rcl_decay_demand(&d, now), 300);
    }
    assert_int_equal(rcl_decay_demand(&d, now + WINDOW), 0);
}

TEST(after_a_quiet_window_the_swing_starts_from_the_ground)
{
    struct rcl_decay d = fresh();

    /* Taken and kept: the program's own now, no swing any more. */
    rcl_decay_take(&d, START, 300, 0, 0);
    assert_int_equal(rcl_decay_demand(&d, START + WINDOW), 0);
    rcl_decay_take(&d, START + WINDOW, 20, 0, 0);
    assert_int_equal(rcl_decay_demand(&d, START + WINDOW), 20);
}

TEST(time_that_goes_backwards_stands_still)
{
    struct rcl_decay d = fresh();

    rcl_decay_take(&d, START + 2 * STEP, 300, 0, 0);
    struct rcl_decay before = d;
    assert_int_equal(rcl_decay_demand(&d, START), 300);
    assert_int_equal(rcl_decay_demand(&d, 0), 300);
    assert_memory_equal(&d, &before, sizeof d);
    rcl_decay_free(&d, 1, 300);
    rcl_decay_take(&d, 0, 400, 0, 0);
    assert_int_equal(rcl_decay_demand(&d, 1), 400);
    assert_int_equal(rcl_decay_demand(&d, START + 2 * STEP + WINDOW), 0);
}

TEST(a_jump_of_ages_is_quick)
{
    struct rcl_decay d = fresh();

    rcl_decay_take(&d, START, 300, 0, 0);
    assert_int_equal(rcl_decay_demand(&d, UINT64_MAX / 2), 0);
    rcl_decay_take(&d, UINT64_MAX / 2, 20, 0, 0);
    assert_int_equal(rcl_decay_demand(&d, UINT64_MAX / 2 + WINDOW - STEP), 20);
    assert_int_equal(rcl_decay_demand(&d, UINT64_MAX / 2 + WINDOW), 0);
}

TEST(a_window_of_zero_remembers_nothing)
{
    struct rcl_decay d;

    rcl_decay_init(&d, 0, START);
    rcl_decay_free(&d, START, 100);
    rcl_decay_purged(&d, START, 100, false);
    assert_int_equal(rcl_decay_take(&d, START, 0, 100, 0), 0);
    assert_int_equal(rcl_decay_take(&d, START + 1, 100, 0, 0), 0);
    assert_int_equal(rcl_decay_demand(&d, START + 1), 0);
    assert_int_equal(rcl_decay_demand(&d, START + 1000000), 0);
}

TEST(a_window_without_end)
{
    struct rcl_decay d;

    rcl_decay_init(&d, UINT64_MAX, START);
    rcl_decay_take(&d, START, 100, 0, 0);
    assert_int_equal(rcl_decay_demand(&d, START + (UINT64_C(1) << 60)), 100);
}

static size_t regret_at(struct rcl_decay *d, uint64_t now)
{
    rcl_decay_demand(d, now);
    return rcl_decay_regret(d);
}

TEST(what_is_purged_and_taken_again_is_regretted)
{
    struct rcl_decay d = fresh();

    rcl_decay_free(&d, START, 1000);
    rcl_decay_take(&d, START, 100, 0, 0);
    assert_int_equal(regret_at(&d, START), 0);
    rcl_decay_purged(&d, START, 600, false);
    rcl_decay_take(&d, START, 0, 200, 0);
    assert_int_equal(regret_at(&d, START), 200);
    /* What is freed does not change it, and what was never purged neither. */
    rcl_decay_free(&d, START, 1000);
    rcl_decay_take(&d, START, 0, 1000, 0);
    assert_int_equal(regret_at(&d, START), 600);
    /* What was purged a window ago is new again. */
    rcl_decay_purged(&d, START, 100, false);
    rcl_decay_take(&d, START + WINDOW, 0, 100, 0);
    assert_true(regret_at(&d, START + WINDOW) < 600);
}

TEST(what_went_for_its_age_is_neither_demand_nor_regret)
{
    struct rcl_decay d = fresh();

    rcl_decay_free(&d, START, 1000);
    rcl_decay_purged(&d, START, 300, true);
    rcl_decay_purged(&d, START, 200, false);
    /* Which of the two was taken is not known: those that went too early come first. */
    assert_int_equal(rcl_decay_take(&d, START, 0, 250, 0), 250);
    assert_int_equal(rcl_decay_demand(&d, START), 200);
    assert_int_equal(regret_at(&d, START), 200);
    assert_int_equal(rcl_decay_take(&d, START, 0, 1000, 0), 250);
    assert_int_equal(rcl_decay_demand(&d, START), 200);
    assert_int_equal(regret_at(&d, START), 200);
    rcl_decay_purged(&d, START, 100, true);
    assert_int_equal(rcl_decay_take(&d, START + WINDOW, 0, 100, 0), 0);
}

TEST(regret_is_forgotten_step_by_step)
{
    struct rcl_decay d = fresh();
    uint64_t now = START;
    size_t before = 16000;

    rcl_decay_purged(&d, now, before, false);
    rcl_decay_take(&d, now, 0, before, 0);
    for (int i = 0; i < 200; i++) {
        now += STEP;
        size_t after = regret_at(&d, now);
        assert_true(after == 0 ? before <= 1 : after == before - before / 16 - 1);
        before = after;
    }
    assert_int_equal(before, 0);
    /* In one go as well. */
    rcl_decay_purged(&d, now, 1000, false);
    rcl_decay_take(&d, now, 0, 1000, 0);
    assert_int_equal(regret_at(&d, now + 200 * STEP), 0);
}

TEST(new_pages_are_growth_for_a_window)
{
    struct rcl_decay d = fresh();

    /* Neither demand nor regret, whatever was purged. */
    rcl_decay_purged(&d, START, 500, false);
    assert_int_equal(rcl_decay_take(&d, START, 0, 0, 400), 0);
    assert_int_equal(rcl_decay_demand(&d, START), 0);
    assert_int_equal(rcl_decay_regret(&d), 0);
    assert_int_equal(rcl_decay_grown(&d), 400);
    rcl_decay_take(&d, START + STEP, 200, 0, 100);
    assert_int_equal(rcl_decay_grown(&d), 500);
    rcl_decay_free(&d, START + WINDOW - 1, 1000);
    assert_int_equal(rcl_decay_grown(&d), 500);
    rcl_decay_free(&d, START + WINDOW, 0);
    assert_int_equal(rcl_decay_grown(&d), 100);
    rcl_decay_free(&d, START + STEP + WINDOW, 0);
    assert_int_equal(rcl_decay_grown(&d), 0);
}

TEST(a_page_that_is_regretted_outweighs_two_new_ones)
{
    struct rcl_decay d = fresh();

    rcl_decay_take(&d, START, 0, 0, 300);
    rcl_decay_take(&d, START + STEP, 0, 0, 100);
    rcl_decay_purged(&d, START + STEP, 500, false);
    assert_int_equal(rcl_decay_take(&d, START + STEP, 0, 20, 0), 20);
    assert_int_equal(rcl_decay_grown(&d), 360);
    assert_int_equal(rcl_decay_take(&d, START + STEP, 0, 50, 0), 50); /* the latest first */
    assert_int_equal(rcl_decay_grown(&d), 260);
    /* Those of the same call are not outweighed. */
    assert_int_equal(rcl_decay_take(&d, START + STEP, 0, 400, 7), 400);
    assert_int_equal(rcl_decay_grown(&d), 7);
    assert_int_equal(rcl_decay_regret(&d), 470);
    /* What went for its age is not regretted. */
    rcl_decay_purged(&d, START + STEP, 50, true);
    assert_int_equal(rcl_decay_take(&d, START + STEP, 0, 80, 0), 80);
    assert_int_equal(rcl_decay_grown(&d), 0);
}

static size_t ceiling(size_t minimum, size_t live, size_t share, size_t demand, size_t regret,
                      size_t grown)
{
    return rcl_decay_ceiling(&(struct rcl_decay_sum){minimum, live, share, demand, regret, grown});
}

TEST(the_ceiling_is_the_highest_of_what_may_stay)
{
    /* max(minimum, live / share / 4, demand + max(1/8, regret)); */
    /* regret up to the most of live / share, 5/4 minima and demand */
    assert_int_equal(ceiling(0, 0, 0, 0, 0, 0), 0);
    assert_int_equal(ceiling(2048, 0, 8, 0, 0, 0), 2048);
    assert_int_equal(ceiling(2048, 16384, 8, 0, 0, 0), 2048);
    assert_int_equal(ceiling(2048, 16384, 8, 0, 2000, 0), 2048);
    assert_int_equal(ceiling(2048, 16384, 8, 0, 2500, 0), 2500);
    assert_int_equal(ceiling(2048, 16384, 8, 0, 10000, 0), 2560);
    assert_int_equal(ceiling(2048, 0, 0, 0, 10000, 0), 2048);
    assert_int_equal(ceiling(0, 16384, 8, 0, 10000, 0), 2048);
    assert_int_equal(ceiling(2048, 80000, 8, 0, 0, 0), 2500);
    assert_int_equal(ceiling(2048, 80000, 8, 0, 2000, 0), 2500);
    assert_int_equal(ceiling(2048, 80000, 8, 0, 3000, 0), 3000);
    assert_int_equal(ceiling(2048, 80000, 8, 0, 30000, 0), 10000);
    assert_int_equal(ceiling(2048, 80000, 0, 0, 30000, 0), 2048);
    assert_int_equal(ceiling(2048, 80000, 8, 8000, 0, 0), 9000);
    assert_int_equal(ceiling(2048, 80000, 8, 8000, 900, 0), 9000);
    assert_int_equal(ceiling(2048, 80000, 8, 8000, 3000, 0), 11000);
    assert_int_equal(ceiling(2048, 80000, 8, 8000, 30000, 0), 18000);
    assert_int_equal(ceiling(2048, 80000, 8, 16000, 30000, 0), 32000);
    assert_int_equal(ceiling(2048, 80000, 0, 16000, 30000, 0), 18000);
    assert_int_equal(ceiling(0, 1000, 1, 0, 1000, 0), 1000);
    /* Regret may come to an eighth of the growth less; a quarter of live / share stays. */
    assert_int_equal(ceiling(2048, 80000, 8, 0, 30000, 8000), 9000);
    assert_int_equal(ceiling(2048, 80000, 8, 0, 9000, 8000), 9000);
    assert_int_equal(ceiling(2048, 80000, 8, 0, 8000, 8000), 8000);
    assert_int_equal(ceiling(2048, 80000, 8, 0, 30000, 64000), 2500);
    assert_int_equal(ceiling(2048, 80000, 8, 0, 30000, 800000), 2500);
    assert_int_equal(ceiling(2048, 16384, 8, 0, 10000, 800), 2460);
    assert_int_equal(ceiling(2048, 16384, 8, 0, 10000, 64000), 2048);
    assert_int_equal(ceiling(4096, 80000, 8, 0, 30000, 800000), 4096);
    assert_int_equal(ceiling(2048, 80000, 8, 16000, 30000, 8000), 31000);
    assert_int_equal(ceiling(2048, 80000, 8, 16000, 30000, 800000), 18000);
}

/* --- random histories ---------------------------------------------------------------------- */

enum { MODEL_STEPS = 20000 };

/* The same, by absolute step numbers, and nothing is ever thrown away. */
struct model {
    size_t gone[MODEL_STEPS];
    size_t aged[MODEL_STEPS];
    size_t high[MODEL_STEPS];
    size_t grown[MODEL_STEPS];
    size_t swing;
    size_t step;
};

/* The oldest step of the last window. */
static size_t oldest(const struct model *m)
{
    return m->step < RCL_DECAY_STEPS - 1 ? 0 : m->step - (RCL_DECAY_STEPS - 1);
}

static size_t model_demand(const struct model *m)
{
    size_t most = 0;

    for (size_t i = oldest(m); i <= m->step; i++)
        most = rcl_max(most, m->high[i]);
    return most;
}

static size_t model_grown(const struct model *m)
{
    size_t grown = 0;

    for (size_t i = oldest(m); i <= m->step; i++)
        grown += m->grown[i];
    return grown;
}

static void model_advance(struct model *m, uint64_t now)
{
    size_t step = now < START ? 0 : (size_t)((now - START) / STEP);

    assert_true(step < MODEL_STEPS);
    if (step <= m->step)
        return;
    m->step = step;
    if (model_demand(m) == 0)
        m->swing = 0;
}

static size_t model_take_back(const struct model *m, size_t *purged, size_t pages)
{
    size_t again = 0;

    /* The latest purged is taken back first. */
    for (size_t i = m->step + 1; i-- > oldest(m);) {
        size_t n = rcl_min(pages - again, purged[i]);
        purged[i] -= n;
        again += n;
    }
    return again;
}

static size_t model_take(struct model *m, size_t resident, size_t clean)
{
    size_t early = model_take_back(m, m->gone, clean);

    m->swing += resident + early;
    m->high[m->step] = rcl_max(m->high[m->step], m->swing);
    model_take_back(m, m->grown, 2 * early);
    return early + model_take_back(m, m->aged, clean - early);
}

TEST(random_histories)
{
    static struct model m;
    struct unit_random random = unit_random_start();
    struct rcl_decay d = fresh();
    uint64_t now = START;

    for (int i = 0; i < 100000; i++) {
        size_t pages = unit_below(&random, 100), more = unit_below(&random, 100);

        /* Mostly within a step, sometimes a pause of up to two windows, sometimes back. */
        if (unit_below(&random, 4) == 0)
            now += unit_below(&random, STEP);
        if (unit_below(&random, 500) == 0)
            now += unit_below(&random, 2 * WINDOW);
        uint64_t at = unit_below(&random, 50) == 0 ? now - unit_below(&random, WINDOW) : now;
        if (m.step + 2 * RCL_DECAY_STEPS + 1 >= MODEL_STEPS)
            break;
        model_advance(&m, at);
        switch (unit_below(&random, 4)) {
        case 0:
            rcl_decay_free(&d, at, pages);
            m.swing -= rcl_min(m.swing, pages);
            break;
        case 1:
            rcl_decay_purged(&d, at, pages, false);
            m.gone[m.step] += pages;
            break;
        case 2:
            rcl_decay_purged(&d, at, pages, true);
            m.aged[m.step] += pages;
            break;
        default:
            assert_int_equal(rcl_decay_take(&d, at, pages, more, pages / 2),
                             model_take(&m, pages, more));
            m.grown[m.step] += pages / 2;
        }
        assert_int_equal(rcl_decay_demand(&d, at), model_demand(&m));
        assert_int_equal(rcl_decay_grown(&d), model_grown(&m));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_burst_has_no_demand),
        cmocka_unit_test(what_is_taken_back_while_resident_is_demand),
        cmocka_unit_test(what_is_taken_back_after_it_was_purged_is_demand),
        cmocka_unit_test(what_was_purged_a_window_ago_is_new_again),
        cmocka_unit_test(a_swing_adds_up_over_steps),
        cmocka_unit_test(a_swing_is_never_below_zero),
        cmocka_unit_test(demand_is_withdrawn_a_window_later),
        cmocka_unit_test(demand_that_is_renewed_stays),
        cmocka_unit_test(after_a_quiet_window_the_swing_starts_from_the_ground),
        cmocka_unit_test(time_that_goes_backwards_stands_still),
        cmocka_unit_test(a_jump_of_ages_is_quick),
        cmocka_unit_test(a_window_of_zero_remembers_nothing),
        cmocka_unit_test(a_window_without_end),
        cmocka_unit_test(what_is_purged_and_taken_again_is_regretted),
        cmocka_unit_test(what_went_for_its_age_is_neither_demand_nor_regret),
        cmocka_unit_test(regret_is_forgotten_step_by_step),
        cmocka_unit_test(new_pages_are_growth_for_a_window),
        cmocka_unit_test(a_page_that_is_regretted_outweighs_two_new_ones),
        cmocka_unit_test(the_ceiling_is_the_highest_of_what_may_stay),
        cmocka_unit_test(random_histories),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
