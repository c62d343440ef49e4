/* SPDX-License-Identifier: MIT */
/* Tests of zero.h: zero whatever was there, and no page more than before. */
#include "unit.h"

#include "look.h"

#include "zero.h"

enum { PAGES = 2500 }; /* more than are asked for at a time, twice */

static size_t page;

static char *map(size_t pages)
{
    char *p = rcl_os_map_aligned(pages * page,
                                 page); /* a pretended page is larger than the kernel's */

    REQUIRE(p != NULL);
    madvise(p, pages * page, MADV_NOHUGEPAGE);
    return p;
}

/*
 * Bytes of the area that have been written to; the kernel's page of zeros is none of them.
 * SIZE_MAX: an older kernel does not tell.
 */
static size_t written(const char *p)
{
    static uint8_t resident[PAGES];
    struct rcl_look look;
    size_t parts = 0;

    rcl_look_begin(&look);
    int err = rcl_look_pages(&look, p, PAGES, resident);
    bool told = err == 0 && look.pagemap >= 0;
    rcl_look_end(&look);
    for (size_t i = 0; i < PAGES; i++)
        parts += resident[i];
    return told ? parts * rcl_look_unit() : SIZE_MAX;
}

static void read_pages(const char *p, size_t pages)
{
    static volatile char sink;

    for (size_t at = 0; at < pages * page; at += unit_kernel_page())
        sink = (char)(sink + p[at]);
}

static bool is_written(size_t i)
{
    return i % 7 == 1 || (i > 300 && i < 400) || (i > 1000 && i < 1050);
}

/* A byte in the page, not at its start, so that it is all of it that counts. */
static void write_pages(char *p)
{
    for (size_t i = 0; i < PAGES; i++)
        if (is_written(i))
            p[i * page + i % page] = (char)(i % 100 + 1);
}

TEST(used_pages_are_zero_and_no_others_are_made)
{
    char *p = map(PAGES);

    write_pages(p);
    size_t before = unit_resident(p, PAGES * page), parts = page / unit_kernel_page();
    errno = UNIT_ERRNO;
    rcl_zero(p, PAGES * page);
    assert_int_equal(errno, UNIT_ERRNO);
    assert_true(unit_resident(p, PAGES * page) <= before * parts);
    assert_true(unit_zero(p, PAGES * page));
    munmap(p, PAGES * page);
}

/* mincore takes the page of zeros for one like any other. */
TEST(pages_that_have_only_been_read_stay_so)
{
    char *p = map(PAGES);

    read_pages(p, PAGES);
    if (written(p) == SIZE_MAX) {
        munmap(p, PAGES * page);
        skip();
    }
    assert_int_equal(written(p), 0);
    rcl_zero(p, PAGES * page);
    assert_int_equal(written(p), 0);

    /* A used page hides some of those behind it, and no more. */
    for (size_t i = 0; i < PAGES; i += 25)
        p[i * page] = 1;
    rcl_zero(p, PAGES * page);
    assert_true(written(p) <= PAGES / 25 * 4 * page);
    assert_true(unit_zero(p, PAGES * page));
    munmap(p, PAGES * page);
}

TEST(any_part_and_nothing_beside_it)
{
    struct unit_random random = unit_random_start();
    enum { MOST = 300 };
    char *p = map(MOST);

    for (int round = 0; round < 2000; round++) {
        size_t from = unit_below(&random, MOST * page);
        size_t bytes = unit_below(&random, MOST * page - from + 1);
        bool some = round % 2 == 0;
        for (size_t at = 0; at < MOST * page; at += page / 2)
            if (!some || unit_below(&random, 3) == 0)
                p[at + unit_below(&random, page / 2)] = 1;
        if (from > 0)
            p[from - 1] = 2;
        if (from + bytes < MOST * page)
            p[from + bytes] = 2;
        rcl_zero(p + from, bytes);
        assert_true(unit_zero(p + from, bytes));
        assert_true(from == 0 || p[from - 1] == 2);
        assert_true(from + bytes == MOST * page || p[from + bytes] == 2);
        madvise(p, MOST * page, MADV_DONTNEED);
    }
    munmap(p, MOST * page);
}

/* Where there is swap, what is in it is neither in core nor zero. */
TEST(what_is_in_swap_is_not_taken_for_zero)
{
    char *p = map(PAGES);

    memset(p, 1, PAGES * page);
#ifdef MADV_PAGEOUT
    madvise(p, PAGES * page, MADV_PAGEOUT);
#endif
    rcl_zero(p, PAGES * page);
    assert_true(unit_zero(p, PAGES * page));
    munmap(p, PAGES * page);
}

static void nobody_answers(void *arg)
{
    char *p = map(PAGES);

    (void)arg;
    memset(p, 1, PAGES * page);
    unit_forbid(SYS_mincore, ENOSYS);
    errno = UNIT_ERRNO;
    rcl_zero(p, PAGES * page);
    REQUIRE(errno == UNIT_ERRNO);
    size_t now = written(p);
    REQUIRE(now == 0 || now == SIZE_MAX);
    REQUIRE(unit_zero(p, PAGES * page));
}

static void nobody_answers_or_takes(void *arg)
{
    char *p = map(PAGES);

    (void)arg;
    memset(p, 1, PAGES * page);
    unit_forbid(SYS_mincore, EPERM);
    unit_forbid(SYS_madvise, EPERM);
    rcl_zero(p, PAGES * page);
    REQUIRE(unit_zero(p, PAGES * page));
}

TEST(who_cannot_ask_drops_and_who_cannot_drop_writes)
{
    unit_child_passes(nobody_answers, NULL);
    unit_child_passes(nobody_answers_or_takes, NULL);
}

/* Locked page by page as they are made: some are there, and none goes on an older kernel. */
TEST(locked_memory_is_zero_too)
{
    char *p = map(300);

    memset(p + 10 * page, 1, 20 * page);
    if (syscall(SYS_mlock2, p, 300 * page, 1 /* MLOCK_ONFAULT */) != 0) {
        munmap(p, 300 * page);
        skip();
    }
    memset(p + 200 * page, 1, 20 * page);
    rcl_zero(p, 300 * page);
    assert_true(unit_zero(p, 300 * page));
    munmap(p, 300 * page);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(used_pages_are_zero_and_no_others_are_made),
        cmocka_unit_test(pages_that_have_only_been_read_stay_so),
        cmocka_unit_test(any_part_and_nothing_beside_it),
        cmocka_unit_test(what_is_in_swap_is_not_taken_for_zero),
        cmocka_unit_test(who_cannot_ask_drops_and_who_cannot_drop_writes),
        cmocka_unit_test(locked_memory_is_zero_too),
    };

    rcl_os_init();
    page = rcl_page_size();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
