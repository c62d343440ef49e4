/* SPDX-License-Identifier: MIT */
/*
 * realloc: content survives every move between the small, the large and the huge;
 * the two special arguments; a failure that leaves the block alone.
 */
#include "../testlib.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void *resized(void *block, size_t from, size_t to)
{
    uint64_t seed = from * 31 + 7;
    size_t kept = from < to ? from : to;

    test_fill(block, from, seed);
    void *moved = realloc(block, opaque_size(to));
    assert_non_null(moved);
    assert_int_equal((uintptr_t)moved % 16, 0);
    assert_true(malloc_usable_size(moved) >= to);
    assert_true(test_intact(moved, kept, from, seed));
    return moved;
}

static void test_null_is_malloc(void **state)
{
    (void)state;
    for (size_t size = 0; size <= 8 * MIB; size += size / 2 + 1) {
        errno = TEST_ERRNO;
        void *block = realloc(opaque(NULL), opaque_size(size));

        assert_non_null(block);
        assert_int_equal(errno, TEST_ERRNO);
        assert_true(malloc_usable_size(block) >= size);
        test_fill(block, size, size);
        assert_true(test_intact(block, size, size, size));
        free(block);
    }
}

/* As glibc: the block is freed and the answer is NULL, which is no error. */
static void test_zero_frees(void **state)
{
    static const size_t sizes[] = {1, 64, 5000, 100000, 3000000};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t rounds = sizes[i] < 10000 ? 100000 : 2000;
        size_t before = test_resident();

        for (size_t round = 0; round < rounds; round++) {
            char *block = malloc(sizes[i]);

            assert_non_null(block);
            block[0] = 1;
            block[sizes[i] - 1] = 1;
            errno = TEST_ERRNO;
            assert_null(realloc(opaque(block), opaque_size(0)));
            assert_int_equal(errno, TEST_ERRNO);
        }
        /* a block that was not freed would leave 6 MB or more behind in most rows */
        assert_true(test_resident() <= before + 4 * MIB);
    }
}

static void test_every_boundary_up_and_down(void **state)
{
    (void)state;
    for (size_t power = 16; power <= 64 * MIB; power *= 2) {
        for (size_t step = 0; step < 8; step++) {
            size_t size = power + power / 8 * step; /* where size classes meet */
            size_t near[] = {size - 1,        size, size + 1, size * 2, size / 2, size + size / 8,
                             size - size / 8, size};
            void *block;

            if (size > 64 * MIB)
                break;
            assert_non_null(block = malloc(size));
            for (size_t i = 0, from = size; i < COUNT_OF(near); from = near[i++])
                block = resized(block, from, near[i]);
            free(block);
        }
        if (power >= 4 * MIB)
            power *= 2; /* only mappings from here on: fewer points do */
    }
}

static void test_from_any_kind_to_any_kind(void **state)
{
    static const size_t kinds[] = {1,       16,      48,      1024,   5000,   16384,
                                   32768,   32769,   40000,   100000, 262144, 1000000,
                                   1048576, 1048577, 2500000, 9000000};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        for (size_t j = 0; j < COUNT_OF(kinds); j++) {
            void *block = malloc(kinds[i]);
            void *behind = malloc(kinds[i]); /* in the way of growing in place */

            assert_non_null(block);
            test_fill(behind, kinds[i], 5);
            block = resized(block, kinds[i], kinds[j]);
            assert_true(test_intact(behind, kinds[i], kinds[i], 5));
            free(behind);
            free(block);
        }
    }
}

static void test_growing_and_shrinking_step_by_step(void **state)
{
    (void)state;
    size_t size = 16;
    void *block = malloc(size);

    while (size < 64 * MIB) {
        size_t next = size + size / 3 + 1;
        block = resized(block, size, next);
        size = next;
    }
    while (size > 16) {
        size_t next = size - size / 3 - 1;
        block = resized(block, size, next);
        size = next;
    }
    free(block);
}

/* How a Python list or a log buffer grows: many small steps, each keeping the whole content. */
static void test_appending(void **state)
{
    (void)state;
    size_t length = 0;
    uint64_t *words = NULL;

    while (length < 4 * MIB / sizeof *words) {
        size_t more = 1 + length / 50;
        words = realloc(words, (length + more) * sizeof *words);
        assert_non_null(words);
        for (size_t i = 0; i < more; i++)
            words[length + i] = (length + i) * 3;
        length += more;
    }
    for (size_t i = 0; i < length; i++)
        assert_int_equal(words[i], i * 3);
    free(words);
}

static void test_random_walk(void **state)
{
    enum { BLOCKS = 64, STEPS = 6000 };
    struct {
        void *block;
        size_t size;
    } held[BLOCKS] = {{0}};
    struct test_random random = {21};
    (void)state;

    for (size_t step = 0; step < STEPS; step++) {
        size_t i = test_below(&random, BLOCKS);
        unsigned bits = step % 100 == 0 ? 26 : step % 10 == 0 ? 20 : 14;
        size_t size = test_log_size(&random, bits);
        size_t kept = held[i].size < size ? held[i].size : size;
        void *block = realloc(held[i].block, size);

        assert_non_null(block);
        assert_true(test_intact(block, kept, held[i].size, i));
        held[i].block = block;
        held[i].size = size;
        test_fill(block, size, i);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        assert_true(test_intact(held[i].block, held[i].size, held[i].size, i));
        free(held[i].block);
    }
}

static void test_failure_leaves_the_block(void **state)
{
    static const size_t sizes[] = {1, 16, 100, 5000, 40000, 1000000, 5000000};
    static const size_t impossible[] = {(size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1,
                                        SIZE_MAX - 4096, SIZE_MAX - 15, SIZE_MAX};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *block = malloc(sizes[i]);
        size_t usable = malloc_usable_size(block);

        test_fill(block, sizes[i], i);
        for (size_t j = 0; j < COUNT_OF(impossible); j++) {
            errno = TEST_ERRNO;
            assert_null(realloc(opaque(block), opaque_size(impossible[j])));
            assert_int_equal(errno, ENOMEM);
            assert_int_equal(malloc_usable_size(block), usable);
            assert_true(test_intact(block, sizes[i], sizes[i], i));
        }
        free(block);
    }
}

/* The bytes that realloc adds are anyone's, but must be there: write them all. */
static void test_grown_part_is_writable(void **state)
{
    (void)state;
    for (size_t size = 16; size <= 16 * MIB; size *= 4) {
        char *block = malloc(size);
        char *behind = malloc(size);

        memset(behind, 7, size);
        block = realloc(block, size * 3);
        assert_non_null(block);
        memset(block, 8, malloc_usable_size(block));
        for (size_t i = 0; i < size; i++)
            assert_true(behind[i] == 7);
        free(behind);
        free(block);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_is_malloc),
        cmocka_unit_test(test_zero_frees),
        cmocka_unit_test(test_every_boundary_up_and_down),
        cmocka_unit_test(test_from_any_kind_to_any_kind),
        cmocka_unit_test(test_growing_and_shrinking_step_by_step),
        cmocka_unit_test(test_appending),
        cmocka_unit_test(test_random_walk),
        cmocka_unit_test(test_failure_leaves_the_block),
        cmocka_unit_test(test_grown_part_is_writable),
    };

    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
