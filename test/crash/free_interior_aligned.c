/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* Inside a block with a large alignment. */
#include "crash.h"

int main(void)
{
    char *block = opaque(aligned_alloc(MIB, 3 * MIB));

    free(opaque(block + MIB));
    return survive(3 * MIB);
}
