/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* Inside a large block, at the start of its second page. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(100 * KIB));

    free(opaque(block + 4096));
    return survive(100 * KIB);
}
