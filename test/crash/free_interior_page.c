/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* Inside a block that is longer than a page, at the start of a page. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(20000));
    uintptr_t page = ((uintptr_t)block / 4096 + 1) * 4096;

    free(opaque((void *)page));
    return survive(20000);
}
