/* SPDX-License-Identifier: MIT */
/* Tests of prof_rate.h: the numbers are those of the formulas, which libm knows too. */
#include "unit.h"

#include "prof_rate.h"

#include <math.h>

TEST(distances_are_exponential)
{
    /* The empirical distribution against the true one: Kolmogorov and Smirnov's bound at 0.1 %. */
    enum { N = 20000 };
    static double x[N];
    uint64_t draws = 1;

    for (unsigned lg = 4; lg <= RCL_PROF_LG_MAX; lg += 4) {
        double worst = 0;
        unsigned above[64] = {0};

        for (size_t i = 0; i < N; i++)
            x[i] = (double)rcl_prof_distance(&draws, lg) / pow(2, lg);
        for (unsigned q = 0; q < 64; q++) {
            double at = -log(1 - (q + 0.5) / 64);
            for (size_t i = 0; i < N; i++)
                above[q] += x[i] >= at;
            /* What is compared is floored to bytes. */
            double exact = exp(-ceil(at * pow(2, lg)) / pow(2, lg));
            worst = fmax(worst, fabs((double)above[q] / N - exact));
        }
        assert_true(worst < 1.95 / sqrt(N));
    }
}

TEST(at_rate_0_everything_is_sampled)
{
    uint64_t draws = 7;

    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(rcl_prof_distance(&draws, 0), 0);
    for (size_t bytes = 1; bytes < 64 * MIB; bytes *= 3) {
        struct rcl_prof_weight w = rcl_prof_weigh(bytes, 0);
        assert_int_equal(w.units, RCL_PROF_UNIT);
        assert_int_equal(w.bytes, bytes);
    }
}

TEST(weights_are_those_of_the_formula)
{
    for (unsigned lg = 1; lg <= RCL_PROF_LG_MAX; lg++) {
        for (double bytes = 1; bytes < 1e12; bytes *= 1.7) {
            size_t n = (size_t)bytes;
            double p = -expm1(-(double)n / pow(2, lg));
            struct rcl_prof_weight w = rcl_prof_weigh(n, lg);

            assert_true(fabs((double)w.units - RCL_PROF_UNIT / p) <=
                        0.5 + 1e-12 / p * RCL_PROF_UNIT);
            assert_true(fabs((double)w.bytes - (double)n / p) <= 0.5 + 1e-12 * (double)n / p);
        }
    }
}

/* What jeprof and pprof do with the two numbers. */
static double read_bytes(struct rcl_prof_count c, unsigned lg)
{
    double bytes = (double)c.bytes, blocks = (double)c.blocks;

    return bytes * (lg == 0 ? 1 : 1 / (1 - exp(-bytes / blocks / pow(2, lg))));
}

TEST(a_reader_gets_the_bytes_back)
{
    struct unit_random random = unit_random_start();

    for (unsigned round = 0; round < 20000; round++) {
        unsigned lg = (unsigned)unit_below(&random, 31);
        struct rcl_prof_weight sum = {0, 0};
        size_t n = 1 + unit_below(&random, 20);

        for (size_t i = 0; i < n; i++) {
            size_t bytes = 16 + unit_below(&random, (size_t)1 << (4 + unit_below(&random, 22)));
            struct rcl_prof_weight w = rcl_prof_weigh(bytes, lg);
            sum.units += w.units;
            sum.bytes += w.bytes;
        }
        struct rcl_prof_count c = rcl_prof_unweigh(sum, lg);
        assert_true(c.blocks >= 1);
        /* Written in whole bytes: half a byte of the sampled average, scaled up. */
        double scale = (double)sum.bytes / (double)c.bytes;
        assert_true(fabs(read_bytes(c, lg) - (double)sum.bytes) <=
                    1 + scale + (double)sum.bytes * 1e-6);
    }
}

TEST(of_one_size_the_samples_themselves_are_written)
{
    for (unsigned lg = 0; lg <= 30; lg += 3) {
        for (size_t bytes = 16; bytes <= 64 * MIB; bytes *= 2) {
            struct rcl_prof_weight w = rcl_prof_weigh(bytes, lg), sum = {w.units * 9, w.bytes * 9};
            struct rcl_prof_count c = rcl_prof_unweigh(sum, lg);
            assert_int_equal(c.blocks, 9);
            /* To within what is lost in writing weights as whole numbers. */
            assert_true(fabs((double)c.bytes - 9.0 * (double)bytes) <=
                        9 * (1 + 1 / 16.0 * (double)bytes));
        }
    }
    assert_int_equal(rcl_prof_unweigh((struct rcl_prof_weight){0, 0}, 19).blocks, 0);
    assert_int_equal(rcl_prof_unweigh((struct rcl_prof_weight){0, 0}, 19).bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances_are_exponential),
        cmocka_unit_test(at_rate_0_everything_is_sampled),
        cmocka_unit_test(weights_are_those_of_the_formula),
        cmocka_unit_test(a_reader_gets_the_bytes_back),
        cmocka_unit_test(of_one_size_the_samples_themselves_are_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
