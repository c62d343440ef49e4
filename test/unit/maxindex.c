/* SPDX-License-Identifier: MIT */
/* Tests of maxindex.h: random numbers against a linear search. */
#include "unit.h"

#include "maxindex.h"

enum { ENTRIES_MAX = 1000, GROUPS_MAX = ENTRIES_MAX / RCL_MAXINDEX_GROUP + 1 };

static uint16_t value[ENTRIES_MAX], bound[GROUPS_MAX], expected[ENTRIES_MAX];

static struct rcl_maxindex make(size_t n)
{
    memset(value, 0, sizeof value);
    memset(bound, 0, sizeof bound);
    memset(expected, 0, sizeof expected);
    return (struct rcl_maxindex){.value = value, .bound = bound, .n = n};
}

static size_t linear(size_t n, size_t from, uint16_t v)
{
    while (from < n && expected[from] < v)
        from++;
    return from < n ? from : n;
}

static void assert_bounds(const struct rcl_maxindex *m)
{
    for (size_t i = 0; i < m->n; i++) {
        assert_int_equal(m->value[i], expected[i]);
        assert_true(m->bound[i / RCL_MAXINDEX_GROUP] >= m->value[i]);
    }
}

TEST(nothing_is_found_in_an_empty_one)
{
    struct rcl_maxindex m = make(0);

    assert_int_equal(rcl_maxindex_find(&m, 0, 1), 0);
    m = make(200);
    assert_int_equal(rcl_maxindex_find(&m, 0, 1), 200);
    assert_int_equal(rcl_maxindex_find(&m, 200, 1), 200);
    assert_int_equal(rcl_maxindex_find(&m, 0, UINT16_MAX), 200);
}

TEST(the_largest_number_and_the_last_entry)
{
    struct rcl_maxindex m = make(129);

    rcl_maxindex_set(&m, 128, UINT16_MAX);
    expected[128] = UINT16_MAX;
    assert_int_equal(rcl_maxindex_find(&m, 0, UINT16_MAX), 128);
    assert_int_equal(rcl_maxindex_find(&m, 128, 1), 128);
    assert_int_equal(rcl_maxindex_find(&m, 129, 1), 129);
    assert_bounds(&m);
}

TEST(random_numbers)
{
    struct unit_random random = unit_random_start();
    static const size_t sizes[] = {1, 2, 63, 64, 65, 127, 128, 129, 500, ENTRIES_MAX};

    for (size_t s = 0; s < array_len(sizes); s++) {
        struct rcl_maxindex m = make(sizes[s]);

        for (int step = 0; step < 20000; step++) {
            size_t i = unit_below(&random, m.n);
            uint16_t v = (uint16_t)unit_below(&random, 300), least = (uint16_t)(v + 1);

            /* Mostly small numbers, so that bounds get too high and are tightened. */
            if (unit_below(&random, 4) != 0)
                v = (uint16_t)(v / 32);
            rcl_maxindex_set(&m, i, v);
            expected[i] = v;
            size_t from = unit_below(&random, m.n + 1);
            assert_int_equal(rcl_maxindex_find(&m, from, least), linear(m.n, from, least));
        }
        assert_bounds(&m);
    }
}

TEST(it_can_grow)
{
    struct rcl_maxindex m = make(10);

    for (size_t n = 10; n <= ENTRIES_MAX; n += 99) {
        m.n = n;
        rcl_maxindex_set(&m, n - 1, (uint16_t)n);
        expected[n - 1] = (uint16_t)n;
        for (uint16_t v = 1; v < ENTRIES_MAX; v = (uint16_t)(v + 7))
            assert_int_equal(rcl_maxindex_find(&m, 0, v), linear(n, 0, v));
        assert_bounds(&m);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_found_in_an_empty_one),
        cmocka_unit_test(the_largest_number_and_the_last_entry),
        cmocka_unit_test(random_numbers),
        cmocka_unit_test(it_can_grow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
