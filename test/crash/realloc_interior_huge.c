/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: realloc\(\): invalid pointer 0x[0-9a-f]+ */
/* realloc of the middle of a huge block: growing it would move somebody's mapping. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(30 * MIB));

    block = realloc(opaque(block + 10 * MIB), 40 * MIB);
    return survive(30 * MIB) + (block == NULL);
}
