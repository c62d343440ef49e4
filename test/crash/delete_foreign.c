/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: [a-z_ ]+(\(\))?: invalid pointer 0x[0-9a-f]+ */
/* operator delete is as strict as free. */
#include "crash.h"

int main(void)
{
    typedef void delete_fn(void *block);
    static char variable[256] __attribute__((aligned(16)));
    delete_fn *drop = (delete_fn *)dlsym(RTLD_DEFAULT, "_ZdlPv");

    if (drop == NULL)
        return 1;
    drop(opaque(variable));
    return survive(64);
}
