/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* The first address behind what 47 or 48 bits can say. */
#include "crash.h"

int main(void)
{
    free(opaque((void *)(((uintptr_t)1 << 47) + 4096)));
    return survive(64);
}
