/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* The program sleeps, and the helper thread that empties its cache finds the block in it twice. */
#include "crash.h"

int main(void)
{
    enum { COUNT = 2000 };
    static char *other[COUNT];
    char *block = opaque(malloc(50));

    free(block);
    free(opaque(block));
    for (size_t i = 0; i < COUNT; i++)
        other[i] = calloc(1, 3000); /* enough for the helper to come */
    for (size_t i = 0; i < COUNT; i++)
        free(opaque(other[i]));
    sleep(5);
    puts("survived");
    _exit(0);
}
