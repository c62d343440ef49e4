/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free(_sized)?\(\): invalid pointer 0x[0-9a-f]+ */
/* The size that C23's free_sized is told is no reason to believe the address. */
#include "crash.h"

int main(void)
{
    typedef void free_sized_fn(void *block, size_t size);
    free_sized_fn *release = (free_sized_fn *)dlsym(RTLD_DEFAULT, "free_sized");
    static char variable[256] __attribute__((aligned(16)));

    if (release == NULL)
        return 1;
    release(opaque(variable), sizeof variable);
    return survive(64);
}
