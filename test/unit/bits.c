/* SPDX-License-Identifier: MIT */
/* Tests of bits.h: every operation against an array of bools. */
#include "unit.h"

#include "bits.h"

enum { BITS = 200, WORDS = RCL_BITS_WORDS(BITS) };

/* A bitmap, and the same in the plainest form. */
struct pair {
    uint64_t map[WORDS];
    bool bit[WORDS * 64];
};

static void pair_fill(struct pair *p, struct unit_random *random, unsigned ones_in_16)
{
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < BITS; i++) {
        p->bit[i] = unit_below(random, 16) < ones_in_16;
        if (p->bit[i])
            rcl_bits_set_range(p->map, i, 1);
    }
}

static void assert_same(const struct pair *p)
{
    for (size_t i = 0; i < WORDS * 64; i++)
        assert_int_equal(rcl_bits_test(p->map, i), p->bit[i]);
}

static size_t count(const struct pair *p, size_t from, size_t n)
{
    size_t ones = 0;

    for (size_t i = from; i < from + n; i++)
        ones += p->bit[i];
    return ones;
}

TEST(words_of_a_bitmap)
{
    assert_int_equal(RCL_BITS_WORDS(0), 0);
    assert_int_equal(RCL_BITS_WORDS(1), 1);
    assert_int_equal(RCL_BITS_WORDS(64), 1);
    assert_int_equal(RCL_BITS_WORDS(65), 2);
}

TEST(counting_in_a_word)
{
    struct unit_random random = unit_random_start();

    for (unsigned shift = 0; shift < 64; shift++) {
        uint64_t one = (uint64_t)1 << shift;

        assert_int_equal(rcl_ctz(one), shift);
        assert_int_equal(rcl_ctz(one | (uint64_t)1 << 63), shift);
        assert_int_equal(rcl_log2(one), shift);
        assert_int_equal(rcl_log2(one | 1), shift);
        assert_int_equal(rcl_popcount(one), 1);
        assert_int_equal(rcl_popcount(one - 1), shift);
        assert_int_equal(rcl_popcount(~one), 63);
    }
    assert_int_equal(rcl_popcount(0), 0);
    assert_int_equal(rcl_popcount(~(uint64_t)0), 64);
    for (int i = 0; i < 10000; i++) {
        uint64_t word = unit_next(&random) & unit_next(&random);
        unsigned ones = 0;

        for (unsigned bit = 0; bit < 64; bit++)
            ones += (word >> bit) & 1;
        assert_int_equal(rcl_popcount(word), ones);
    }
}

TEST(mask_of_n_ones)
{
    for (unsigned from = 0; from < 64; from++) {
        for (unsigned n = 1; from + n <= 64; n++) {
            uint64_t mask = rcl_bits_mask(from, n);

            assert_int_equal(rcl_popcount(mask), n);
            assert_int_equal(rcl_ctz(mask), from);
            assert_int_equal(rcl_log2(mask), from + n - 1);
        }
    }
}

TEST(ones_that_stand_together)
{
    assert_false(rcl_bits_contiguous(0));
    for (unsigned from = 0; from < 64; from++) {
        for (unsigned n = 1; from + n <= 64; n++) {
            uint64_t mask = rcl_bits_mask(from, n);

            assert_true(rcl_bits_contiguous(mask));
            for (unsigned bit = 0; bit < 64; bit++) {
                uint64_t other = mask ^ (uint64_t)1 << bit;
                bool at_end = bit + 1 == from || bit == from || bit == from + n - 1 ||
                              bit == from + n;
                assert_int_equal(rcl_bits_contiguous(other), other != 0 && at_end);
            }
        }
    }
}

TEST(ranges_are_set_and_cleared_exactly)
{
    struct unit_random random = unit_random_start();

    for (size_t from = 0; from < BITS; from++) {
        for (size_t n = 0; from + n <= BITS; n++) {
            struct pair p;

            pair_fill(&p, &random, (unsigned)(n % 17));
            if ((from + n) % 2 == 0) {
                rcl_bits_set_range(p.map, from, n);
                memset(p.bit + from, true, n);
            } else {
                rcl_bits_clear_range(p.map, from, n);
                memset(p.bit + from, false, n);
            }
            assert_same(&p);
        }
    }
}

TEST(single_bits)
{
    struct pair p = {{0}, {false}};

    for (size_t i = 0; i < BITS; i += 3) {
        rcl_bits_set_range(p.map, i, 1);
        p.bit[i] = true;
        assert_same(&p);
    }
    for (size_t i = 0; i < BITS; i += 2) {
        rcl_bits_clear_range(p.map, i, 1);
        p.bit[i] = false;
        assert_same(&p);
    }
}

TEST(questions_about_a_range)
{
    struct unit_random random = unit_random_start();

    for (unsigned ones = 0; ones <= 16; ones++) {
        struct pair p;

        pair_fill(&p, &random, ones);
        for (size_t from = 0; from < BITS; from++) {
            for (size_t n = 0; from + n <= BITS; n += 1 + n / 16) {
                assert_int_equal(rcl_bits_count_range(p.map, from, n), count(&p, from, n));
                assert_int_equal(rcl_bits_all_range(p.map, from, n), count(&p, from, n) == n);
            }
        }
    }
}

TEST(a_range_is_extracted)
{
    uint64_t map[4] = {0x0123456789abcdefu, 0xfedcba9876543210u, 0x5555aaaa5555aaaau, ~(uint64_t)0};

    for (size_t from = 0; from < 192; from++)
        for (size_t n = 1; n <= 256 - from; n += 7) {
            uint64_t out[4] = {0};
            rcl_bits_extract(map, from, n, out);
            for (size_t i = 0; i < 256; i++)
                assert_int_equal(rcl_bits_test(out, i), i < n && rcl_bits_test(map, from + i));
        }
}

TEST(searching)
{
    struct unit_random random = unit_random_start();

    for (int round = 0; round < 51; round++) {
        struct pair p;

        pair_fill(&p, &random, (unsigned)round % 17);
        for (size_t from = 0; from <= BITS; from++) {
            for (size_t end = from; end <= BITS; end += 1 + unit_below(&random, 40)) {
                size_t set = from, clear = from;

                while (set < end && !p.bit[set])
                    set++;
                while (clear < end && p.bit[clear])
                    clear++;
                assert_int_equal(rcl_bits_next_set(p.map, from, end), set);
                assert_int_equal(rcl_bits_next_clear(p.map, from, end), clear);
            }
            size_t before = 0;
            while (before < from && p.bit[from - 1 - before])
                before++;
            assert_int_equal(rcl_bits_run_before(p.map, from), before);
        }
    }
    /* "At or after" the end is the end, whatever lies behind it. */
    uint64_t full[2] = {~(uint64_t)0, ~(uint64_t)0}, empty[2] = {0, 0};
    assert_int_equal(rcl_bits_next_set(full, 70, 70), 70);
    assert_int_equal(rcl_bits_next_set(full, 71, 70), 70);
    assert_int_equal(rcl_bits_next_clear(empty, 71, 70), 70);
    assert_int_equal(rcl_bits_run_before(full, 128), 128);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_of_a_bitmap),
        cmocka_unit_test(counting_in_a_word),
        cmocka_unit_test(mask_of_n_ones),
        cmocka_unit_test(ones_that_stand_together),
        cmocka_unit_test(ranges_are_set_and_cleared_exactly),
        cmocka_unit_test(single_bits),
        cmocka_unit_test(questions_about_a_range),
        cmocka_unit_test(a_range_is_extracted),
        cmocka_unit_test(searching),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
