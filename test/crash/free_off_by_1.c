/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* One byte behind the start of a large block. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(100 * KIB));

    free(opaque(block + 1));
    return survive(100 * KIB);
}
