/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): (double free of|invalid pointer) 0x[0-9a-f]+ */
/* The old address is freed after realloc has moved the block. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(64));
    char *moved = realloc(block, 30000);

    free(opaque(block));
    survive(64);
    free(moved);
    return 0;
}
