/* SPDX-License-Identifier: MIT */
/*
 * fork from a process whose threads all allocate: parent and child go on, at once and
 * without a lost byte.  A deadlock is the failure to expect here, so everything runs
 * under the watch-dog, which tells a hanging child from a hanging parent.
 */
#include "../testlib.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { WORKERS = 2, SHARED = 64 };

static volatile int stop;
static pthread_t worker[WORKERS];

static void *work(void *argument)
{
    struct {
        void *block;
        size_t size;
    } held[100] = {{0}};
    struct test_random random = {(uintptr_t)argument};

    while (!stop) {
        size_t i = test_below(&random, COUNT_OF(held));

        REQUIRE(test_intact(held[i].block, held[i].size, held[i].size, i));
        free(held[i].block);
        held[i].size = test_log_size(&random, test_below(&random, 50) == 0 ? 20 : 13);
        held[i].block = malloc(held[i].size);
        REQUIRE(held[i].block != NULL);
        test_fill(held[i].block, held[i].size, i);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        free(held[i].block);
    return NULL;
}

static void start_workers(void)
{
    stop = 0;
    for (size_t i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&worker[i], NULL, work, (void *)(i + 1)) == 0);
}

static void stop_workers(void)
{
    stop = 1;
    for (size_t i = 0; i < WORKERS; i++)
        REQUIRE(pthread_join(worker[i], NULL) == 0);
}

/* Every way through the allocator once, from a process that has just been born. */
static void use_every_way(void)
{
    for (size_t size = 1; size <= 2 * MIB; size *= 2) {
        char *block = malloc(size), *zeroed = calloc(1, size + 1);
        void *aligned = NULL;

        REQUIRE(block != NULL && zeroed != NULL && test_all_zero(zeroed, size));
        test_fill(block, size, 3);
        block = realloc(block, size * 2 + 100);
        REQUIRE(block != NULL && test_intact(block, size, size, 3));
        REQUIRE(posix_memalign(&aligned, 4096, size) == 0);
        free(block);
        free(zeroed);
        free(aligned);
    }
}

struct shared {
    void *block[SHARED];
    size_t size[SHARED];
};

static void prepare_shared(struct shared *shared)
{
    for (size_t i = 0; i < SHARED; i++) {
        shared->size[i] = (size_t)1 << i % 21;
        shared->block[i] = malloc(shared->size[i]);
        REQUIRE(shared->block[i] != NULL);
        test_fill(shared->block[i], shared->size[i], i);
    }
}

static void free_shared(struct shared *shared)
{
    for (size_t i = 0; i < SHARED; i++) {
        REQUIRE(test_intact(shared->block[i], shared->size[i], shared->size[i], i));
        free(shared->block[i]);
    }
}

static void test_a_thousand_forks(void **state)
{
    static struct shared shared;
    (void)state;

    prepare_shared(&shared);
    start_workers();
    for (size_t round = 0; round < 1000; round++) {
        test_watch(30, "fork while all threads allocate");
        pid_t child = fork();

        REQUIRE(child >= 0);
        if (child == 0) {
            free_shared(&shared); /* blocks of the parent, freed by the child */
            use_every_way();
            _exit(0);
        }
        assert_true(test_exited_well(test_wait_watched(child)));
    }
    stop_workers();
    test_unwatch();
    free_shared(&shared); /* and the parent still has them */
}

/* As busy as can be: all these threads do is enter the allocator and leave it. */
static void *rush(void *argument)
{
    struct test_random random = {(uintptr_t)argument};
    void *held[100] = {NULL};

    while (!stop) {
        size_t i = test_below(&random, COUNT_OF(held));
        free(held[i]);
        held[i] = malloc(test_log_size(&random, 14));
        REQUIRE(held[i] != NULL);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        free(held[i]);
    return NULL;
}

/*
 * fork needs the others to stand still, or to keep out of its way, for a moment.  That
 * moment must come however busy they are, and what they allocate until then must not
 * pile up: about 3 MB are alive here.
 */
static void test_forks_beside_a_rush(void **state)
{
    pthread_t thread[4];
    size_t most = 0;
    (void)state;

    stop = 0;
    size_t before = test_resident();
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        REQUIRE(pthread_create(&thread[i], NULL, rush, (void *)(i + 1)) == 0);
    for (size_t round = 0; round < 300; round++) {
        test_watch(30, "fork beside threads that only allocate and free");
        pid_t child = fork();

        REQUIRE(child >= 0);
        if (child == 0) {
            use_every_way();
            _exit(0);
        }
        size_t resident = test_resident();
        most = resident > most ? resident : most;
        assert_true(test_exited_well(test_wait_watched(child)));
    }
    stop = 1;
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
    test_unwatch();
    if (most > before + 48 * MIB)
        print_error("resident: %zu kB before, %zu kB at most\n", before / KIB, most / KIB);
    assert_true(most <= before + 48 * MIB);
}

static void *fork_in_a_loop(void *argument)
{
    for (size_t round = 0; round < 100; round++) {
        pid_t child = fork();

        REQUIRE(child >= 0);
        if (child == 0) {
            use_every_way();
            _exit(0);
        }
        REQUIRE(test_exited_well(test_wait(child)));
        free(malloc(1000 * round));
    }
    return argument;
}

static void test_several_threads_fork(void **state)
{
    pthread_t forker[3];
    (void)state;

    test_watch(120, "fork from three threads at once");
    start_workers();
    for (size_t i = 0; i < COUNT_OF(forker); i++)
        REQUIRE(pthread_create(&forker[i], NULL, fork_in_a_loop, NULL) == 0);
    for (size_t i = 0; i < COUNT_OF(forker); i++)
        REQUIRE(pthread_join(forker[i], NULL) == 0);
    stop_workers();
    test_unwatch();
}

/* The child of a threaded parent may start threads and fork, and so may its child. */
static void live_on(size_t generations)
{
    start_workers();
    use_every_way();
    pid_t child = generations > 0 ? fork() : -1;

    if (child == 0) {
        live_on(generations - 1);
        _exit(0);
    }
    stop_workers();
    use_every_way();
    if (child > 0)
        REQUIRE(test_exited_well(test_wait(child)));
}

static void test_forks_of_forks(void **state)
{
    (void)state;
    for (size_t round = 0; round < 10; round++) {
        test_watch(60, "fork in the child of a threaded parent");
        pid_t child = fork();

        REQUIRE(child >= 0);
        if (child == 0) {
            live_on(6);
            _exit(0);
        }
        assert_true(test_exited_well(test_wait_watched(child)));
    }
    test_unwatch();
}

/* ---- what other threads' caches held ----------------------------------------------------- */

static pthread_barrier_t filled, unused;

/* Leaves a cache full of freed blocks, and waits for ever: it exists only for the fork. */
static void *fill_a_cache(void *argument)
{
    (void)argument;
    for (size_t size = 16; size <= 32 * KIB; size += size / 4) {
        void *block[32];

        for (size_t i = 0; i < COUNT_OF(block); i++) {
            block[i] = malloc(size);
            REQUIRE(block[i] != NULL);
            memset(block[i], 1, size);
        }
        for (size_t i = 0; i < COUNT_OF(block); i++)
            free(block[i]);
    }
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&unused); /* the main thread never comes */
    return NULL;
}

/*
 * Each generation leaves the caches of three threads behind when it forks; the child
 * must take them over.  40 generations of lost caches would be 120 of them.
 */
static int outlive_many_generations(void)
{
    enum { GENERATIONS = 40, THREADS = 3, WARM = 5 };
    size_t before = 0;

    for (size_t generation = 0; generation < GENERATIONS; generation++) {
        pthread_t thread;

        REQUIRE(pthread_barrier_init(&filled, NULL, THREADS + 1) == 0);
        REQUIRE(pthread_barrier_init(&unused, NULL, THREADS + 1) == 0);
        for (size_t i = 0; i < THREADS; i++)
            REQUIRE(pthread_create(&thread, NULL, fill_a_cache, NULL) == 0);
        pthread_barrier_wait(&filled);
        if (generation == WARM)
            before = test_resident();

        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child > 0)
            _exit(test_exited_well(test_wait(child)) ? 0 : 1);
    }
    size_t after = test_resident();
    if (after > before + 6 * MIB) {
        char text[100];
        snprintf(text, sizeof text, "resident: %zu kB early, %zu kB late\n", before / KIB,
                 after / KIB);
        test_say(text);
        return 1;
    }
    return 0;
}

static void test_caches_of_lost_threads_are_taken_over(void **state)
{
    (void)state;
    test_watch(60, "a line of forks, each with threads that only the parent has");
    pid_t child = fork();

    REQUIRE(child >= 0);
    if (child == 0)
        _exit(outlive_many_generations());
    assert_true(test_exited_well(test_wait_watched(child)));
    test_unwatch();
}

/* Freed in the child, a burst of the parent's falls from the child's resident memory. */
static void test_a_child_gives_back(void **state)
{
    enum { COUNT = 20000, SIZE = 5000 };
    static char *block[COUNT];
    (void)state;

    size_t start = test_resident();
    for (size_t i = 0; i < COUNT; i++) {
        block[i] = malloc(SIZE);
        assert_non_null(block[i]);
        memset(block[i], 1, SIZE);
    }
    test_watch(60, "a burst freed in the child");
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        for (size_t i = 0; i < COUNT; i++)
            free(block[i]);
        REQUIRE(test_foreign() || test_resident() <= start + 14 * MIB);
        use_every_way();
        _exit(0);
    }
    assert_true(test_exited_well(test_wait_watched(child)));
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(block[i][0] == 1 && block[i][SIZE - 1] == 1);
        free(block[i]);
    }
    test_unwatch();
}

/*
 * _Fork runs no handlers.  POSIX allows its child of a single-threaded process all that
 * fork's child may do, and a program with no thread of its own takes itself for one.
 */
static void test_bare_fork_of_a_single_thread(void **state)
{
    static struct shared shared;
    (void)state;

    for (size_t round = 0; round < 100; round++) {
        void *burst[200];

        test_watch(30, "_Fork in a single-threaded program");
        prepare_shared(&shared);
        for (size_t i = 0; i < COUNT_OF(burst); i++) {
            burst[i] = malloc(100 * KIB);
            assert_non_null(burst[i]);
            memset(burst[i], 1, 100 * KIB);
        }
        for (size_t i = 0; i < COUNT_OF(burst); i++)
            free(burst[i]);

        pid_t child = _Fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            use_every_way();
            free_shared(&shared);
            _exit(0);
        }
        assert_true(test_exited_well(test_wait_watched(child)));
        free_shared(&shared);
    }
    test_unwatch();
}

static void make_burst(void)
{
    static void *burst[400];

    for (size_t i = 0; i < COUNT_OF(burst); i++) {
        burst[i] = malloc(50 * KIB);
        REQUIRE(burst[i] != NULL);
        memset(burst[i], 1, 50 * KIB);
    }
    for (size_t i = 0; i < COUNT_OF(burst); i++)
        free(burst[i]);
}

/* Time does its work here, and fork goes on working. */
static void go_on_by_time_and_fork(size_t start)
{
    make_burst();
    usleep(1500 * 1000);
    REQUIRE(test_foreign() || test_page() > 4096 || test_resident() <= start + 3 * MIB);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        _exit(0);
    REQUIRE(test_exited_well(test_wait_watched(child)));
}

/* Container tools make their children so; no library is told of it. */
static void test_the_bare_system_call_of_a_single_thread(void **state)
{
    (void)state;

    test_watch(60, "clone(SIGCHLD) in a single-threaded program");
    size_t start = test_resident();
    make_burst();
    usleep(20 * 1000); /* whoever works beside us waits for its time now */
    pid_t child = (pid_t)syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
    REQUIRE(child >= 0);
    if (child == 0) {
        go_on_by_time_and_fork(start);
        use_every_way();
        _exit(0);
    }
    assert_true(test_exited_well(test_wait_watched(child)));
    go_on_by_time_and_fork(start);
    test_unwatch();
}

/* It should not, but everywhere else it may: what its frees start in our memory ends with it. */
static void test_a_child_of_vfork_frees(void **state)
{
    (void)state;

    test_watch(60, "free in a child of vfork");
    size_t start = test_resident();
    pid_t child = vfork();
    if (child == 0) {
        make_burst();
        _exit(0);
    }
    REQUIRE(child > 0);
    assert_true(test_exited_well(test_wait_watched(child)));
    go_on_by_time_and_fork(start);
    test_unwatch();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_child_gives_back),
        cmocka_unit_test(test_the_bare_system_call_of_a_single_thread),
        cmocka_unit_test(test_a_child_of_vfork_frees),
        cmocka_unit_test(test_bare_fork_of_a_single_thread),
        cmocka_unit_test(test_a_thousand_forks),
        cmocka_unit_test(test_forks_beside_a_rush),
        cmocka_unit_test(test_several_threads_fork),
        cmocka_unit_test(test_forks_of_forks),
        cmocka_unit_test(test_caches_of_lost_threads_are_taken_over),
    };

    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
