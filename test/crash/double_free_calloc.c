/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* Zeroed memory has its own way through an allocator. */
#include "crash.h"

int main(void)
{
    char *block = opaque(calloc(10, 30));

    free(block);
    free(opaque(block));
    return survive(300);
}
