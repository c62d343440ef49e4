/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* Eight bytes behind the start: no block of ours can begin there. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(64));

    free(opaque(block + 8));
    return survive(64);
}
