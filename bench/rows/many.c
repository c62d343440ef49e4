/* SPDX-License-Identifier: MIT */
/*
 * many.c - many blocks at a time: batches that are freed in or against the order of their making,
 * and working sets of which one block after the other is replaced, at random.
 *
 * Every block is written to: its first word, and a word of every further page.
 */
#include "../harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* ---- batches ------------------------------------------------------------------------------- */

static void **new_list(size_t count)
{
    /* Not from the allocator: the list is not what is measured. */
    void **list = mmap(NULL, count * sizeof *list, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (list == MAP_FAILED)
        bench_fail("no memory for a list");
    return list;
}

static void drop_list(void **list, size_t count)
{
    munmap(list, count * sizeof *list);
}

static void lifo(struct bench *b)
{
    size_t count = bench_size(b, 0), size = bench_size(b, 1);
    void **list = new_list(count);
    while (bench_more(b, count)) {
        for (size_t i = 0; i < count; i++)
            list[i] = bench_touch(malloc(size), size);
        for (size_t i = count; i-- > 0;)
            free(list[i]);
    }
    drop_list(list, count);
}

static void fifo(struct bench *b)
{
    size_t count = bench_size(b, 0), size = bench_size(b, 1);
    void **list = new_list(count);
    while (bench_more(b, count)) {
        for (size_t i = 0; i < count; i++)
            list[i] = bench_touch(malloc(size), size);
        for (size_t i = 0; i < count; i++)
            free(list[i]);
    }
    drop_list(list, count);
}

/* ---- working sets -------------------------------------------------------------------------- */

static void **blocks;
static uint64_t random_state = BENCH_SEED;

static void *new_block(size_t least, size_t most)
{
    size_t size = bench_between(&random_state, least, most);
    return bench_touch(malloc(size), size);
}

/* arg: count, least and most bytes */
static void replace_begin(const struct bench_row *row)
{
    size_t count = (size_t)row->arg[0];
    blocks = new_list(count);
    for (size_t i = 0; i < count; i++)
        blocks[i] = new_block((size_t)row->arg[1], (size_t)row->arg[2]);
}

static void replace_end(const struct bench_row *row)
{
    size_t count = (size_t)row->arg[0];
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
    drop_list(blocks, count);
}

static void replace(struct bench *b)
{
    enum { ROUND = 100 };
    size_t count = bench_size(b, 0), least = bench_size(b, 1), most = bench_size(b, 2);
    while (bench_more(b, ROUND)) {
        for (int i = 0; i < ROUND; i++) {
            size_t at = bench_below(&random_state, count);
            free(blocks[at]);
            blocks[at] = new_block(least, most);
        }
    }
}

/* ---- the same, beside a walk over plain memory of the same size ---------------------------- */

enum { LIVE_LEAST = 16, LIVE_MOST = 112, LIVE_MEAN = (LIVE_LEAST + LIVE_MOST) / 2 };

/*
 * What cache and TLB misses alone would cost: the same list is read and written at random, and a
 * word is written in a block of an array that has the blocks' total size.
 */
static double walk_ns(size_t count)
{
    enum { STEPS = 1 << 21 };
    void **list = new_list(count);
    char *array = mmap(NULL, count * LIVE_MEAN, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (array == MAP_FAILED)
        bench_fail("no memory for the plain array");
    uint64_t random = BENCH_SEED, took = 0;
    for (size_t i = 0; i < count; i++) { /* blocks lie in no order after a while */
        size_t j = bench_below(&random, i + 1);
        list[i] = list[j];
        list[j] = array + i * LIVE_MEAN;
    }
    for (int turn = 0; turn < 2; turn++) { /* the first warms up */
        uint64_t begun = bench_cpu_ns();
        for (int i = 0; i < STEPS; i++) {
            size_t at = bench_below(&random, count);
            size_t size = bench_between(&random, LIVE_LEAST, LIVE_MOST);
            *(volatile long *)list[at] = (long)size;
            list[at] = bench_keep(list[at]);
        }
        took = bench_cpu_ns() - begun;
    }
    munmap(array, count * LIVE_MEAN);
    drop_list(list, count);
    return (double)took / STEPS;
}

static void live_begin(const struct bench_row *row)
{
    bench_result("walk", walk_ns((size_t)row->arg[0]));
    bench_forget_peak();
    replace_begin(row);
}

/* clang-format off */
#define LIVE(count_name, count)                                                 \
    {.name = "live " count_name, .body = replace, .arg = {count, LIVE_LEAST, LIVE_MOST},   \
     .begin = live_begin, .end = replace_end}
#define REPLACE(row_name, count, least, most)                                   \
    {.name = row_name, .body = replace, .arg = {count, least, most},            \
     .begin = replace_begin, .end = replace_end}

BENCH_ROWS(
    {.name = "lifo 100 x 64 B",      .body = lifo, .arg = {100, 64}},
    {.name = "lifo 100 x 512 B",     .body = lifo, .arg = {100, 512}},
    {.name = "lifo 100 x 5000 B",    .body = lifo, .arg = {100, 5000}},
    {.name = "lifo 10000 x 64 B",    .body = lifo, .arg = {10000, 64}},
    {.name = "lifo 10000 x 512 B",   .body = lifo, .arg = {10000, 512}},
    {.name = "lifo 10000 x 5000 B",  .body = lifo, .arg = {10000, 5000}},
    {.name = "fifo 20 x 64 KiB",     .body = fifo, .arg = {20, 65536}},
    {.name = "fifo 100 x 64 B",      .body = fifo, .arg = {100, 64}},
    {.name = "fifo 100 x 512 B",     .body = fifo, .arg = {100, 512}},
    {.name = "fifo 100 x 5000 B",    .body = fifo, .arg = {100, 5000}},
    {.name = "fifo 10000 x 64 B",    .body = fifo, .arg = {10000, 64}},
    {.name = "fifo 10000 x 512 B",   .body = fifo, .arg = {10000, 512}},
    {.name = "fifo 10000 x 5000 B",  .body = fifo, .arg = {10000, 5000}},
    REPLACE("replace 1000 x 16-1024 B", 1000, 16, 1024),
    REPLACE("replace 5000 x 8-8000 B", 5000, 8, 8000),
    REPLACE("replace 1000000 x 16-1024 B", 1000000, 16, 1024),
    REPLACE("replace 20000 x 1-20 kB", 20000, 1000, 20000),
    REPLACE("replace 200 x 0.1-2 MB", 200, 100000, 2000000),
    LIVE("10^3", 1000), LIVE("10^4", 10000), LIVE("10^5", 100000), LIVE("10^6", 1000000),
    LIVE("10^7", 10000000))
