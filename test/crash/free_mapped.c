/* SPDX-License-Identifier: MIT */
/* expect: ^libreclaim: free\(\): invalid pointer 0x[0-9a-f]+ */
/* Memory that the program mapped itself. */
#include "crash.h"

#include <sys/mman.h>

int main(void)
{
    void *mapped = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    free(opaque(mapped));
    return survive(64);
}
