/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* A block of aligned_alloc is freed twice. */
#include "crash.h"

int main(void)
{
    char *block = opaque(aligned_alloc(256, 256));

    free(block);
    free(opaque(block));
    return survive(256);
}
