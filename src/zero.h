/* SPDX-License-Identifier: MIT */
/*
 * zero.h - memory that may have been used, zero again, with no more of it resident than before:
 * what the kernel has no page for is not written to.
 */
#ifndef RCL_ZERO_H
#define RCL_ZERO_H

#include "base.h"

/* Private anonymous memory that nobody else uses yet.  Any thread; no lock, no errno, no file. */
void rcl_zero(void *addr, size_t bytes);

#endif
