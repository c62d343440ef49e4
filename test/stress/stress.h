/* SPDX-License-Identifier: MIT */
/*
 * stress.h - how the stress programs are called:
 *
 *     PROGRAM [SECONDS [SEED [THREADS]]]
 *
 * Five seconds and a fixed seed by default, so that a test run is short and the same
 * each time; hours and any seed for a soak.  The first line of output says all three.
 * With more than one thread the seed fixes what each thread does, not how they meet.
 */
#ifndef STRESS_H
#define STRESS_H

#include "../testlib.h"

#include <malloc.h>
#include <pthread.h>

struct stress {
    unsigned seconds;
    uint64_t seed;
    size_t threads;
    size_t resident; /* at the start          */
    uint64_t end_ms;
};

static inline struct stress stress_begin(int argc, char **argv, size_t default_threads)
{
    struct stress stress = {5, 20250101, default_threads, 0, 0};

    if (argc > 1)
        stress.seconds = (unsigned)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        stress.seed = strtoull(argv[2], NULL, 0);
    if (argc > 3)
        stress.threads = strtoul(argv[3], NULL, 10);
    test_begin();
    printf("seconds %u, seed %llu, threads %zu\n", stress.seconds, (unsigned long long)stress.seed,
           stress.threads);
    fflush(stdout);
    test_watch(stress.seconds + 120, argv[0]);
    stress.resident = test_resident();
    stress.end_ms = test_ms() + (uint64_t)stress.seconds * 1000;
    return stress;
}

/* Everything is freed and trimmed: what is still resident has been lost, or is tables. */
static inline int stress_end(const struct stress *stress, size_t operations, size_t allowed)
{
    malloc_trim(0);
    size_t resident = test_resident();
    printf("operations %zu, resident kB: %zu at the start, %zu at the end\n", operations,
           stress->resident / KIB, resident / KIB);
    if (operations == 0)
        return 1;
    return resident <= stress->resident + allowed || test_foreign() || test_shadowed() ? 0 : 1;
}

/* Its own stream for each thread, from the one seed. */
static inline struct test_random stress_random(const struct stress *stress, size_t thread)
{
    struct test_random random = {stress->seed + thread * UINT64_C(0x632be59bd9b4e019)};

    test_next(&random);
    return random;
}

/*
 * A block that any thread can check and free, because it says itself what it is; used
 * where blocks change hands.  At least as long as the struct.
 */
struct parcel {
    size_t size; /* of the whole block */
    uint64_t seed;
};

static inline struct parcel *parcel_fill(void *block, size_t size, uint64_t seed)
{
    struct parcel *parcel = block;

    REQUIRE(block != NULL);
    parcel->size = size;
    parcel->seed = seed;
    test_fill(parcel + 1, size - sizeof *parcel, seed);
    return parcel;
}

static inline void parcel_check(const struct parcel *parcel)
{
    size_t size = parcel->size - sizeof *parcel;

    REQUIRE(test_intact(parcel + 1, size, size, parcel->seed));
}

#endif
