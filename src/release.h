/* SPDX-License-Identifier: MIT */
/*
 * release.h - pages back to the kernel.
 *
 * Locked memory goes too (MADV_DONTNEED_LOCKED, Linux 5.18), and stays locked: a page of it is
 * made and locked anew when it is touched again.  Nobody is asked whether memory is locked: it
 * is refused once, and from then on the kernel is told that we mean it.  An older kernel
 * refuses always, and so does one that accepts any advice, whose word is worth nothing.
 *
 * Any thread, at any time; no errno.  Addresses and lengths are multiples of the page size.
 */
#ifndef RCL_RELEASE_H
#define RCL_RELEASE_H

#include "os.h"

/*
 * The pages read as zero when they are touched again.  errno: the kernel refused, and what is in
 * them is not known.
 */
int rcl_release(void *addr, size_t bytes);

/*
 * At most 64 ranges, in one system call where the kernel can (process_madvise on oneself, Linux
 * 6.13; probed once, quietly).  Bit i: range i was refused.
 */
uint64_t rcl_release_many(const struct rcl_os_range *ranges, size_t n);

#endif
