/* SPDX-License-Identifier: MIT */
/* The program that embedding.sh links as doc/embedding.md says: is malloc libreclaim's? */
#include <stdio.h>
#include <stdlib.h>

#include <reclaim/reclaim.h>

int main(void)
{
    /* A burst that is freed stays where it was in libc's heap; ours has a page to give back. */
    enum { BLOCKS = 20000, SIZE = 100 };
    static char *block[BLOCKS];

    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = (char *)malloc(SIZE);
        if (block[i] == NULL)
            return 1;
        block[i][0] = 1;
    }
    for (size_t i = 0; i < BLOCKS; i++)
        free(block[i]);
    if (reclaim_purge() == 0) {
        fputs("nothing to give back: malloc is not libreclaim's\n", stderr);
        return 1;
    }
#ifdef __cplusplus
    try {
        volatile size_t size = (size_t)-1 / 4;
        char *never = new char[size];
        printf("%p\n", (void *)never);
        return 1;
    } catch (const std::bad_alloc &) {
    }
#endif
    return 0;
}
