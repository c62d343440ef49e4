/* SPDX-License-Identifier: MIT */
/*
 * Random operations of every kind in several threads, sizes log-uniform up to 4 MiB,
 * every block checked before it is changed or freed; part of the blocks go through
 * shared slots and are freed by whoever takes them out.
 */
#include "stress.h"

enum { OWN_SLOTS = 150, SHARED_SLOTS = 256, SIZE_BITS = 22, HEADER = sizeof(struct parcel) };

static struct stress stress;
static struct parcel *shared[SHARED_SLOTS];
static size_t operations;

struct own {
    void *block;
    size_t size;
    uint64_t seed;
};

static void check(const struct own *own)
{
    REQUIRE(test_intact(own->block, own->size, own->size, own->seed));
}

static void *take_new(struct test_random *random, size_t size)
{
    void *block = NULL;

    switch (test_below(random, 8)) {
    case 0:
        block = calloc(1, size);
        REQUIRE(block != NULL && test_all_zero(block, size));
        break;
    case 1: {
        size_t alignment = (size_t)16 << test_below(random, 12);
        REQUIRE(posix_memalign(&block, alignment, size) == 0);
        REQUIRE((uintptr_t)block % alignment == 0);
        break;
    }
    case 2:
        block = realloc(NULL, size);
        break;
    default:
        block = malloc(size);
        break;
    }
    REQUIRE(block != NULL && (uintptr_t)block % 16 == 0);
    REQUIRE(malloc_usable_size(block) >= size);
    return block;
}

static void change(struct own *own, struct test_random *random)
{
    size_t size = test_log_size(random, SIZE_BITS);
    bool resize = test_below(random, 4) == 0;

    check(own);
    if (resize && own->block != NULL) {
        size_t kept = own->size < size ? own->size : size;
        own->block = realloc(own->block, size);
        REQUIRE(own->block != NULL);
        REQUIRE(test_intact(own->block, kept, own->size, own->seed));
    } else {
        free(own->block);
        own->block = take_new(random, size);
    }
    own->size = size;
    own->seed = test_next(random);
    test_fill(own->block, size, own->seed);
}

static void exchange(struct test_random *random)
{
    size_t size = HEADER + test_log_size(random, test_below(random, 10) == 0 ? SIZE_BITS : 14);
    struct parcel *mine = parcel_fill(take_new(random, size), size, test_next(random));
    struct parcel **slot = &shared[test_below(random, SHARED_SLOTS)];
    struct parcel *theirs = __atomic_exchange_n(slot, mine, __ATOMIC_ACQ_REL);

    if (theirs != NULL) {
        parcel_check(theirs);
        free(theirs);
    }
}

static void *work(void *argument)
{
    struct own own[OWN_SLOTS] = {{0}};
    struct test_random random = stress_random(&stress, (uintptr_t)argument);
    size_t done = 0;

    do {
        for (size_t i = 0; i < 100; i++) {
            if (test_below(&random, 3) == 0)
                exchange(&random);
            else
                change(&own[test_below(&random, OWN_SLOTS)], &random);
        }
        done += 100;
        if (done % 20000 == 0)
            malloc_trim(0);
    } while (test_ms() < stress.end_ms);
    for (size_t i = 0; i < OWN_SLOTS; i++) {
        check(&own[i]);
        free(own[i].block);
    }
    __atomic_add_fetch(&operations, done, __ATOMIC_RELAXED);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread[256];

    stress = stress_begin(argc, argv, 4);
    REQUIRE(stress.threads <= COUNT_OF(thread));
    for (size_t i = 0; i < stress.threads; i++)
        REQUIRE(pthread_create(&thread[i], NULL, work, (void *)i) == 0);
    for (size_t i = 0; i < stress.threads; i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
    for (size_t i = 0; i < SHARED_SLOTS; i++) {
        if (shared[i] != NULL)
            parcel_check(shared[i]);
        free(shared[i]);
    }
    return stress_end(&stress, operations, 6 * MIB + stress.threads * 256 * KIB);
}
