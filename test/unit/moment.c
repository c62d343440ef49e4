/* SPDX-License-Identifier: MIT */
/* Tests of moment.h: one moment stays what it was.  What its numbers are: ctlstat.c. */
#include "blocks.h"

#include "boot.h"
#include "heap.h"
#include "moment.h"

static struct rcl_moment *now(void)
{
    struct rcl_moment *m = rcl_moment_new();

    assert_non_null(m);
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_moment_fill(m);
    rcl_gate_leave(&rcl_tls.gate);
    return m;
}

static uint64_t total(const struct rcl_moment *m, enum ctl_stat what)
{
    uint64_t value = 0;

    rcl_moment_total(m, what, &value);
    return value;
}

TEST(a_moment_stays_what_it_was)
{
    struct rcl_moment *before = now();
    void *p = rcl_heap_alloc(20 * MIB);
    struct rcl_moment *after = now();
    size_t page = rcl_page_size();

    assert_int_equal(total(after, STAT_ALLOCATED) - total(before, STAT_ALLOCATED), 20 * MIB);
    assert_in_range(total(after, STAT_ACTIVE) - total(before, STAT_ACTIVE), 20 * MIB,
                    20 * MIB + page);
    assert_true(total(after, STAT_MAPPED) >= total(before, STAT_MAPPED) + 20 * MIB);
    assert_int_equal(rcl_moment_stats(after)->huge_blocks,
                     rcl_moment_stats(before)->huge_blocks + 1);
    rcl_heap_free(p, "free");
    rcl_moment_free(before);
    rcl_moment_free(after);
    rcl_moment_free(NULL);
}

/* What print and mallctl say: one sum, whoever adds up. */
TEST(totals_are_those_of_stats)
{
    struct rcl_moment *m = now();
    struct rcl_totals t = rcl_stats_totals(rcl_moment_stats(m));

    assert_int_equal(total(m, STAT_ALLOCATED), t.allocated);
    assert_int_equal(total(m, STAT_ACTIVE), t.active);
    assert_int_equal(total(m, STAT_METADATA), t.metadata);
    assert_int_equal(total(m, STAT_RESIDENT), t.resident);
    assert_int_equal(total(m, STAT_MAPPED), t.mapped);
    assert_int_equal(total(m, STAT_RETAINED), t.retained);
    rcl_moment_free(m);
}

TEST(arenas_come_and_go)
{
    struct rcl_moment *before = now();
    rcl_gate_enter_patient(&rcl_tls.gate);
    struct rcl_arena *a = rcl_arena_create();
    rcl_gate_leave(&rcl_tls.gate);
    assert_non_null(a);
    struct rcl_moment *with = now();
    rcl_arena_retire(a);
    struct rcl_moment *without = now();

    assert_false(rcl_moment_knows(before, a->index + 1000));
    assert_true(rcl_moment_knows(with, a->index));
    assert_false(rcl_moment_knows(without, a->index));
    assert_int_equal(rcl_moment_destroyed(with), rcl_moment_destroyed(before));
    assert_int_equal(rcl_moment_destroyed(without), rcl_moment_destroyed(with) + 1);
    assert_true(rcl_moment_knows(with, rcl_moment_indexes(with))); /* all of them */
    uint64_t value;
    assert_false(rcl_moment_arena(without, a->index, ARENA_MAPPED, &value));
    assert_false(rcl_moment_bin(without, a->index, 0, BIN_LIVE, &value));
    assert_false(rcl_moment_extent(without, a->index, 0, EXTENT_LIVE, &value));
    assert_true(rcl_moment_arena(without, CTL_ARENAS_DESTROYED, ARENA_BASE, &value));
    assert_int_equal(value, 0);
    rcl_moment_free(before);
    rcl_moment_free(with);
    rcl_moment_free(without);
}

static int boot(void **state)
{
    (void)state;
    rcl_opt.background_thread = 0;
    return rcl_boot() ? 0 : -1;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moment_stays_what_it_was),
        cmocka_unit_test(totals_are_those_of_stats),
        cmocka_unit_test(arenas_come_and_go),
    };

    return cmocka_run_group_tests(tests, boot, NULL);
}
