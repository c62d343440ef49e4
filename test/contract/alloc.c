/* SPDX-License-Identifier: MIT */
/*
 * malloc, calloc, reallocarray, free: alignment, sizes that cannot be served, errno,
 * the zero size, zeroed memory.
 */
#include "../testlib.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const size_t too_large[] = {
    (size_t)PTRDIFF_MAX,
    (size_t)PTRDIFF_MAX + 1,
    (size_t)PTRDIFF_MAX + 4096,
    SIZE_MAX / 4 * 3,
    SIZE_MAX - 65536,
    SIZE_MAX - 4096,
    SIZE_MAX - 4095,
    SIZE_MAX - 64,
    SIZE_MAX - 16,
    SIZE_MAX - 15,
    SIZE_MAX - 1,
    SIZE_MAX,
};

/* Pairs whose product does not fit, near and far from the edge, small values of either side. */
static const size_t overflowing[][2] = {
    {2, SIZE_MAX / 2 + 1},
    {3, SIZE_MAX / 3 + 1},
    {7, SIZE_MAX / 7 + 1},
    {16, SIZE_MAX / 16 + 1},
    {4096, SIZE_MAX / 4096 + 1},
    {(size_t)1 << (sizeof(size_t) * 4), (size_t)1 << (sizeof(size_t) * 4)},
    {((size_t)1 << (sizeof(size_t) * 4)) + 1, (size_t)1 << (sizeof(size_t) * 4)},
    {SIZE_MAX, 2},
    {SIZE_MAX, SIZE_MAX},
    {SIZE_MAX / 2, 3},
};

static void test_every_size_is_aligned(void **state)
{
    enum { EACH = 5 };
    (void)state;

    for (size_t size = 0; size <= 5000; size++) {
        void *block[EACH];

        for (size_t i = 0; i < EACH; i++) {
            block[i] = malloc(opaque_size(size));
            assert_non_null(block[i]);
            assert_int_equal((uintptr_t)block[i] % 16, 0);
        }
        for (size_t i = 0; i < EACH; i++)
            free(block[i]);
    }
    for (size_t size = 5000; size <= 64 * MIB; size += size / 7) {
        void *block = malloc(opaque_size(size));
        void *zeroed = calloc(1, opaque_size(size));

        assert_non_null(block);
        assert_non_null(zeroed);
        assert_int_equal((uintptr_t)block % 16, 0);
        assert_int_equal((uintptr_t)zeroed % 16, 0);
        free(block);
        free(zeroed);
    }
}

static void test_tiny_calloc_and_realloc_are_aligned(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 64; size++) {
        void *zeroed = calloc(opaque_size(size), 1);
        void *fresh = realloc(opaque(NULL), size);
        void *moved = realloc(malloc(1000), size);

        assert_int_equal((uintptr_t)zeroed % 16, 0);
        assert_int_equal((uintptr_t)fresh % 16, 0);
        assert_int_equal((uintptr_t)moved % 16, 0);
        free(zeroed);
        free(fresh);
        free(moved);
    }
}

static void test_too_large_is_enomem(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(too_large); i++) {
        size_t size = opaque_size(too_large[i]);

        errno = TEST_ERRNO;
        assert_null(malloc(size));
        assert_int_equal(errno, ENOMEM);
        errno = TEST_ERRNO;
        assert_null(calloc(1, size));
        assert_int_equal(errno, ENOMEM);
        errno = TEST_ERRNO;
        assert_null(calloc(size, 1));
        assert_int_equal(errno, ENOMEM);
        errno = TEST_ERRNO;
        assert_null(realloc(opaque(NULL), size));
        assert_int_equal(errno, ENOMEM);
        errno = TEST_ERRNO;
        assert_null(reallocarray(opaque(NULL), size, 1));
        assert_int_equal(errno, ENOMEM);
    }
}

static void test_overflow_is_enomem(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(overflowing); i++) {
        for (size_t turn = 0; turn < 2; turn++) {
            size_t count = opaque_size(overflowing[i][turn]);
            size_t size = opaque_size(overflowing[i][1 - turn]);
            void *block = malloc(100);

            test_fill(block, 100, i);
            errno = TEST_ERRNO;
            assert_null(calloc(count, size));
            assert_int_equal(errno, ENOMEM);
            errno = TEST_ERRNO;
            assert_null(reallocarray(opaque(NULL), count, size));
            assert_int_equal(errno, ENOMEM);
            errno = TEST_ERRNO;
            assert_null(reallocarray(opaque(block), count, size));
            assert_int_equal(errno, ENOMEM);
            assert_true(test_intact(block, 100, 100, i));
            free(block);
        }
    }
}

static void test_reallocarray_is_realloc(void **state)
{
    (void)state;
    char *block = reallocarray(opaque(NULL), 10, 7);

    assert_non_null(block);
    test_fill(block, 70, 1);
    block = reallocarray(block, 1000, 77);
    assert_non_null(block);
    assert_true(test_intact(block, 70, 70, 1));
    block = reallocarray(block, 3, 5);
    assert_non_null(block);
    assert_true(test_intact(block, 15, 70, 1));
    free(block);
}

/* Sizes that take each way through an allocator: cached, from a slab, a run, a mapping. */
static const size_t ways[] = {0,    1,     8,         16,         100,     1024,    4096,
                              8000, 32768, 40 * 1024, 100 * 1024, 1 * MIB, 3 * MIB, 30 * MIB};

static void test_success_leaves_errno(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        for (size_t round = 0; round < 3; round++) {
            size_t size = opaque_size(ways[i]);

            errno = TEST_ERRNO;
            void *block = malloc(size);
            assert_int_equal(errno, TEST_ERRNO);
            void *zeroed = calloc(1, size);
            assert_int_equal(errno, TEST_ERRNO);
            block = realloc(block, size * 2 + 1);
            assert_int_equal(errno, TEST_ERRNO);
            block = realloc(block, size / 2 + 1);
            assert_int_equal(errno, TEST_ERRNO);
            assert_non_null(block);
            assert_non_null(zeroed);
            free(block);
            assert_int_equal(errno, TEST_ERRNO);
            free(zeroed);
            assert_int_equal(errno, TEST_ERRNO);
        }
    }
    free(opaque(NULL));
    assert_int_equal(errno, TEST_ERRNO);
}

/* Enough to make free() give pages back to the kernel: those calls must not show in errno. */
static void test_freeing_a_burst_leaves_errno(void **state)
{
    enum { COUNT = 2000 };
    static void *block[COUNT];
    (void)state;

    for (size_t i = 0; i < COUNT; i++) {
        block[i] = malloc(50000);
        assert_non_null(block[i]);
        memset(block[i], 1, 50000);
    }
    errno = TEST_ERRNO;
    for (size_t i = 0; i < COUNT; i++) {
        free(block[i]);
        assert_int_equal(errno, TEST_ERRNO);
    }
}

static void test_zero_size_is_unique(void **state)
{
    enum { COUNT = 300 };
    static char *block[COUNT];
    (void)state;

    for (size_t i = 0; i < COUNT; i++) {
        switch (i % 3) {
        case 0:
            block[i] = malloc(opaque_size(0));
            break;
        case 1:
            block[i] = calloc(opaque_size(0), 8);
            break;
        default:
            block[i] = calloc(8, opaque_size(0));
            break;
        }
        assert_non_null(block[i]);
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(block[i], block[j]);
    }
    for (size_t i = 0; i < COUNT; i++)
        free(block[i]);
    assert_non_null(block[0] = calloc(opaque_size(0), opaque_size(SIZE_MAX)));
    free(block[0]);
}

/* What was just freed comes back first: fill it, free it, and ask for zeroed blocks. */
static void test_calloc_zeroes_reused_memory(void **state)
{
    enum { MOST = 64 };
    struct test_random random = {11};
    (void)state;

    for (size_t size = 1; size <= 64 * MIB; size += size < 64 ? 1 : size / 5) {
        size_t count = size <= 64 * KIB ? MOST : size <= MIB ? 4 : 1;
        void *block[MOST];

        for (size_t i = 0; i < count; i++) {
            block[i] = malloc(opaque_size(size));
            assert_non_null(block[i]);
            memset(block[i], 0xa5, size);
        }
        for (size_t i = 0; i < count; i++)
            free(block[i]);
        for (size_t i = 0; i < count; i++) {
            size_t other = size - test_below(&random, size / 16 + 1);
            block[i] = i % 2 == 0 ? calloc(1, opaque_size(other)) : calloc(opaque_size(other), 1);
            assert_non_null(block[i]);
            assert_true(test_all_zero(block[i], other));
            memset(block[i], 0x5a, other);
        }
        for (size_t i = 0; i < count; i++)
            free(block[i]);
    }
}

/* Dirty pages that were given back, or merged and cut anew, must not come back dirty. */
static void test_calloc_zeroes_in_a_random_mix(void **state)
{
    enum { SLOTS = 500, STEPS = 40000 };
    static void *block[SLOTS];
    struct test_random random = {12};
    (void)state;

    for (size_t step = 0; step < STEPS; step++) {
        size_t slot = test_below(&random, SLOTS);
        size_t size = test_log_size(&random, 17);

        free(block[slot]);
        if (test_below(&random, 2) == 0) {
            block[slot] = malloc(size);
            assert_non_null(block[slot]);
        } else {
            block[slot] = calloc(1, size);
            assert_non_null(block[slot]);
            assert_true(test_all_zero(block[slot], size));
        }
        memset(block[slot], 0xff, size);
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(block[i]);
}

static void test_huge_calloc_touches_nothing(void **state)
{
    (void)state;
    size_t size = opaque_size(16 * GIB);
    size_t before = test_resident();

    errno = TEST_ERRNO;
    char *block = calloc(1, size);
    size_t after = test_resident();

    if (block == NULL) {
        assert_int_equal(errno, ENOMEM); /* a small machine or a limit may refuse it */
        return;
    }
    assert_true(after <= before + 2 * MIB);
    for (size_t at = 0; at < size; at += size / 16)
        assert_int_equal(block[at], 0);
    assert_int_equal(block[size - 1], 0);
    free(block);
    assert_true(test_resident() <= before + 2 * MIB);
}

static void test_free_of_null_does_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < 1000; i++)
        free(opaque(NULL));
    void *block = malloc(1);
    assert_non_null(block);
    free(block);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size_is_aligned),
        cmocka_unit_test(test_tiny_calloc_and_realloc_are_aligned),
        cmocka_unit_test(test_too_large_is_enomem),
        cmocka_unit_test(test_overflow_is_enomem),
        cmocka_unit_test(test_reallocarray_is_realloc),
        cmocka_unit_test(test_success_leaves_errno),
        cmocka_unit_test(test_freeing_a_burst_leaves_errno),
        cmocka_unit_test(test_zero_size_is_unique),
        cmocka_unit_test(test_calloc_zeroes_reused_memory),
        cmocka_unit_test(test_calloc_zeroes_in_a_random_mix),
        cmocka_unit_test(test_huge_calloc_touches_nothing),
        cmocka_unit_test(test_free_of_null_does_nothing),
    };

    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
