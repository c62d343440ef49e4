/* SPDX-License-Identifier: MIT */
/*
 * scale.c - what must not depend on how much there is: the cost of returning a page on the pages
 * owned, and the cost of a call on the threads alive.
 */
#include "../harness.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- returning on request ------------------------------------------------------------------ */

/* Each allocator's own way to say "return what is free, now". */
static void *found;

static void by_reclaim(void)
{
    ((size_t(*)(void))found)();
}

static void by_jemalloc(void)
{
    /* 4096 stands for all arenas */
    ((int (*)(const char *, void *, size_t *, void *, size_t))found)("arena.4096.purge", NULL, NULL,
                                                                     NULL, 0);
}

static void by_mimalloc(void)
{
    ((void (*)(bool))found)(true);
}

static void by_tcmalloc(void)
{
    ((void (*)(void))found)();
}

static void by_trim(void)
{
    ((int (*)(size_t))found)(0);
}

static const struct {
    const char *symbol;
    void (*ask)(void);
} ways[] = {{"reclaim_purge", by_reclaim},
            {"mallctl", by_jemalloc},
            {"mi_collect", by_mimalloc},
            {"MallocExtension_ReleaseFreeMemory", by_tcmalloc},
            {"malloc_trim", by_trim}};

static void (*ask)(void);

static void find_way(void)
{
    for (size_t i = 0; ask == NULL && i < sizeof ways / sizeof ways[0]; i++) {
        found = dlsym(RTLD_DEFAULT, ways[i].symbol);
        if (found != NULL)
            ask = ways[i].ask;
    }
    if (ask == NULL)
        bench_fail("no way known to ask this allocator for a purge");
}

/* OWNED_BLOCK leaves room for a header, so that none needs a fifth page. */
enum { OWNED_BLOCK = 4 * BENCH_PAGE - 64, OWNED_PAGES = 4, TURNS = 32 };

static char **owned;
static size_t owned_count;
static uint64_t pick = BENCH_SEED;

/* arg: MiB owned, KiB freed at random places and returned each time */
static void purge_begin(const struct bench_row *row)
{
    find_way();
    owned_count = ((size_t)row->arg[0] << 20) / OWNED_BLOCK;
    size_t bytes = owned_count * sizeof *owned;
    owned = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (owned == MAP_FAILED)
        bench_fail("no memory for a list");
    for (size_t i = 0; i < owned_count; i++)
        owned[i] = bench_touch(malloc(OWNED_BLOCK), OWNED_BLOCK);
}

static void purge_end(const struct bench_row *row)
{
    (void)row;
    for (size_t i = 0; i < owned_count; i++)
        free(owned[i]);
    munmap(owned, owned_count * sizeof *owned);
}

static size_t resident_pages(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    char line[200];
    size_t kib = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Rss: %zu kB", &kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kib / 4;
}

/* The operation is a page freed; what part of them was really returned is the result "returned". */
static void purge(struct bench *b)
{
    size_t count = (bench_size(b, 1) << 10) / (OWNED_PAGES * BENCH_PAGE);
    size_t pages = count * OWNED_PAGES;
    size_t freed = 0, returned = 0;
    while (bench_more(b, pages)) {
        bench_pause(b);
        ask(); /* nothing is left of earlier turns */
        size_t before = resident_pages();
        for (size_t i = 0; i < count; i++) {
            size_t at = bench_below(&pick, owned_count - i);
            free(owned[at]);
            owned[at] = owned[owned_count - 1 - i]; /* the last ones are missing until the refill */
        }
        bench_resume(b);
        ask();
        bench_pause(b);
        size_t after = resident_pages();
        freed += pages;
        returned += before > after ? before - after : 0;
        for (size_t i = 0; i < count; i++)
            owned[owned_count - 1 - i] = bench_touch(malloc(OWNED_BLOCK), OWNED_BLOCK);
        bench_resume(b);
    }
    bench_result("returned", freed == 0 ? 0 : (double)returned / (double)freed);
}

/* ---- threads that are alive and sleep ------------------------------------------------------ */

enum { SLEEPERS = 4000, BURST = 100, EDGE = 500, STACK = 64 << 10 };

static pthread_t *sleepers;
static long sleeper_count;
static sem_t ready, go_home;
static uint64_t burst_ns[SLEEPERS];

static void *sleeper(void *place)
{
    void *list[BURST];
    uint64_t begun = bench_cpu_ns();
    for (int i = 0; i < BURST; i++)
        list[i] = bench_touch(malloc(64), 64);
    for (int i = 0; i < BURST; i++)
        free(list[i]);
    *(uint64_t *)place = bench_cpu_ns() - begun;
    sem_post(&ready);
    sem_wait(&go_home);
    return NULL;
}

static double mean_burst(size_t from)
{
    uint64_t sum = 0;
    for (size_t i = from; i < from + EDGE; i++)
        sum += burst_ns[i];
    return (double)sum / EDGE;
}

static void sleepers_begin(const struct bench_row *row)
{
    pthread_attr_t attributes;
    sleeper_count = row->arg[0];
    sem_init(&ready, 0, 0);
    sem_init(&go_home, 0, 0);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    sleepers = malloc((size_t)sleeper_count * sizeof *sleepers + 1);
    for (long i = 0; i < sleeper_count; i++) {
        if (pthread_create(&sleepers[i], &attributes, sleeper, &burst_ns[i]) != 0)
            bench_fail("pthread_create");
        sem_wait(&ready); /* one after the other: each has the processor to itself */
    }
    if (sleeper_count > 0) {
        /* The first calls of the first threads and of the last: CPU time of a burst. */
        bench_result("first", mean_burst(0));
        bench_result("last", mean_burst(SLEEPERS - EDGE));
    }
}

static void sleepers_end(const struct bench_row *row)
{
    (void)row;
    for (long i = 0; i < sleeper_count; i++)
        sem_post(&go_home);
    for (long i = 0; i < sleeper_count; i++)
        pthread_join(sleepers[i], NULL);
    free(sleepers);
}

static void among_sleepers(struct bench *b)
{
    enum { SET = 10000, ROUND = 100 };
    static void *list[SET];
    uint64_t random = BENCH_SEED;
    while (bench_more(b, ROUND)) {
        for (int i = 0; i < ROUND; i++) {
            size_t at = bench_below(&random, SET), size = bench_between(&random, 16, 1024);
            free(list[at]);
            list[at] = bench_touch(malloc(size), size);
        }
    }
    for (int i = 0; i < SET; i++) {
        free(list[i]);
        list[i] = NULL;
    }
}

/* clang-format off */
#define PURGE(row_name, mib, kib)                                               \
    {.name = row_name, .body = purge, .arg = {mib, kib},                        \
     .operations = (long)TURNS * (kib) / 4,                                       \
     .begin = purge_begin, .end = purge_end}
#define AMONG(row_name, count)                                                  \
    {.name = row_name, .body = among_sleepers, .arg = {count},                  \
     .begin = sleepers_begin, .end = sleepers_end}

BENCH_ROWS(
    PURGE("purge 1 of 16 MiB", 16, 1024),
    PURGE("purge 1 of 256 MiB", 256, 1024),
    PURGE("purge 4 of 256 MiB", 256, 4096),
    PURGE("purge 16 of 256 MiB", 256, 16384),
    PURGE("purge 4 of 1024 MiB", 1024, 4096),
    AMONG("among 0 threads", 0),
    AMONG("among 4000 threads", SLEEPERS))
