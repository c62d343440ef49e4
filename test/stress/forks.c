/* SPDX-License-Identifier: MIT */
/*
 * A storm of forks out of a process whose threads never rest.  Each child checks and
 * frees blocks of its parent, starts threads of its own, and sometimes forks again.
 */
#include "stress.h"

#include <sched.h>

enum { SHARED = 128, CHILD_STEPS = 2000 };

static struct stress stress;
static struct parcel *shared[SHARED];
static volatile int stop;
static size_t at_work;
static size_t operations;

static struct parcel *new_parcel(struct test_random *random)
{
    size_t size = sizeof(struct parcel) +
                  test_log_size(random, test_below(random, 30) == 0 ? 21 : 13);

    return parcel_fill(malloc(size), size, test_next(random));
}

static void churn(struct parcel **held, size_t count, struct test_random *random)
{
    size_t i = test_below(random, count);

    if (held[i] != NULL)
        parcel_check(held[i]);
    free(held[i]);
    held[i] = new_parcel(random);
}

static void drop(struct parcel **held, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (held[i] != NULL)
            parcel_check(held[i]);
        free(held[i]);
    }
}

static void *work(void *argument)
{
    struct parcel *held[100] = {NULL};
    struct test_random random = stress_random(&stress, (uintptr_t)argument);

    __atomic_fetch_add(&at_work, 1, __ATOMIC_RELAXED);
    while (!stop)
        churn(held, COUNT_OF(held), &random);
    drop(held, COUNT_OF(held));
    return NULL;
}

static void *work_in_child(void *argument)
{
    struct parcel *held[50] = {NULL};
    struct test_random random = stress_random(&stress, (uintptr_t)argument);

    for (size_t i = 0; i < CHILD_STEPS; i++)
        churn(held, COUNT_OF(held), &random);
    drop(held, COUNT_OF(held));
    return NULL;
}

static void live_as_child(size_t number, size_t depth)
{
    pthread_t thread[2];

    if (number % 2 == 0) {
        for (size_t i = 0; i < COUNT_OF(thread); i++)
            REQUIRE(pthread_create(&thread[i], NULL, work_in_child, (void *)(number + i)) == 0);
    }
    drop(shared, SHARED);
    if (depth > 0 && number % 5 == 0) {
        pid_t child = fork(); /* beside threads, in the child of a threaded parent */
        REQUIRE(child >= 0);
        if (child == 0) {
            work_in_child((void *)number);
            _exit(0);
        }
        REQUIRE(test_exited_well(test_wait(child)));
    }
    work_in_child((void *)(number + 7));
    if (number % 2 == 0) {
        for (size_t i = 0; i < COUNT_OF(thread); i++)
            REQUIRE(pthread_join(thread[i], NULL) == 0);
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    pthread_t thread[64];
    struct test_random random;

    stress = stress_begin(argc, argv, 3);
    REQUIRE(stress.threads <= COUNT_OF(thread));
    random = stress_random(&stress, 1000);
    for (size_t i = 0; i < stress.threads; i++)
        REQUIRE(pthread_create(&thread[i], NULL, work, (void *)i) == 0);
    for (size_t i = 0; i < SHARED; i++)
        shared[i] = new_parcel(&random);
    /*
     * Every child shall have busy parents.  And a sanitizer's own malloc, which a thread calls as
     * it begins, is not safe to fork beside: AddressSanitizer of gcc 12 leaves its locks held in
     * the child.
     */
    while (__atomic_load_n(&at_work, __ATOMIC_RELAXED) < stress.threads)
        sched_yield();
    do {
        test_watch(60, "a fork in the storm");
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0)
            live_as_child(operations, 1);
        REQUIRE(test_exited_well(test_wait_watched(child)));
        churn(shared, SHARED, &random);
        operations++;
    } while (test_ms() < stress.end_ms);
    stop = 1;
    for (size_t i = 0; i < stress.threads; i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
    drop(shared, SHARED);
    return stress_end(&stress, operations, 6 * MIB + stress.threads * 256 * KIB);
}
