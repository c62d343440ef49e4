/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: malloc_usable_size\(\): invalid pointer 0x[0-9a-f]+ */
/* No number would be right: the caller would write over what is not a block. */
#include "crash.h"

int main(void)
{
    static char variable[256] __attribute__((aligned(16)));
    size_t size = malloc_usable_size(opaque(variable));

    return survive(64) + (size == 0);
}
