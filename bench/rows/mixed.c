/* SPDX-License-Identifier: MIT */
/*
 * mixed.c - blocks of many sizes among eight threads and more: each with a set of its own, one set
 * for all, sets that outlive the threads.  The shapes are those of Larson's benchmark, Hoard's
 * phong, snmalloc's contention and rpmalloc's rptest.
 */
#include "../harness.h"

#include <pthread.h>
#include <stdlib.h>

enum { SET_MAX = 10000, ROUND = 100, LIFE = 1000, THREADS = 8, MANY = 100 };

/* arg of all rows: how many blocks, least and most bytes */
struct sizes {
    size_t count, least, most;
};

static struct sizes sizes_of(const struct bench *b)
{
    return (struct sizes){bench_size(b, 0), bench_size(b, 1), bench_size(b, 2)};
}

static void free_all(void **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(list[i]);
}

/* ---- a set of its own ---------------------------------------------------------------------- */

static void replace_some(void **list, struct sizes s, uint64_t *random, int operations)
{
    for (int i = 0; i < operations; i++) {
        size_t at = bench_below(random, s.count), size = bench_between(random, s.least, s.most);
        free(list[at]);
        list[at] = bench_touch(malloc(size), size);
    }
}

static void resize_some(void **list, struct sizes s, uint64_t *random, int operations)
{
    for (int i = 0; i < operations; i++) {
        size_t at = bench_below(random, s.count), size = bench_between(random, s.least, s.most);
        list[at] = bench_touch(realloc(list[at], size), size);
    }
}

static void on_own_set(struct bench *b, void (*some)(void **, struct sizes, uint64_t *, int))
{
    void *list[SET_MAX] = {NULL};
    struct sizes s = sizes_of(b);
    uint64_t random = BENCH_SEED + (uint64_t)bench_thread(b);
    while (bench_more(b, ROUND))
        some(list, s, &random, ROUND);
    free_all(list, s.count);
}

static void replace(struct bench *b)
{
    on_own_set(b, replace_some);
}

static void resize(struct bench *b)
{
    on_own_set(b, resize_some);
}

/* ---- one set for all ----------------------------------------------------------------------- */

static void **shared;

static void exchange_begin(const struct bench_row *row)
{
    shared = bench_keep(calloc((size_t)row->arg[0], sizeof *shared));
}

static void exchange(struct bench *b)
{
    struct sizes s = sizes_of(b);
    uint64_t random = BENCH_SEED + (uint64_t)bench_thread(b);
    while (bench_more(b, ROUND)) {
        for (int i = 0; i < ROUND; i++) {
            size_t at = bench_below(&random, s.count);
            size_t size = bench_between(&random, s.least, s.most);
            void *block = bench_touch(malloc(size), size);
            free(__atomic_exchange_n(&shared[at], block, __ATOMIC_ACQ_REL));
        }
    }
}

static void exchange_end(const struct bench_row *row)
{
    free_all(shared, (size_t)row->arg[0]);
    free(shared);
}

/* ---- a set that goes from thread to thread ------------------------------------------------- */

struct heritage {
    void *list[SET_MAX];
    struct sizes sizes;
    uint64_t random;
};

static void *heir(void *arg)
{
    struct heritage *h = arg;
    replace_some(h->list, h->sizes, &h->random, LIFE);
    return NULL;
}

static void inherit(struct bench *b)
{
    struct heritage h = {.sizes = sizes_of(b), .random = BENCH_SEED + (uint64_t)bench_thread(b)};
    while (bench_more(b, LIFE)) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, heir, &h) != 0)
            bench_fail("pthread_create");
        pthread_join(thread, NULL);
    }
    free_all(h.list, h.sizes.count);
}

/* clang-format off */
BENCH_ROWS(
    {.name = "replace 1000 x 8-1000 B, 8 threads", .body = replace,
     .arg = {1000, 8, 1000}, .threads = THREADS},
    {.name = "replace 100 x 8-8000 B, 8 threads", .body = replace,
     .arg = {100, 8, 8000}, .threads = THREADS},
    {.name = "replace 100 x 8-1000 B, 100 threads", .body = replace,
     .arg = {100, 8, 1000}, .threads = MANY},
    {.name = "resize 1000 x 8-1000 B", .body = resize, .arg = {1000, 8, 1000}},
    {.name = "resize 1000 x 8-1000 B, 8 threads", .body = resize,
     .arg = {1000, 8, 1000}, .threads = THREADS},
    {.name = "exchange 262144 x 8-1000 B, 8 threads", .body = exchange,
     .begin = exchange_begin, .end = exchange_end, .arg = {262144, 8, 1000}, .threads = THREADS},
    {.name = "exchange 1000 x 16-8000 B, 8 threads", .body = exchange,
     .begin = exchange_begin, .end = exchange_end, .arg = {1000, 16, 8000}, .threads = THREADS},
    {.name = "inherit 1000 x 8-1000 B, 8 threads", .body = inherit,
     .arg = {1000, 8, 1000}, .threads = THREADS})
