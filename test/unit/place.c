/* SPDX-License-Identifier: MIT */
/* Tests of place.h on drawn chunks: '#' a page in use, '.' clean, 'd' dirty. */
#include "unit.h"

#include "os.h"
#include "place.h"

static struct rcl_chunk chunk;

static void draw(const char *pages)
{
    memset(&chunk, 0, sizeof chunk);
    chunk.base = (char *)((uintptr_t)64 << rcl_page_shift()); /* never looked at */
    chunk.pages = (uint32_t)strlen(pages);
    for (size_t i = 0; i < chunk.pages; i++) {
        if (pages[i] != '#')
            rcl_bits_set_range(chunk.free, i, 1);
        if (pages[i] == 'd')
            rcl_bits_set_range(chunk.dirty, i, 1);
    }
}

static size_t first(const uint64_t *map, size_t pages, size_t align, size_t *longest)
{
    return rcl_place_first(&chunk, map, pages, align, longest);
}

static void assert_mostly(size_t pages, size_t at, size_t dirty, size_t longest)
{
    size_t n, l;
    assert_int_equal(rcl_place_mostly(&chunk, pages, &n, &l), at);
    assert_int_equal(l, longest);
    assert_int_equal(n, dirty);
}

TEST(the_first_that_fits)
{
    size_t longest;

    draw("#..#ddd..#....dd");
    assert_int_equal(first(chunk.free, 1, 1, &longest), 1);
    assert_int_equal(first(chunk.free, 3, 1, &longest), 4);
    assert_int_equal(first(chunk.free, 6, 1, &longest), 10);
    assert_int_equal(first(chunk.dirty, 1, 1, &longest), 4);
    assert_int_equal(first(chunk.dirty, 3, 1, &longest), 4);
    assert_int_equal(first(chunk.free, 2, 4, &longest), 4);
    assert_int_equal(first(chunk.free, 4, 4, &longest), 4);
    assert_int_equal(first(chunk.free, 4, 8, &longest), chunk.pages);
}

TEST(where_none_fits_the_longest_is_told)
{
    size_t longest;

    draw("#..#ddd..#....dd");
    assert_int_equal(first(chunk.free, 7, 1, &longest), chunk.pages);
    assert_int_equal(longest, 6);
    assert_int_equal(first(chunk.dirty, 4, 1, &longest), chunk.pages);
    assert_int_equal(longest, 3);
    draw("####");
    assert_int_equal(first(chunk.free, 1, 1, &longest), chunk.pages);
    assert_int_equal(longest, 0);
}

TEST(a_place_begins_with_the_dirty_run_or_ends_with_the_free_one)
{
    draw("#..ddd....#");
    assert_mostly(5, 3, 3, 3);
    draw("#....ddd.#");
    assert_mostly(5, 4, 3, 3);
    draw("....dd");
    assert_mostly(4, 2, 2, 2);
}

TEST(most_dirty_pages_win_and_the_lowest_of_equal_ones)
{
    draw("dd..#ddd.#.ddd#");
    assert_mostly(4, 5, 3, 3);
    draw("ddd..#dd.d.#");
    assert_mostly(5, 0, 3, 3);
    draw("ddd..#dd.dd#");
    assert_mostly(5, 6, 4, 3);
}

TEST(too_little_dirt_or_room_is_none)
{
    draw("d.....#dd#");
    assert_mostly(4, chunk.pages, 0, 2);
    draw("......");
    assert_mostly(2, chunk.pages, 0, 0);
    draw("#ddd#dd#");
    assert_mostly(4, chunk.pages, 0, 3);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_that_fits),
        cmocka_unit_test(where_none_fits_the_longest_is_told),
        cmocka_unit_test(a_place_begins_with_the_dirty_run_or_ends_with_the_free_one),
        cmocka_unit_test(most_dirty_pages_win_and_the_lowest_of_equal_ones),
        cmocka_unit_test(too_little_dirt_or_room_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
