/* SPDX-License-Identifier: MIT */
/*
 * jemalloc.h - for the tests of jemalloc's interface: the public header, and short ways
 * to ask.  The functions are weak, because a preloaded library is not there when the
 * program is linked.
 */
#ifndef TEST_JEMALLOC_H
#define TEST_JEMALLOC_H

#include "../testlib.h"

#include "reclaim/jemalloc.h"

#include <sys/types.h>

#pragma weak mallocx
#pragma weak rallocx
#pragma weak xallocx
#pragma weak sallocx
#pragma weak dallocx
#pragma weak sdallocx
#pragma weak nallocx
#pragma weak mallctl
#pragma weak mallctlnametomib
#pragma weak mallctlbymib

/* Everything is there, in every way to get the library. */
static inline void jemalloc_begin(void)
{
    REQUIRE(mallocx != NULL && rallocx != NULL && xallocx != NULL && sallocx != NULL);
    REQUIRE(dallocx != NULL && sdallocx != NULL && nallocx != NULL);
    REQUIRE(mallctl != NULL && mallctlnametomib != NULL && mallctlbymib != NULL);
}

/* The name with up to two numbers in it; valid until the next but one. */
static inline const char *ctl_name(const char *format, size_t i, size_t j)
{
    static char text[2][128];
    static unsigned turn;

    turn ^= 1;
    snprintf(text[turn], sizeof text[turn], format, i, j);
    return text[turn];
}

#define CTL_READ(type, name)                                  \
    static inline type name(const char *path)                 \
    {                                                         \
        type value;                                           \
        size_t bytes = sizeof value;                          \
        int err = mallctl(path, &value, &bytes, NULL, 0);     \
        if (err != 0)                                         \
            fprintf(stderr, "%s: %s\n", path, strerror(err)); \
        REQUIRE(err == 0 && bytes == sizeof value);           \
        return value;                                         \
    }

CTL_READ(bool, ctl_bool)
CTL_READ(unsigned, ctl_unsigned)
CTL_READ(size_t, ctl_size)
CTL_READ(ssize_t, ctl_ssize)
CTL_READ(uint64_t, ctl_u64)
CTL_READ(const char *, ctl_text)
CTL_READ(uint64_t *, ctl_counter)

static inline int ctl_do(const char *path)
{
    return mallctl(path, NULL, NULL, NULL, 0);
}

static inline int ctl_set_unsigned(const char *path, unsigned value)
{
    return mallctl(path, NULL, NULL, &value, sizeof value);
}

static inline int ctl_set_ssize(const char *path, ssize_t value)
{
    return mallctl(path, NULL, NULL, &value, sizeof value);
}

static inline int ctl_set_bool(const char *path, bool value)
{
    return mallctl(path, NULL, NULL, &value, sizeof value);
}

static inline void ctl_epoch(void)
{
    uint64_t one = 1;

    REQUIRE(mallctl("epoch", NULL, NULL, &one, sizeof one) == 0);
}

static inline unsigned ctl_arena_of(const void *p)
{
    unsigned index = 0;
    size_t bytes = sizeof index;

    REQUIRE(mallctl("arenas.lookup", &index, &bytes, (void *)&p, sizeof p) == 0);
    return index;
}

#endif
