/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* A class whose slots are longer than a page. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(20000));

    free(block);
    free(opaque(block));
    return survive(20000);
}
