/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x1000 */
/* An address below everything that can be mapped. */
#include "crash.h"

int main(void)
{
    free(opaque((void *)0x1000));
    return survive(64);
}
