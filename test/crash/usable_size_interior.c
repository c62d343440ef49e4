/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: malloc_usable_size\(\): invalid pointer 0x[0-9a-f]+ */
/* The size of what is not a block's start: any number would reach beyond the block. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(100 * KIB));
    size_t size = malloc_usable_size(opaque(block + 4096));

    return survive(100 * KIB) + (size == 0);
}
