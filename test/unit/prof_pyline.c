/* SPDX-License-Identifier: MIT */
/* Tests of prof_pyline.h: tables written by hand, and bytes that are no tables. */
#include "unit.h"

#include "prof_pyline.h"

/* 3.11: an entry's first byte. */
#define E(kind, units) (uint8_t)(0x80 | (kind) << 3 | ((units)-1))

static int line311(const uint8_t *table, size_t bytes, int instruction)
{
    return rcl_python_line(11, 100, table, bytes, instruction);
}

TEST(locations_of_every_kind)
{
    static const uint8_t table[] = {
        E(0, 1),  0,       /* 0: line 100, columns in the next byte */
        E(9, 2),  0x77,    /* 1, 2: the same */
        E(10, 1), 1,    2, /* 3: the same, two columns */
        E(11, 1), 1,    2, /* 4: one further on */
        E(12, 3), 1,    2, /* 5 to 7: two further on */
        E(13, 1), 10,      /* 8: +5 */
        E(13, 1), 7,       /* 9: -3 */
        E(14, 2), 40,   3,
        5,        6,                   /* 10, 11: +20 */
        E(15, 8),                      /* 12 to 19: none */
        E(13, 1), 0x40, 0x01 << 5 | 0, /* 20: +1024 >> 1: two groups of six bits */
        E(0, 1),  0,                   /* 21: the same */
    };
    static const int lines[] = {100, 100, 100, 100, 101,        103,       103, 103,
                                108, 105, 125, 125, 0,          0,         0,   0,
                                0,   0,   0,   0,   125 + 1024, 125 + 1024};

    for (int i = 0; i < (int)array_len(lines); i++)
        assert_int_equal(line311(table, sizeof table, i), lines[i]);
    assert_int_equal(line311(table, sizeof table, 22), 0);
    assert_int_equal(line311(table, sizeof table, 1000000), 0);
    assert_int_equal(line311(table, sizeof table, -1), 100);
    for (unsigned minor = 12; minor <= 15; minor++)
        assert_int_equal(rcl_python_line(minor, 100, table, sizeof table, 10), 125);
}

TEST(ranges_of_3_10)
{
    static const uint8_t table[] = {4, 0, 2, 3, 6, (uint8_t)-128, 2, (uint8_t)-2, 254, 127, 2, 1};

    /* Units of two bytes: 0 and 1, 2, 3 to 5, 6, 127 more, one. */
    assert_int_equal(rcl_python_line(10, 10, table, sizeof table, 0), 10);
    assert_int_equal(rcl_python_line(10, 10, table, sizeof table, 1), 10);
    assert_int_equal(rcl_python_line(10, 10, table, sizeof table, 2), 13);
    assert_int_equal(rcl_python_line(10, 10, table, sizeof table, 3), 0);
    assert_int_equal(rcl_python_line(10, 10, table, sizeof table, 5), 0);
    assert_int_equal(rcl_python_line(10, 10, table, sizeof table, 6), 11);
    assert_int_equal(rcl_python_line(10, 10, table, sizeof table, 7), 138);
    assert_int_equal(rcl_python_line(10, 10, table, sizeof table, 133), 138);
    assert_int_equal(rcl_python_line(10, 10, table, sizeof table, 134), 139);
}

TEST(steps_of_3_9)
{
    static const uint8_t table[] = {0, 1, 6, 1, 50, 4, 0, (uint8_t)-3};

    assert_int_equal(rcl_python_line(9, 10, table, sizeof table, 0), 11);
    assert_int_equal(rcl_python_line(9, 10, table, sizeof table, 5), 11);
    assert_int_equal(rcl_python_line(9, 10, table, sizeof table, 6), 12);
    assert_int_equal(rcl_python_line(9, 10, table, sizeof table, 55), 12);
    assert_int_equal(rcl_python_line(9, 10, table, sizeof table, 56), 13);
    assert_int_equal(rcl_python_line(9, 10, table, sizeof table, 1000), 13);
}

TEST(an_empty_table)
{
    assert_int_equal(rcl_python_line(9, 7, NULL, 0, 3), 7);
    assert_int_equal(rcl_python_line(10, 7, NULL, 0, 3), 7);
    assert_int_equal(rcl_python_line(11, 7, NULL, 0, 3), 0);
    assert_int_equal(rcl_python_line(11, 7, NULL, 0, -1), 7);
}

/* On the last bytes of a page: nothing beyond the end is read. */
TEST(any_bytes_at_all)
{
    struct unit_random random = unit_random_start();
    size_t page = unit_kernel_page();
    uint8_t *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(map, MAP_FAILED);
    munmap(map + page, page);
    for (unsigned round = 0; round < 100000; round++) {
        size_t bytes = unit_below(&random, 40);
        uint8_t *table = map + page - bytes;
        for (size_t i = 0; i < bytes; i++)
            table[i] = (uint8_t)unit_next(&random);
        unsigned minor = 9 + (unsigned)unit_below(&random, 7);
        int line = rcl_python_line(minor, (int)unit_below(&random, 1000), table, bytes,
                                   (int)unit_below(&random, 300));
        assert_true(line >= 0);
    }
    munmap(map, page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locations_of_every_kind),
        cmocka_unit_test(ranges_of_3_10),
        cmocka_unit_test(steps_of_3_9),
        cmocka_unit_test(an_empty_table),
        cmocka_unit_test(any_bytes_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
