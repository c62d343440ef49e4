/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x1 */
/* The smallest number that is not NULL. */
#include "crash.h"

int main(void)
{
    free(opaque((void *)1));
    return survive(64);
}
