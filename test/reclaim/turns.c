/* SPDX-License-Identifier: MIT */
/*
 * turns.c - programs that take back what they have freed, and then free all of it.
 *
 * --replace: --blocks blocks of --sizes are replaced at random, one by one, --rounds times as many.
 *     What is kept for that must not stay when it is over.   Stops: start, freed.
 *
 * --rotate: blocks of one size, --bytes in all, are made, written and freed; then of the next one,
 *     and so on, --rounds times through eight sizes.  What one size has freed is there for the
 *     next: no more than --bytes are ever alive.   Stops: start, freed.
 */
#include "report.h"

enum { SIZES = 8 };

static unsigned char *make(size_t size)
{
    unsigned char *p = malloc(size);
    if (p == NULL)
        report_die(REPORT_FAILED, "malloc returned NULL");
    return memset(p, 1, size);
}

static void replace(uint64_t blocks, uint64_t rounds, size_t low, size_t high)
{
    unsigned char **block = report_own(blocks * sizeof *block);
    uint64_t seed = 20261121;
    report_stop("start");
    for (uint64_t n = blocks * rounds; n > 0; n--) {
        uint64_t i = report_random(&seed) % blocks,
                 size = low + report_random(&seed) % (high - low);
        free(block[i]);
        block[i] = make(size);
    }
    for (uint64_t i = 0; i < blocks; i++)
        free(block[i]);
    report_stop("freed");
}

static void rotate(uint64_t bytes, uint64_t rounds)
{
    static const size_t size[SIZES] = {512, 700, 1000, 1400, 2000, 2900, 4000, 6000};
    unsigned char **block = report_own(bytes / size[0] * sizeof *block);
    report_stop("start");
    for (uint64_t n = 0; n < rounds * SIZES; n++) {
        size_t each = size[n % SIZES], count = bytes / each;
        for (size_t i = 0; i < count; i++)
            block[i] = make(each);
        for (size_t i = 0; i < count; i++)
            free(block[i]);
    }
    report_stop("freed");
}

int main(int argc, char **argv)
{
    size_t low, high;
    uint64_t rounds = report_arg_number(argc, argv, "--rounds", "40");
    uint64_t bytes = report_arg_number(argc, argv, "--bytes", "5000000");
    uint64_t blocks = report_arg_number(argc, argv, "--blocks", "5000");
    report_arg_range(argc, argv, "--sizes", "8:8000", &low, &high);
    report_free_running = report_flag(argc, argv, "--run");
    report_open(report_arg(argc, argv, "--report", NULL), 1);
    if (report_flag(argc, argv, "--replace") && blocks > 0 && high > low)
        replace(blocks, rounds, low, high);
    else if (report_flag(argc, argv, "--rotate"))
        rotate(bytes, rounds);
    else
        report_die(REPORT_UNUSABLE, "--replace or --rotate");
    return 0;
}
