/* SPDX-License-Identifier: MIT */
/*
 * harness.h - what a benchmark row is written against; harness.cc puts Google Benchmark behind it.
 *
 * A row is a body that performs operations for as long as bench_more() lets it, and a line in a
 * table with its name and its numbers:
 *
 *     static void pair(struct bench *b)
 *     {
 *         size_t size = bench_size(b, 0);
 *         while (bench_more(b, 1000))
 *             for (int i = 0; i < 1000; i++)
 *                 free(bench_keep(malloc(size)));
 *     }
 *     BENCH_ROWS(
 *         {.name = "pair 16 B", .body = pair, .arg = {16}},
 *         {.name = "pair 64 B", .body = pair, .arg = {64}})
 *
 * The program runs one row per process, so that a row's peak is its own and no row inherits the
 * heap of another.  The body is called several times: for a warm-up, then with more and more
 * operations until the row's time is filled; only the last call counts.  What should be set up
 * once stands in `begin`, and what it leaves in `end`, which frees everything: what is resident
 * after that is the allocator's.
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench; /* one thread's part in one call of a row */

struct bench_row {
    const char *name;
    void (*body)(struct bench *b);
    long arg[4];
    int threads;     /* that run the body at the same time; 0 is 1 */
    double seconds;  /* to be filled with operations; 0: as the command line says */
    long operations; /* or: one call with so many, whatever time they take */
    void (*begin)(const struct bench_row *row);
    void (*end)(const struct bench_row *row);
};

/* A batch of `operations` follows; false: enough.  The first call starts the clock. */
bool bench_more(struct bench *b, size_t operations);

/* What comes between does not count.  About a microsecond: for long batches only. */
void bench_pause(struct bench *b);
void bench_resume(struct bench *b);

/* The batches of this thread are the other half of another thread's operations. */
void bench_is_second_half(struct bench *b);

size_t bench_size(const struct bench *b, int which); /* the row's arg[which] */
int bench_thread(const struct bench *b);             /* 0 .. threads - 1 */

/*
 * A further result of this process, key=value in the line of results: no blank in either.  The
 * last value of a key counts; after the clock has stopped, or in begin or end.
 */
void bench_result(const char *key, double value);
void bench_result_text(const char *key, const char *value);

/* Peak resident memory is counted from now on: what begin() needed for itself does not count. */
void bench_forget_peak(void);

uint64_t bench_now_ns(void); /* monotonic */
uint64_t bench_cpu_ns(void); /* of this thread; stands still while it does not run */

/* Prints and ends the program. */
void bench_fail(const char *what) __attribute__((noreturn));

/* ---- for bodies ---------------------------------------------------------------------------- */

/* The block counts as used; NULL ends the program.  Keeps the compiler from seeing through. */
static inline void *bench_keep(void *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    if (__builtin_expect(p == NULL, 0))
        bench_fail("out of memory");
    return p;
}

enum { BENCH_PAGE = 4096 };

/* Writes a word into every page of the block, and so into the first bytes of a small one. */
static inline void *bench_touch(void *p, size_t size)
{
    char *block = (char *)bench_keep(p);
    for (size_t at = 0; at < size; at += BENCH_PAGE)
        *(volatile long *)(block + at) = (long)size;
    return p;
}

/* xorshift64*: a few cycles a number, the same numbers in every run. */
static inline uint64_t bench_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

/* 0 .. n - 1, without a division. */
static inline size_t bench_below(uint64_t *state, size_t n)
{
    return (size_t)(((bench_random(state) >> 32) * (uint64_t)n) >> 32);
}

static inline size_t bench_between(uint64_t *state, size_t least, size_t most)
{
    return least + bench_below(state, most - least + 1);
}

enum { BENCH_SEED = 88172645 };

/* ---- registration -------------------------------------------------------------------------- */

void bench_add_rows(const struct bench_row *rows, size_t count);

#define BENCH_ROWS(...)                                                                      \
    static const struct bench_row bench_rows_here[] = {__VA_ARGS__};                         \
    __attribute__((constructor)) static void bench_add_rows_here(void)                       \
    {                                                                                        \
        bench_add_rows(bench_rows_here, sizeof bench_rows_here / sizeof bench_rows_here[0]); \
    }

#ifdef __cplusplus
}
#endif
#endif
