/* SPDX-License-Identifier: MIT */
/*
 * A program whose first thread ends: the others go on.  The one that is left holds memory, says
 * what statistics know of it, and ends the process, or waits to be looked at.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 50, BLOCK_BYTES = 1 << 20 };

static void *volatile held[BLOCKS];

__attribute__((noinline)) static void *hold_much(size_t bytes)
{
    void *p = malloc(bytes);
    if (p != NULL)
        memset(p, 1, bytes);
    return p;
}

static void *go_on(void *seconds)
{
    usleep(200000); /* main has ended */
    for (unsigned i = 0; i < BLOCKS; i++)
        held[i] = hold_much(BLOCK_BYTES);
    sleep((unsigned)atoi(seconds));
    exit(0);
}

int main(int argc, char **argv)
{
    pthread_t thread;
    if (argc != 2 || pthread_create(&thread, NULL, go_on, argv[1]) != 0)
        return 2;
    pthread_exit(NULL);
}
