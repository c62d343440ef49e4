/* SPDX-License-Identifier: MIT */
/* prof_rate.c - see prof_rate.h. */
#include "prof_rate.h"

#include "bits.h"

#include <string.h>

static const double ln2 = 0.69314718055994530942;

enum {
    ATANH_TERMS = 11,  /* |t| <= 0.172: the next term is below 1e-17 */
    TAYLOR_TERMS = 16, /* |x| <= 0.5: likewise */
    NEWTON_STEPS = 60, /* it converges in less than ten; a bound none the less */
};
#define NOTHING_LEFT (-45.0) /* exp() of it does not change a sum with 1 */

uint64_t rcl_prof_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* 2^k, for the exponents of normal numbers. */
static double power_of_2(int k)
{
    uint64_t bits = (uint64_t)(k + 1023) << 52;
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

/* -ln(n / 2^53), 1 <= n <= 2^53. */
static double minus_log(uint64_t n)
{
    int e = (int)rcl_log2(n);
    double m = (double)n * power_of_2(-e); /* 1 <= m < 2 */
    if (m > 1.41421356237309504880) {
        m /= 2;
        e++;
    }
    /* ln m = 2 artanh t */
    double t = (m - 1) / (m + 1), square = t * t, sum = 0;
    for (int i = ATANH_TERMS; i >= 0; i--)
        sum = sum * square + 1.0 / (2 * i + 1);
    return (53 - e) * ln2 - 2 * t * sum;
}

/* exp(x) - 1 for x <= 0. */
static double exp_minus_1(double x)
{
    if (x < NOTHING_LEFT)
        return -1;
    int k = (int)(-x / ln2 + 0.5);
    double r = x + k * ln2, sum = 1;
    for (int i = TAYLOR_TERMS; i >= 2; i--)
        sum = 1 + sum * r / i;
    double e = sum * r; /* exp(r) - 1 */
    return k == 0 ? e : (e + 1) * power_of_2(-k) - 1;
}

uint64_t rcl_prof_distance(uint64_t *state, unsigned lg)
{
    if (lg == 0)
        return 0;
    uint64_t uniform = (rcl_prof_random(state) >> 11) + 1;
    return (uint64_t)(minus_log(uniform) * power_of_2((int)lg));
}

static double probability(double bytes, unsigned lg)
{
    return lg == 0 ? 1 : -exp_minus_1(-bytes * power_of_2(-(int)lg));
}

struct rcl_prof_weight rcl_prof_weigh(size_t bytes, unsigned lg)
{
    double p = probability((double)bytes, lg);
    return (struct rcl_prof_weight){
        .units = (uint64_t)(RCL_PROF_UNIT / p + 0.5),
        .bytes = (uint64_t)((double)bytes / p + 0.5),
    };
}

/*
 * y with y / (1 - exp(-y)) = g, for g > 1.  The left side is convex, grows with a slope between 1/2
 * and 1 and lies above y: from y = g, which is too far right, Newton's steps go left only.
 */
static double solve(double g)
{
    double y = g;
    for (int i = 0; i < NEWTON_STEPS; i++) {
        double p = -exp_minus_1(-y);
        double slope = (p - y * (1 - p)) / (p * p);
        double step = (y / p - g) / slope;
        y -= step;
        if (step < y * 1e-14)
            break;
    }
    return y;
}

struct rcl_prof_count rcl_prof_unweigh(struct rcl_prof_weight sum, unsigned lg)
{
    if (sum.units == 0 || sum.bytes == 0)
        return (struct rcl_prof_count){0, 0};
    double blocks = (double)sum.units / RCL_PROF_UNIT, average = (double)sum.bytes / blocks;
    double sampled = blocks * probability(average, lg), rate = power_of_2((int)lg);
    double n = sampled < 1.5 ? 1 : (double)(uint64_t)(sampled + 0.5);
    if (lg == 0)
        return (struct rcl_prof_count){(uint64_t)n, sum.bytes};
    /*
     * The number is a whole one; so find the bytes for which the reader's factor gives the right
     * sum.  A reader makes at least `rate` bytes of each block.
     */
    if (n > 1 && (double)sum.bytes < n * rate)
        n--;
    double g = (double)sum.bytes / (n * rate);
    double bytes = g > 1 + 1e-6 ? solve(g) * n * rate : n * average;
    return (struct rcl_prof_count){(uint64_t)n, (uint64_t)(bytes + 0.5)};
}
