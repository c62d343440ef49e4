/* SPDX-License-Identifier: MIT */
/* single.c - one block at a time: what a hit costs, and calls that only ask. */
#include "../harness.h"

#include <malloc.h>
#include <stdlib.h>

/* As a C++ compiler writes them; without a preloaded allocator they are the C++ run time's. */
extern void *operator_new(size_t size) __asm__("_Znwm");
extern void operator_delete_sized(void *p, size_t size) __asm__("_ZdlPvm");

enum { ROUND = 1000 };

static void pair(struct bench *b)
{
    size_t size = bench_size(b, 0);
    while (bench_more(b, ROUND))
        for (int i = 0; i < ROUND; i++)
            free(bench_keep(malloc(size)));
}

static void sized_delete(struct bench *b)
{
    size_t size = bench_size(b, 0);
    while (bench_more(b, ROUND))
        for (int i = 0; i < ROUND; i++)
            operator_delete_sized(bench_keep(operator_new(size)), size);
}

static void aligned(struct bench *b)
{
    size_t align = bench_size(b, 0), size = bench_size(b, 1);
    while (bench_more(b, ROUND))
        for (int i = 0; i < ROUND; i++)
            free(bench_keep(aligned_alloc(align, size)));
}

/* Zeroed memory that is then written to, in every page. */
static void zeroed(struct bench *b)
{
    size_t size = bench_size(b, 0), round = bench_size(b, 1);
    while (bench_more(b, round))
        for (size_t i = 0; i < round; i++)
            free(bench_touch(calloc(1, size), size));
}

static void touched(struct bench *b)
{
    size_t size = bench_size(b, 0);
    while (bench_more(b, 1))
        free(bench_touch(malloc(size), size));
}

enum { ASKED = 1000 };
static void *asked[ASKED];

static void asked_begin(const struct bench_row *row)
{
    uint64_t random = BENCH_SEED;
    (void)row;
    for (int i = 0; i < ASKED; i++) {
        size_t size = bench_between(&random, 16, 4096);
        asked[i] = bench_touch(malloc(size), size);
    }
}

static void asked_end(const struct bench_row *row)
{
    (void)row;
    for (int i = 0; i < ASKED; i++)
        free(asked[i]);
}

static void usable(struct bench *b)
{
    size_t sum = 0;
    while (bench_more(b, ASKED))
        for (int i = 0; i < ASKED; i++)
            sum += malloc_usable_size(bench_keep(asked[i]));
    if (sum == 0)
        bench_fail("no block has a usable byte");
}

/* clang-format off */
BENCH_ROWS(
    {.name = "pair 16 B",           .body = pair, .arg = {16}},
    {.name = "pair 64 B",           .body = pair, .arg = {64}},
    {.name = "pair 1024 B",         .body = pair, .arg = {1024}},
    {.name = "pair 8 KiB",          .body = pair, .arg = {8 << 10}},
    {.name = "pair 64 KiB",         .body = pair, .arg = {64 << 10}},
    {.name = "sized delete 64 B",   .body = sized_delete, .arg = {64}},
    {.name = "sized delete 512 B",  .body = sized_delete, .arg = {512}},
    {.name = "aligned 64/256 B",    .body = aligned, .arg = {64, 256}},
    {.name = "aligned 4/8 KiB",     .body = aligned, .arg = {4 << 10, 8 << 10}},
    {.name = "usable size",         .body = usable, .begin = asked_begin, .end = asked_end},
    {.name = "calloc 64 B",         .body = zeroed, .arg = {64, ROUND}},
    {.name = "calloc 100 kB",       .body = zeroed, .arg = {100000, 10}},
    {.name = "calloc 10 MB",        .body = zeroed, .arg = {10000000, 1}},
    {.name = "touch 1 MiB",         .body = touched, .arg = {1 << 20}},
    {.name = "touch 20 MiB",        .body = touched, .arg = {20 << 20}})
