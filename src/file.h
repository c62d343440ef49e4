/* SPDX-License-Identifier: MIT */
/* file.h - report files and descriptors: as os.h, without libc and without errno. */
#ifndef RCL_FILE_H
#define RCL_FILE_H

#include "base.h"

/* A regular file to be written, empty; no link is followed.  A descriptor, or -errno. */
int rcl_file_create(const char *path);

/*
 * A second descriptor of what `fd` is, out of the way of others and closed by exec, or -1;
 * and `fd` from it again, if `fd` has been closed meanwhile.
 */
int rcl_file_keep(int fd);
void rcl_file_reopen(int fd, int kept);

#endif
