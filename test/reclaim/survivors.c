/* SPDX-License-Identifier: MIT */
/*
 * survivors.c - many blocks, nearly all freed, a few left over everywhere.
 *
 * One survivor pins the page it lies on and nothing else: that is what the driver checks after
 * the stop "freed".  Every survivor keeps its content; after the stop "empty" nothing is alive.
 *
 *   --sizes 16:600   block sizes, uniformly from this range
 *   --count N        blocks allocated
 *   --keep K         one survivor in K, chosen at random
 *   --order same|reverse|random      order of the frees
 *   --by self|other|fresh|eight      who frees: the allocating thread; a thread that has used
 *                                    malloc before; one that never has; eight threads at once
 *   --trim           call malloc_trim(0) before the stop "freed"
 *   --report FILE, --seed S, --run (markers instead of stops)
 *
 * Stops: start, live, freed, empty.
 */
#include "report.h"

#include <malloc.h>
#include <pthread.h>

enum { MAX_FREERS = 8, WARM_BLOCKS = 2000 };

struct freer {
    pthread_t thread;
    unsigned index;
    unsigned stride; /* it frees order[index], order[index + stride], ... */
    bool warm;       /* has used malloc before the run                    */
};

static size_t count;
static uint32_t *order; /* places of the table to free, in the order of the frees */
static size_t to_free;  /* places in `order`                                      */

/* The freeing threads wait here for their turn, and again when they are done: alive, asleep. */
static pthread_barrier_t begin, done, leave;

static void free_share(unsigned index, unsigned stride)
{
    for (size_t i = index; i < to_free; i += stride)
        report_release(order[i]);
}

/* Gives the thread a filled cache of its own, of all the sizes up to a few KiB. */
static void warm_up(void)
{
    void *p[WARM_BLOCKS];
    for (size_t i = 0; i < WARM_BLOCKS; i++) {
        p[i] = malloc(16 + i * 2);
        if (p[i] != NULL)
            memset(p[i], 1, 16);
    }
    for (size_t i = 0; i < WARM_BLOCKS; i++)
        free(p[i]);
}

static void *freer_main(void *arg)
{
    struct freer *f = arg;
    if (f->warm)
        warm_up();
    pthread_barrier_wait(&begin); /* once: everybody is ready before "start" */
    pthread_barrier_wait(&begin); /* twice: free now                          */
    free_share(f->index, f->stride);
    pthread_barrier_wait(&done);
    pthread_barrier_wait(&leave);
    return NULL;
}

/* Picks the survivors and lines up all the others. */
static void choose_order(uint64_t keep, const char *how, uint64_t *seed)
{
    for (size_t i = 0; i < count; i++) {
        if (report_random(seed) % keep != 0)
            order[to_free++] = (uint32_t)i;
    }
    bool reverse = strcmp(how, "reverse") == 0, random = strcmp(how, "random") == 0;
    if (!reverse && !random && strcmp(how, "same") != 0)
        report_die(REPORT_UNUSABLE, "--order same|reverse|random");
    for (size_t i = to_free; i-- > 1;) {
        /* reverse: swap ends up to the middle; random: Fisher and Yates */
        size_t j = reverse ? to_free - 1 - i : random ? report_random(seed) % (i + 1) : i;
        if (reverse && j >= i)
            break;
        uint32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

static unsigned start_freers(const char *by, struct freer *freers)
{
    unsigned n = strcmp(by, "self") == 0 ? 0 : strcmp(by, "eight") == 0 ? MAX_FREERS : 1;
    bool warm = strcmp(by, "fresh") != 0;
    if (n == 1 && warm && strcmp(by, "other") != 0)
        report_die(REPORT_UNUSABLE, "--by self|other|fresh|eight");
    pthread_barrier_init(&begin, NULL, n + 1);
    pthread_barrier_init(&done, NULL, n + 1);
    pthread_barrier_init(&leave, NULL, n + 1);
    for (unsigned i = 0; i < n; i++) {
        freers[i] = (struct freer){.index = i, .stride = n, .warm = warm};
        if (pthread_create(&freers[i].thread, NULL, freer_main, &freers[i]) != 0)
            report_die(REPORT_UNUSABLE, "pthread_create");
    }
    pthread_barrier_wait(&begin);
    return n;
}

int main(int argc, char **argv)
{
    size_t low, high;
    report_arg_range(argc, argv, "--sizes", "600:5000", &low, &high);
    count = report_arg_number(argc, argv, "--count", "200000");
    uint64_t keep = report_arg_number(argc, argv, "--keep", "50");
    uint64_t seed = report_arg_number(argc, argv, "--seed", "1");
    report_free_running = report_flag(argc, argv, "--run");
    report_open(report_arg(argc, argv, "--report", NULL), count);
    order = report_own(count * sizeof *order);
    choose_order(keep, report_arg(argc, argv, "--order", "same"), &seed);
    struct freer freers[MAX_FREERS];
    unsigned others = start_freers(report_arg(argc, argv, "--by", "self"), freers);

    report_stop("start");
    for (size_t i = 0; i < count; i++)
        report_alloc(i, low + report_random(&seed) % (high - low + 1));
    report_stop("live");

    if (others == 0) {
        free_share(0, 1);
    } else {
        pthread_barrier_wait(&begin);
        pthread_barrier_wait(&done);
    }
    if (report_flag(argc, argv, "--trim"))
        malloc_trim(0);
    report_stop("freed");
    if (report_free_running)
        sleep(2);

    for (size_t i = 0; i < count; i++)
        report_check(i);
    for (size_t i = 0; i < count; i++)
        report_release(i);
    report_stop("empty");
    if (report_free_running)
        sleep(2);

    if (others > 0)
        pthread_barrier_wait(&leave);
    for (unsigned i = 0; i < others; i++)
        pthread_join(freers[i].thread, NULL);
    return 0;
}
