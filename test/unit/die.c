/* SPDX-License-Identifier: MIT */
/* Tests of die.h: one exact line on stderr, and what follows it. */
#include "unit.h"

#include "die.h"

static void die_with_numbers(void *arg)
{
    rcl_die("%s(): bad pointer %p, %zu bytes", "free", arg, (size_t)48);
}

TEST(dying_is_one_line_and_sigabrt)
{
    unit_child_dies(die_with_numbers, (void *)0x1234,
                    "libreclaim: free(): bad pointer 0x1234, 48 bytes\n");
}

static void die_at_length(void *arg)
{
    rcl_die("%s|%s", (const char *)arg, (const char *)arg);
}

TEST(a_long_line_is_complete)
{
    char word[701], expected[1500];

    memset(word, 'w', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    snprintf(expected, sizeof expected, "libreclaim: %s|%s\n", word, word);
    unit_child_dies(die_at_length, word, expected);
}

static void note_abort(int number)
{
    static const char text[] = "handler\n";

    (void)number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(2);
    _exit(7);
}

static void die_with_a_handler(void *arg)
{
    (void)arg;
    signal(SIGABRT, note_abort);
    rcl_die("last words");
}

TEST(an_abort_handler_of_the_program_runs)
{
    struct unit_child child;

    unit_run_child(die_with_a_handler, NULL, &child);
    assert_true(WIFEXITED(child.status));
    assert_int_equal(WEXITSTATUS(child.status), 7);
    assert_string_equal(child.text, "libreclaim: last words\nhandler\n");
}

static void warn_twice(void *arg)
{
    (void)arg;
    rcl_warn("%d: take care", 1);
    rcl_warn("%d: go on", 2);
    _exit(5);
}

TEST(after_a_warning_the_program_goes_on)
{
    struct unit_child child;

    unit_run_child(warn_twice, NULL, &child);
    assert_true(WIFEXITED(child.status));
    assert_int_equal(WEXITSTATUS(child.status), 5);
    assert_string_equal(child.text, "libreclaim: 1: take care\nlibreclaim: 2: go on\n");
}

static void warn_fatally(void *arg)
{
    (void)arg;
    rcl_warn_fatal(true);
    rcl_tell("a remark");
    rcl_warn("take care");
    _exit(5);
}

TEST(a_warning_is_the_end_where_that_is_asked_for)
{
    struct unit_child child;

    unit_run_child(warn_fatally, NULL, &child);
    assert_true(WIFSIGNALED(child.status));
    assert_int_equal(WTERMSIG(child.status), SIGABRT);
    assert_string_equal(child.text, "libreclaim: a remark\nlibreclaim: take care\n"
                                    "libreclaim: abort: stopped because of the warning above\n");
}

static void on_message(void *opaque, const char *text)
{
    REQUIRE(opaque == NULL);
    REQUIRE(write(STDERR_FILENO, "[", 1) == 1);
    REQUIRE(write(STDERR_FILENO, text, strlen(text)) > 0);
    REQUIRE(write(STDERR_FILENO, "]", 1) == 1);
}

static void say_to_the_program(void *arg)
{
    malloc_message = on_message;
    rcl_warn("take care");
    rcl_warn("%s", (const char *)arg);
    rcl_die("last words");
}

TEST(a_function_of_the_program_gets_the_lines)
{
    struct unit_child child;
    char word[601], *joined;

    memset(word, 'w', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    unit_run_child(say_to_the_program, word, &child);
    assert_true(WIFSIGNALED(child.status));
    assert_non_null(strstr(child.text, "[libreclaim: take care\n]"));
    assert_non_null(strstr(child.text, "[libreclaim: last words\n]"));
    /* A longer line comes in pieces, and is complete. */
    joined = strchr(child.text, ']');
    size_t n = 0;
    for (const char *at = joined; *at != '\0'; at++)
        n += *at == 'w';
    assert_int_equal(n, sizeof word - 1 + 1);
}

static void die_without_stderr(void *arg)
{
    (void)arg;
    close(STDERR_FILENO);
    rcl_die("nobody hears this");
}

TEST(dying_needs_no_stderr)
{
    struct unit_child child;

    unit_run_child(die_without_stderr, NULL, &child);
    assert_string_equal(child.text, "");
    assert_true(WIFSIGNALED(child.status));
    assert_int_equal(WTERMSIG(child.status), SIGABRT);
}

static int counted;

static bool count_and_say(bool value)
{
    counted++;
    return value;
}

static void assert_something_false(void *arg)
{
    (void)arg;
    rcl_assert(count_and_say(false));
}

TEST(asserts_are_checked_in_debug_builds)
{
    counted = 0;
    rcl_assert(count_and_say(true));
    assert_int_equal(counted, RCL_DEBUG ? 1 : 0);
    if (RCL_DEBUG)
        unit_child_dies(assert_something_false, NULL,
                        "libreclaim: internal error, please report: ");
    else
        unit_child_passes(assert_something_false, NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(dying_is_one_line_and_sigabrt),
        cmocka_unit_test(a_long_line_is_complete),
        cmocka_unit_test(an_abort_handler_of_the_program_runs),
        cmocka_unit_test(a_warning_is_the_end_where_that_is_asked_for),
        cmocka_unit_test(a_function_of_the_program_gets_the_lines),
        cmocka_unit_test(after_a_warning_the_program_goes_on),
        cmocka_unit_test(dying_needs_no_stderr),
        cmocka_unit_test(asserts_are_checked_in_debug_builds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
