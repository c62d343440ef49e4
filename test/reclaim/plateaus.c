/* SPDX-License-Identifier: MIT */
/*
 * plateaus.c - grow to --high, shrink to --low, again and again.
 *
 * What is freed at each shrink is chosen at random among all blocks, old and new, so every
 * plateau is full of holes.  An allocator that fills the lowest and fullest places first keeps
 * the tenth plateau as low as the first; one that does not drifts upward.
 *
 *   --high BYTES, --low BYTES, --rounds N, --sizes 16:600, --seed S, --report FILE, --run
 *
 * Stops: start, then for each round high and plateau.
 */
#include "report.h"

static size_t used; /* places 0 .. used-1 of the table are alive, the others are not */
static uint64_t live_bytes;

/* Frees a random block and fills its place with the last one, so the table has no gaps. */
static void free_one(uint64_t *seed)
{
    size_t i = report_random(seed) % used;
    struct report_block b = report_blocks[i];
    /* The pattern is tied to the size here, since blocks move from place to place. */
    if (!report_intact((void *)(uintptr_t)b.addr, b.size, b.size))
        report_die(REPORT_FAILED, "a live block lost its content");
    report_blocks[i] = report_blocks[--used];
    report_blocks[used].addr = 0;
    live_bytes -= b.size;
    free((void *)(uintptr_t)b.addr);
}

static void add_one(size_t size)
{
    void *p = malloc(size);
    if (p == NULL || used == report_head->capacity)
        report_die(REPORT_FAILED, "malloc returned NULL");
    report_fill(p, size, size);
    report_blocks[used++] = (struct report_block){(uint64_t)(uintptr_t)p, size};
    live_bytes += size;
}

int main(int argc, char **argv)
{
    size_t low, high;
    report_arg_range(argc, argv, "--sizes", "16:600", &low, &high);
    uint64_t top = report_arg_number(argc, argv, "--high", "300000000");
    uint64_t bottom = report_arg_number(argc, argv, "--low", "30000000");
    uint64_t rounds = report_arg_number(argc, argv, "--rounds", "10");
    uint64_t seed = report_arg_number(argc, argv, "--seed", "1");
    report_free_running = report_flag(argc, argv, "--run");
    /* The mean size is (low + high) / 2; a fifth more places than that needs is plenty. */
    report_open(report_arg(argc, argv, "--report", NULL), top / ((low + high) / 2) * 6 / 5 + 1000);

    report_stop("start");
    for (uint64_t round = 0; round < rounds; round++) {
        while (live_bytes < top)
            add_one(low + report_random(&seed) % (high - low + 1));
        report_stop("high");
        while (live_bytes > bottom)
            free_one(&seed);
        report_stop("plateau");
        if (report_free_running)
            sleep(2);
    }
    return 0;
}
