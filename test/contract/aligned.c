/* SPDX-License-Identifier: MIT */
/*
 * The aligned family: posix_memalign, aligned_alloc, memalign, valloc, pvalloc, and
 * C23's free_sized and free_aligned_sized.
 */
#include "../testlib.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* Not in every libc; weak, so that one program serves with and without them. */
void free_sized(void *block, size_t size) __attribute__((weak));
void free_aligned_sized(void *block, size_t alignment, size_t size) __attribute__((weak));

typedef void free_sized_fn(void *block, size_t size);
typedef void free_aligned_sized_fn(void *block, size_t alignment, size_t size);

/* A weak reference is bound when the program is linked, dlsym also finds a preloaded one. */
static free_sized_fn *find_free_sized(void)
{
    return free_sized != NULL ? free_sized : (free_sized_fn *)dlsym(RTLD_DEFAULT, "free_sized");
}

static free_aligned_sized_fn *find_free_aligned_sized(void)
{
    return free_aligned_sized != NULL
               ? free_aligned_sized
               : (free_aligned_sized_fn *)dlsym(RTLD_DEFAULT, "free_aligned_sized");
}

static const size_t sizes[] = {0,    1,    8,     16,    24,     100,     1000,   4096,
                               5000, 9000, 32768, 40000, 100000, 1 * MIB, 3000001};

static void check_block(void *block, size_t alignment, size_t size)
{
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % alignment, 0);
    assert_int_equal((uintptr_t)block % 16, 0);
    assert_true(malloc_usable_size(block) >= size);
    test_fill(block, size, alignment);
    assert_true(test_intact(block, size, size, alignment));
}

static void test_posix_memalign_all(void **state)
{
    (void)state;
    for (size_t alignment = sizeof(void *); alignment <= 64 * MIB; alignment *= 2) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            void *first = NULL, *second = NULL;

            errno = TEST_ERRNO;
            assert_int_equal(posix_memalign(&first, alignment, sizes[i]), 0);
            assert_int_equal(posix_memalign(&second, alignment, sizes[i]), 0);
            assert_int_equal(errno, TEST_ERRNO);
            check_block(first, alignment, sizes[i]);
            check_block(second, alignment, sizes[i]);
            assert_true(test_intact(first, sizes[i], sizes[i], alignment));
            assert_ptr_not_equal(first, second);
            free(first);
            assert_true(test_intact(second, sizes[i], sizes[i], alignment));
            free(second);
            assert_int_equal(errno, TEST_ERRNO);
        }
    }
}

static void test_posix_memalign_errors(void **state)
{
    static const size_t bad[] = {
        0, 1, 2, 3, 4, 7, 9, 12, 24, 48, 100, 4095, 4097, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX - 15};
    static const size_t too_large[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096, SIZE_MAX};
    char mark;
    (void)state;

    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        void *block = &mark;

        if (bad[i] % sizeof(void *) == 0 && bad[i] != 0 && (bad[i] & (bad[i] - 1)) == 0)
            continue; /* a valid one where pointers are smaller */
        errno = TEST_ERRNO;
        assert_int_equal(posix_memalign(&block, opaque_size(bad[i]), 64), EINVAL);
        assert_ptr_equal(block, &mark);
        assert_int_equal(errno, TEST_ERRNO);
    }
    for (size_t i = 0; i < COUNT_OF(too_large); i++) {
        for (size_t alignment = 16; alignment <= 64 * MIB; alignment *= 16) {
            void *block = &mark;

            errno = TEST_ERRNO;
            assert_int_equal(posix_memalign(&block, alignment, opaque_size(too_large[i])), ENOMEM);
            assert_ptr_equal(block, &mark);
            if (!test_foreign())
                assert_int_equal(errno, ENOMEM);
        }
    }
    void *block = &mark;
    assert_int_equal(posix_memalign(&block, SIZE_MAX / 2 + 1, opaque_size(1)), ENOMEM);
    assert_ptr_equal(block, &mark);
}

static void test_aligned_alloc_all(void **state)
{
    (void)state;
    for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            errno = TEST_ERRNO;
            void *block = aligned_alloc(opaque_size(alignment), opaque_size(sizes[i]));

            assert_int_equal(errno, TEST_ERRNO);
            check_block(block, alignment, sizes[i]);
            free(block);
        }
    }
}

/* C23: an alignment that is not supported is a failure, not a guess. */
static void test_aligned_alloc_errors(void **state)
{
    static const size_t bad[] = {0, 3, 12, 24, 100, 4097, SIZE_MAX};
    (void)state;

    for (size_t alignment = 1; alignment <= MIB; alignment *= 2) {
        errno = TEST_ERRNO;
        assert_null(aligned_alloc(opaque_size(alignment), opaque_size(SIZE_MAX - 15)));
        assert_int_equal(errno, ENOMEM);
    }
    if (test_foreign())
        skip(); /* glibc follows C23 here only since 2.38 */
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        errno = TEST_ERRNO;
        assert_null(aligned_alloc(opaque_size(bad[i]), 64));
        assert_int_equal(errno, EINVAL);
    }
}

static void test_memalign_all(void **state)
{
    (void)state;
    for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            void *block = memalign(opaque_size(alignment), opaque_size(sizes[i]));

            check_block(block, alignment, sizes[i]);
            free(block);
        }
    }
    errno = TEST_ERRNO;
    assert_null(memalign(64, opaque_size(SIZE_MAX - 63)));
    assert_int_equal(errno, ENOMEM);
    errno = TEST_ERRNO;
    assert_null(memalign(opaque_size(SIZE_MAX / 2 + 2), 16)); /* no power of two is that large */
    assert_true(errno == EINVAL || errno == ENOMEM);
}

static void test_page_family(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    (void)state;

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *whole = valloc(opaque_size(sizes[i]));
        check_block(whole, page, sizes[i]);
        free(whole);

        size_t rounded = (sizes[i] + page - 1) / page * page;
        void *rounded_up = pvalloc(opaque_size(sizes[i]));
        check_block(rounded_up, page, rounded);
        free(rounded_up);
    }
    errno = TEST_ERRNO;
    assert_null(valloc(opaque_size(SIZE_MAX)));
    assert_int_equal(errno, ENOMEM);
    errno = TEST_ERRNO;
    assert_null(valloc(opaque_size(SIZE_MAX - page)));
    assert_int_equal(errno, ENOMEM);
    errno = TEST_ERRNO;
    assert_null(pvalloc(opaque_size(SIZE_MAX))); /* rounding up overflows */
    assert_int_equal(errno, ENOMEM);
    errno = TEST_ERRNO;
    assert_null(pvalloc(opaque_size((size_t)PTRDIFF_MAX)));
    assert_int_equal(errno, ENOMEM);
}

static void test_realloc_of_aligned_blocks(void **state)
{
    (void)state;
    for (size_t alignment = 16; alignment <= 4 * MIB; alignment *= 4) {
        for (size_t i = 1; i < COUNT_OF(sizes); i++) {
            for (size_t j = 1; j < COUNT_OF(sizes); j++) {
                size_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
                void *block = NULL;

                assert_int_equal(posix_memalign(&block, alignment, sizes[i]), 0);
                test_fill(block, sizes[i], j);
                block = realloc(block, sizes[j]);
                assert_non_null(block);
                assert_true(test_intact(block, kept, sizes[i], j));
                free(block);
            }
        }
    }
}

/* Alignment is bought with address space, not with memory, and both come back. */
static void test_large_alignments_cost_no_memory(void **state)
{
    enum { HELD = 16, ROUNDS = 2000 };
    void *held[HELD];
    size_t before = test_resident();
    (void)state;

    for (size_t i = 0; i < HELD; i++) {
        assert_int_equal(posix_memalign(&held[i], 16 * MIB, 1), 0);
        memset(held[i], 1, 1);
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        void *block = NULL;

        assert_int_equal(posix_memalign(&block, 8 * MIB, 5000), 0);
        memset(block, 1, 5000);
        free(block);
    }
    assert_true(test_resident() <= before + 2 * MIB);
    for (size_t i = 0; i < HELD; i++)
        free(held[i]);
}

static void test_random_mix_of_alignments(void **state)
{
    enum { SLOTS = 256, STEPS = 20000 };
    struct {
        void *block;
        size_t size;
    } held[SLOTS] = {{0}};
    struct test_random random = {31};
    (void)state;

    for (size_t step = 0; step < STEPS; step++) {
        size_t i = test_below(&random, SLOTS);
        size_t alignment = (size_t)16 << test_below(&random, 14);
        size_t size = test_log_size(&random, 16);

        assert_true(test_intact(held[i].block, held[i].size, held[i].size, i));
        free(held[i].block);
        assert_int_equal(posix_memalign(&held[i].block, alignment, size), 0);
        assert_int_equal((uintptr_t)held[i].block % alignment, 0);
        held[i].size = size;
        test_fill(held[i].block, size, i);
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(held[i].block);
}

static void test_free_sized(void **state)
{
    free_sized_fn *release = find_free_sized();
    (void)state;

    if (release == NULL && test_foreign())
        skip();
    assert_non_null(release);
    release(NULL, 0);
    release(NULL, 64);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t before = test_resident();

        for (size_t round = 0; round < (sizes[i] < 10000 ? 20000 : 500); round++) {
            void *block = round % 2 == 0 ? malloc(sizes[i]) : calloc(1, sizes[i]);

            assert_non_null(block);
            memset(block, 1, sizes[i]);
            if (round % 3 == 0)
                block = realloc(block, sizes[i] + 1);
            errno = TEST_ERRNO;
            release(block, round % 3 == 0 ? sizes[i] + 1 : sizes[i]);
            assert_int_equal(errno, TEST_ERRNO);
        }
        assert_true(test_resident() <= before + 8 * MIB);
    }
}

static void test_free_aligned_sized(void **state)
{
    free_aligned_sized_fn *release = find_free_aligned_sized();
    (void)state;

    if (release == NULL && test_foreign())
        skip();
    assert_non_null(release);
    release(NULL, 64, 64);
    for (size_t alignment = 16; alignment <= 4 * MIB; alignment *= 4) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            size_t before = test_resident();

            for (size_t round = 0; round < 200; round++) {
                void *block = aligned_alloc(alignment, sizes[i]);

                assert_non_null(block);
                memset(block, 1, sizes[i]);
                errno = TEST_ERRNO;
                release(block, alignment, sizes[i]);
                assert_int_equal(errno, TEST_ERRNO);
            }
            assert_true(test_resident() <= before + 10 * MIB);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posix_memalign_all),
        cmocka_unit_test(test_posix_memalign_errors),
        cmocka_unit_test(test_aligned_alloc_all),
        cmocka_unit_test(test_aligned_alloc_errors),
        cmocka_unit_test(test_memalign_all),
        cmocka_unit_test(test_page_family),
        cmocka_unit_test(test_realloc_of_aligned_blocks),
        cmocka_unit_test(test_large_alignments_cost_no_memory),
        cmocka_unit_test(test_random_mix_of_alignments),
        cmocka_unit_test(test_free_sized),
        cmocka_unit_test(test_free_aligned_sized),
    };

    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
