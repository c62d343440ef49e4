/* SPDX-License-Identifier: MIT */
/*
 * fill.h - the options zero and junk: what every new and every freed block is full of.
 *
 * With either, no cache holds anything (options.h, rcl_options_caching), so that every
 * block comes by the slow paths, where this is asked.
 */
#ifndef RCL_FILL_H
#define RCL_FILL_H

#include "base.h"
#include "options.h"

#include <string.h>

enum {
    RCL_FILL_NEW = 0xa5, /* as jemalloc has them */
    RCL_FILL_FREED = 0x5a,
};

static inline bool rcl_fills_new(void)
{
    return unlikely(rcl_opt.zero || rcl_opt.junk != RCL_JUNK_NO);
}

static inline bool rcl_fills_freed(void)
{
    return unlikely(rcl_opt.junk == RCL_JUNK_BOTH || rcl_opt.junk == RCL_JUNK_FREE);
}

/* Bytes from .. to of a block that were not the program's before. */
static inline void rcl_fill_new(void *p, size_t from, size_t to)
{
    if (rcl_opt.zero)
        memset((char *)p + from, 0, to - from);
    else if (rcl_opt.junk != RCL_JUNK_FREE)
        memset((char *)p + from, RCL_FILL_NEW, to - from);
}

static inline void rcl_fill_freed(void *p, size_t bytes)
{
    memset(p, RCL_FILL_FREED, bytes);
}

#endif
