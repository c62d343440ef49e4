/* SPDX-License-Identifier: MIT */
/* Tests of prof_text.h: line by line what doc/profiling.md says. */
#include "sink.h"

#include "prof_maps.h"
#include "prof_stack.h"
#include "prof_text.h"

static struct unit_text printed;
static const char *const text = printed.text;

/* What a child says of its parent. */
static int parent;

static void write_text(bool legacy, bool peak)
{
    char buf[100];
    struct rcl_out o = unit_text_begin(&printed, buf, sizeof buf);
    const struct rcl_prof_head head = {.legacy = legacy,
                                       .peak = peak,
                                       .lg = 0,
                                       .program = "a\nb",
                                       .reason = "manual",
                                       .pid = 4711,
                                       .time = 1768658702, /* 2026-01-17 14:05:02 */
                                       .live_bytes = 12345,
                                       .parent = parent,
                                       .inherited = 678};

    assert_int_equal(rcl_maps_open(), 0);
    rcl_prof_write(&o, &head);
    rcl_maps_close();
    rcl_out_flush(&o);
}

static const char *const comments = "# reclaim 2\n"
                                    "# program a?b\n"
                                    "# pid 4711\n"
                                    "# time 2026-01-17T14:05:02Z\n"
                                    "# reason manual\n"
                                    "# profile live\n"
                                    "# live 12345\n"
                                    "# samples 3 live, 4 in all\n";

static int set_up(void **state)
{
    static bool done;
    const uint64_t one[] = {0x1001, 0x2001}, two[] = {RCL_FRAME_MARK | 77, 0x2001};
    struct rcl_stack *s = rcl_stack_find(one, 2, rcl_prof_thread());

    (void)state;
    if (done)
        return 0;
    done = true;
    rcl_stack_add(s, rcl_prof_weigh(100, 0));
    rcl_stack_add(s, rcl_prof_weigh(200, 0));
    rcl_stack_add(s, rcl_prof_weigh(50, 0));
    rcl_stacks_snapshot();
    rcl_stack_remove(s, rcl_prof_weigh(50, 0));
    rcl_stack_add(rcl_stack_find(two, 2, rcl_prof_thread()), rcl_prof_weigh(4096, 0));
    rcl_stack_find(two, 1, 0); /* of which nothing is to be said */
    return 0;
}

static void assert_line(const char *line)
{
    if (strstr(text, line) == NULL)
        print_message("missing: %s\nin:\n%.2000s\n", line, text);
    assert_non_null(strstr(text, line));
}

/* The last line says that it is the last. */
static void assert_end(void)
{
    const char *end = strstr(text, "\n# end\n");
    assert_non_null(end);
    assert_string_equal(end, "\n# end\n");
}

TEST(as_jemalloc_spells_it)
{
    char name[16], line[64];

    write_text(false, false);
    assert_ptr_equal(strstr(text, "heap_v2/1\n# reclaim 2\n"), text);
    assert_line(comments);
    assert_line("\n  t*: 3: 4396 [4: 4446]\n  t1: 3: 4396 [4: 4446]\n");
    prctl(PR_GET_NAME, name);
    snprintf(line, sizeof line, "\n# thread 1 %s\n", name);
    assert_line(line);
    assert_line("\n@ 0x1000 0x2001\n  t*: 2: 300 [3: 350]\n  t1: 2: 300 [3: 350]\n");
    assert_line("\n@ 0x800000000000004d 0x2001\n  t*: 1: 4096 [1: 4096]\n");
    assert_line("\n# frame 0x8000000000000000 0 [no stack]\t\n");
    assert_line("\n# frame 0x8000000000000001 0 [too many stacks]\t\n");
    assert_line("\nMAPPED_LIBRARIES:\n");
    assert_end();
    assert_null(strstr(text, "0: 0 [0: 0]"));
}

static unsigned long long resident_of(bool peak)
{
    const char *const before = " in all\n# resident ", *resident;

    write_text(false, peak);
    resident = strstr(text, before);
    assert_non_null(resident);
    return strtoull(resident + strlen(before), NULL, 10);
}

/* Of the whole process, which the profile need not explain; with the peak the most it was. */
TEST(what_is_resident)
{
    assert_in_range(resident_of(false), 1 << 20, 1 << 30);
    assert_in_range(resident_of(true), 1 << 20, 1 << 30);
}

TEST(as_gperftools_spells_it)
{
    write_text(true, false);
    assert_ptr_equal(strstr(text, "heap profile: 3: 4396 [4: 4446] @ heap_v2/1\n# reclaim 2\n"),
                     text);
    assert_line(comments);
    assert_line("\n2: 300 [3: 350] @ 0x1000 0x2001\n");
    assert_line("\n1: 4096 [1: 4096] @ 0x800000000000004d 0x2001\n");
    assert_line("\nMAPPED_LIBRARIES:\n");
    assert_end();
}

TEST(a_forked_child_says_whose_it_is)
{
    parent = 4710;
    write_text(false, false);
    parent = 0;
    assert_line("\n# live 12345\n# parent 4710\n# inherited 678\n# samples 3 live");
}

TEST(the_peak)
{
    write_text(false, true);
    assert_line("\n# profile peak\n");
    assert_line("\n@ 0x1000 0x2001\n  t*: 3: 350 [3: 350]\n");
    assert_line("\n@ 0x800000000000004d 0x2001\n  t*: 0: 0 [1: 4096]\n");
}

TEST(dates)
{
    static const struct {
        uint64_t time;
        const char *text;
    } dates[] = {{0, "1970-01-01T00:00:00Z"},          {951782399, "2000-02-28T23:59:59Z"},
                 {951782400, "2000-02-29T00:00:00Z"},  {1709251199, "2024-02-29T23:59:59Z"},
                 {4107542400, "2100-03-01T00:00:00Z"}, {1767225599, "2025-12-31T23:59:59Z"}};

    for (size_t i = 0; i < array_len(dates); i++) {
        char buf[32];
        struct rcl_out o = {.buf = buf, .size = sizeof buf - 1};
        rcl_prof_print_time(&o, dates[i].time, true);
        buf[o.used] = '\0';
        assert_string_equal(buf, dates[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(as_jemalloc_spells_it, set_up),
        cmocka_unit_test_setup(what_is_resident, set_up),
        cmocka_unit_test_setup(as_gperftools_spells_it, set_up),
        cmocka_unit_test_setup(a_forked_child_says_whose_it_is, set_up),
        cmocka_unit_test_setup(the_peak, set_up),
        cmocka_unit_test(dates),
    };

    rcl_os_init();
    if (!rcl_stacks_boot() || !rcl_prof_text_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
