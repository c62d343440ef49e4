/* SPDX-License-Identifier: MIT */
/*
 * latency.c - how long the single call takes: every malloc and every free is timed alone.
 *
 * On a machine that does other things, the longest times are those in which the thread did not
 * run.  So that they are not taken for the allocator's, whoever takes longer than LONG_NS is asked
 * (getrusage) whether it was put off the processor against its will meanwhile: such calls go into
 * a histogram of their own.  Waiting for a lock is not against its will, and stays.  Interrupts
 * and a host that takes the whole machine away do not show; what they do is told by the histogram
 * "none", of a loop that times nothing at all.  The "cpu" rows use the thread's own CPU clock
 * instead, which stands still while the thread does: slower to read, so for the longest calls only.
 *
 * Histograms have 16 steps a doubling (6 % wide) and are printed as STEP:COUNT,STEP:COUNT...
 */
#include "../harness.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

enum { WAVES = 2, SUB_BITS = 4, STEPS = 40 << SUB_BITS, LONG_NS = 5000, LOOK_EVERY = 256 };

struct histogram {
    const char *name;
    uint64_t count[STEPS];
};

static struct histogram of_malloc = {.name = "malloc"}, of_free = {.name = "free"};
static struct histogram off_malloc = {.name = "off_malloc"}, off_free = {.name = "off_free"};
static struct histogram of_none = {.name = "none"}, off_none = {.name = "off_none"};

/* ---- histogram ----------------------------------------------------------------------------- */

/* 0 .. 15 as they are, then 16 steps for each doubling. */
static unsigned step_of(uint64_t ns)
{
    if (ns < 1u << SUB_BITS)
        return (unsigned)ns;
    unsigned top = 63u - (unsigned)__builtin_clzll(ns);
    unsigned step = ((top - SUB_BITS + 1) << SUB_BITS) |
                    (unsigned)((ns >> (top - SUB_BITS)) & ((1u << SUB_BITS) - 1));
    return step < STEPS ? step : STEPS - 1;
}

static void report(const struct histogram *h)
{
    static char text[STEPS * 16];
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < STEPS; i++)
        if (h->count[i] != 0)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%u:%llu",
                                     used == 0 ? "" : ",", i, (unsigned long long)h->count[i]);
    bench_result_text(h->name, text);
}

static void forget(struct histogram *h)
{
    memset(h->count, 0, sizeof h->count);
}

/* ---- clocks -------------------------------------------------------------------------------- */

static bool by_cpu_clock;
static double ns_per_tick = 1;

static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
    uint32_t low, high;
    /* lfence: earlier work is finished, later work has not begun. */
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
#elif defined(__aarch64__)
    uint64_t now;
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(now) : : "memory");
    return now;
#else
    return bench_now_ns();
#endif
}

static void calibrate(void)
{
    uint64_t ns = bench_now_ns(), begun = ticks();
    while (bench_now_ns() - ns < 20000000) {}
    uint64_t passed = ticks() - begun;
    ns_per_tick = (double)(bench_now_ns() - ns) / (double)passed;
}

static inline uint64_t stamp(void)
{
    return by_cpu_clock ? bench_cpu_ns() : ticks();
}

static _Thread_local long put_off;      /* involuntary switches seen so far */
static _Thread_local unsigned recorded; /* calls since then */

static bool was_put_off(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    bool moved = usage.ru_nivcsw != put_off;
    put_off = usage.ru_nivcsw;
    recorded = 0;
    return moved;
}

static inline void record(uint64_t begun, uint64_t ended, struct histogram *of,
                          struct histogram *off)
{
    double scale = by_cpu_clock ? 1 : ns_per_tick;
    uint64_t ns = (uint64_t)((double)(ended - begun) * scale);
    struct histogram *h = of;
    if (ns > LONG_NS) {
        if (was_put_off() && !by_cpu_clock)
            h = off;
    } else if (++recorded >= LOOK_EVERY) {
        was_put_off(); /* what happened between two calls is not the next call's */
    }
    __atomic_fetch_add(&h->count[step_of(ns)], 1, __ATOMIC_RELAXED);
}

static void *timed_malloc(size_t size)
{
    uint64_t begun = stamp();
    void *p = bench_keep(malloc(size));
    record(begun, stamp(), &of_malloc, &off_malloc);
    return bench_touch(p, size);
}

static void timed_free(void *p)
{
    uint64_t begun = stamp();
    free(p);
    record(begun, stamp(), &of_free, &off_free);
}

/* The clock itself, and all that is not ours, for as many calls as the row made. */
static void time_nothing(void)
{
    for (int i = 0; i < 1000000; i++) {
        uint64_t begun = stamp();
        __asm__ volatile("" : : : "memory");
        record(begun, stamp(), &of_none, &off_none);
    }
}

/* ---- the loads ----------------------------------------------------------------------------- */

/* arg: count, least, most, 1: by the CPU clock */
static void **set;
static uint64_t random_state = BENCH_SEED;

static void latency_begin(const struct bench_row *row)
{
    size_t count = (size_t)row->arg[0];
    calibrate();
    by_cpu_clock = row->arg[3] != 0;
    set = mmap(NULL, count * sizeof *set, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (set == MAP_FAILED)
        bench_fail("no memory for a list");
}

static void latency_end(const struct bench_row *row)
{
    size_t count = (size_t)row->arg[0];
    for (size_t i = 0; i < count; i++)
        free(set[i]);
    munmap(set, count * sizeof *set);
    time_nothing();
    const struct histogram *all[] = {&of_malloc,  &of_free,  &of_none,
                                     &off_malloc, &off_free, &off_none};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        report(all[i]);
}

static void start_anew(void)
{
    forget(&of_malloc);
    forget(&of_free);
    forget(&off_malloc);
    forget(&off_free);
    was_put_off();
}

/* A working set of which one block after the other is replaced. */
static void churn(struct bench *b)
{
    enum { ROUND = 100 };
    size_t count = bench_size(b, 0), least = bench_size(b, 1), most = bench_size(b, 2);
    for (size_t i = 0; i < count; i++)
        if (set[i] == NULL)
            set[i] = bench_touch(malloc(bench_between(&random_state, least, most)), least);
    start_anew();
    while (bench_more(b, ROUND)) {
        for (int i = 0; i < ROUND; i++) {
            size_t at = bench_below(&random_state, count);
            timed_free(set[at]);
            set[at] = timed_malloc(bench_between(&random_state, least, most));
        }
    }
}

static void shuffle(void **list, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = bench_below(&random_state, i);
        void *moved = list[i - 1];
        list[i - 1] = list[j];
        list[j] = moved;
    }
}

/*
 * Purging at work: everything is made, then all but one in sixteen is freed in random order, and
 * nobody asks for it again within a second.  That is long enough for an allocator that returns
 * by demand to have forgotten the wave before: each is returned while it is freed.
 */
static void waves(struct bench *b)
{
    enum { SURVIVORS = 16 };
    static const struct timespec lull = {1, 100000000};
    size_t count = bench_size(b, 0), least = bench_size(b, 1), most = bench_size(b, 2);
    start_anew();
    while (bench_more(b, WAVES * count)) {
        for (int wave = 0; wave < WAVES; wave++) {
            if (wave > 0) {
                bench_pause(b);
                nanosleep(&lull, NULL);
                bench_resume(b);
            }
            for (size_t i = 0; i < count; i++)
                if (set[i] == NULL)
                    set[i] = timed_malloc(bench_between(&random_state, least, most));
            shuffle(set, count);
            for (size_t i = count / SURVIVORS; i < count; i++) {
                timed_free(set[i]);
                set[i] = NULL;
            }
        }
    }
}

/* clang-format off */
#define CHURN(row_name, count, least, most)                                     \
    {.name = "latency " row_name, .body = churn, .arg = {count, least, most}, .seconds = 0.5,     \
     .begin = latency_begin, .end = latency_end}
#define WAVE(row_name, count, least, most, by_cpu)                              \
    {.name = "latency " row_name, .body = waves, .arg = {count, least, most, by_cpu},             \
     .operations = (long)WAVES * (count), .begin = latency_begin, .end = latency_end}

BENCH_ROWS(
    CHURN("churn 16-1024 B", 200000, 16, 1024),
    CHURN("churn 1-20 kB", 20000, 1000, 20000),
    CHURN("churn 0.1-2 MB", 200, 100000, 2000000),
    WAVE("waves 16-1024 B", 300000, 16, 1024, 0),
    WAVE("waves 1-20 kB", 20000, 1000, 20000, 0),
    WAVE("waves 1-20 kB, cpu", 20000, 1000, 20000, 1))
