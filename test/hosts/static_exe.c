/* SPDX-License-Identifier: MIT */
/* What static_exe.sh links without any shared library: threads, stdio and strdup on our malloc. */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <reclaim/reclaim.h>

enum { THREADS = 4, BLOCKS = 1000 };

static void *work(void *arg)
{
    char *block[BLOCKS];

    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = malloc(i * 10 + 1);
        if (block[i] == NULL)
            return NULL;
        memset(block[i], 1, i * 10 + 1);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        free(block[i]);
    return arg;
}

int main(void)
{
    pthread_t thread[THREADS];
    void *result;

    for (size_t i = 0; i < THREADS; i++) {
        if (pthread_create(&thread[i], NULL, work, thread) != 0)
            return 1;
    }
    for (size_t i = 0; i < THREADS; i++) {
        if (pthread_join(thread[i], &result) != 0 || result != thread)
            return 1;
    }
    char *text = strdup("static");
    if (text == NULL || malloc_usable_size(text) < sizeof "static")
        return 1;
    printf("libreclaim %s in a %s program\n", reclaim_version(), text);
    free(text);
    return 0;
}
