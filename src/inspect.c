/* SPDX-License-Identifier: MIT */
/* inspect.c - the entry points that tell how much memory is where: glibc's, jemalloc's, ours. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "die.h"
#include "file.h"
#include "monitor.h"
#include "options.h"
#include "os.h"
#include "out.h"
#include "pagemap.h"
#include "report.h"
#include "snapshot.h"
#include "stats.h"
#include "thread.h"

#include "reclaim/reclaim.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0.0.0"
#endif

static size_t stats_bytes(void)
{
    return rcl_align_up(sizeof(struct rcl_stats), rcl_page_size());
}

/* Of 13 kB, for which a thread's stack may be too small.  NULL: out of memory. */
static struct rcl_stats *read_stats(void)
{
    struct rcl_stats *s = rcl_os_map(stats_bytes());
    if (s != NULL)
        rcl_stats_read(s);
    return s;
}

static struct mallinfo2 read_mallinfo(void)
{
    struct rcl_stats *s = read_stats();
    if (s == NULL)
        return (struct mallinfo2){0};
    size_t runs = s->mapped_bytes - rcl_min(s->mapped_bytes, s->huge_bytes);
    size_t live = rcl_stats_live(s) - rcl_min(rcl_stats_live(s), s->huge_bytes);
    struct mallinfo2 m = {
        .arena = runs,
        .hblks = s->huge_blocks,
        .hblkhd = s->huge_bytes,
        .uordblks = live,
        .fordblks = runs - rcl_min(runs, live),
        .keepcost = s->dirty_bytes,
    };
    rcl_os_unmap(s, stats_bytes());
    return m;
}

RCL_EXPORT struct mallinfo2 mallinfo2(void)
{
    return read_mallinfo();
}

static int clamp_int(size_t n)
{
    return n > INT32_MAX ? INT32_MAX : (int)n;
}

static struct mallinfo read_clamped(void)
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

RCL_EXPORT struct mallinfo mallinfo(void)
{
    return read_clamped();
}

/* The name under which glibc exports its own (malloc.c has the others). */
RCL_EXPORT struct mallinfo __libc_mallinfo(void);
RCL_EXPORT struct mallinfo __libc_mallinfo(void)
{
    return read_clamped();
}

/* --- reports ------------------------------------------------------------------------------ */

/* The callback of malloc_stats_print() gets strings, so each piece needs an end. */
struct callback {
    void (*write)(void *, const char *);
    void *arg;
    char text[512];
};

static void to_callback(void *arg, const char *text, size_t bytes)
{
    struct callback *c = arg;
    c->text[bytes] = '\0';
    c->write(c->arg, text);
}

static void write_message(void *arg, const char *text)
{
    if (malloc_message != NULL) {
        malloc_message(arg, text);
        return;
    }
    size_t bytes = 0;
    while (text[bytes] != '\0')
        bytes++;
    rcl_os_write(2, text, bytes);
}

static void print_stats(void (*write)(void *, const char *), void *arg, const char *opts)
{
    struct callback c = {.write = write != NULL ? write : write_message, .arg = arg};
    struct rcl_out o = {.buf = c.text, .size = sizeof c.text - 1, .sink = to_callback, .arg = &c};
    struct rcl_snapshot *s = rcl_snapshot_take(&rcl_tls.gate);
    if (s == NULL)
        rcl_out_print(&o, "libreclaim: no statistics here: out of memory, or a signal handler\n");
    else if (rcl_report_omits(opts, 'J'))
        rcl_report_json(s, opts, &o);
    else
        rcl_report_text(s, opts, &o);
    rcl_out_flush(&o);
    rcl_snapshot_free(s);
}

RCL_EXPORT void malloc_stats_print(void (*write)(void *, const char *), void *arg, const char *opts)
{
    print_stats(write, arg, opts);
}

RCL_EXPORT void malloc_stats(void)
{
    print_stats(NULL, NULL, NULL);
}

static void to_stream(void *arg, const char *text, size_t bytes)
{
    fwrite(text, 1, bytes, arg);
}

RCL_EXPORT int malloc_info(int options, FILE *stream)
{
    if (options != 0)
        return EINVAL;
    struct rcl_stats *s = read_stats();
    char buf[512];
    if (s == NULL)
        return ENOMEM;
    struct rcl_out o = {.buf = buf, .size = sizeof buf, .sink = to_stream, .arg = stream};
    rcl_report_xml(s, &o);
    rcl_out_flush(&o);
    rcl_os_unmap(s, stats_bytes());
    return 0;
}

/* --- what options ask for ----------------------------------------------------------------- */

/* --- whose malloc is it? ------------------------------------------------------------------ */

RCL_EXPORT int reclaim_owns(const void *p)
{
    return rcl_pagemap_class(p) != RCL_CLASS_NONE;
}

/*
 * What the program's calls of `name` end in.  The address alone does not tell: in a
 * program that is not position-independent it is that of a jump in the program itself.
 */
static void *as_called(const char *name)
{
#ifdef RCL_STATIC
    (void)name;
    return NULL; /* the linker has decided */
#else
    return dlsym(RTLD_DEFAULT, name);
#endif
}

static bool serves_malloc(void)
{
    void *(*call)(size_t);
    *(void **)&call = as_called("malloc");
    return call == NULL || reclaim_owns(call(1));
}

static bool serves_calloc(void)
{
    void *(*call)(size_t, size_t);
    *(void **)&call = as_called("calloc");
    return call == NULL || reclaim_owns(call(1, 1));
}

static bool serves_realloc(void)
{
    void *(*call)(void *, size_t);
    *(void **)&call = as_called("realloc");
    return call == NULL || reclaim_owns(call(NULL, 1));
}

static bool serves_aligned(void)
{
    void *(*call)(size_t, size_t);
    *(void **)&call = as_called("aligned_alloc");
    return call == NULL || reclaim_owns(call(16, 16));
}

/* Four small blocks are the price; whose free would take them is what is not known yet. */
static void announce(void)
{
    static const struct {
        const char *name;
        bool (*serves)(void);
    } calls[] = {{"malloc", serves_malloc},
                 {"calloc", serves_calloc},
                 {"realloc", serves_realloc},
                 {"aligned_alloc", serves_aligned}};
    for (size_t i = 0; i < array_len(calls); i++) {
        if (!calls[i].serves()) {
            rcl_warn("process %d does not use it: its %s is another one", rcl_os_pid(),
                     calls[i].name);
            return;
        }
    }
    rcl_warn("version " PACKAGE_VERSION " serves process %d", rcl_os_pid());
}

/* Programs may close stderr in an exit handler, to see whether all was written (coreutils do). */
static int kept_stderr = -1;

/* After the one in boot.c, which reads the options. */
__attribute__((constructor(102))) static void begin_reports(void)
{
    rcl_monitor_boot();
    if (rcl_opt.stats_print)
        kept_stderr = rcl_file_keep(2);
    if (rcl_opt.announce != 0 && rcl_opt.announce == rcl_os_pid())
        announce();
}

__attribute__((destructor(101))) static void last_reports(void)
{
    rcl_monitor_exit(&rcl_tls.gate);
    if (!rcl_opt.stats_print)
        return;
    rcl_file_reopen(2, kept_stderr);
    print_stats(NULL, NULL, rcl_opt.stats_print_opts);
}
