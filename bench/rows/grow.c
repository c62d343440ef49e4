/* SPDX-License-Identifier: MIT */
/*
 * grow.c - a block that grows by realloc, one step an operation.
 *
 * The first page of what each step adds is written to.  In the row of large steps that is little of
 * it, on purpose: it shows what realloc itself costs, which the faults of a block written to the
 * end would hide.
 */
#include "../harness.h"

#include <stdlib.h>

static void grow(struct bench *b)
{
    size_t step = bench_size(b, 0), steps = bench_size(b, 1);
    while (bench_more(b, steps)) {
        char *block = NULL;
        for (size_t i = 0; i < steps; i++) {
            block = bench_keep(realloc(block, (i + 1) * step));
            bench_touch(block + i * step, 1);
        }
        free(block);
    }
}

/* clang-format off */
BENCH_ROWS(
    {.name = "realloc by 4 KiB to 16 MiB",  .body = grow, .arg = {4 << 10, 4096}},
    {.name = "realloc by 1 MiB to 256 MiB", .body = grow, .arg = {1 << 20, 256}})
