/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* Two threads free it, neither of which allocated it or anything else. */
#include "crash.h"

int main(void)
{
    char *block = opaque(malloc(64));

    free_in_a_thread(block);
    free_in_a_thread(opaque(block));
    return survive(64);
}
