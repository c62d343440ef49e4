/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: realloc\(\): invalid pointer 0x[0-9a-f]+ */
/* realloc of an address inside a block. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(1000));

    block = realloc(opaque(block + 32), 5000);
    return survive(1000) + (block == NULL);
}
