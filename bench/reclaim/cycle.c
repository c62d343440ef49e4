/* SPDX-License-Identifier: MIT */
/*
 * cycle.c - the same memory allocated, touched and freed, round after round.
 *
 * An allocator that gives everything back pays for page faults in each round; one that never does
 * is fast here and large for ever.  The first --warm rounds show what is wanted again and are
 * timed apart.  `run` (beside this file) also looks at what is resident 1.2 s after the last round.
 *
 *   --block BYTES, --total BYTES, --rounds N, --warm N
 *   --bare 1: no allocator at all; one mapping, whose pages are returned after the first rounds
 *             and kept after the others.  That is the least it can cost to return a burst at once
 *             and to keep what is cycled.
 *
 * Stops: start, done first=NS (of the first rounds) rest=NS (of the others).
 */
#include "../../test/reclaim/report.h"

static const size_t TOUCH = 4096; /* one byte in each page of the smallest size there is */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void touch(unsigned char *block, size_t size, unsigned char value)
{
    for (size_t at = 0; at < size; at += TOUCH)
        block[at] = value;
    block[size - 1] = value;
}

static void one_round(unsigned char **block, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        block[i] = malloc(size);
        if (block[i] == NULL)
            report_die(REPORT_FAILED, "malloc returned NULL");
        touch(block[i], size, (unsigned char)i);
    }
    for (size_t i = 0; i < count; i++)
        free(block[i]);
}

static uint64_t timed_rounds(uint64_t rounds, unsigned char **block, size_t count, size_t size)
{
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < rounds; i++)
        one_round(block, count, size);
    return now_ns() - begin;
}

static uint64_t bare_rounds(uint64_t rounds, unsigned char *memory, size_t count, size_t size,
                            bool give_back)
{
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        for (size_t k = 0; k < count; k++)
            touch(memory + k * size, size, (unsigned char)i);
        if (give_back)
            madvise(memory, count * size, MADV_DONTNEED);
    }
    return now_ns() - begin;
}

int main(int argc, char **argv)
{
    size_t size = report_arg_number(argc, argv, "--block", "5000");
    size_t count = report_arg_number(argc, argv, "--total", "300000000") / size;
    uint64_t rounds = report_arg_number(argc, argv, "--rounds", "50");
    uint64_t warm = report_arg_number(argc, argv, "--warm", "1");
    report_open(NULL, 1);
    unsigned char **block = report_own(count * sizeof *block);
    report_stop("start");
    uint64_t first, rest;
    if (report_arg_number(argc, argv, "--bare", "0") != 0) {
        unsigned char *memory = report_own(count * size);
        madvise(memory, count * size, MADV_NOHUGEPAGE); /* as for the blocks of an allocator */
        madvise(memory, count * size, MADV_DONTNEED);   /* report_own() has touched it */
        first = bare_rounds(warm, memory, count, size, true);
        rest = bare_rounds(rounds - warm, memory, count, size, false);
    } else {
        first = timed_rounds(warm, block, count, size);
        rest = timed_rounds(rounds - warm, block, count, size);
    }
    char line[80];
    snprintf(line, sizeof line, "done first=%llu rest=%llu", (unsigned long long)first,
             (unsigned long long)rest);
    report_stop(line);
    return 0;
}
