/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: realloc\(\): invalid pointer 0x[0-9a-f]+ */
/* realloc to nothing is a free, with the same check. */
#include "crash.h"

int main(void)
{
    static char variable[256] __attribute__((aligned(16)));
    char *block = realloc(opaque(variable), opaque_size(0));

    return survive(64) + (block != NULL);
}
