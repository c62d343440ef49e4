/* SPDX-License-Identifier: MIT */
/* file.c - see file.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "file.h"

#include "sys.h"

#include <errno.h>
#include <fcntl.h>

enum {
    FILE_KEPT_FD = 200, /* programs that count on low numbers do not count so far */
};

int rcl_file_create(const char *path)
{
    return (int)sys4(SYS_openat, AT_FDCWD, path,
                     O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
}

int rcl_file_keep(int fd)
{
    long kept = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FILE_KEPT_FD);
    return sys_failed(kept) ? -1 : (int)kept;
}

void rcl_file_reopen(int fd, int kept)
{
    if (sys3(SYS_fcntl, fd, F_GETFD, 0) == -EBADF)
        sys3(SYS_dup3, kept, fd, O_CLOEXEC);
}
