/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): (double free of|invalid pointer) 0x[0-9a-f]+ */
/* A block with a mapping of its own, kept for reuse or gone, is freed twice. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(30 * MIB));

    free(block);
    free(opaque(block));
    return survive(30 * MIB);
}
