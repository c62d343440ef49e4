/* SPDX-License-Identifier: MIT */
/*
 * fork from a signal handler that interrupted malloc.  The child returns from the
 * handler into the interrupted call, finishes it and goes on allocating.
 */
#include "../testlib.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/time.h>
#include <cmocka.h>

enum { FORKS = 300, SLOTS = 200 };

static volatile sig_atomic_t child_pid; /* the one child that has not been waited for */
static volatile sig_atomic_t in_child;
static volatile int stop;

static void fork_here(int number)
{
    int saved_errno = errno;
    (void)number;

    if (child_pid == 0 && !in_child) {
        pid_t child = fork();
        if (child == 0)
            in_child = 1;
        else
            child_pid = child; /* -1 is an error for the main program to see */
    }
    errno = saved_errno;
}

struct held {
    void *block;
    size_t size;
};

static void step(struct held *held, struct test_random *random)
{
    size_t i = test_below(random, SLOTS);
    size_t kind = test_below(random, 200);

    REQUIRE(test_intact(held[i].block, held[i].size, held[i].size, i));
    free(held[i].block);
    held[i].size = test_log_size(random, kind == 0 ? 20 : kind < 40 ? 15 : 10);
    held[i].block = malloc(held[i].size);
    REQUIRE(held[i].block != NULL);
    test_fill(held[i].block, held[i].size, i);
}

static void *work(void *argument)
{
    static struct held held[SLOTS];
    struct test_random random = {(uintptr_t)argument};

    while (!stop)
        step(held, &random);
    return NULL;
}

static void fork_from_handlers(const char *what)
{
    static struct held held[SLOTS];
    struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
    struct itimerval period = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    struct test_random random = {61};
    size_t forks = 0;

    child_pid = 0;
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &period, NULL), 0);
    test_watch(30, what);
    while (forks < FORKS) {
        step(held, &random);
        if (in_child) { /* timers are not inherited: from here the child is on its own */
            for (size_t i = 0; i < 300; i++)
                step(held, &random);
            _exit(0);
        }
        if (child_pid != 0) {
            REQUIRE(child_pid > 0);
            test_watch(30, what);
            assert_true(test_exited_well(test_wait_watched(child_pid)));
            child_pid = 0;
            forks++;
        }
    }
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    if (child_pid > 0)
        test_wait_watched(child_pid);
    signal(SIGALRM, SIG_DFL);
    test_unwatch();
}

static void test_fork_from_a_handler(void **state)
{
    (void)state;
    fork_from_handlers("fork from a handler, one thread");
}

static void test_fork_from_a_handler_beside_threads(void **state)
{
    pthread_t thread;
    sigset_t alarm_only, before;
    (void)state;

    if (test_foreign())
        skip(); /* glibc's own malloc locks itself out here */
    /* the handler runs in the main thread, where it can interrupt what is tested */
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_only, &before);
    stop = 0;
    REQUIRE(pthread_create(&thread, NULL, work, (void *)1) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    fork_from_handlers("fork from a handler, beside a thread that allocates");
    stop = 1;
    REQUIRE(pthread_join(thread, NULL) == 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fork_from_a_handler),
        cmocka_unit_test(test_fork_from_a_handler_beside_threads),
    };

    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
