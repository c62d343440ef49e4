/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: (realloc|free)\(\): (double free of|invalid pointer) 0x[0-9a-f]+ */
/* realloc of a large block that was freed. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(100 * KIB));

    free(block);
    block = realloc(opaque(block), 200 * KIB);
    return survive(100 * KIB) + (block == NULL);
}
