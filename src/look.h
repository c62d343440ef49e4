/* SPDX-License-Identifier: MIT */
/*
 * look.h - what the kernel says about this process's memory: which pages are resident,
 * and how much there is in all.  Nothing here changes anything, allocates or waits.
 */
#ifndef RCL_LOOK_H
#define RCL_LOOK_H

#include "base.h"

struct rcl_look {
    int pagemap; /* /proc/self/pagemap; -1: mincore alone, no file */
};

/* Around any number of questions. */
void rcl_look_begin(struct rcl_look *look);
void rcl_look_end(struct rcl_look *look);

/*
 * How much of each of `n` pages from `addr` on is resident: resident[i] counts parts of
 * rcl_look_unit() bytes, which is the page but for builds that pretend another.  Pages
 * that are mapped to the kernel's page of zeros (read, never written) are not, as for
 * the kernel's own sum; where it cannot tell them apart (before Linux 6.7) they are.
 * errno: no answer at all.
 */
int rcl_look_pages(struct rcl_look *look, const void *addr, size_t n, uint8_t *resident);
size_t rcl_look_unit(void);

/* Bytes of the whole process. */
struct rcl_look_sum {
    size_t resident;
    size_t anonymous; /* of it: not of files, not shared memory */
    size_t lazy_free, huge_pages, swap;
};

/* Exact, in 10 to 25 ms per GiB.  False: not to be had. */
bool rcl_look_sum(struct rcl_look_sum *sum);

/* Quick, and some pages off; the first two figures only. */
bool rcl_look_estimate(struct rcl_look_sum *sum);

/* The most that was resident since the program was loaded; 0: not to be had. */
size_t rcl_look_most(void);

#endif
