/* SPDX-License-Identifier: MIT */
/* inspect.c - the entry points that tell how much memory is where: glibc's, jemalloc's, ours. */
#include "out.h"
#include "report.h"
#include "snapshot.h"
#include "stats.h"
#include "thread.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>

static struct mallinfo2 read_mallinfo(void)
{
    struct rcl_stats s;
    rcl_stats_read(&s);
    size_t runs = s.mapped_bytes - rcl_min(s.mapped_bytes, s.huge_bytes);
    size_t live = rcl_stats_live(&s) - rcl_min(rcl_stats_live(&s), s.huge_bytes);
    return (struct mallinfo2){
        .arena = runs,
        .hblks = s.huge_blocks,
        .hblkhd = s.huge_bytes,
        .uordblks = live,
        .fordblks = runs - rcl_min(runs, live),
        .keepcost = s.dirty_bytes,
    };
}

RCL_EXPORT struct mallinfo2 mallinfo2(void)
{
    return read_mallinfo();
}

static int clamp_int(size_t n)
{
    return n > INT32_MAX ? INT32_MAX : (int)n;
}

RCL_EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo2 m = read_mallinfo();
    return (struct mallinfo){
        .arena = clamp_int(m.arena),
        .hblks = clamp_int(m.hblks),
        .hblkhd = clamp_int(m.hblkhd),
        .uordblks = clamp_int(m.uordblks),
        .fordblks = clamp_int(m.fordblks),
        .keepcost = clamp_int(m.keepcost),
    };
}

RCL_EXPORT void malloc_stats(void)
{
    struct rcl_snapshot *s = rcl_snapshot_take(&rcl_tls.gate);
    struct rcl_out_fd fd;
    rcl_report_text(s, rcl_out_to_fd(&fd, 2));
    rcl_out_flush(&fd.out);
    rcl_snapshot_free(s);
}

static void to_stream(void *arg, const char *text, size_t bytes)
{
    fwrite(text, 1, bytes, arg);
}

RCL_EXPORT int malloc_info(int options, FILE *stream)
{
    if (options != 0)
        return EINVAL;
    struct rcl_stats s;
    char buf[512];
    struct rcl_out o = {.buf = buf, .size = sizeof buf, .sink = to_stream, .arg = stream};
    rcl_stats_read(&s);
    rcl_report_xml(&s, &o);
    rcl_out_flush(&o);
    return 0;
}
