/* SPDX-License-Identifier: MIT */
/*
 * Signals that arrive anywhere, also in the middle of malloc, to handlers that do not
 * allocate: nothing may be torn and no call may fail with what the handler did to it.
 */
#include "../testlib.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/time.h>
#include <cmocka.h>

enum { SECONDS_MS = 1500, SLOTS = 300 };

static volatile sig_atomic_t alarms, profiles;
static volatile int stop;

static void count_alarm(int number)
{
    (void)number;
    alarms++;
    errno = 77; /* a careless handler; the tests below look at errno only where it is ours */
}

static void count_profile(int number)
{
    (void)number;
    profiles++;
}

static void *work(void *argument)
{
    struct {
        void *block;
        size_t size;
    } held[SLOTS] = {{0}};
    struct test_random random = {(uintptr_t)argument};

    while (!stop) {
        size_t i = test_below(&random, SLOTS);
        size_t kind = test_below(&random, 100);
        size_t size = test_log_size(&random, kind == 0 ? 22 : kind < 10 ? 16 : 11);

        REQUIRE(test_intact(held[i].block, held[i].size, held[i].size, i));
        if (kind % 3 == 0) {
            held[i].block = realloc(held[i].block, size);
        } else if (kind % 3 == 1) {
            free(held[i].block);
            held[i].block = malloc(size);
        } else {
            free(held[i].block);
            held[i].block = calloc(1, size);
            REQUIRE(held[i].block != NULL && test_all_zero(held[i].block, size));
        }
        REQUIRE(held[i].block != NULL);
        held[i].size = size;
        test_fill(held[i].block, size, i);
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(held[i].block);
    return NULL;
}

static void storm(int which, long microseconds)
{
    struct itimerval period = {{0, microseconds}, {0, microseconds}};

    assert_int_equal(setitimer(which, &period, NULL), 0);
}

static void calm(int which)
{
    struct itimerval never = {{0, 0}, {0, 0}};

    assert_int_equal(setitimer(which, &never, NULL), 0);
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    assert_int_equal(sigaction(number, &action, NULL), 0);
}

static void run_storm(size_t threads)
{
    pthread_t thread[8];

    test_watch(60, "a signal storm");
    handle(SIGALRM, count_alarm, 0); /* no SA_RESTART: system calls do fail with EINTR */
    handle(SIGPROF, count_profile, SA_RESTART);
    stop = 0;
    alarms = profiles = 0;
    storm(ITIMER_REAL, 150);
    storm(ITIMER_PROF, 1000);
    uint64_t end = test_ms() + SECONDS_MS;
    for (size_t i = 0; i < threads; i++)
        REQUIRE(pthread_create(&thread[i], NULL, work, (void *)(i + 1)) == 0);
    /* A busy machine gives us less of its time, and the profiling timer counts that. */
    while (test_ms() < end || alarms <= 200 || profiles <= 50) {
        struct timespec turn = {0, 5 * 1000 * 1000};
        nanosleep(&turn, NULL); /* interrupted by the storm: the clock decides */
    }
    stop = 1;
    for (size_t i = 0; i < threads; i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
    calm(ITIMER_REAL);
    calm(ITIMER_PROF);
    handle(SIGALRM, SIG_DFL, 0);
    handle(SIGPROF, SIG_DFL, 0);
    test_unwatch();
    assert_true(alarms > 200);
    assert_true(profiles > 50);
}

static void test_storm_over_one_thread(void **state)
{
    (void)state;
    run_storm(1);
}

static void test_storm_over_many_threads(void **state)
{
    (void)state;
    run_storm(6);
}

/* An allocator may block signals for a moment, the set must come back as it was. */
static void test_blocked_signals_stay_blocked(void **state)
{
    sigset_t all, before, after;
    (void)state;

    sigfillset(&all);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &all, &before), 0);
    for (size_t i = 0; i < 3000; i++) {
        char *block = malloc(i * 1000 + 1);
        assert_non_null(block);
        block[i * 1000] = 1;
        free(block);
    }
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, &after), 0);
    for (int number = 1; number < 32; number++) {
        if (number != SIGKILL && number != SIGSTOP)
            assert_int_equal(sigismember(&after, number), 1);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_storm_over_one_thread),
        cmocka_unit_test(test_storm_over_many_threads),
        cmocka_unit_test(test_blocked_signals_stay_blocked),
    };

    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
