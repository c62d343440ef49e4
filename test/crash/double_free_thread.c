/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* The second free comes from another thread, which then ends. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(64));

    free(block);
    free_in_a_thread(opaque(block));
    return survive(64);
}
