/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* Both frees are in the thread's cache when the program ends: exit() flushes it. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(50));

    free(block);
    free(opaque(block));
    puts("survived so far");
    return 0;
}
