/* SPDX-License-Identifier: MIT */
/* Tests of out.h: every format against libc's, and every way a buffer can end. */
#include "sink.h"

#include <limits.h>

/* Print into a buffer of our own and compare with what libc makes of the same. */
#define CHECK_AS_LIBC(...)                                         \
    do {                                                           \
        char ours[512], libcs[512];                                \
        struct rcl_out o = {.buf = ours, .size = sizeof ours - 1}; \
        rcl_out_print(&o, __VA_ARGS__);                            \
        ours[o.used] = '\0';                                       \
        snprintf(libcs, sizeof libcs, __VA_ARGS__);                \
        assert_string_equal(ours, libcs);                          \
    } while (0)

TEST(every_format)
{
    static const char nothing[] = "";
    int here;

    CHECK_AS_LIBC("plain text\n");
    CHECK_AS_LIBC("%s|%s|%s", "a", nothing, "longer words");
    CHECK_AS_LIBC("%c%c%c", 'x', '\n', '~');
    CHECK_AS_LIBC("100%% of %s%%", "it");
    CHECK_AS_LIBC("%u %u %u", 0u, 7u, UINT_MAX);
    CHECK_AS_LIBC("%d %d %d %d", 0, -1, INT_MAX, INT_MIN);
    CHECK_AS_LIBC("%zu %zu %zu", (size_t)0, (size_t)10, SIZE_MAX);
    CHECK_AS_LIBC("%llu %llu", 0ULL, ULLONG_MAX);
    CHECK_AS_LIBC("%zx %zx %x", (size_t)0xabcdef, SIZE_MAX, 0x1fu);
    CHECK_AS_LIBC("%p %p", (void *)&here, (void *)1);
    CHECK_AS_LIBC("%s: %zu bytes at %p, %u of %d%c", "x", (size_t)12, (void *)&here, 3u, -4, '!');
}

TEST(random_numbers)
{
    struct unit_random random = unit_random_start();

    for (int i = 0; i < 20000; i++) {
        uint64_t n = unit_next(&random) >> unit_below(&random, 64);

        CHECK_AS_LIBC("%zu,%llu,%u,%d,%zx", (size_t)n, (unsigned long long)n, (unsigned)n, (int)n,
                      (size_t)n);
    }
}

TEST(a_null_pointer_is_a_number_too)
{
    char text[16];
    struct rcl_out o = {.buf = text, .size = sizeof text};

    rcl_out_print(&o, "%p", NULL);
    assert_int_equal(o.used, 3);
    assert_memory_equal(text, "0x0", 3);
}

/* The compiler would object to formats that do not exist. */
static void print_unchecked(struct rcl_out *o, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    rcl_out_vprint(o, format, args);
    va_end(args);
}

TEST(an_unknown_format_ends_the_text)
{
    static const char *const formats[] = {"ab%q%s", "ab%5d", "ab%-s", "ab%f", "ab%", "ab%l"};

    for (size_t i = 0; i < array_len(formats); i++) {
        char text[16];
        struct rcl_out o = {.buf = text, .size = sizeof text};

        print_unchecked(&o, formats[i], 1, 2);
        assert_int_equal(o.used, 2);
        assert_memory_equal(text, "ab", 2);
    }
}

TEST(without_a_sink_the_rest_is_cut_off)
{
    for (size_t size = 0; size <= 12; size++) {
        char text[16];
        struct rcl_out o = {.buf = text, .size = size};

        memset(text, '#', sizeof text);
        rcl_out_print(&o, "%s%d", "abc", -12345);
        rcl_out_print(&o, "more");
        assert_int_equal(o.used, size);
        assert_memory_equal(text, "abc-12345more", size);
        assert_int_equal(text[size], '#');
        rcl_out_flush(&o);
        assert_int_equal(o.used, size);
    }
}

TEST(a_sink_gets_everything_in_order)
{
    static const char expected[] = "first 1, second -2, third 18446744073709551615; end\n";

    static struct unit_text c;

    for (size_t size = 1; size <= 80; size++) {
        char text[81];
        struct rcl_out o = unit_text_begin(&c, text, size);

        memset(text, '#', sizeof text);
        rcl_out_print(&o, "first %u, second %d", 1u, -2);
        rcl_out_print(&o, ", third %llu; %s\n", ULLONG_MAX, "end");
        assert_int_equal(text[size], '#');
        /* Nothing is handed over before the buffer is full. */
        if (size >= sizeof expected - 1)
            assert_int_equal(c.pieces, 0);
        rcl_out_flush(&o);
        assert_string_equal(c.text, expected);
        assert_int_equal(o.used, 0);
    }
}

TEST(to_a_file_descriptor)
{
    char text[2048], expected[2048];
    struct rcl_out_fd fd;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    struct rcl_out *o = rcl_out_to_fd(&fd, ends[1]);
    size_t length = 0;
    for (int i = 0; i < 100; i++) { /* more than its buffer holds */
        rcl_out_print(o, "line %d\n", i);
        length += (size_t)snprintf(expected + length, sizeof expected - length, "line %d\n", i);
    }
    rcl_out_flush(o);
    close(ends[1]);
    assert_true(length > sizeof fd.text);
    assert_int_equal(read(ends[0], text, sizeof text), length);
    assert_memory_equal(text, expected, length);
    close(ends[0]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format),
        cmocka_unit_test(random_numbers),
        cmocka_unit_test(a_null_pointer_is_a_number_too),
        cmocka_unit_test(an_unknown_format_ends_the_text),
        cmocka_unit_test(without_a_sink_the_rest_is_cut_off),
        cmocka_unit_test(a_sink_gets_everything_in_order),
        cmocka_unit_test(to_a_file_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
