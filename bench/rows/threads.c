/* SPDX-License-Identifier: MIT */
/*
 * threads.c - blocks that one thread makes and another frees, threads that come and go, and work
 * that two threads do side by side without knowing of each other.
 */
#include "../harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

/* ---- producer and consumer ----------------------------------------------------------------- */

enum { RING = 1024, SPINS = 200 };

static struct {
    _Alignas(128) size_t made;
    _Alignas(128) size_t taken;
    _Alignas(128) void *block[RING];
} ring;

static size_t wait_until_moved(const size_t *counter, size_t from)
{
    size_t now;
    for (int spins = 0; (now = __atomic_load_n(counter, __ATOMIC_ACQUIRE)) == from; spins++)
        if (spins >= SPINS)
            sched_yield(); /* the other one may want this processor */
    return now;
}

/* Both halves make as many: a block is one operation, counted at its making. */
static void handoff(struct bench *b)
{
    enum { ROUND = RING };
    size_t size = bench_size(b, 0);
    if (bench_thread(b) == 0) {
        while (bench_more(b, ROUND)) {
            for (int i = 0; i < ROUND; i++) {
                if (ring.made - __atomic_load_n(&ring.taken, __ATOMIC_ACQUIRE) == RING)
                    wait_until_moved(&ring.taken, ring.made - RING);
                ring.block[ring.made % RING] = bench_touch(malloc(size), size);
                __atomic_store_n(&ring.made, ring.made + 1, __ATOMIC_RELEASE);
            }
        }
    } else {
        bench_is_second_half(b);
        while (bench_more(b, ROUND)) {
            for (int i = 0; i < ROUND; i++) {
                wait_until_moved(&ring.made, ring.taken);
                free(ring.block[ring.taken % RING]);
                __atomic_store_n(&ring.taken, ring.taken + 1, __ATOMIC_RELEASE);
            }
        }
    }
}

/* ---- everybody frees what the neighbour made ----------------------------------------------- */

enum { CROSSING = 8, BATCH = 100 };

struct box {
    _Alignas(128) void **blocks; /* a batch, chained through its first words */
};

static struct box boxes[CROSSING];

static void free_chain(void *first)
{
    while (first != NULL) {
        void *next = *(void **)first;
        free(first);
        first = next;
    }
}

/* Nobody waits: a batch that the neighbour has not fetched yet is freed by its maker. */
static void cross(struct bench *b)
{
    int self = bench_thread(b);
    struct box *mine = &boxes[self], *next = &boxes[(self + 1) % CROSSING];
    uint64_t random = BENCH_SEED + (uint64_t)self;
    while (bench_more(b, BATCH)) {
        void *chain = NULL;
        for (int i = 0; i < BATCH; i++) {
            size_t size = bench_between(&random, 16, 1024);
            void *block = bench_touch(malloc(size), size);
            *(void **)block = chain;
            chain = block;
        }
        free_chain(__atomic_exchange_n(&next->blocks, chain, __ATOMIC_ACQ_REL));
        free_chain(__atomic_exchange_n(&mine->blocks, NULL, __ATOMIC_ACQ_REL));
    }
}

static void cross_end(const struct bench_row *row)
{
    (void)row;
    for (int i = 0; i < CROSSING; i++)
        free_chain(boxes[i].blocks);
}

/* ---- birth and death ----------------------------------------------------------------------- */

enum { LIFE = 50 };

static void *short_life(void *unused)
{
    void *list[LIFE];
    uint64_t random = BENCH_SEED;
    for (int i = 0; i < LIFE; i++) {
        size_t size = bench_between(&random, 16, 1024);
        list[i] = bench_touch(malloc(size), size);
    }
    for (int i = 0; i < LIFE; i++)
        free(list[i]);
    return unused;
}

static void births(struct bench *b)
{
    while (bench_more(b, 1)) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, short_life, NULL) != 0)
            bench_fail("pthread_create");
        pthread_join(thread, NULL);
    }
}

/* ---- side by side -------------------------------------------------------------------------- */

static void side_pair(struct bench *b)
{
    enum { ROUND = 1000 };
    size_t size = bench_size(b, 0);
    while (bench_more(b, ROUND))
        for (int i = 0; i < ROUND; i++)
            free(bench_keep(malloc(size)));
}

static void side_batch(struct bench *b)
{
    enum { ROUND = 1000 };
    void *list[ROUND];
    size_t size = bench_size(b, 0);
    while (bench_more(b, ROUND)) {
        for (int i = 0; i < ROUND; i++)
            list[i] = bench_touch(malloc(size), size);
        for (int i = 0; i < ROUND; i++)
            free(list[i]);
    }
}

static void side_replace(struct bench *b)
{
    enum { SET = 10000, ROUND = 100 };
    void *list[SET] = {NULL};
    uint64_t random = BENCH_SEED + (uint64_t)bench_thread(b);
    while (bench_more(b, ROUND)) {
        for (int i = 0; i < ROUND; i++) {
            size_t at = bench_below(&random, SET), size = bench_between(&random, 16, 1024);
            free(list[at]);
            list[at] = bench_touch(malloc(size), size);
        }
    }
    for (size_t i = 0; i < SET; i++)
        free(list[i]);
}

/* clang-format off */
BENCH_ROWS(
    {.name = "handoff 64 B",          .body = handoff, .arg = {64}, .threads = 2},
    {.name = "handoff 1024 B",        .body = handoff, .arg = {1024}, .threads = 2},
    {.name = "cross frees, 8 threads", .body = cross, .threads = CROSSING, .end = cross_end},
    {.name = "thread birth and death", .body = births},
    {.name = "side pair 64 B x1",     .body = side_pair, .arg = {64}, .threads = 1},
    {.name = "side pair 64 B x2",     .body = side_pair, .arg = {64}, .threads = 2},
    {.name = "side batch 512 B x1",   .body = side_batch, .arg = {512}, .threads = 1},
    {.name = "side batch 512 B x2",   .body = side_batch, .arg = {512}, .threads = 2},
    {.name = "side replace x1",       .body = side_replace, .threads = 1},
    {.name = "side replace x2",       .body = side_replace, .threads = 2})
