/* SPDX-License-Identifier: MIT */
/*
 * The end of a program that has freed a block twice: a handler of SIGABRT may allocate, free
 * and fork, as crash reporters do, and other threads may as well meanwhile.
 */
#include "../testlib.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { HANDLED = 42 };

static void *volatile kept[64];

static void allocate_and_free(size_t rounds)
{
    for (size_t i = 0; i < rounds; i++) {
        size_t size = (size_t)1 << (i % 22);
        void *block = malloc(size);
        REQUIRE(block != NULL);
        test_fill(block, size < 4096 ? size : 4096, i);
        REQUIRE(test_intact(block, size < 4096 ? size : 4096, size < 4096 ? size : 4096, i));
        free(kept[i % COUNT_OF(kept)]);
        kept[i % COUNT_OF(kept)] = block;
    }
}

static void *work(void *unused)
{
    allocate_and_free(20000);
    return unused;
}

static void report(int number)
{
    pthread_t thread;
    (void)number;

    allocate_and_free(20000);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        test_watch_child(20, "the child of the handler");
        allocate_and_free(2000);
        _exit(0);
    }
    REQUIRE(test_exited_well(test_wait(child)));
    /* Nothing of ours is held that another thread could need. */
    REQUIRE(pthread_create(&thread, NULL, work, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    _exit(HANDLED);
}

/* Blocks of this size, every other one twice. */
static int part_twice(char **arguments)
{
    enum { COUNT = 3000 };
    static void *block[COUNT];
    size_t size = (size_t)strtoull(arguments[0], NULL, 10);
    size_t count = size >= MIB ? 20 : COUNT;

    signal(SIGABRT, report);
    for (size_t i = 0; i < count; i++)
        REQUIRE((block[i] = malloc(size)) != NULL);
    for (size_t round = 0; round < 2; round++)
        for (size_t i = 0; i < count; i += 2)
            free(opaque(block[i]));
    return 1;
}

/* Seen while the thread only waits: by whoever empties its cache. */
static int part_idle(char **arguments)
{
    enum { COUNT = 4000 };
    static void *block[COUNT];
    (void)arguments;

    signal(SIGABRT, report);
    void *twice = malloc(50);
    free(twice);
    free(opaque(twice));
    for (size_t i = 0; i < COUNT; i++)
        REQUIRE((block[i] = calloc(1, 3000)) != NULL);
    for (size_t i = 0; i < COUNT; i++)
        free(block[i]);
    sleep(3);
    /* The helper cannot run a handler of the program: whoever comes next does. */
    REQUIRE((block[0] = malloc(100 * KIB)) != NULL);
    malloc_trim(0);
    return 1;
}

static int part_exit(char **arguments)
{
    (void)arguments;
    signal(SIGABRT, report);
    void *twice = malloc(50);
    free(twice);
    free(opaque(twice));
    return 1; /* exit() is where it is seen */
}

static void check(const char *part, const char *argument)
{
    test_watch(60, part);
    int status = test_run_part(part, argument, NULL);
    test_unwatch();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), HANDLED);
}

static void test_handlers_of_abort_go_on(void **state)
{
    static const char *const sizes[] = {"1", "100", "5000", "20000", "40000", "100000", "3000000"};
    (void)state;

    if (test_foreign())
        skip();
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        check("twice", sizes[i]);
}

static void test_a_double_free_seen_by_the_helper(void **state)
{
    (void)state;
    if (test_foreign())
        skip();
    check("idle", NULL);
}

static void test_a_double_free_seen_at_exit(void **state)
{
    (void)state;
    if (test_foreign())
        skip();
    check("exit", NULL);
}

int main(int argc, char **argv)
{
    static const struct test_part parts[] = {
        {"twice", part_twice},
        {"idle", part_idle},
        {"exit", part_exit},
    };
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handlers_of_abort_go_on),
        cmocka_unit_test(test_a_double_free_seen_by_the_helper),
        cmocka_unit_test(test_a_double_free_seen_at_exit),
    };

    if (test_is_part(argc, argv))
        return test_main_part(parts, COUNT_OF(parts), argv);
    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
