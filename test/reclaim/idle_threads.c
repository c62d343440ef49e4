/* SPDX-License-Identifier: MIT */
/*
 * idle_threads.c - threads that have used memory, given it back, and sleep.
 *
 * Each thread allocates small blocks, touches them, frees them all, and then sleeps: its cache
 * must not keep what nobody uses.  The driver compares this run with one of --bytes 0, the same
 * program and the same sleeping threads without an allocation.
 *
 *   --threads N, --bytes N per thread, --sizes 16:1024
 *   --together   every thread holds all its blocks before the first one frees
 *   --trim       call malloc_trim(0) from the main thread before the stop "freed"
 *   --report FILE, --run
 *
 * Stops: start (no thread yet), freed (all threads asleep).
 */
#include "report.h"

#include <malloc.h>
#include <pthread.h>

static size_t bytes_each, low, high;
static bool together;
static pthread_barrier_t all_hold, all_asleep, leave;

/* Blocks of one thread are a list through their own first word: no table, no deep stack. */
struct link {
    struct link *next;
};

static void use_memory(uint64_t seed)
{
    struct link *blocks = NULL;
    for (size_t sum = 0; sum < bytes_each;) {
        size_t size = low + report_random(&seed) % (high - low + 1);
        struct link *b = malloc(size);
        if (b == NULL)
            report_die(REPORT_FAILED, "malloc returned NULL");
        memset(b, 0x5a, size);
        b->next = blocks;
        blocks = b;
        sum += size;
    }
    if (together)
        pthread_barrier_wait(&all_hold);
    while (blocks != NULL) {
        struct link *b = blocks;
        blocks = b->next;
        free(b);
    }
}

static void *thread_main(void *arg)
{
    use_memory((uint64_t)(uintptr_t)arg);
    pthread_barrier_wait(&all_asleep);
    pthread_barrier_wait(&leave);
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned n = (unsigned)report_arg_number(argc, argv, "--threads", "500");
    bytes_each = report_arg_number(argc, argv, "--bytes", "4194304");
    report_arg_range(argc, argv, "--sizes", "16:1024", &low, &high);
    together = report_flag(argc, argv, "--together");
    report_free_running = report_flag(argc, argv, "--run");
    report_open(report_arg(argc, argv, "--report", NULL), 1);
    pthread_t *threads = report_own(n * sizeof *threads);
    pthread_barrier_init(&all_hold, NULL, n);
    pthread_barrier_init(&all_asleep, NULL, n + 1);
    pthread_barrier_init(&leave, NULL, n + 1);

    report_stop("start");
    for (unsigned i = 0; i < n; i++) {
        if (pthread_create(&threads[i], NULL, thread_main, (void *)(uintptr_t)(i + 1)) != 0)
            report_die(REPORT_UNUSABLE, "pthread_create");
    }
    pthread_barrier_wait(&all_asleep);
    if (report_flag(argc, argv, "--trim"))
        malloc_trim(0);
    report_stop("freed");
    if (report_free_running)
        sleep(2);
    pthread_barrier_wait(&leave);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
