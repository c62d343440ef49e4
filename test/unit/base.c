/* SPDX-License-Identifier: MIT */
/* Tests of base.h: the arithmetic everything else leans on. */
#include "unit.h"

TEST(aligning_up_and_down)
{
    for (size_t align = 1; align <= 4096; align *= 2) {
        for (size_t n = 0; n <= 3 * 4096; n++) {
            size_t up = rcl_align_up(n, align), down = rcl_align_down(n, align);

            assert_int_equal(up % align, 0);
            assert_int_equal(down % align, 0);
            assert_true(up >= n && up - n < align);
            assert_true(down <= n && n - down < align);
        }
    }
    /* The largest multiple there is, and no step beyond it. */
    assert_int_equal(rcl_align_up(SIZE_MAX - 4095, 4096), SIZE_MAX - 4095);
    assert_int_equal(rcl_align_down(SIZE_MAX, 4096), SIZE_MAX - 4095);
}

TEST(smaller_and_larger)
{
    assert_int_equal(rcl_min(1, 2), 1);
    assert_int_equal(rcl_min(2, 1), 1);
    assert_int_equal(rcl_min(0, SIZE_MAX), 0);
    assert_int_equal(rcl_max(1, 2), 2);
    assert_int_equal(rcl_max(2, 1), 2);
    assert_int_equal(rcl_max(0, SIZE_MAX), SIZE_MAX);
}

TEST(powers_of_two)
{
    assert_false(rcl_is_pow2(0));
    for (unsigned shift = 0; shift < 64; shift++) {
        size_t power = (size_t)1 << shift;

        assert_true(rcl_is_pow2(power));
        if (shift > 1) {
            assert_false(rcl_is_pow2(power - 1));
            assert_false(rcl_is_pow2(power + 1));
        }
    }
}

TEST(container_of_a_member)
{
    struct pair {
        char first;
        uint64_t second;
    } pair;

    assert_ptr_equal(container_of(&pair.second, struct pair, second), &pair);
    assert_ptr_equal(container_of(&pair.first, struct pair, first), &pair);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligning_up_and_down),
        cmocka_unit_test(smaller_and_larger),
        cmocka_unit_test(powers_of_two),
        cmocka_unit_test(container_of_a_member),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
