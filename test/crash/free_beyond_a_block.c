/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): (double free of|invalid pointer) 0x[0-9a-f]+ */
/* The address behind the last block there is: a slot nobody asked for, or nothing. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(40 * KIB));
    size_t usable = malloc_usable_size(block);

    free(opaque(block + usable));
    return survive(40 * KIB);
}
