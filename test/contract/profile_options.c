/* SPDX-License-Identifier: MIT */
/*
 * What each option of heap profiles does, seen by what a program leaves that runs under it.
 */
#include "profile.h"

/* --- what the child does ------------------------------------------------------------------ */

/* A request that fails; sampled is something before it. */
#define FAILING(name, call)                \
    static int name(char **arguments)      \
    {                                      \
        (void)arguments;                   \
        keep(malloc(opaque_size(100000))); \
        errno = 0;                         \
        REQUIRE((call) == NULL);           \
        REQUIRE(errno == ENOMEM);          \
        return 0;                          \
    }

FAILING(part_fail_malloc, malloc(opaque_size(SIZE_MAX)))
FAILING(part_fail_address, malloc(opaque_size((size_t)1 << 47)))
FAILING(part_fail_half, malloc(opaque_size(PTRDIFF_MAX)))
FAILING(part_fail_calloc, calloc(opaque_size(SIZE_MAX / 2), 3))
FAILING(part_fail_realloc, realloc(kept[0], opaque_size(SIZE_MAX)))
FAILING(part_fail_aligned, aligned_alloc(64, opaque_size(SIZE_MAX - 4095)))

static int part_huge(char **arguments)
{
    (void)arguments;
    for (int i = 0; i < 10; i++)
        keep(malloc(opaque_size(32 * MIB)));
    return 0;
}

/* Hundreds of attempts for each of the options that write while a program runs. */
static int part_grow(char **arguments)
{
    (void)arguments;
    for (int i = 0; i < 1000; i++)
        keep(malloc(opaque_size(100000)));
    return 0;
}

static int part_one_block(char **arguments)
{
    (void)arguments;
    keep(malloc(opaque_size(100000)));
    return 0;
}

/* Up to 9 MiB and down, with a free of a sample at each MiB. */
static int part_climb(char **arguments)
{
    (void)arguments;
    for (int i = 0; i < 9; i++) {
        keep(malloc(opaque_size(MIB)));
        free(opaque(malloc(opaque_size(100))));
    }
    while (keeping > 0)
        free(kept[--keeping]);
    return 0;
}

/* Standard output has a buffer, the last of the destructors of the program writes itself. */
static bool says_goodbye;

static void goodbye(void)
{
    if (says_goodbye)
        test_say("goodbye\n");
}

/* After those of the library, where that is linked to the program: its priorities are higher. */
__attribute__((section(".fini_array.00050"), used)) static void (*last_destructor)(void) = goodbye;

static int part_leave(char **arguments)
{
    says_goodbye = true;
    printf("buffered\n");
    return part_one_block(arguments);
}

/* --- the tests ---------------------------------------------------------------------------- */

#define SAMPLE_ALL "prof:true,lg_prof_sample:0"

/* Whatever asks for more than there are addresses fails like any other. */
static void test_a_failed_allocation(void **state)
{
    static const char *const parts[] = {"fail-malloc", "fail-address", "fail-half",
                                        "fail-calloc", "fail-realloc", "fail-aligned"};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        run_well(parts[i], SAMPLE_ALL);
        assert_string_equal(output, "");
        if (written(".failure.heap") != 1)
            print_message("%s: no profile\n", parts[i]);
        assert_int_equal(written(".failure.heap"), 1);
        tear_down(NULL);
        set_up(NULL);
        run_well(parts[i], SAMPLE_ALL ",prof_failure:false");
        assert_int_equal(written("heap"), 0);
    }
}

static void test_refusals_are_said_once(void **state)
{
    static const char *const when[] = {"lg_prof_interval:18", "prof_grow:1", "prof_gdump:true"};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(when); i++) {
        char more[256];
        snprintf(more, sizeof more, "%s,lg_prof_sample:14,prof_final:true,prof:true,%s",
                 "prof_prefix:/nonexistent/x", when[i]);
        run_well("grow", more);
        assert_non_null(strstr(output, "libreclaim: no heap profile ("));
        assert_non_null(strstr(output, "cannot write /nonexistent/x."));
        assert_ptr_equal(strchr(output, '\n'), output + strlen(output) - 1); /* one line */
    }
}

static void test_leaks_are_told(void **state)
{
    (void)state;
    run_well("one-block", SAMPLE_ALL);
    assert_string_equal(output, "");
    assert_int_equal(written("heap"), 0);
    run_well("one-block", SAMPLE_ALL ",prof_leak:true");
    assert_ptr_equal(strstr(output, "libreclaim: prof_leak: at the end about "), output);
    assert_non_null(strstr(output, "; see "));
    assert_ptr_equal(strchr(output, '\n'), output + strlen(output) - 1);
    read_profile(".final.heap");
    /* What is not sampled is not found, and nothing is without profiling. */
    run_well("one-block", "prof:true,lg_prof_sample:40,prof_leak_error:true");
    assert_string_equal(output, "");
    run_well("one-block", "lg_prof_sample:0,prof_leak_error:true");
    assert_string_equal(output, "");
}

/* The end of the program is that of every program, but for the code. */
static void test_leaks_are_an_error(void **state)
{
    (void)state;
    run_well("leave", SAMPLE_ALL ",prof_leak:true");
    for (int i = 0; i < 2; i++) {
        assert_non_null(strstr(output, "libreclaim: prof_leak: at the end about "));
        assert_non_null(strstr(output, "goodbye\n"));
        assert_non_null(strstr(output, "buffered\n"));
        int status = run_with("leave", SAMPLE_ALL ",prof_leak_error:true");
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
    }
}

static void test_off_at_the_start(void **state)
{
    (void)state;
    run_child("one-block", ",prof_active:false");
    assert_int_equal(stacks(), 0);
    assert_non_null(strstr(profile, "\n# samples 0 live, 0 in all\n"));
    tear_down(NULL);
    set_up(NULL);
    run_child("one-block", ",prof_active:true");
    assert_true(stacks() > 0);
}

static void test_more_mapped_than_ever(void **state)
{
    (void)state;
    run_well("huge", SAMPLE_ALL ",prof_gdump:false");
    assert_int_equal(written("heap"), 0);
    run_well("huge", SAMPLE_ALL ",prof_gdump:true,prof_keep:0");
    assert_true(written(".gdump.heap") >= 2);
}

/* The peak by steps of 1 % is the peak; by steps of 1000 % it is where a climb began. */
static void test_steps_of_the_peak(void **state)
{
    static const char *const steps[] = {"1", "1000"};
    unsigned long long bytes[COUNT_OF(steps)];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        char more[64];
        unsigned long long blocks;
        snprintf(more, sizeof more, ",prof_peak_step:%s", steps[i]);
        run_child("climb", more);
        read_profile(".peak.heap");
        const char *total = strstr(profile, "\n  t*: ");
        assert_non_null(total);
        assert_int_equal(sscanf(total, " t*: %llu: %llu", &blocks, &bytes[i]), 2);
        tear_down(NULL);
        set_up(NULL);
    }
    assert_true(bytes[0] >= 9 * MIB);
    assert_true(bytes[1] >= MIB && bytes[1] < 5 * MIB);
}

int main(int argc, char **argv)
{
    static const struct test_part parts[] = {
        {"fail-malloc", part_fail_malloc},
        {"fail-address", part_fail_address},
        {"fail-half", part_fail_half},
        {"fail-calloc", part_fail_calloc},
        {"fail-realloc", part_fail_realloc},
        {"fail-aligned", part_fail_aligned},
        {"huge", part_huge},
        {"one-block", part_one_block},
        {"climb", part_climb},
        {"leave", part_leave},
        {"grow", part_grow},
    };
    static const struct CMUnitTest tests[] = {
        TESTED(test_a_failed_allocation), TESTED(test_refusals_are_said_once),
        TESTED(test_leaks_are_told),      TESTED(test_leaks_are_an_error),
        TESTED(test_off_at_the_start),    TESTED(test_more_mapped_than_ever),
        TESTED(test_steps_of_the_peak),
    };

    if (test_is_part(argc, argv))
        return test_main_part(parts, COUNT_OF(parts), argv);
    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
