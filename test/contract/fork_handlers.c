/* SPDX-License-Identifier: MIT */
/*
 * The program's own fork handlers allocate, and hand work to threads that allocate.
 * Prepare handlers run in reverse order of registration: one set is registered before
 * any library could register its own (it runs last, when an allocator that locks itself
 * in its prepare handler is locked), one in main (it runs first).
 */
#include "../testlib.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static bool armed; /* the handlers do nothing for other forks */
static size_t prepared, in_parent, in_child;

/* ---- a thread that does what a handler asks ---------------------------------------------- */

static pthread_mutex_t desk = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t orders, deliveries;
static bool closing, have_clerk;

static void use_malloc(void)
{
    void *block[60];

    for (size_t i = 0; i < COUNT_OF(block); i++) {
        size_t size = (size_t)1 << i % 20;
        block[i] = i % 2 == 0 ? malloc(size) : calloc(1, size);
        REQUIRE(block[i] != NULL);
        test_fill(block[i], size, i);
    }
    for (size_t i = 0; i < COUNT_OF(block); i++) {
        size_t size = (size_t)1 << i % 20;
        REQUIRE(test_intact(block[i], size, size, i));
        free(block[i]);
    }
}

static void *clerk(void *argument)
{
    pthread_mutex_lock(&desk);
    while (!closing) {
        if (deliveries == orders) {
            pthread_cond_wait(&changed, &desk);
            continue;
        }
        pthread_mutex_unlock(&desk);
        use_malloc();
        pthread_mutex_lock(&desk);
        deliveries++;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&desk);
    return argument;
}

static void order_and_wait(void)
{
    pthread_mutex_lock(&desk);
    size_t number = ++orders;
    pthread_cond_broadcast(&changed);
    while (deliveries < number)
        pthread_cond_wait(&changed, &desk);
    pthread_mutex_unlock(&desk);
}

/* ---- the handlers ------------------------------------------------------------------------ */

static void *over_the_fork; /* allocated before, freed after, on both sides */

static void prepare(void)
{
    if (!armed)
        return;
    prepared++;
    use_malloc();
    if (have_clerk)
        order_and_wait();
}

static void prepare_block(void)
{
    if (!armed)
        return;
    prepare();
    over_the_fork = malloc(777);
    REQUIRE(over_the_fork != NULL);
    test_fill(over_the_fork, 777, 9);
}

static void drop_block(void)
{
    if (over_the_fork == NULL)
        return;
    REQUIRE(test_intact(over_the_fork, 777, 777, 9));
    free(over_the_fork);
    over_the_fork = NULL;
}

static void parent(void)
{
    if (!armed)
        return;
    in_parent++;
    drop_block();
    use_malloc();
    if (have_clerk)
        order_and_wait();
}

/* The clerk is not here, and its desk may be locked for ever: a child only allocates. */
static void child_of_fork(void)
{
    if (!armed)
        return;
    in_child++;
    drop_block();
    use_malloc();
}

static int register_first(void)
{
    return pthread_atfork(prepare_block, parent, child_of_fork);
}

static int first_registered = -1;

static void run_preinit(int argc, char **argv, char **environment)
{
    (void)argc, (void)argv, (void)environment;
    first_registered = register_first();
}

__attribute__((section(".preinit_array"),
               used)) static void (*const preinit)(int, char **, char **) = run_preinit;

/* ---- the tests --------------------------------------------------------------------------- */

static volatile int stop;

static void *allocate(void *argument)
{
    while (!stop)
        use_malloc();
    return argument;
}

static void fork_many(size_t forks, const char *what)
{
    armed = true;
    for (size_t round = 0; round < forks; round++) {
        size_t counts[] = {prepared, in_parent, in_child};

        test_watch(30, what);
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            REQUIRE(in_child == counts[2] + 2);
            use_malloc();
            _exit(0);
        }
        assert_true(test_exited_well(test_wait_watched(child)));
        assert_int_equal(prepared, counts[0] + 2);
        assert_int_equal(in_parent, counts[1] + 2);
    }
    armed = false;
    test_unwatch();
}

static void test_handlers_that_allocate(void **state)
{
    (void)state;
    fork_many(150, "fork handlers that allocate");
}

static void test_handlers_that_hand_work_over(void **state)
{
    pthread_t thread;
    (void)state;

    closing = false;
    REQUIRE(pthread_create(&thread, NULL, clerk, NULL) == 0);
    have_clerk = true;
    fork_many(150, "fork handlers that wait for a thread that allocates");
    have_clerk = false;
    pthread_mutex_lock(&desk);
    closing = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&desk);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

static void test_handlers_beside_busy_threads(void **state)
{
    pthread_t busy[2], thread;
    (void)state;

    stop = 0;
    closing = false;
    for (size_t i = 0; i < COUNT_OF(busy); i++)
        REQUIRE(pthread_create(&busy[i], NULL, allocate, NULL) == 0);
    REQUIRE(pthread_create(&thread, NULL, clerk, NULL) == 0);
    have_clerk = true;
    fork_many(100, "fork handlers beside threads that allocate");
    have_clerk = false;
    stop = 1;
    pthread_mutex_lock(&desk);
    closing = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&desk);
    for (size_t i = 0; i < COUNT_OF(busy); i++)
        REQUIRE(pthread_join(busy[i], NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

/* A handler that forks itself: the inner fork runs all handlers once more. */
static bool fork_inside;

static void prepare_forking(void)
{
    if (!fork_inside)
        return;
    fork_inside = false;
    pid_t inner = fork();
    REQUIRE(inner >= 0);
    if (inner == 0) {
        use_malloc();
        _exit(0);
    }
    REQUIRE(test_exited_well(test_wait(inner)));
    fork_inside = true;
}

static void test_handler_that_forks(void **state)
{
    (void)state;
    for (size_t round = 0; round < 50; round++) {
        test_watch(30, "a fork handler that forks");
        fork_inside = true;
        pid_t child = fork();
        fork_inside = false;
        REQUIRE(child >= 0);
        if (child == 0) {
            use_malloc();
            _exit(0);
        }
        assert_true(test_exited_well(test_wait_watched(child)));
    }
    test_unwatch();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handlers_that_allocate),
        cmocka_unit_test(test_handlers_that_hand_work_over),
        cmocka_unit_test(test_handlers_beside_busy_threads),
        cmocka_unit_test(test_handler_that_forks),
    };

    test_begin();
    free(malloc(1)); /* a lazy allocator registers now */
    if (first_registered != 0 || pthread_atfork(prepare, parent, child_of_fork) != 0 ||
        pthread_atfork(prepare_forking, NULL, NULL) != 0) {
        test_say("cannot register fork handlers\n");
        return TEST_HARD_ERROR;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
