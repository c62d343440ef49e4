/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* Inside a small block, at an address that is aligned as blocks are. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(100));

    free(opaque(block + 16));
    return survive(100);
}
