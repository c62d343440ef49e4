/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: (free|free_sized)\(\): double free of 0x[0-9a-f]+ */
/* C23 promises nothing for this; the check is the same as free's. */
#include "crash.h"

int main(void)
{
    typedef void free_sized_fn(void *block, size_t size);
    free_sized_fn *release = (free_sized_fn *)dlsym(RTLD_DEFAULT, "free_sized");
    char *block = opaque(malloc(64));

    if (release == NULL)
        return 1;
    release(block, 64);
    release(opaque(block), 64);
    return survive(64);
}
