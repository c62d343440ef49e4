/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): (double free of|invalid pointer) 0x[0-9a-f]+ */
/* Neighbours are freed between the two, so that free runs merge. */
#include "crash.h"

int main(void)
{
    char *before = opaque(malloc(100 * KIB));
    char *block = opaque(malloc(100 * KIB));
    char *behind = opaque(malloc(100 * KIB));

    free(block);
    free(before);
    free(behind);
    free(opaque(block));
    return survive(100 * KIB);
}
