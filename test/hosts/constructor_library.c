/* SPDX-License-Identifier: MIT */
/*
 * constructor_library.c - a library whose constructor runs before libreclaim's own: it has a thread
 * that allocates and frees, and forks meanwhile.  Each child must be able to allocate.  Then it
 * starts and ends many threads, whose caches must not stay.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FORKS = 30, BLOCKS = 300, THREADS = 2000 };

int constructor_result(void);
static int result;
static int stop;

/* Blocks of whole pages: every call is a slow path. */
static void *churn(void *arg)
{
    static void *block[BLOCKS];

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        for (size_t i = 0; i < BLOCKS; i++)
            block[i] = malloc(300000 + i * 700);
        for (size_t i = 0; i < BLOCKS; i++)
            free(block[i]);
    }
    return arg;
}

static void *use_a_little(void *arg)
{
    for (size_t size = 16; size < 20000; size += size / 2) {
        void *p = malloc(size);
        if (p != NULL)
            memset(p, 1, size);
        free(p);
    }
    return arg;
}

static long resident_kb(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL || fscanf(file, "%*s %ld", &pages) != 1)
        pages = -1;
    if (file != NULL)
        fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Signals may be blocked in a child that hangs: it is not waited for for ever. */
static int ended_well(pid_t child)
{
    const struct timespec nap = {.tv_nsec = 10000000};
    int status = -1;

    for (int i = 0; i < 1000; i++) {
        if (waitpid(child, &status, WNOHANG) == child)
            return status == 0;
        nanosleep(&nap, NULL);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return 0;
}

static int fork_beside_a_thread(void)
{
    int bad = 0;
    pthread_t thread;

    if (pthread_create(&thread, NULL, churn, NULL) != 0)
        return -1;
    for (int i = 0; i < FORKS && bad == 0; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 500000 + i * 13000}, NULL);
        pid_t child = fork();
        if (child == 0) {
            for (size_t size = 1; size < BLOCKS; size++)
                free(malloc(size * 2000));
            _exit(0);
        }
        bad += !ended_well(child);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    return bad;
}

__attribute__((constructor)) static void before_main(void)
{
    result = fork_beside_a_thread();
    if (result != 0)
        fprintf(stderr, "FAILED: %d of %d children\n", result, FORKS);
    long before = resident_kb();
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, use_a_little, NULL) == 0)
            pthread_join(thread, NULL);
    }
    long after = resident_kb();
    if (after > before + 8192) {
        fprintf(stderr, "FAILED: %ld kB before %d threads, %ld after\n", before, THREADS, after);
        result++;
    }
}

int constructor_result(void)
{
    return result;
}
