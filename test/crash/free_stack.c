/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* A variable on the stack. */
#include "crash.h"

int main(void)
{
    char variable[256] __attribute__((aligned(16)));

    free(opaque(variable));
    return survive(64);
}
