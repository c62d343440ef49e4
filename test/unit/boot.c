/* SPDX-License-Identifier: MIT */
/*
 * Tests of boot.h.  Boot has happened when main() begins, so what depends on the
 * environment is seen in this program started anew: with an argument it tells, instead
 * of testing, what it found.
 */
#include "unit.h"

#include "arena.h"
#include "boot.h"
#include "huge.h"
#include "options.h"
#include "pagemap.h"
#include "purge.h"
#include "thread.h"

/* One start of this program. */
struct scene {
    const char *malloc_conf, *reclaim_conf; /* NULL: unset */
    const char *argument;
};

static void set_or_not(const char *name, const char *value)
{
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

static void become(void *arg)
{
    const struct scene *scene = arg;
    char *words[16], *emulator = getenv("EMULATOR"), self[1024];
    size_t n = 0;

    REQUIRE(rcl_os_read_link("/proc/self/exe", self, sizeof self) > 0);
    if (unit_emulated() && emulator == NULL)
        _exit(UNIT_CHILD_SKIPS);
    for (char *word = unit_emulated() ? strtok(emulator, " ") : NULL; word != NULL && n < 12;
         word = strtok(NULL, " "))
        words[n++] = word;
    words[n++] = self;
    words[n++] = (char *)(uintptr_t)scene->argument;
    words[n] = NULL;
    set_or_not("MALLOC_CONF", scene->malloc_conf);
    set_or_not("RECLAIM_CONF", scene->reclaim_conf);
    execvp(words[0], words);
    _exit(UNIT_CHILD_SKIPS);
}

/* What it writes to stderr. */
static const char *play(const char *malloc_conf, const char *reclaim_conf, const char *argument)
{
    static struct unit_child child;
    struct scene scene = {malloc_conf, reclaim_conf, argument};

    unit_run_child(become, &scene, &child);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == UNIT_CHILD_SKIPS)
        skip();
    if (!WIFEXITED(child.status) || WEXITSTATUS(child.status) != 0)
        print_message("%s", child.text);
    assert_true(WIFEXITED(child.status));
    assert_int_equal(WEXITSTATUS(child.status), 0);
    return child.text;
}

static void assert_says(const char *reclaim_conf, const char *expected)
{
    assert_string_equal(play(NULL, reclaim_conf, "--nothing"), expected);
}

/* --- what this program does when it is started with an argument ------------------------------- */

static int tell_options(void)
{
    for (size_t i = 0; i < rcl_options_count(); i++)
        fprintf(stderr, "%s=%lld\n", rcl_options_name(i),
                (long long)rcl_options_value(&rcl_opt, i));
    return 0;
}

/* Whether a huge block that is cycled through has been noticed. */
static int cycle(void)
{
    struct rcl_huge_stats stats;

    rcl_gate_enter_patient(&rcl_tls.gate);
    for (int round = 0; round < 3; round++) {
        bool zero;
        void *p = rcl_huge_take_in(NULL, 32 * MIB, 1, &zero);
        if (p == NULL)
            return 1;
        rcl_huge_give(rcl_pagemap_desc(p));
    }
    rcl_huge_usage(&stats);
    rcl_gate_leave(&rcl_tls.gate);
    fprintf(stderr, "kept %zu\n", stats.kept_blocks);
    return 0;
}

static int tell(const char *what)
{
    if (strcmp(what, "--nothing") == 0)
        return 0;
    if (strcmp(what, "--options") == 0)
        return tell_options();
    if (strcmp(what, "--limit") == 0)
        return fprintf(stderr, "%u\n", rcl_arena_limit()) < 0;
    if (strcmp(what, "--cycle") == 0)
        return cycle();
    return 1;
}

/* --- booted ---------- */

TEST(it_is_done_before_main)
{
    assert_int_equal(rcl_boot_state, RCL_BOOT_DONE);
    assert_true(rcl_boot());
    assert_true(rcl_boot_slow());
    assert_int_equal(rcl_arena_count(), 1);
    assert_int_equal(rcl_class_of_small(1), RCL_CLASS_FIRST);
}

TEST(it_says_nothing_unasked)
{
    assert_string_equal(play(NULL, NULL, "--nothing"), "");
    assert_string_equal(play("", "", "--nothing"), "");
}

static void *boot_too(void *arg)
{
    REQUIRE(rcl_boot());
    REQUIRE(__atomic_load_n(&rcl_boot_state, __ATOMIC_ACQUIRE) == RCL_BOOT_DONE);
    REQUIRE(rcl_class_of_small(1) == RCL_CLASS_FIRST);
    return arg;
}

static void boot_from_several_threads(void *arg)
{
    char args[8];

    (void)arg;
    for (int i = 0; i < 20; i++) {
        __atomic_store_n(&rcl_boot_state, 0, __ATOMIC_SEQ_CST);
        unit_threads(8, boot_too, args, 1);
    }
    REQUIRE(rcl_arena_count() == 1);
}

TEST(whoever_comes_second_waits)
{
    if (UNIT_TSAN)
        skip(); /* its run time has booted once, and knows that this is a race */
    unit_child_passes(boot_from_several_threads, NULL);
}

/* --- options ---------- */

static long long value_of(const char *text, const char *name)
{
    char line[64];

    snprintf(line, sizeof line, "%s=", name);
    const char *at = strstr(text, line);
    assert_non_null(at);
    return strtoll(at + strlen(line), NULL, 10);
}

TEST(both_variables_are_read_and_ours_counts_more)
{
    const char *text = play("narenas:3,thp:never", "narenas:5,tcache_max:1k", "--options");

    assert_int_equal(value_of(text, "narenas"), 5);
    assert_int_equal(value_of(text, "thp"), 1);
    assert_int_equal(value_of(text, "tcache_max"), 1024);
    assert_null(strstr(text, "libreclaim"));
}

TEST(options_reach_those_they_are_for)
{
    char expected[16];

    snprintf(expected, sizeof expected, "%zu\n", rcl_min(3, RCL_ARENAS_MAX));
    assert_string_equal(play(NULL, "narenas:3", "--limit"), expected);
    snprintf(expected, sizeof expected, "%zu\n", rcl_min(rcl_os_ncpu(), RCL_ARENAS_MAX));
    assert_string_equal(play(NULL, NULL, "--limit"), expected);
}

TEST(what_is_cycled_is_remembered)
{
    assert_string_equal(play(NULL, NULL, "--cycle"), "kept 1\n");
    /* "Never by time" is about what is kept, not about what is remembered. */
    assert_string_equal(play(NULL, "dirty_decay_ms:-1", "--cycle"), "kept 1\n");
    assert_string_equal(play(NULL, "dirty_decay_ms:0", "--cycle"), "kept 0\n");
}

TEST(options_of_other_allocators_are_known)
{
    const char *text = play("percpu_arena:percpu,narenas:2,metadata_thp:auto", "dss:disabled",
                            "--options");
    assert_int_equal(value_of(text, "narenas"), 2);
    assert_null(strstr(text, "libreclaim"));
}

TEST(each_complaint_is_one_exact_line)
{
    assert_says("narena:3", "libreclaim: RECLAIM_CONF: \"narena\" is no option; did you mean "
                            "\"narenas\"?; ignored\n");
    assert_says("narenas:many", "libreclaim: RECLAIM_CONF: narenas: \"many\" is not a number "
                                "(0 to 1048576); ignored\n");
    assert_says("dirty_decay_ms:-2", "libreclaim: RECLAIM_CONF: dirty_decay_ms: \"-2\" is out of "
                                     "range (-1 to 18446744072000); ignored\n");
    assert_says("tcache:maybe", "libreclaim: RECLAIM_CONF: tcache: \"maybe\" is neither true nor "
                                "false; ignored\n");
    assert_says("tcache", "libreclaim: RECLAIM_CONF: \"tcache\" has no value (write key:value); "
                          "ignored\n");
    assert_says("thp:true", "libreclaim: RECLAIM_CONF: thp: \"true\" is none of the words "
                            "(auto|never|default|always); ignored\n");
    assert_says("narena:3,tcache", "libreclaim: RECLAIM_CONF: \"narena\" is no option; did you "
                                   "mean \"narenas\"?; ignored\nlibreclaim: RECLAIM_CONF: "
                                   "\"tcache\" has no value (write key:value); ignored\n");
    assert_string_equal(play("narena:3", NULL, "--nothing"),
                        "libreclaim: MALLOC_CONF: \"narena\" is no option; did you mean "
                        "\"narenas\"?; ignored\n");
}

TEST(the_right_ones_beside_a_wrong_one_count)
{
    const char *text = play(NULL, "narena:3,narenas:7,thp", "--options");

    assert_int_equal(value_of(text, "narenas"), 7);
    assert_int_equal(value_of(text, "thp"), 0);
}

static size_t lines(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

TEST(whatever_is_in_the_variable_a_complaint_is_one_line)
{
    static char longest[100000];
    const char *text;

    memset(longest, 'k', sizeof longest - 1);
    longest[sizeof longest / 2] = ':';
    text = play(NULL, longest, "--nothing");
    assert_int_equal(lines(text), 1);
    assert_true(strlen(text) < 400);
    text = play(NULL, "a\nb:1", "--nothing");
    assert_int_equal(lines(text), 1);
    text = play(NULL, "\033[2Jclear:1", "--nothing");
    assert_null(strchr(text, '\033'));
}

TEST(a_wrong_option_ends_the_program_where_that_is_asked_for)
{
    struct scene scene = {NULL, "narena:3,abort_conf:true", "--nothing"};
    struct unit_child child;

    unit_run_child(become, &scene, &child);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == UNIT_CHILD_SKIPS)
        skip();
    assert_true(WIFSIGNALED(child.status));
    assert_int_equal(WTERMSIG(child.status), SIGABRT);
    assert_string_equal(child.text, "libreclaim: RECLAIM_CONF: \"narena\" is no option; did you "
                                    "mean \"narenas\"?; ignored\nlibreclaim: abort_conf: stopped "
                                    "because of the wrong option above\n");
    assert_says("narenas:3,abort_conf:true", "");
}

TEST(every_option_is_listed_on_request)
{
    const char *text = play("dss:primary", "confirm_conf:true,narenas:2,dirty_decay_ms:-1",
                            "--nothing");
    char line[256];

    assert_int_equal(lines(text), 2 + 1 + rcl_options_count() + 2);
    snprintf(
        line, sizeof line,
        "libreclaim: options from MALLOC_CONF: dss:primary\n"
        "libreclaim: options from RECLAIM_CONF: confirm_conf:true,narenas:2,dirty_decay_ms:-1\n"
        "libreclaim: page size %zu, at most %zu arenas",
        rcl_page_size(), rcl_min(2, RCL_ARENAS_MAX));
    assert_memory_equal(text, line, strlen(line));
    for (size_t i = 0; i < rcl_options_count(); i++) {
        char shown[RCL_OPTION_TEXT];
        const char *name = rcl_options_name(i), *value = rcl_options_text(&rcl_opt, i, shown);
        if (strcmp(name, "narenas") == 0)
            value = "2";
        if (strcmp(name, "dirty_decay_ms") == 0)
            value = "-1";
        if (strcmp(name, "confirm_conf") == 0)
            value = "true";
        snprintf(line, sizeof line, "\n  %s:%s\n", name, value);
        assert_non_null(strstr(text, line));
    }
    assert_non_null(strstr(text, "\nlibreclaim: accepted, without effect here:\n  dss: "));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_done_before_main),
        cmocka_unit_test(it_says_nothing_unasked),
        cmocka_unit_test(whoever_comes_second_waits),
        cmocka_unit_test(both_variables_are_read_and_ours_counts_more),
        cmocka_unit_test(options_reach_those_they_are_for),
        cmocka_unit_test(what_is_cycled_is_remembered),
        cmocka_unit_test(options_of_other_allocators_are_known),
        cmocka_unit_test(each_complaint_is_one_exact_line),
        cmocka_unit_test(the_right_ones_beside_a_wrong_one_count),
        cmocka_unit_test(whatever_is_in_the_variable_a_complaint_is_one_line),
        cmocka_unit_test(a_wrong_option_ends_the_program_where_that_is_asked_for),
        cmocka_unit_test(every_option_is_listed_on_request),
    };

    if (argc > 1)
        return tell(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
