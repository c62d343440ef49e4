/* SPDX-License-Identifier: MIT */
/*
 * costs.c - the costs that cores.py works with, as far as two processors can show them.
 *
 *     cc -O2 -pthread -D_GNU_SOURCE bench/model/costs.c -o /tmp/costs && /tmp/costs
 *
 * Medians of many short turns; beside another thread, of those during which that one really ran.
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ADDS = 500, RANGES = 64, PAGE = 4096, TURNS = 2000, OWN_PIDFD = -10000 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    if (n == 0)
        return 0;
    qsort(values, n, sizeof *values, by_size);
    return values[n / 2];
}

/* ---- the other thread: what it does, and how far it has come ------------------------------- */

static _Alignas(128) uint64_t counter;
static _Alignas(128) volatile uint64_t steps;
static _Alignas(128) volatile int stop;
static char *area;

static void *add_forever(void *unused)
{
    pin(1);
    while (!stop) {
        __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
        steps++;
    }
    return unused;
}

/* Pages that nobody returns: what it loses, it loses to interrupts. */
static void *read_forever(void *unused)
{
    pin(1);
    while (!stop) {
        (void)*(volatile char *)(area + (size_t)2 * PAGE * (steps % RANGES) + PAGE);
        steps++;
    }
    return unused;
}

static pthread_t start(void *(*body)(void *))
{
    pthread_t thread;
    stop = 0;
    if (pthread_create(&thread, NULL, body, NULL) != 0)
        exit(1);
    return thread;
}

static void end(pthread_t thread)
{
    stop = 1;
    pthread_join(thread, NULL);
}

/* It runs now: it has just made some steps. */
static void wait_for_other(void)
{
    for (int i = 0; i < 3; i++) {
        uint64_t before = steps;
        while (steps == before) {}
    }
}

/* ---- one counter, changed by one processor and by two ---------------------------------------- */

static double adds_ns(int beside)
{
    static double taken[TURNS];
    size_t n = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        if (beside)
            wait_for_other();
        uint64_t before = steps, begun = now_ns();
        for (int i = 0; i < ADDS; i++)
            __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
        double ns = (double)(now_ns() - begun) / ADDS;
        if (!beside || steps - before > ADDS / 4)
            taken[n++] = ns;
    }
    return median(taken, n);
}

/* ---- returning pages, alone and beside a thread that runs ------------------------------------ */

static const char *const names[] = {"64 calls with a page", "one call, 64 ranges of a page",
                                    "one call, one range with 64 pages"};
enum way { EACH, VECTOR, ONE_RANGE, WAYS };

static void purge(enum way way)
{
    struct iovec ranges[RANGES];
    for (int i = 0; i < RANGES; i++)
        ranges[i] = (struct iovec){area + (size_t)i * 2 * PAGE, PAGE};
    if (way == ONE_RANGE) {
        madvise(area + (size_t)RANGES * 2 * PAGE, (size_t)RANGES * PAGE, MADV_DONTNEED);
    } else if (way == EACH || syscall(SYS_process_madvise, OWN_PIDFD, ranges, RANGES, MADV_DONTNEED,
                                      0) != (long)RANGES * PAGE) {
        for (int i = 0; i < RANGES; i++)
            madvise(ranges[i].iov_base, PAGE, MADV_DONTNEED);
    }
}

static void fill(enum way way)
{
    for (size_t i = 0; i < RANGES; i++)
        area[way == ONE_RANGE ? (2 * RANGES + i) * PAGE : i * 2 * PAGE] = 1;
}

static double purge_us(enum way way, int beside, double pace, double *lost)
{
    static double taken[TURNS], losses[TURNS];
    size_t n = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        fill(way);
        if (beside)
            wait_for_other();
        uint64_t before = steps, begun = now_ns();
        purge(way);
        double us = (double)(now_ns() - begun) / 1000;
        uint64_t made = steps - before;
        if (!beside || made > 0) {
            losses[n] = us - (pace > 0 ? (double)made / pace : 0);
            taken[n++] = us;
        }
    }
    *lost = median(losses, n);
    return median(taken, n);
}

/* Steps a us, undisturbed. */
static double pace_of_other(void)
{
    static double paces[TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        wait_for_other();
        uint64_t before = steps, begun = now_ns();
        while (now_ns() - begun < 10000) {}
        paces[turn] = (double)(steps - before) * 1000 / (double)(now_ns() - begun);
    }
    return median(paces, TURNS);
}

int main(void)
{
    double lost;
    pin(0);
    double alone = adds_ns(0);
    pthread_t other = start(add_forever);
    double beside = adds_ns(1);
    end(other);
    printf("atomic add: %.1f ns alone, %.1f ns with another processor at the same line\n", alone,
           beside);

    area = mmap(NULL, (size_t)RANGES * 3 * PAGE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED)
        return 1;
    madvise(area, (size_t)RANGES * 3 * PAGE, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < RANGES; i++)
        area[(2 * i + 1) * PAGE] = 1;
    for (enum way way = EACH; way < WAYS; way++) {
        double quiet = purge_us(way, 0, 0, &lost);
        other = start(read_forever);
        double pace = pace_of_other();
        double shot = purge_us(way, 1, pace, &lost);
        end(other);
        printf("%s: %.1f us alone, %.1f us beside a running thread, which loses %.1f us\n",
               names[way], quiet, shot, lost);
    }
    return 0;
}
