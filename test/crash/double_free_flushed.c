/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* The first free has long left the thread's cache when the second comes. */
#include "crash.h"

int main(void)
{
    char *keeper = opaque(malloc(64)); /* its slab stays */
    char *block = opaque(malloc(64));

    free(block);
    flush_caches(64);
    free(opaque(block));
    survive(64);
    free(keeper);
    return 0;
}
