/* SPDX-License-Identifier: MIT */
/*
 * cgroup.h - how much memory the control group of this process uses, and may use.
 *
 * Version 2, or the memory controller of version 1.  The nearest group with a limit
 * counts, from the process's own up.
 */
#ifndef RCL_CGROUP_H
#define RCL_CGROUP_H

#include "base.h"

/* Where the files are.  Once; before it there is no limit. */
void rcl_cgroup_find(void);

/* Bytes; false: no limit, or no such files. */
bool rcl_cgroup_memory(uint64_t *used, uint64_t *limit);

/* For tests: another place than /sys/fs/cgroup and /proc/self/cgroup. */
void rcl_cgroup_find_in(const char *root, const char *self);

#endif
