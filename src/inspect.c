/* SPDX-License-Identifier: MIT */
/* inspect.c - the entry points that tell how much memory is where: glibc's, jemalloc's, ours. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "die.h"
#include "monitor.h"
#include "options.h"
#include "os.h"
#include "out.h"
#include "report.h"
#include "snapshot.h"
#include "stats.h"
#include "thread.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0.0.0"
#endif

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

static void to_stderr(void *arg, const char *text)
{
    (void)arg;
    size_t bytes = 0;
    while (text[bytes] != '\0')
        bytes++;
    rcl_os_write(2, text, bytes);
}

static void print_stats(void (*write)(void *, const char *), void *arg, const char *opts)
{
    struct callback c = {.write = write != NULL ? write : to_stderr, .arg = arg};
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

RCL_EXPORT void malloc_stats_print(void (*write)(void *, const char *), void *arg,
                                   const char *opts);
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
    struct rcl_stats s;
    char buf[512];
    struct rcl_out o = {.buf = buf, .size = sizeof buf, .sink = to_stream, .arg = stream};
    rcl_stats_read(&s);
    rcl_report_xml(&s, &o);
    rcl_out_flush(&o);
    return 0;
}

/* --- what options ask for ----------------------------------------------------------------- */

/* --- whose malloc is it? ------------------------------------------------------------------ */

#ifndef RCL_STATIC

static const char libreclaim_inside; /* an address in this library */

/* The file in which the program's calls of `name` end, and whether that is this library. */
static bool is_ours(const char *name, const char **file)
{
    Dl_info there, here;
    void *found = dlsym(RTLD_DEFAULT, name);
    bool known = found != NULL && dladdr(found, &there) != 0 && there.dli_fname != NULL;
    *file = known ? there.dli_fname : "an unknown place";
    return known && dladdr(&libreclaim_inside, &here) != 0 && there.dli_fbase == here.dli_fbase;
}

#else

static bool is_ours(const char *name, const char **file)
{
    (void)name;
    (void)file;
    return true; /* the linker has decided */
}

#endif

static void announce(void)
{
    static const char *const names[] = {
        "malloc",         "calloc",        "realloc",  "free",
        "posix_memalign", "aligned_alloc", "memalign", "malloc_usable_size"};
    const char *file;
    for (size_t i = 0; i < array_len(names); i++) {
        if (!is_ours(names[i], &file)) {
            rcl_warn("process %d does not use it: its %s is that of %s", rcl_os_pid(), names[i],
                     file);
            return;
        }
    }
    rcl_warn("version " PACKAGE_VERSION " serves process %d", rcl_os_pid());
}

/* After the one in boot.c, which reads the options. */
__attribute__((constructor(102))) static void begin_reports(void)
{
    rcl_monitor_boot();
    if (rcl_opt.announce != 0 && rcl_opt.announce == rcl_os_pid())
        announce();
}

__attribute__((destructor(101))) static void last_reports(void)
{
    rcl_monitor_exit(&rcl_tls.gate);
}
