/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: realloc\(\): invalid pointer 0x[0-9a-f]+ */
/* realloc of the second page of a large block, to a size that fits where it is. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(100 * KIB));

    block = realloc(opaque(block + 4096), 90 * KIB);
    return survive(100 * KIB) + (block == NULL);
}
