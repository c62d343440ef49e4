/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: (realloc|free)\(\): (double free of|invalid pointer) 0x[0-9a-f]+ */
/* realloc of a freed block to the size it had: no move is needed, and it must not stay unseen. */
#include "crash.h"

int main(void)
{
    char *keeper = opaque(malloc(64)); /* its slab stays */
    char *block = opaque(malloc(64));

    free(block);
    flush_caches(64);
    block = realloc(opaque(block), 64);
    free(opaque(block));
    survive(64);
    free(keeper);
    return 0;
}
