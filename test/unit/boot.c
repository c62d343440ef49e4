/* SPDX-License-Identifier: MIT */
/*
 * Tests of boot.h.  This program has booted before main(): what happens then is looked at
 * in a second run of it, made in a child with the environment under test.
 */
#include "unit.h"

#include "account.h"
#include "arena.h"
#include "boot.h"
#include "heap.h"
#include "options.h"
#include "purge.h"
#include "thread.h"

static const struct rcl_options defaults = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#include "options.def"
#undef OPT
};

/* The environment, and what the second run must then find in rcl_opt. */
struct run {
    const char *reclaim, *malloc;
    const char *expected; /* "name=value name=value": the others have their defaults */
};

static const char *self = "/proc/self/exe";

static void run_again(void *arg)
{
    const struct run *r = arg;

    unsetenv("RECLAIM_CONF");
    unsetenv("MALLOC_CONF");
    if (r->reclaim != NULL)
        setenv("RECLAIM_CONF", r->reclaim, 1);
    if (r->malloc != NULL)
        setenv("MALLOC_CONF", r->malloc, 1);
    execl(self, "boot", "expect", r->expected, (char *)NULL);
    _exit(3);
}

/* In the second run: 0, or the number of what is wrong. */
static int expect(const char *text)
{
    struct rcl_options expected = defaults;
    int64_t *values = (int64_t *)&expected;

    if (__atomic_load_n(&rcl_boot_state, __ATOMIC_ACQUIRE) != RCL_BOOT_DONE)
        return 10;
    while (*text != '\0') {
        size_t i = 0, length = strcspn(text, "=");
        while (i < rcl_options_count() && (strlen(rcl_options_name(i)) != length ||
                                           strncmp(rcl_options_name(i), text, length) != 0))
            i++;
        if (i == rcl_options_count())
            return 11;
        values[i] = strtoll(text + length + 1, (char **)&text, 10);
        text += strspn(text, " ");
    }
    for (size_t i = 0; i < rcl_options_count(); i++)
        if (rcl_options_value(&rcl_opt, i) != values[i])
            return 20 + (int)i;
    void *p = rcl_heap_alloc(100);
    if (p == NULL)
        return 12;
    rcl_heap_free(p, "free");
    return 0;
}

static void run_quietly(const char *reclaim, const char *malloc, const char *expected)
{
    struct run r = {reclaim, malloc, expected};
    struct unit_child child;

    unit_run_child(run_again, &r, &child);
    assert_string_equal(child.text, "");
    assert_int_equal(child.status, 0);
}

/* Exactly one line, and the value is as if the option were not there. */
static void run_warned(const char *reclaim, const char *malloc, const char *expected,
                       const char *line)
{
    struct run r = {reclaim, malloc, expected};
    struct unit_child child;

    unit_run_child(run_again, &r, &child);
    if (strncmp(child.text, line, strlen(line)) != 0)
        print_message("expected: %s\nfound: %s\n", line, child.text);
    assert_int_equal(strncmp(child.text, line, strlen(line)), 0);
    assert_non_null(strstr(child.text, "; ignored\n"));
    assert_ptr_equal(strchr(child.text, '\n'), child.text + strlen(child.text) - 1);
    assert_int_equal(child.status, 0);
}

/* --- options ----------------------------------------------------------------------------- */

TEST(without_options_the_defaults)
{
    run_quietly(NULL, NULL, "");
    run_quietly("", "", "");
}

TEST(options_from_either_variable)
{
    run_quietly("dirty_decay_ms:500,narenas:2", NULL, "dirty_decay_ms=500 narenas=2");
    run_quietly(NULL, "dirty_decay_ms:500,narenas:2", "dirty_decay_ms=500 narenas=2");
    run_quietly("dirty_min:1m", "dirty_share:3", "dirty_min=1048576 dirty_share=3");
    run_quietly("tcache:false, background_thread:false", NULL, "tcache=0 background_thread=0");
    run_quietly("dirty_decay_ms:-1", NULL, "dirty_decay_ms=-1");
}

TEST(our_own_variable_has_the_last_word)
{
    run_quietly("dirty_decay_ms:500", "dirty_decay_ms:700,narenas:3",
                "dirty_decay_ms=500 narenas=3");
    run_quietly("tcache:true", "tcache:false", "");
}

TEST(other_allocators_options_pass_in_silence_in_their_variable)
{
    run_quietly(NULL, "prof:true,narenas:2,lg_tcache_max:16", "narenas=2");
}

TEST(a_wrong_option_is_one_line_and_ignored)
{
    run_warned("dirty_decay:5,narenas:2", NULL, "narenas=2",
               "libreclaim: RECLAIM_CONF: \"dirty_decay\" ");
    run_warned("narenas:1000", NULL, "", "libreclaim: RECLAIM_CONF: narenas: \"1000\" ");
    run_warned("narenas:x", NULL, "", "libreclaim: RECLAIM_CONF: ");
    run_warned(NULL, "tcache:perhaps,narenas:4", "narenas=4", "libreclaim: MALLOC_CONF: ");
    run_warned("garbage", NULL, "", "libreclaim: RECLAIM_CONF: \"garbage\" ");
    char much[3000];
    memset(much, 'x', sizeof much);
    memcpy(much + sizeof much - 3, ":1", 3);
    run_warned(much, NULL, "", "libreclaim: RECLAIM_CONF: \"xxxxx");
}

TEST(the_nearest_name_is_suggested)
{
    struct run r = {"dirty_decai_ms:5", NULL, ""};
    struct unit_child child;

    unit_run_child(run_again, &r, &child);
    assert_non_null(strstr(child.text, "did you mean \"dirty_decay_ms\"?"));
    assert_int_equal(child.status, 0);
}

TEST(abort_conf_ends_the_program_and_only_for_an_error)
{
    static const struct run wrong[] = {{"abort_conf:true,nonsense:1", NULL, ""},
                                       {"nonsense:1,abort_conf:true", NULL, ""},
                                       {"abort_conf:true", "narenas:x", ""}};

    run_quietly("abort_conf:true,narenas:2", NULL, "abort_conf=1 narenas=2");
    for (size_t i = 0; i < array_len(wrong); i++) {
        struct unit_child child;
        unit_run_child(run_again, (void *)&wrong[i], &child);
        assert_non_null(strstr(child.text, "libreclaim: abort_conf: "));
        assert_true(WIFSIGNALED(child.status));
        assert_int_equal(WTERMSIG(child.status), SIGABRT);
    }
}

static void assert_lists_all(const char *text)
{
    for (size_t i = 0; i < rcl_options_count(); i++) {
        char name[100];
        snprintf(name, sizeof name, "\n  %s:", rcl_options_name(i));
        const char *at = strstr(text, name);
        assert_non_null(at);
        assert_null(strstr(at + 1, name)); /* once */
    }
}

TEST(confirm_conf_lists_every_option)
{
    struct run r = {"confirm_conf:true,dirty_decay_ms:-1,narenas:2,tcache:false", NULL,
                    "confirm_conf=1 dirty_decay_ms=-1 narenas=2 tcache=0"};
    struct unit_child child;

    unit_run_child(run_again, &r, &child);
    assert_int_equal(child.status, 0);
    assert_int_equal(strncmp(child.text, "libreclaim: page size ", 22), 0);
    assert_lists_all(child.text);
    assert_non_null(strstr(child.text, "\n  confirm_conf:true\n"));
    assert_non_null(strstr(child.text, "\n  dirty_decay_ms:-1\n"));
    assert_non_null(strstr(child.text, "\n  narenas:2\n"));
    assert_non_null(strstr(child.text, "\n  tcache:false\n"));
    size_t lines = 0;
    for (const char *at = child.text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, 1 + rcl_options_count());
}

/* --- once -------------------------------------------------------------------------------- */

static uint32_t ready;

static void *boot_too(void *arg)
{
    (void)arg;
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&ready, __ATOMIC_SEQ_CST) < 8) {}
    REQUIRE(rcl_boot());
    REQUIRE(__atomic_load_n(&rcl_boot_state, __ATOMIC_ACQUIRE) == RCL_BOOT_DONE);
    REQUIRE(rcl_arena_count() == 1);
    sigset_t mask;
    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
    for (int sig = 1; sig < 32; sig++)
        REQUIRE(!sigismember(&mask, sig));
    return NULL;
}

/* As in a process that has not booted; confirm_conf tells how often it does. */
static void boot_at_once(void *arg)
{
    char args[8];

    (void)arg;
    setenv("RECLAIM_CONF", "confirm_conf:true", 1);
    rcl_boot_state = 0;
    unit_threads(8, boot_too, args, 1);
    REQUIRE(rcl_boot());
}

TEST(threads_that_come_at_once_boot_once)
{
    for (int i = 0; i < 20; i++) {
        struct unit_child child;

        unit_run_child(boot_at_once, NULL, &child);
        assert_int_equal(child.status, 0);
        assert_lists_all(child.text); /* once */
    }
}

TEST(booted_before_main_and_for_good)
{
    assert_int_equal(rcl_boot_state, RCL_BOOT_DONE);
    assert_true(rcl_boot());
    assert_true(rcl_boot_slow());
    assert_int_equal(rcl_arena_count(), 1);
    errno = UNIT_ERRNO;
    assert_true(rcl_boot_slow());
    assert_int_equal(errno, UNIT_ERRNO);
}

static void no_memory(void *arg)
{
    (void)arg;
    /* Neither boot again nor anything else needs memory that boot did not take. */
    unit_limit_memory(64 * KIB);
    REQUIRE(rcl_boot_slow());
}

TEST(booting_again_takes_nothing)
{
    unit_child_passes(no_memory, NULL);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(booted_before_main_and_for_good),
        cmocka_unit_test(booting_again_takes_nothing),
        cmocka_unit_test(without_options_the_defaults),
        cmocka_unit_test(options_from_either_variable),
        cmocka_unit_test(our_own_variable_has_the_last_word),
        cmocka_unit_test(other_allocators_options_pass_in_silence_in_their_variable),
        cmocka_unit_test(a_wrong_option_is_one_line_and_ignored),
        cmocka_unit_test(the_nearest_name_is_suggested),
        cmocka_unit_test(abort_conf_ends_the_program_and_only_for_an_error),
        cmocka_unit_test(confirm_conf_lists_every_option),
        cmocka_unit_test(threads_that_come_at_once_boot_once),
    };

    if (argc == 3 && strcmp(argv[1], "expect") == 0)
        return expect(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
