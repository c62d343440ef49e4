/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): double free of 0x[0-9a-f]+ */
/* Other blocks of the class are freed between the two. */
#include "crash.h"

int main(void)
{
    char *block[40];

    for (size_t i = 0; i < COUNT_OF(block); i++)
        block[i] = opaque(malloc(64));
    free(block[7]);
    for (size_t i = 8; i < COUNT_OF(block); i++)
        free(block[i]);
    free(opaque(block[7]));
    return survive(64);
}
