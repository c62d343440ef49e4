/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: realloc\(\): invalid pointer 0x[0-9a-f]+ */
/* realloc of a variable on the stack. */
#include "crash.h"

int main(void)
{
    char variable[256] __attribute__((aligned(16))) = {0};
    char *block = realloc(opaque(variable), 1000);

    return survive(64) + (block == NULL);
}
