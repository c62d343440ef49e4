/* SPDX-License-Identifier: MIT */
/*
 * What a block is: at least as large as asked, constant in size for its life (a
 * fortified program bases its checks on that), all its own, and in nobody's way.
 */
#include "../testlib.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { GROUP = 64 };

struct held {
    void *block;
    size_t usable;
};

static void hold(struct held *held, size_t size, uint64_t seed)
{
    held->block = malloc(size);
    assert_non_null(held->block);
    held->usable = malloc_usable_size(held->block);
    assert_true(held->usable >= size);
    test_fill(held->block, held->usable, seed);
}

static void check(const struct held *held, uint64_t seed)
{
    assert_int_equal(malloc_usable_size(held->block), held->usable);
    assert_true(test_intact(held->block, held->usable, held->usable, seed));
}

static void test_null_has_no_size(void **state)
{
    (void)state;
    errno = TEST_ERRNO;
    assert_int_equal(malloc_usable_size(opaque(NULL)), 0);
    assert_int_equal(errno, TEST_ERRNO);
}

/* Neighbours of equal size, each written over its whole usable length, then half of them gone. */
static void test_whole_range_is_the_owners(void **state)
{
    struct held held[GROUP];
    (void)state;

    for (size_t size = 1; size <= 4 * MIB; size += size < 256 ? 7 : size / 9) {
        size_t count = size <= 64 * KIB ? GROUP : 6;

        for (size_t i = 0; i < count; i++)
            hold(&held[i], size, i);
        for (size_t i = 0; i < count; i++)
            check(&held[i], i);
        for (size_t i = 0; i < count; i += 2)
            free(held[i].block);
        for (size_t i = 1; i < count; i += 2)
            check(&held[i], i);
        for (size_t i = 0; i < count; i += 2)
            hold(&held[i], size, i);
        for (size_t i = 0; i < count; i++) {
            check(&held[i], i);
            free(held[i].block);
        }
    }
}

static void test_size_is_constant(void **state)
{
    static const size_t sizes[] = {1, 24, 100, 1000, 5000, 20000, 50000, 200000, 1500000, 9000000};
    struct held held[COUNT_OF(sizes)];
    struct test_random random = {41};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        hold(&held[i], sizes[i], i);
    for (size_t round = 0; round < 2000; round++) {
        size_t size = test_log_size(&random, 20);
        void *other = malloc(size), *aligned = NULL;

        assert_non_null(other);
        assert_int_equal(posix_memalign(&aligned, 4096, size), 0);
        free(other);
        free(aligned);
        if (round % 100 == 0)
            malloc_trim(0);
        for (size_t i = 0; i < COUNT_OF(sizes); i++)
            assert_int_equal(malloc_usable_size(held[i].block), held[i].usable);
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        check(&held[i], i);
        free(held[i].block);
    }
}

static void test_size_of_aligned_blocks(void **state)
{
    (void)state;
    for (size_t alignment = 16; alignment <= MIB; alignment *= 2) {
        for (size_t size = 1; size <= MIB; size *= 3) {
            struct held held[4];

            for (size_t i = 0; i < COUNT_OF(held); i++) {
                assert_int_equal(posix_memalign(&held[i].block, alignment, size), 0);
                held[i].usable = malloc_usable_size(held[i].block);
                assert_true(held[i].usable >= size);
                test_fill(held[i].block, held[i].usable, i);
            }
            for (size_t i = 0; i < COUNT_OF(held); i++) {
                check(&held[i], i);
                free(held[i].block);
            }
        }
    }
}

/* The C library's own growing buffers use the size that malloc_usable_size gives. */
static void test_realloc_to_the_usable_size_stays(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 2 * MIB; size += size / 3 + 1) {
        struct held held;

        hold(&held, size, size);
        void *same = realloc(held.block, held.usable);
        assert_non_null(same);
        assert_true(malloc_usable_size(same) >= held.usable);
        assert_true(test_intact(same, held.usable, held.usable, size));
        free(same);
    }
}

/* Random sizes, random order of life: any two blocks that overlapped would spoil a pattern. */
static void test_blocks_do_not_overlap(void **state)
{
    enum { SLOTS = 5000, STEPS = 60000 };
    static struct held held[SLOTS];
    struct test_random random = {42};
    (void)state;

    for (size_t step = 0; step < STEPS; step++) {
        size_t i = test_below(&random, SLOTS);

        if (held[i].block != NULL) {
            check(&held[i], i);
            free(held[i].block);
        }
        hold(&held[i], test_log_size(&random, step % 50 == 0 ? 19 : 13), i);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (held[i].block == NULL)
            continue;
        check(&held[i], i);
        free(held[i].block);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_has_no_size),
        cmocka_unit_test(test_whole_range_is_the_owners),
        cmocka_unit_test(test_size_is_constant),
        cmocka_unit_test(test_size_of_aligned_blocks),
        cmocka_unit_test(test_realloc_to_the_usable_size_stays),
        cmocka_unit_test(test_blocks_do_not_overlap),
    };

    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
