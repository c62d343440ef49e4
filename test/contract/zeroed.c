/* SPDX-License-Identifier: MIT */
/* MALLOCX_ZERO: what is zero, and stays so, whatever way a block goes. */
#include "jemalloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* One of each kind of block, and the sizes around their borders. */
static const size_t sizes[] = {
    1,     8,     16,     17,     100,    112,    513,    4096,    5000,    32768,
    32769, 40000, 131072, 200000, 262144, 262145, 500000, 1048576, 1048577, 3000000,
};

/* Blocks that were full of something else before. */
static void soil(size_t size, int flags)
{
    void *dirty[8];

    for (size_t i = 0; i < COUNT_OF(dirty); i++) {
        dirty[i] = mallocx(size, flags);
        assert_non_null(dirty[i]);
        memset(dirty[i], 0xee, sallocx(dirty[i], 0));
    }
    for (size_t i = 0; i < COUNT_OF(dirty); i++)
        dallocx(dirty[i], flags);
}

static void test_zero_is_zero_to_the_end_of_the_block(void **state)
{
    static const int with[] = {0, MALLOCX_TCACHE_NONE, MALLOCX_LG_ALIGN(13)};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (size_t k = 0; k < COUNT_OF(with); k++) {
            soil(sizes[i], with[k]);
            void *p = mallocx(sizes[i], with[k] | MALLOCX_ZERO);
            assert_true(test_all_zero(p, sallocx(p, 0)));
            dallocx(p, with[k]);
        }
    }
}

static void test_growing_zeroed_blocks_stay_zero_behind(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        soil(sizes[i] * 2, 0);
        soil(sizes[i] * 5, 0);
        char *p = mallocx(sizes[i], MALLOCX_ZERO);
        test_fill(p, sizes[i], i);
        p = rallocx(p, sizes[i] * 2, MALLOCX_ZERO);
        assert_true(test_intact(p, sizes[i], sizes[i], i));
        assert_true(test_all_zero(p + sizes[i], sallocx(p, 0) - sizes[i]));
        p = rallocx(p, sizes[i] * 5, MALLOCX_ZERO);
        assert_true(test_intact(p, sizes[i], sizes[i], i));
        assert_true(test_all_zero(p + sizes[i], sallocx(p, 0) - sizes[i]));
        dallocx(p, 0);
    }
}

/* Whatever way a zeroed block goes, what the program has not written is zero to its end. */
static void test_resized_zeroed_blocks_hold_nothing_of_others(void **state)
{
    struct test_random random = {11};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        soil(sizes[i], 0);
    for (int round = 0; round < 300; round++) {
        size_t size = test_log_size(&random, 22);
        char *p = mallocx(size, MALLOCX_ZERO);
        for (int step = 0; step < 8; step++) {
            size_t used = test_below(&random, (size < 3000 ? size : 3000) + 1), was = sallocx(p, 0);
            size = step % 3 == 2 ? size : test_log_size(&random, 22);
            int flags = MALLOCX_LG_ALIGN((int)test_below(&random, 10));
            assert_true(test_all_zero(p, was));
            memset(p, 0xff, used);
            p = rallocx(p, size, flags | MALLOCX_ZERO);
            assert_non_null(p);
            /* What has been written may be anywhere below; behind it all is zero. */
            size_t now = sallocx(p, 0);
            used = used < now ? used : now;
            assert_true(test_all_zero(p + used, now - used));
            memset(p, 0, used);
        }
        memset(p, 0xaa, sallocx(p, 0));
        free(p);
    }
}

/* By alignment alone; from class to class and back; from and to whole pages. */
static void test_zeroed_blocks_that_move_are_zero_behind_what_was_asked_for(void **state)
{
    static const struct {
        size_t from, to, again;
        int flags;
    } ways[] = {
        {1, 1, 64, MALLOCX_LG_ALIGN(6)},
        {1000, 100, 300, 0},
        {100000, 5000, 20000, 0},
        {3000000, 40000, 60000, 0},
        {3000000, 300000, 500000, 0},
        {40000, 1000, 2000000, 0},
        {500000, 400, 900, MALLOCX_TCACHE_NONE},
    };
    (void)state;

    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        soil(ways[i].from, ways[i].flags);
        soil(ways[i].to, ways[i].flags);
        soil(ways[i].again, ways[i].flags);
        char *p = mallocx(ways[i].from, MALLOCX_ZERO);
        p = rallocx(p, ways[i].to, ways[i].flags | MALLOCX_ZERO);
        assert_true(test_all_zero(p, sallocx(p, 0)));
        p = rallocx(p, ways[i].again, ways[i].flags | MALLOCX_ZERO);
        assert_true(test_all_zero(p, sallocx(p, 0)));
        dallocx(p, 0);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_is_zero_to_the_end_of_the_block),
        cmocka_unit_test(test_growing_zeroed_blocks_stay_zero_behind),
        cmocka_unit_test(test_resized_zeroed_blocks_hold_nothing_of_others),
        cmocka_unit_test(test_zeroed_blocks_that_move_are_zero_behind_what_was_asked_for),
    };

    test_begin();
    jemalloc_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
