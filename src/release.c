/* SPDX-License-Identifier: MIT */
/* release.c - see release.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "release.h"

#include "sys.h"

#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440 /* the same number on every architecture */
#endif

enum {
    RELEASE_PIDFD_SELF = -10001, /* PIDFD_SELF_THREAD_GROUP, Linux 6.14 */
    RELEASE_NO_ADVICE = 0x7fffffff,
};

/* What the kernel turned out not to have; each flips once, from 1 to 0.  Relaxed. */
static struct {
    int vector;
    int locked;
} can = {1, 1};

/* MADV_DONTNEED, until memory turns out to be locked; relaxed. */
static int release_advice = MADV_DONTNEED;

/*
 * An emulator of programs (qemu) says yes to any advice that it does not know, and does nothing.
 * Who does so to one that there is not is not believed: pages would be called zero and are not.
 */
static bool advice_is_weighed(void *addr, size_t bytes)
{
    return sys_failed(sys3(SYS_madvise, addr, bytes, RELEASE_NO_ADVICE));
}

/* What was refused, once more with the other advice; if that helps, it is used from now on. */
static int release_locked(void *addr, size_t bytes)
{
    if (!__atomic_load_n(&can.locked, __ATOMIC_RELAXED))
        return EINVAL;
    if (!advice_is_weighed(addr, bytes)) {
        __atomic_store_n(&can.locked, 0, __ATOMIC_RELAXED);
        return EINVAL;
    }
    rcl_os_count_return();
    int err = sys_errno(sys3(SYS_madvise, addr, bytes, MADV_DONTNEED_LOCKED));
    if (err == 0)
        __atomic_store_n(&release_advice, MADV_DONTNEED_LOCKED, __ATOMIC_RELAXED);
    else if (err != ENOMEM && err != EAGAIN && err != EINTR)
        __atomic_store_n(&can.locked, 0, __ATOMIC_RELAXED);
    return err;
}

int rcl_release(void *addr, size_t bytes)
{
    int advice = __atomic_load_n(&release_advice, __ATOMIC_RELAXED);
    rcl_os_count_return();
    int err = sys_errno(sys3(SYS_madvise, addr, bytes, advice));
    return err == EINVAL && advice == MADV_DONTNEED ? release_locked(addr, bytes) : err;
}

/* How many of the first ranges went back in one system call.  *unable: it may not be there. */
static size_t release_vector(const struct rcl_os_range *ranges, size_t n, int advice, bool *unable)
{
    *unable = false;
    if (n < 2 || !__atomic_load_n(&can.vector, __ATOMIC_RELAXED))
        return 0;
    rcl_os_count_return();
    /* struct rcl_os_range is laid out as struct iovec. */
    long done = sys5(SYS_process_madvise, RELEASE_PIDFD_SELF, ranges, n, advice, 0);
    if (sys_failed(done)) {
        *unable = done != -ENOMEM && done != -EAGAIN && done != -EINTR;
        return 0;
    }
    /* It stops at the first range that is refused. */
    size_t i = 0;
    while (i < n && (size_t)done >= ranges[i].bytes)
        done -= (long)ranges[i++].bytes;
    return i;
}

uint64_t rcl_release_many(const struct rcl_os_range *ranges, size_t n)
{
    uint64_t refused = 0;
    for (size_t i = 0; i < n; i++) {
        bool unable;
        int advice = __atomic_load_n(&release_advice, __ATOMIC_RELAXED);
        i += release_vector(ranges + i, n - i, advice, &unable);
        if (i == n)
            break;
        /* By itself, which tells an old kernel or a sandbox from a range that is locked. */
        if (rcl_release(ranges[i].addr, ranges[i].bytes) != 0)
            refused |= (uint64_t)1 << i;
        else if (unable && advice == __atomic_load_n(&release_advice, __ATOMIC_RELAXED))
            __atomic_store_n(&can.vector, 0, __ATOMIC_RELAXED);
    }
    return refused;
}
