/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* A small block is freed twice in a row. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(64));

    free(block);
    free(opaque(block));
    return survive(64);
}
