/* SPDX-License-Identifier: MIT */
/*
 * prof_text.h - a heap profile as text (doc/profiling.md has the formats).
 *
 * No lock, no allocation, nothing of libc: can be called at any point of the program.
 * One caller at a time.
 */
#ifndef RCL_PROF_TEXT_H
#define RCL_PROF_TEXT_H

#include "base.h"
#include "out.h"

struct rcl_prof_head {
    bool legacy; /* gperftools' spelling instead of jemalloc's */
    bool peak;   /* what was live at the peak instead of what is */
    unsigned lg; /* rate of the samples */
    const char *program, *reason;
    int pid;
    uint64_t time;       /* seconds since 1970 */
    uint64_t live_bytes; /* by the allocator's own count */
    int parent;          /* of a forked child that began with samples, else 0 */
    uint64_t inherited;  /* bytes that those stood for */
};

/* Map what writing needs, for good; false: no memory.  Before the first call; idempotent. */
bool rcl_prof_text_boot(void);

void rcl_prof_write(struct rcl_out *o, const struct rcl_prof_head *head);

/* "20260117T140502Z", or with dashes and colons. */
void rcl_prof_print_time(struct rcl_out *o, uint64_t time, bool dashes);

#endif
