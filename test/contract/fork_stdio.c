/* SPDX-License-Identifier: MIT */
/*
 * fork beside threads that use stdio.  glibc's fork takes the lock of the list of
 * streams after the prepare handlers; fflush(NULL) holds that lock while it waits for
 * the lock of one stream; and the owner of that one may be waiting for malloc.  An
 * allocator that holds its locks across fork closes the circle (glibc bug 19431).
 */
#include "../testlib.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { FORKS = 400, LINES = 12, TEXTS = 5000 };

static volatile int stop;
static char path[] = "/tmp/fork_stdio.XXXXXX";

static int make_file(void **state)
{
    int fd = mkstemp(path);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    (void)state;

    if (file == NULL)
        return -1;
    for (size_t i = 0; i < LINES; i++)
        fprintf(file, "%0*zu\n", (int)(100 + i * 15000), i); /* beyond any thread's cache */
    return fclose(file);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

/* The first read allocates the buffer and getline grows the line, under the stream's lock. */
static void *read_files(void *argument)
{
    while (!stop) {
        FILE *file = fopen(path, "r");
        char *line = NULL;
        size_t room = 0, lines = 0;

        REQUIRE(file != NULL);
        while (getline(&line, &room, file) > 0)
            lines++;
        REQUIRE(lines == LINES);
        free(line);
        REQUIRE(fclose(file) == 0);
    }
    return argument;
}

/* A memory stream grows by malloc and free inside fputs. */
static const char growing[] = "a line that makes the buffer grow, sooner or later\n";

static void *write_memory(void *argument)
{
    while (!stop) {
        char *text = NULL;
        size_t length = 0;
        FILE *memory = open_memstream(&text, &length);

        REQUIRE(memory != NULL);
        for (size_t i = 0; i < TEXTS; i++)
            REQUIRE(fputs(growing, memory) >= 0);
        REQUIRE(fclose(memory) == 0);
        REQUIRE(length == TEXTS * strlen(growing));
        free(text);
    }
    return argument;
}

static void *flush_all(void *argument)
{
    while (!stop)
        REQUIRE(fflush(NULL) == 0);
    return argument;
}

static void *open_pipes(void *argument)
{
    while (!stop) {
        char line[32] = "";
        FILE *pipe_end = popen("echo one line", "r");

        REQUIRE(pipe_end != NULL);
        REQUIRE(fgets(line, sizeof line, pipe_end) != NULL);
        REQUIRE(strcmp(line, "one line\n") == 0);
        REQUIRE(pclose(pipe_end) == 0);
    }
    return argument;
}

static void *allocate(void *argument)
{
    struct test_random random = {(uintptr_t)argument};
    void *held[100] = {NULL};

    while (!stop) {
        size_t i = test_below(&random, COUNT_OF(held));
        free(held[i]);
        held[i] = malloc(test_log_size(&random, 15));
        REQUIRE(held[i] != NULL);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        free(held[i]);
    return NULL;
}

/* The child must be able to use both, stdio and malloc. */
static void live_in_the_child(void)
{
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);

    REQUIRE(memory != NULL);
    for (size_t i = 0; i < 50; i++)
        REQUIRE(fprintf(memory, "%0*d\n", 200, 7) == 201);
    REQUIRE(fflush(NULL) == 0);
    REQUIRE(fclose(memory) == 0 && length == 50 * 201);
    free(text);
    for (size_t size = 1; size <= MIB; size *= 3) {
        char *block = malloc(size);
        REQUIRE(block != NULL);
        block[size - 1] = 1;
        free(block);
    }
}

static void fork_beside(void *(*const *jobs)(void *), size_t count, size_t forks, const char *what)
{
    pthread_t thread[8];

    assert_true(count <= COUNT_OF(thread));
    stop = 0;
    for (size_t i = 0; i < count; i++)
        REQUIRE(pthread_create(&thread[i], NULL, jobs[i], (void *)(i + 1)) == 0);
    for (size_t round = 0; round < forks; round++) {
        test_watch(30, what);
        pid_t child = fork();

        REQUIRE(child >= 0);
        if (child == 0) {
            live_in_the_child();
            _exit(0);
        }
        assert_true(test_exited_well(test_wait_watched(child)));
        free(malloc(round * 100));
    }
    test_watch(30, what);
    stop = 1;
    for (size_t i = 0; i < count; i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
    test_unwatch();
}

static void test_fork_beside_flush_and_readers(void **state)
{
    static void *(*const jobs[])(void *) = {flush_all, read_files, write_memory};
    (void)state;

    fork_beside(jobs, COUNT_OF(jobs), FORKS, "fork beside fflush(NULL) and readers");
}

static void test_fork_beside_flush_and_malloc(void **state)
{
    static void *(*const jobs[])(void *) = {flush_all, write_memory, allocate};
    (void)state;

    fork_beside(jobs, COUNT_OF(jobs), FORKS, "fork beside fflush(NULL), writers and malloc");
}

static void test_fork_beside_popen(void **state)
{
    static void *(*const jobs[])(void *) = {flush_all, open_pipes, read_files, allocate};
    (void)state;

    fork_beside(jobs, COUNT_OF(jobs), FORKS / 4, "fork beside popen and readers");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fork_beside_flush_and_readers),
        cmocka_unit_test(test_fork_beside_flush_and_malloc),
        cmocka_unit_test(test_fork_beside_popen),
    };

    test_begin();
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
