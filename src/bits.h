/* SPDX-License-Identifier: MIT */
/*
 * bits.h - counting and finding bits; bitmaps as plain arrays of 64-bit words.
 *
 * A bitmap of n bits is RCL_BITS_WORDS(n) words; bit i is bit i % 64 of word
 * i / 64.  Nothing here allocates, locks or checks bounds.
 */
#ifndef RCL_BITS_H
#define RCL_BITS_H

#include "base.h"

#define RCL_BITS_WORDS(n) (((n) + 63) / 64)

static inline unsigned rcl_ctz(uint64_t w)
{
    return (unsigned)__builtin_ctzll(w);
}

static inline unsigned rcl_popcount(uint64_t w)
{
#if defined(__POPCNT__) || defined(__aarch64__)
    return (unsigned)__builtin_popcountll(w);
#else
    /* The compiler's fallback is a call; this is the usual sum in parallel. */
    w -= (w >> 1) & 0x5555555555555555u;
    w = (w & 0x3333333333333333u) + ((w >> 2) & 0x3333333333333333u);
    w = (w + (w >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)((w * 0x0101010101010101u) >> 56);
#endif
}

/* floor(log2(n)); n must not be 0. */
static inline unsigned rcl_log2(size_t n)
{
    return 63u - (unsigned)__builtin_clzll(n);
}

/* n ones from bit `from`; from + n <= 64, n >= 1. */
static inline uint64_t rcl_bits_mask(unsigned from, unsigned n)
{
    return (~(uint64_t)0 >> (64 - n)) << from;
}

/* All ones of the word stand together, and there is one. */
static inline bool rcl_bits_contiguous(uint64_t w)
{
    return w != 0 && (w & (w + (w & -w))) == 0;
}

static inline bool rcl_bits_test(const uint64_t *map, size_t i)
{
    return (map[i / 64] >> (i % 64)) & 1;
}

/* The piece of [from, from+n) that lies in the word of `from`: its length. */
static inline unsigned rcl_bits_piece(size_t from, size_t n)
{
    return (unsigned)rcl_min(64 - from % 64, n);
}

static inline void rcl_bits_set_range(uint64_t *map, size_t from, size_t n)
{
    while (n > 0) {
        unsigned len = rcl_bits_piece(from, n);
        map[from / 64] |= rcl_bits_mask((unsigned)(from % 64), len);
        from += len;
        n -= len;
    }
}

static inline void rcl_bits_clear_range(uint64_t *map, size_t from, size_t n)
{
    while (n > 0) {
        unsigned len = rcl_bits_piece(from, n);
        map[from / 64] &= ~rcl_bits_mask((unsigned)(from % 64), len);
        from += len;
        n -= len;
    }
}

static inline size_t rcl_bits_count_range(const uint64_t *map, size_t from, size_t n)
{
    size_t count = 0;
    while (n > 0) {
        unsigned len = rcl_bits_piece(from, n);
        count += rcl_popcount(map[from / 64] & rcl_bits_mask((unsigned)(from % 64), len));
        from += len;
        n -= len;
    }
    return count;
}

static inline bool rcl_bits_all_range(const uint64_t *map, size_t from, size_t n)
{
    while (n > 0) {
        unsigned len = rcl_bits_piece(from, n);
        uint64_t mask = rcl_bits_mask((unsigned)(from % 64), len);
        if ((map[from / 64] & mask) != mask)
            return false;
        from += len;
        n -= len;
    }
    return true;
}

/* The n bits from `from`, moved to the beginning of out[]; the rest of its last word is 0. */
static inline void rcl_bits_extract(const uint64_t *map, size_t from, size_t n, uint64_t *out)
{
    unsigned shift = (unsigned)(from % 64);
    for (const uint64_t *w = map + from / 64; n > 0; w++, out++) {
        unsigned len = (unsigned)rcl_min(n, 64);
        uint64_t word = w[0] >> shift;
        if (shift + len > 64)
            word |= w[1] << (64 - shift);
        *out = word & rcl_bits_mask(0, len);
        n -= len;
    }
}

/* First set bit at or after `from`, or `end` when there is none before it. */
static inline size_t rcl_bits_next_set(const uint64_t *map, size_t from, size_t end)
{
    while (from < end) {
        uint64_t w = map[from / 64] >> (from % 64);
        if (w != 0)
            return rcl_min(from + rcl_ctz(w), end);
        from = (from / 64 + 1) * 64;
    }
    return end;
}

/* First clear bit at or after `from`, or `end`. */
static inline size_t rcl_bits_next_clear(const uint64_t *map, size_t from, size_t end)
{
    while (from < end) {
        uint64_t w = ~map[from / 64] >> (from % 64);
        if (w != 0)
            return rcl_min(from + rcl_ctz(w), end);
        from = (from / 64 + 1) * 64;
    }
    return end;
}

/* Number of consecutive set bits that end directly before `at`. */
static inline size_t rcl_bits_run_before(const uint64_t *map, size_t at)
{
    size_t from = at;
    while (from > 0) {
        /* Bring bit from-1 to the top and count the ones there. */
        unsigned used = (unsigned)((from - 1) % 64 + 1);
        uint64_t clear = ~(map[(from - 1) / 64] << (64 - used));
        unsigned ones = clear == 0 ? 64 : (unsigned)__builtin_clzll(clear);
        if (ones < used)
            return at - (from - ones);
        from -= used;
    }
    return at;
}

#endif
