/* SPDX-License-Identifier: MIT */
/*
 * crash.h - what the programs with one misuse each share.
 *
 * A misuse that the hit path cannot see must be found at the latest when the thread's
 * cache is flushed.  survive() makes sure that this moment comes, then says that nobody
 * noticed: after it the program ends well, which is the failure of the test.
 */
#ifndef CRASH_H
#define CRASH_H

#include "../testlib.h"

#include <malloc.h>
#include <pthread.h>

/* More blocks of this size than any thread's cache holds, all alive and then all freed. */
static inline void flush_caches(size_t size)
{
    enum { MOST = 20000 };
    static void *block[MOST];
    size_t count = size <= 32 * KIB ? MOST : 16;

    for (size_t i = 0; i < count; i++)
        block[i] = malloc(size);
    for (size_t i = 0; i < count; i++)
        free(block[i]);
}

static inline int survive(size_t size)
{
    flush_caches(size);
    puts("survived");
    return 0;
}

static inline void *call_free(void *block)
{
    free(block);
    return NULL;
}

static inline void free_in_a_thread(void *block)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, call_free, block) == 0)
        pthread_join(thread, NULL);
}

#endif
