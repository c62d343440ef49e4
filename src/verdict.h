/* SPDX-License-Identifier: MIT */
/*
 * verdict.h - one sentence about a snapshot: what makes the process larger than what it
 * asked for, or that nothing does.
 *
 *     decay pending: 40 MB due in 0.6 s
 *     fragmentation: 31 MB pinned by 4,012 survivors, most in class 640
 *     not malloc: 212 MB in other anonymous mappings
 *     not malloc: 212 MB in mapped files and shared memory
 *
 * Pure: a function of the snapshot.  MB are 2^20 bytes.  The rules: doc/statistics.md.
 */
#ifndef RCL_VERDICT_H
#define RCL_VERDICT_H

#include "base.h"
#include "out.h"
#include "snapshot.h"

enum rcl_cause {
    RCL_CAUSE_NONE, /* most of it is what was asked for */
    RCL_CAUSE_PENDING,
    RCL_CAUSE_FRAGMENTATION,
    RCL_CAUSE_CACHES,
    RCL_CAUSE_ROUNDING,
    RCL_CAUSE_METADATA,
    RCL_CAUSE_OTHERS,
    RCL_CAUSE_FILES,
};

enum rcl_cause rcl_verdict(const struct rcl_snapshot *s);

/* The sentence, without an end of line. */
void rcl_verdict_print(const struct rcl_snapshot *s, struct rcl_out *o);

/* "40 MB", "0.6 MB"; "1,234,567". */
void rcl_verdict_megabytes(size_t bytes, struct rcl_out *o);
void rcl_verdict_grouped(uint64_t n, struct rcl_out *o);

#endif
