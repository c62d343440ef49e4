/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+: not the start of a block */
/* The pointer is in the thread's cache when the program ends: exit() flushes it. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(1000));

    free(opaque(block + 8));
    puts("survived so far");
    return 0;
}
