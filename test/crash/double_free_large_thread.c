/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): (double free of|invalid pointer) 0x[0-9a-f]+ */
/* A large block, freed by its owner and then by another thread. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(100 * KIB));

    free(block);
    free_in_a_thread(opaque(block));
    return survive(100 * KIB);
}
