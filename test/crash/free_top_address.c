/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0xfffffffffffffff0 */
/* The end of the address space, where adding to the address overflows. */
#include "crash.h"

int main(void)
{
    free(opaque((void *)0xfffffffffffffff0));
    return survive(64);
}
