/* SPDX-License-Identifier: MIT */
/* Tests of prof_count.h: the gaps between sampled blocks have the distribution they must have. */
#include "unit.h"

#include "prof_count.h"

#include <math.h>

static uint64_t draws;

/* Blocks from one sampled one to the next, that one included. */
static unsigned long gap(struct rcl_counted *c, unsigned cls)
{
    unsigned long n = 1;

    while (!rcl_counted_one(c, cls, &draws))
        n++;
    return n;
}

TEST(gaps_are_geometric)
{
    enum { N = 4000 };
    static const size_t sizes[] = {16, 100, 1024, 4096, 32768, 200000};
    struct rcl_counted c;

    rcl_counted_start(&c, 15);
    draws = 1;
    for (size_t i = 0; i < array_len(sizes); i++) {
        unsigned cls = sizes[i] <= RCL_SMALL_MAX ? rcl_class_of_small(sizes[i])
                                                 : rcl_class_of_medium(sizes[i]);
        double p = -expm1(-(double)rcl_classes[cls].size / 32768), sum = 0, ones = 0;
        for (unsigned k = 0; k < N; k++) {
            unsigned long n = gap(&c, cls);
            sum += (double)n;
            ones += n == 1;
        }
        /* Mean and share of the shortest, each within four sigma. */
        assert_true(fabs(sum / N - 1 / p) <= 4 * sqrt((1 - p) / (p * p) / N));
        assert_true(fabs(ones / N - p) <= 4 * sqrt(p * (1 - p) / N));
    }
}

TEST(classes_do_not_disturb_each_other)
{
    struct rcl_counted a, b;
    unsigned one = rcl_class_of_small(64), other = rcl_class_of_small(32768);

    rcl_counted_start(&a, 20);
    rcl_counted_start(&b, 20);
    draws = 5;
    unsigned long expected = gap(&a, one);
    draws = 5;
    unsigned long n = 1;
    rcl_counted_one(&b, one, &draws); /* its number is drawn first, as above */
    while (n++, !rcl_counted_one(&b, one, &draws)) {
        uint64_t own = n;
        rcl_counted_one(&b, other, &own);
    }
    assert_int_equal(n, expected);
}

TEST(a_distance_too_long_to_be_written_is_drawn_anew)
{
    struct rcl_counted c;
    unsigned cls = rcl_class_of_small(16);

    rcl_counted_start(&c, 40);
    draws = 3; /* some 2^36 blocks away, more than 16 bits */
    assert_false(rcl_counted_one(&c, cls, &draws));
    assert_int_equal(c.left[cls], UINT16_MAX - 1);
    assert_false(c.due[cls]);
    c.left[cls] = 0; /* as if so many had passed */
    assert_false(rcl_counted_one(&c, cls, &draws));
    assert_true(c.left[cls] > 0);
}

TEST(at_rate_0_every_block_is_it)
{
    struct rcl_counted c;

    rcl_counted_start(&c, 0);
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++)
        for (unsigned i = 0; i < 3; i++)
            assert_true(rcl_counted_one(&c, cls, &draws));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaps_are_geometric),
        cmocka_unit_test(classes_do_not_disturb_each_other),
        cmocka_unit_test(a_distance_too_long_to_be_written_is_drawn_anew),
        cmocka_unit_test(at_rate_0_every_block_is_it),
    };

    rcl_os_init();
    rcl_sizeclass_init(rcl_page_size());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
