/* SPDX-License-Identifier: MIT */
/*
 * Whose memory is it?  `holder` holds nearly all of what is live, by way of `leaf`; `passer` has
 * allocated more, and freed it.  With an argument, half of it is there only.
 */
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 2000, SMALL = 300 };

static void *kept[2 * BLOCKS];
static int count;

__attribute__((noinline, noclone)) void *leaf(size_t bytes)
{
    void *volatile p = malloc(bytes);
    memset(p, 1, 100);
    return p;
}

__attribute__((noinline, noclone)) void holder(int blocks)
{
    for (int i = 0; i < blocks; i++)
        kept[count++] = leaf(20000);
}

__attribute__((noinline, noclone)) void crumbs(void)
{
    for (int i = 0; i < SMALL; i++)
        kept[count++] = malloc(1000);
}

__attribute__((noinline, noclone)) void passer(void)
{
    for (int i = 0; i < 20 * BLOCKS; i++) {
        void *volatile p = malloc(20000);
        free(p);
    }
}

int main(int argc, char **argv)
{
    (void)argv;
    holder(argc > 1 ? BLOCKS / 2 : BLOCKS);
    crumbs();
    passer();
    return 0;
}
