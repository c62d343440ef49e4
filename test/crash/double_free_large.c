/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): (double free of|invalid pointer) 0x[0-9a-f]+ */
/* A block with pages of its own is freed twice. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(100 * KIB));

    free(block);
    free(opaque(block));
    return survive(100 * KIB);
}
