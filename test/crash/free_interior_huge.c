/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* In the middle of a huge block. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(30 * MIB));

    free(opaque(block + 10 * MIB));
    return survive(30 * MIB);
}
