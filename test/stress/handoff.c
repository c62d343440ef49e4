/* SPDX-License-Identifier: MIT */
/*
 * Producers allocate, consumers only free: memory must find its way back to those who
 * allocate.  What is alive is bounded by the queue, so resident memory is bounded too,
 * at every moment and however long it runs.
 */
#include "stress.h"

enum { ROOM = 1024, LARGEST_BITS = 15 };

static struct stress stress;
static size_t operations;
static size_t most_resident;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    struct parcel *parcel[ROOM];
    size_t first, count;
    bool closed;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .filled = PTHREAD_COND_INITIALIZER,
           .emptied = PTHREAD_COND_INITIALIZER};

enum { BATCH = 64 }; /* per turn at the queue: the lock is not what is under test */

static void put(struct parcel **parcels)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.count > ROOM - BATCH)
        pthread_cond_wait(&queue.emptied, &queue.lock);
    for (size_t i = 0; i < BATCH; i++)
        queue.parcel[(queue.first + queue.count++) % ROOM] = parcels[i];
    pthread_cond_signal(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
}

static size_t get(struct parcel **parcels)
{
    size_t got = 0;

    pthread_mutex_lock(&queue.lock);
    while (queue.count == 0 && !queue.closed)
        pthread_cond_wait(&queue.filled, &queue.lock);
    for (; got < BATCH && queue.count > 0; got++, queue.count--) {
        parcels[got] = queue.parcel[queue.first];
        queue.first = (queue.first + 1) % ROOM;
    }
    pthread_cond_signal(&queue.emptied);
    pthread_mutex_unlock(&queue.lock);
    return got;
}

static void *produce(void *argument)
{
    struct test_random random = stress_random(&stress, (uintptr_t)argument);

    do {
        struct parcel *parcels[BATCH];

        for (size_t i = 0; i < BATCH; i++) {
            size_t size = sizeof(struct parcel) + test_log_size(&random, LARGEST_BITS);
            parcels[i] = parcel_fill(malloc(size), size, test_next(&random));
        }
        put(parcels);
    } while (test_ms() < stress.end_ms);
    return NULL;
}

static void note_resident(size_t resident)
{
    size_t most = __atomic_load_n(&most_resident, __ATOMIC_RELAXED);

    while (resident > most && !__atomic_compare_exchange_n(&most_resident, &most, resident, true,
                                                           __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

static void *consume(void *argument)
{
    struct parcel *parcels[BATCH];
    size_t got, rounds = 0;

    while ((got = get(parcels)) > 0) {
        for (size_t i = 0; i < got; i++) {
            parcel_check(parcels[i]);
            free(parcels[i]);
        }
        __atomic_add_fetch(&operations, got, __ATOMIC_RELAXED);
        if (rounds++ % 64 == 0) {
            note_resident(test_resident());
        }
    }
    return argument;
}

int main(int argc, char **argv)
{
    pthread_t producer[128], consumer[128];

    stress = stress_begin(argc, argv, 4);
    size_t half = (stress.threads + 1) / 2;
    REQUIRE(half <= COUNT_OF(producer));
    for (size_t i = 0; i < half; i++) {
        REQUIRE(pthread_create(&producer[i], NULL, produce, (void *)i) == 0);
        REQUIRE(pthread_create(&consumer[i], NULL, consume, NULL) == 0);
    }
    for (size_t i = 0; i < half; i++)
        REQUIRE(pthread_join(producer[i], NULL) == 0);
    pthread_mutex_lock(&queue.lock);
    queue.closed = true;
    pthread_cond_broadcast(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
    for (size_t i = 0; i < half; i++)
        REQUIRE(pthread_join(consumer[i], NULL) == 0);

    /* at most 32 kB x 1024 are alive, 3 MB on average; the rest is ceiling and caches */
    size_t allowed = (32 + 4 * half) * MIB;
    printf("most resident kB: %zu, allowed %zu\n", most_resident / KIB,
           (stress.resident + allowed) / KIB);
    if (most_resident > stress.resident + allowed && !test_foreign() && !test_shadowed())
        return 1;
    return stress_end(&stress, operations, 4 * MIB + half * 256 * KIB);
}
