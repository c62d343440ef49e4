/* SPDX-License-Identifier: MIT */
/*
 * Threads that come and go all the time, with blocks that outlive them: each takes over
 * blocks of threads that are gone, leaves some of its own, and uses malloc once more in
 * the destructor of its thread-specific data.
 */
#include "stress.h"

#include <limits.h>

enum { LEFT_SLOTS = 2048, STEPS = 400 };

static struct stress stress;
static struct parcel *left[LEFT_SLOTS];
static pthread_key_t key;
static size_t operations, lives;

static void leave_one(struct test_random *random)
{
    size_t size = sizeof(struct parcel) +
                  test_log_size(random, test_below(random, 50) == 0 ? 18 : 12);
    struct parcel *mine = parcel_fill(malloc(size), size, test_next(random));
    struct parcel **slot = &left[test_below(random, LEFT_SLOTS)];
    struct parcel *theirs = __atomic_exchange_n(slot, mine, __ATOMIC_ACQ_REL);

    if (theirs != NULL) {
        parcel_check(theirs);
        free(theirs);
    }
}

/* What a thread has as its specific data. */
struct life {
    struct test_random random;
    size_t destructor_rounds;
};

static void destroy(void *value)
{
    struct life *life = value;

    for (size_t i = 0; i < 20; i++)
        leave_one(&life->random);
    if (--life->destructor_rounds > 0)
        pthread_setspecific(key, life);
    else
        free(life);
}

static void *live(void *argument)
{
    struct life *life = malloc(sizeof *life);
    void *own[32] = {NULL};

    REQUIRE(life != NULL);
    life->random = stress_random(&stress, (uintptr_t)argument);
    life->destructor_rounds = 1 + (uintptr_t)argument % PTHREAD_DESTRUCTOR_ITERATIONS;
    for (size_t i = 0; i < STEPS; i++) {
        size_t slot = test_below(&life->random, COUNT_OF(own));
        free(own[slot]);
        own[slot] = malloc(test_log_size(&life->random, 13));
        REQUIRE(own[slot] != NULL);
        if (i % 8 == 0)
            leave_one(&life->random);
    }
    for (size_t i = 0; i < COUNT_OF(own); i++)
        free(own[i]);
    __atomic_add_fetch(&operations, STEPS, __ATOMIC_RELAXED);
    pthread_setspecific(key, life);
    return NULL;
}

static void *start_lives(void *argument)
{
    size_t number = (uintptr_t)argument;

    do {
        pthread_t thread[3];

        for (size_t i = 0; i < COUNT_OF(thread); i++, number += stress.threads)
            REQUIRE(pthread_create(&thread[i], NULL, live, (void *)number) == 0);
        for (size_t i = 0; i < COUNT_OF(thread); i++)
            REQUIRE(pthread_join(thread[i], NULL) == 0);
        __atomic_add_fetch(&lives, COUNT_OF(thread), __ATOMIC_RELAXED);
    } while (test_ms() < stress.end_ms);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t starter[64];

    stress = stress_begin(argc, argv, 3);
    REQUIRE(stress.threads <= COUNT_OF(starter));
    REQUIRE(pthread_key_create(&key, destroy) == 0);
    for (size_t i = 0; i < stress.threads; i++)
        REQUIRE(pthread_create(&starter[i], NULL, start_lives, (void *)i) == 0);
    for (size_t i = 0; i < stress.threads; i++)
        REQUIRE(pthread_join(starter[i], NULL) == 0);
    for (size_t i = 0; i < LEFT_SLOTS; i++) {
        if (left[i] != NULL)
            parcel_check(left[i]);
        free(left[i]);
    }
    printf("threads that lived: %zu\n", lives);
    return stress_end(&stress, operations, 8 * MIB); /* libc keeps stacks of ended threads */
}
