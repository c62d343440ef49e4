/* SPDX-License-Identifier: MIT */
/*
 * Children that share the parent's memory until they exec: vfork, posix_spawn, and what
 * is built on them.  Nothing the allocator does around fork may disturb them.
 */
#include "../testlib.h"

#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <cmocka.h>

extern char **environ;

static volatile int stop;
static pthread_t worker[2];

static void *work(void *argument)
{
    struct test_random random = {(uintptr_t)argument};
    struct {
        void *block;
        size_t size;
    } held[100] = {{0}};

    while (!stop) {
        size_t i = test_below(&random, COUNT_OF(held));

        REQUIRE(test_intact(held[i].block, held[i].size, held[i].size, i));
        free(held[i].block);
        held[i].size = test_log_size(&random, 14);
        held[i].block = malloc(held[i].size);
        REQUIRE(held[i].block != NULL);
        test_fill(held[i].block, held[i].size, i);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        free(held[i].block);
    return NULL;
}

static int start_workers(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(worker); i++)
        REQUIRE(pthread_create(&worker[i], NULL, work, (void *)(i + 1)) == 0);
    return 0;
}

static int stop_workers(void **state)
{
    (void)state;
    stop = 1;
    for (size_t i = 0; i < COUNT_OF(worker); i++)
        REQUIRE(pthread_join(worker[i], NULL) == 0);
    return 0;
}

static void test_posix_spawn(void **state)
{
    char *arguments[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c",
                         (char *)(uintptr_t) "exit 7", NULL};
    (void)state;

    for (size_t round = 0; round < 200; round++) {
        pid_t child;

        test_watch(30, "posix_spawn");
        assert_int_equal(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ), 0);
        int status = test_wait_watched(child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        free(malloc(round * 1000));
    }
    assert_int_equal(posix_spawn(&(pid_t){0}, "/no/such/file", NULL, NULL, arguments, environ),
                     ENOENT);
    test_unwatch();
}

/* On its own, because vfork returns twice into one frame: nothing may live across it. */
static pid_t vfork_and_exec(void)
{
    pid_t child = vfork();

    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
        _exit(127);
    }
    return child;
}

static void test_vfork(void **state)
{
    (void)state;
    for (size_t round = 0; round < 200; round++) {
        test_watch(30, "vfork");
        pid_t child = vfork_and_exec();

        assert_true(child > 0);
        int status = test_wait_watched(child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        free(malloc(round * 1000));
    }
    test_unwatch();
}

static void test_system_and_popen(void **state)
{
    (void)state;
    for (size_t round = 0; round < 50; round++) {
        char line[16] = "";

        test_watch(30, "system and popen");
        assert_int_equal(WEXITSTATUS(system("exit 3")), 3);
        FILE *pipe_end = popen("echo out", "r");
        assert_non_null(pipe_end);
        assert_non_null(fgets(line, sizeof line, pipe_end));
        assert_string_equal(line, "out\n");
        assert_int_equal(pclose(pipe_end), 0);
    }
    test_unwatch();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posix_spawn),
        cmocka_unit_test(test_vfork),
        cmocka_unit_test(test_system_and_popen),
    };

    test_begin();
    return cmocka_run_group_tests(tests, start_workers, stop_workers);
}
