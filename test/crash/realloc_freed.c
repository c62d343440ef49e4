/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: (realloc|free)\(\): (double free of|invalid pointer) 0x[0-9a-f]+ */
/* realloc of a block that was freed and has left the cache. */
#include "crash.h"

int main(void)
{
    char *keeper = opaque(malloc(64));
    char *block = opaque(malloc(64));

    free(block);
    flush_caches(64);
    block = realloc(opaque(block), 5000);
    survive(64);
    free(keeper);
    return block == NULL;
}
