/* SPDX-License-Identifier: MIT */
/*
 * hugeblocks.c - blocks that have a mapping of their own.
 *
 * --grow: --blocks blocks grow in turn by realloc, 1 MiB at a time, until together they hold
 *     --bytes.  Growing in turn keeps them from simply growing in place.  A realloc that
 *     allocates, copies and frees would hold two copies of a block for a moment: the driver reads
 *     the process's highest resident memory.   Stops: start, grown, empty.
 *
 * --advise: a block of --bytes gets MADV_HUGEPAGE from the program, as NumPy does, and is freed.
 *     The advice stays with the address range, so a block that gets the same range later would
 *     be made of huge pages that nobody asked for.  With --shrink it is cut to a quarter by
 *     realloc first, and what was cut off is tested.
 *     Stops: start, advised, again (a new block, of the same size or of half of it, is alive in
 *     place 0 of the table), empty.
 *
 * --describe: --blocks blocks of --bytes each, of which only the first page is written: what
 *     remains of them when they are freed is what the allocator wrote down about their addresses.
 *     Stops: start, full, empty.
 */
#include "report.h"

enum { MEBI = 1 << 20, MAX_GROWN = 8, MAX_BLOCKS = 10000 };

static void touch_and_tag(unsigned char *p, uint64_t from, uint64_t to)
{
    memset(p + from, (int)(from / MEBI % 251), to - from);
}

static void grow(uint64_t bytes, unsigned n)
{
    unsigned char *block[MAX_GROWN] = {NULL};
    report_stop("start");
    for (uint64_t size = MEBI; size * n <= bytes; size += MEBI) {
        for (unsigned i = 0; i < n; i++) {
            unsigned char *p = realloc(block[i], size);
            if (p == NULL)
                report_die(REPORT_FAILED, "realloc returned NULL");
            touch_and_tag(p, size - MEBI, size);
            block[i] = p;
            report_blocks[i] = (struct report_block){(uint64_t)(uintptr_t)p, size};
            for (uint64_t at = 0; at < size; at += MEBI) {
                if (p[at] != at / MEBI % 251)
                    report_die(REPORT_FAILED, "realloc lost content");
            }
        }
    }
    report_stop("grown");
    for (unsigned i = 0; i < n; i++)
        report_release(i);
    report_stop("empty");
}

static void advise(uint64_t bytes, bool shrink)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    report_stop("start");
    unsigned char *p = malloc(bytes);
    if (p == NULL)
        report_die(REPORT_FAILED, "malloc returned NULL");
    report_blocks[0] = (struct report_block){(uint64_t)(uintptr_t)p, bytes};
    uintptr_t from = ((uintptr_t)p + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)p + bytes) & ~(page - 1);
    if (madvise((void *)from, to - from, MADV_HUGEPAGE) != 0)
        report_die(REPORT_UNUSABLE, "no MADV_HUGEPAGE in this kernel");
    memset(p, 1, bytes);
    report_stop("advised");

    uint64_t next = bytes;
    if (shrink) {
        p = realloc(p, bytes / 4);
        next = bytes / 2;
        report_blocks[1] = (struct report_block){(uint64_t)(uintptr_t)p, bytes / 4};
    } else {
        free(p);
    }
    p = malloc(next);
    if (p == NULL)
        report_die(REPORT_FAILED, "malloc returned NULL");
    memset(p, 2, next);
    report_blocks[0] = (struct report_block){(uint64_t)(uintptr_t)p, next};
    report_stop("again");
    report_release(0);
    report_release(1);
    report_stop("empty");
}

static void describe(uint64_t bytes, unsigned n)
{
    report_stop("start");
    for (unsigned i = 0; i < n; i++) {
        unsigned char *p = malloc(bytes);
        if (p == NULL)
            report_die(REPORT_FAILED, "malloc returned NULL");
        *p = 1;
        report_blocks[i] = (struct report_block){(uint64_t)(uintptr_t)p, bytes};
    }
    report_stop("full");
    for (unsigned i = 0; i < n; i++)
        report_release(i);
    report_stop("empty");
}

int main(int argc, char **argv)
{
    uint64_t bytes = report_arg_number(argc, argv, "--bytes", "268435456");
    uint64_t n = report_arg_number(argc, argv, "--blocks", "1");
    report_free_running = report_flag(argc, argv, "--run");
    report_open(report_arg(argc, argv, "--report", NULL), MAX_BLOCKS);
    if (report_flag(argc, argv, "--grow") && n >= 1 && n <= MAX_GROWN)
        grow(bytes, (unsigned)n);
    else if (report_flag(argc, argv, "--advise"))
        advise(bytes, report_flag(argc, argv, "--shrink"));
    else if (report_flag(argc, argv, "--describe") && n <= MAX_BLOCKS)
        describe(bytes, (unsigned)n);
    else
        report_die(REPORT_UNUSABLE,
                   "--grow [--blocks 1..8], --advise [--shrink] or --describe [--blocks 1..10000]");
    return 0;
}
