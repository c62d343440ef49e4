/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0xdeadbeefdeadbee0 */
/* An address that no processor of ours can map: a table that is indexed by it must not be read. */
#include "crash.h"

int main(void)
{
    free(opaque((void *)0xdeadbeefdeadbee0));
    return survive(64);
}
