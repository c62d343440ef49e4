/* SPDX-License-Identifier: MIT */
/* Tests of look.h: pages in every state a private mapping can have. */
#include "unit.h"

#include "release.h"

#include "look.h"

enum { PAGES = 3000 };

static uint8_t resident[PAGES];
static char *area;
static size_t page;

static int set_up(void **state)
{
    (void)state;
    rcl_os_init();
    page = rcl_page_size();
    area = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(area, PAGES * page, MADV_NOHUGEPAGE);
    return area == MAP_FAILED;
}

static int tear_down(void **state)
{
    (void)state;
    return munmap(area, PAGES * page);
}

static size_t whole(void)
{
    return page / rcl_look_unit();
}

/* Every third page written, of the others every second one read. */
static void make_pattern(void)
{
    static volatile char sink;

    for (size_t i = 0; i < PAGES; i++) {
        if (i % 3 == 0)
            memset(area + i * page, 1, page);
        else if (i % 2 == 0)
            for (size_t k = 0; k < page; k += rcl_look_unit())
                sink = (char)(sink + area[i * page + k]);
    }
}

static bool tells_zero_pages(struct rcl_look *look)
{
    return look->pagemap >= 0; /* still: it has not been given up */
}

TEST(written_pages_are_resident_and_no_others)
{
    struct rcl_look look;

    make_pattern();
    rcl_look_begin(&look);
    assert_int_equal(rcl_look_pages(&look, area, PAGES, resident), 0);
    for (size_t i = 0; i < PAGES; i++) {
        if (i % 3 == 0)
            assert_int_equal(resident[i], whole());
        else if (i % 2 != 0 || tells_zero_pages(&look))
            assert_int_equal(resident[i], 0);
    }
    /* Any part of it, and what was returned. */
    memset(resident, 0xff, sizeof resident);
    rcl_release(area + 6 * page, page);
    assert_int_equal(rcl_look_pages(&look, area + 3 * page, 4, resident), 0);
    assert_int_equal(resident[0], whole());
    assert_int_equal(resident[1], tells_zero_pages(&look) ? 0 : whole());
    assert_int_equal(resident[2], 0);
    assert_int_equal(resident[3], 0);
    assert_int_equal(resident[4], 0xff);
    rcl_look_end(&look);
    assert_int_equal(look.pagemap, -1);
}

TEST(without_the_page_map_of_the_kernel)
{
    struct rcl_look look = {-1};

    make_pattern();
    assert_int_equal(rcl_look_pages(&look, area, PAGES, resident), 0);
    for (size_t i = 0; i < PAGES; i++)
        assert_int_equal(resident[i], i % 3 == 0 || i % 2 == 0 ? whole() : 0);
    rcl_look_end(&look);
}

/* A descriptor that is something else: the question is asked another way. */
TEST(when_the_kernel_has_no_answer_the_next_is_asked)
{
    struct rcl_look look = {open("/dev/null", O_RDONLY)};

    make_pattern();
    assert_int_equal(rcl_look_pages(&look, area, PAGES, resident), 0);
    assert_int_equal(look.pagemap, -1);
    for (size_t i = 0; i < PAGES; i += 3)
        assert_int_equal(resident[i], whole());
}

TEST(what_is_not_mapped_is_an_error)
{
    struct rcl_look look = {-1};

    assert_int_equal(rcl_look_pages(&look, (void *)page, 1, resident), ENOMEM);
}

/*
 * By the kernel where it can: what a sanitizer sees written costs it memory of its own.
 * An emulator says yes, and does nothing.
 */
static void touch_all(void)
{
    if (unit_emulated() ||
        madvise(area, PAGES * page, 23 /* MADV_POPULATE_WRITE, from Linux 5.14 on */) != 0)
        memset(area, 1, PAGES * page);
}

TEST(the_sum_follows_what_is_done)
{
    struct rcl_look_sum before, after, estimate;

    if (!rcl_look_sum(&before))
        skip();
    touch_all();
    assert_true(rcl_look_sum(&after));
    size_t grown = after.anonymous - before.anonymous;
    assert_in_range(grown, PAGES * page, PAGES * page + MIB);
    assert_true(after.resident - before.resident >= PAGES * page);
    assert_true(after.resident >= after.anonymous);
    assert_int_equal(after.lazy_free, before.lazy_free);
    /* Counters of several processors, added up now and then. */
    assert_true(rcl_look_estimate(&estimate));
    size_t off = estimate.resident > after.resident ? estimate.resident - after.resident
                                                    : after.resident - estimate.resident;
    assert_true(off <= after.resident / 4 + 8 * MIB);
    assert_true(estimate.anonymous <= estimate.resident);
    /* Whatever the counters are off by, it was resident. */
    assert_true(rcl_look_most() >= PAGES * page);
    assert_true(rcl_look_most() + after.resident / 4 + 8 * MIB >= after.resident);
}

TEST(errno_is_left_alone)
{
    struct rcl_look look;
    struct rcl_look_sum sum;

    errno = UNIT_ERRNO;
    rcl_look_begin(&look);
    rcl_look_pages(&look, (void *)page, 1, resident);
    rcl_look_sum(&sum);
    rcl_look_estimate(&sum);
    rcl_look_most();
    rcl_look_end(&look);
    assert_int_equal(errno, UNIT_ERRNO);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(written_pages_are_resident_and_no_others, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_the_page_map_of_the_kernel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(when_the_kernel_has_no_answer_the_next_is_asked, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_mapped_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_sum_follows_what_is_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(errno_is_left_alone, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
