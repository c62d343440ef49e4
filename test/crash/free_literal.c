/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* A string in read-only memory: a look before the address would be seen, a write crashes. */
#include "crash.h"

int main(void)
{
    free(opaque("a string literal"));
    return survive(64);
}
