/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* The smallest class, whose slots share a page with many others. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(1));

    free(block);
    free(opaque(block));
    return survive(1);
}
