/* SPDX-License-Identifier: MIT */
/*
 * rallocx and xallocx: another size in place or elsewhere, and what nallocx and sallocx say of it.
 */
#include "jemalloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* One of each kind of block, and the sizes around their borders. */
static const size_t sizes[] = {
    1,     8,     16,     17,     100,    112,    513,    4096,    5000,    32768,
    32769, 40000, 131072, 200000, 262144, 262145, 500000, 1048576, 1048577, 3000000,
};

static void test_xallocx_stays_where_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t size = sizes[i];
        char *p = mallocx(size, 0);
        size_t usable = sallocx(p, 0);

        test_fill(p, size, i);
        /* Whatever it says is true. */
        size_t got = xallocx(p, size, 0, 0);
        assert_int_equal(got, sallocx(p, 0));
        assert_true(got <= usable);
        got = xallocx(p, size, size * 4, MALLOCX_ZERO);
        assert_int_equal(got, sallocx(p, 0));
        assert_true(got >= size);
        assert_true(test_intact(p, size, size, i));
        if (got > usable)
            assert_true(test_all_zero(p + usable, got - usable));
        memset(p + size, 1, got - size);
        got = xallocx(p, opaque_size(PTRDIFF_MAX), 0, 0);
        assert_int_equal(got, sallocx(p, 0));
        assert_true(got < PTRDIFF_MAX);
        got = xallocx(p, size, 0, 0);
        assert_true(got >= size);
        assert_true(test_intact(p, size, size, i));
        dallocx(p, 0);
    }
    /* An alignment that it does not have. */
    char *pair = mallocx(48, 0);
    assert_true(xallocx(pair, 48, 0, MALLOCX_LG_ALIGN(30)) >= 48);
    dallocx(pair, 0);
}

/* A block above 1 MiB is a mapping: behind it there is often room. */
static void test_xallocx_grows_and_shrinks_large_blocks(void **state)
{
    char *p = mallocx(700000, MALLOCX_TCACHE_NONE);
    (void)state;

    assert_true(xallocx(p, 400000, 0, 0) < 700000);
    assert_true(xallocx(p, 700000, 0, 0) >= 700000); /* it was there a moment ago */
    dallocx(p, MALLOCX_TCACHE_NONE);

    p = mallocx(8 * MIB, 0);
    assert_true(xallocx(p, 4 * MIB, 0, 0) == 4 * MIB);
    assert_true(xallocx(p, 8 * MIB, 0, 0) >= 4 * MIB);
    dallocx(p, 0);
}

/* Down to where blocks have classes, wherever a block of that size would be made anew. */
static void test_xallocx_shrinks_as_far_as_blocks_are_whole_pages(void **state)
{
    static const size_t from[] = {MIB, 2 * MIB, 5 * MIB, 700000};
    static const size_t to[] = {3000000, 2 * MIB, MIB, 600000, 262145, 200000, 40000};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(from); i++) {
        char *p = mallocx(from[i], MALLOCX_TCACHE_NONE);
        assert_non_null(p);
        test_fill(p, from[i], i);
        for (size_t k = 0; k < COUNT_OF(to); k++) {
            if (to[k] > from[i])
                continue;
            size_t pages = (nallocx(to[k], 0) + ctl_size("arenas.page") - 1) /
                           ctl_size("arenas.page") * ctl_size("arenas.page");
            assert_int_equal(xallocx(p, to[k], 0, 0), pages);
            assert_int_equal(sallocx(p, 0), pages);
            assert_true(test_intact(p, to[k], from[i], i));
        }
        size_t now = sallocx(p, 0);
        /* Within the range: it stays.  No block of pages: it stays. */
        assert_true(xallocx(p, now - ctl_size("arenas.page"), 4 * ctl_size("arenas.page"), 0) >=
                    now);
        now = sallocx(p, 0);
        assert_int_equal(xallocx(p, 100, 0, 0), now);
        /* Too small to be a block of pages, but for what may come on top: that much is left. */
        size_t top = (nallocx(40100, 0) + ctl_size("arenas.page") - 1) / ctl_size("arenas.page") *
                     ctl_size("arenas.page");
        assert_int_equal(xallocx(p, 100, 40000, 0), top < now ? top : now);
        /* On from there in any way. */
        p = rallocx(p, 3 * MIB, 0);
        assert_int_equal(sallocx(p, 0), nallocx(3 * MIB, 0));
        assert_true(test_intact(p, 36000, from[i], i));
        p = realloc(p, 300000);
        assert_true(test_intact(p, 36000, from[i], i));
        free(p);
    }
}

/* Beyond the last size of the table there is none, for whomever. */
static void test_more_than_the_largest(void **state)
{
    size_t largest = ctl_size(
        ctl_name("arenas.lextent.%zu.size", ctl_unsigned("arenas.nlextents") - 1, 0));
    void *p = mallocx(1, 0);
    (void)state;

    assert_int_equal(nallocx(largest, 0), largest);
    assert_int_equal(nallocx(largest + 1, 0), 0);
    assert_int_equal(nallocx(1, MALLOCX_LG_ALIGN(62)), 0);
    assert_null(mallocx(opaque_size(largest + 1), 0));
    assert_null(rallocx(p, opaque_size(largest + 1), 0));
    assert_true(xallocx(p, opaque_size(largest + 1), 0, 0) < test_page());
    assert_true(xallocx(p, 1, opaque_size(SIZE_MAX - 1), 0) < test_page());
    dallocx(p, 0);
    p = mallocx(2 * MIB, 0);
    assert_true(xallocx(p, opaque_size(largest), opaque_size(largest), 0) < largest);
    assert_true(xallocx(p, opaque_size(SIZE_MAX - 2), 2, 0) < largest);
    dallocx(p, 0);
}

/* What jemalloc's own tests ask: grown by one byte until 12 MB, then shrunk the same way back. */
static void test_rallocx_ends_in_the_sizes_that_nallocx_says(void **state)
{
    static size_t size[1024];
    (void)state;

    char *p = mallocx(1, 0);
    size[0] = sallocx(p, 0);
    for (int cycle = 0; cycle < 3; cycle++) {
        size_t j;
        for (j = 1; j < COUNT_OF(size) && size[j - 1] < 12 * MIB; j++) {
            p = rallocx(p, size[j - 1] + 1, 0);
            assert_non_null(p);
            size[j] = sallocx(p, 0);
            assert_int_equal(size[j], nallocx(size[j - 1] + 1, 0));
            assert_true(size[j] > size[j - 1]);
        }
        for (j--; j > 0; j--) {
            p = rallocx(p, size[j - 1], 0);
            assert_int_equal(sallocx(p, 0), size[j - 1]);
        }
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (size_t k = 0; k < COUNT_OF(sizes); k++)
            for (int lg = 0; lg <= 14; lg += 7) {
                p = rallocx(p, sizes[i], 0);
                p = rallocx(p, sizes[k], MALLOCX_LG_ALIGN(lg));
                assert_int_equal(sallocx(p, 0), nallocx(sizes[k], MALLOCX_LG_ALIGN(lg)));
            }
    dallocx(p, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xallocx_stays_where_it_is),
        cmocka_unit_test(test_xallocx_grows_and_shrinks_large_blocks),
        cmocka_unit_test(test_xallocx_shrinks_as_far_as_blocks_are_whole_pages),
        cmocka_unit_test(test_more_than_the_largest),
        cmocka_unit_test(test_rallocx_ends_in_the_sizes_that_nallocx_says),
    };

    test_begin();
    jemalloc_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
