/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* A variable of the program's own data. */
#include "crash.h"

int main(void)
{
    static char variable[256] __attribute__((aligned(16)));

    free(opaque(variable));
    return survive(64);
}
