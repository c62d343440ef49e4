/* SPDX-License-Identifier: MIT */
/* look.c - see look.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "look.h"

#include "os.h"
#include "sys.h"

#include <fcntl.h>
#include <sys/auxv.h>

enum {
    LOOK_REGIONS = 64,
    LOOK_BYTES = 1024,      /* of mincore's vector: 4 MiB in pages of 4 KiB */
    ROLLUP_BYTES = 2048,    /* /proc/self/smaps_rollup is 700 bytes long */
    PAGE_IS_PRESENT = 8,    /* <linux/fs.h>, from Linux 6.7 on */
    PAGE_IS_ZERO_PAGE = 32, /* PAGE_IS_PFNZERO */
};
#define LOOK_SCAN 0xc0606610u /* PAGEMAP_SCAN */

/* struct page_region and struct pm_scan_arg of <linux/fs.h>. */
struct look_region {
    uint64_t start, end, categories;
};

struct look_scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t inverted, all_of, any_of, wanted;
};

/* --- page by page ------------------------------------------------------------------------- */

void rcl_look_begin(struct rcl_look *look)
{
    char path[RCL_OS_PROC_BYTES];
    rcl_os_open(rcl_os_proc(path, "pagemap"), &look->pagemap);
}

void rcl_look_end(struct rcl_look *look)
{
    if (look->pagemap >= 0)
        sys1(SYS_close, look->pagemap);
    look->pagemap = -1;
}

size_t rcl_look_unit(void)
{
    return rcl_min(getauxval(AT_PAGESZ), rcl_page_size());
}

/* Present and not the page of zeros.  Regions come in order, each within [from, to). */
static int scan(struct rcl_look *look, uintptr_t from, uintptr_t to, uint8_t *resident)
{
    struct look_region region[LOOK_REGIONS];
    size_t unit = rcl_look_unit();
    for (uintptr_t at = from; at < to;) {
        struct look_scan s = {
            .size = sizeof s,
            .start = at,
            .end = to,
            .vec = (uintptr_t)region,
            .vec_len = LOOK_REGIONS,
            .inverted = PAGE_IS_ZERO_PAGE,
            .all_of = PAGE_IS_PRESENT | PAGE_IS_ZERO_PAGE,
            .wanted = PAGE_IS_PRESENT,
        };
        long n = sys3(SYS_ioctl, look->pagemap, LOOK_SCAN, &s);
        if (sys_failed(n))
            return sys_errno(n);
        for (long i = 0; i < n; i++)
            for (uint64_t p = region[i].start; p < region[i].end; p += unit)
                resident[(p - from) >> rcl_page_shift()]++;
        if (s.walk_end <= at)
            break;
        at = s.walk_end;
    }
    return 0;
}

static int look_in_core(const char *addr, size_t n, uint8_t *resident)
{
    unsigned char vec[LOOK_BYTES];
    size_t ratio = rcl_page_size() / rcl_look_unit();
    for (size_t done = 0, batch; done < n; done += batch) {
        batch = rcl_min(n - done, sizeof vec / ratio);
        const char *from = addr + (done << rcl_page_shift());
        long ret = sys3(SYS_mincore, from, batch << rcl_page_shift(), vec);
        if (sys_failed(ret))
            return sys_errno(ret);
        for (size_t i = 0; i < batch; i++)
            for (size_t k = 0; k < ratio; k++)
                resident[done + i] += vec[i * ratio + k] & 1;
    }
    return 0;
}

int rcl_look_pages(struct rcl_look *look, const void *addr, size_t n, uint8_t *resident)
{
    uintptr_t from = (uintptr_t)addr, to = from + (n << rcl_page_shift());
    for (size_t i = 0; i < n; i++)
        resident[i] = 0;
    if (look->pagemap >= 0) {
        if (scan(look, from, to, resident) == 0)
            return 0;
        rcl_look_end(look); /* an older kernel, or not allowed */
        for (size_t i = 0; i < n; i++)
            resident[i] = 0;
    }
    return look_in_core(addr, n, resident);
}

/* --- in all ------------------------------------------------------------------------------- */

static uint64_t number_at(const char *p)
{
    uint64_t n = 0;
    while (*p == ' ' || *p == '\t')
        p++;
    while (*p >= '0' && *p <= '9')
        n = n * 10 + (uint64_t)(*p++ - '0');
    return n;
}

/* The value of a line "Key:   123 kB" in bytes. */
static size_t line_value(const char *text, const char *key)
{
    for (const char *line = text; *line != '\0';) {
        const char *p = line, *k = key;
        while (*k != '\0' && *p == *k) {
            p++;
            k++;
        }
        if (*k == '\0' && *p == ':')
            return (size_t)number_at(p + 1) * KIB;
        while (*line != '\0' && *line != '\n')
            line++;
        line += *line == '\n';
    }
    return 0;
}

static void read_text(const char *name, char *text, size_t size)
{
    char path[RCL_OS_PROC_BYTES];
    long n = rcl_os_read_file(rcl_os_proc(path, name), text, size - 1);
    text[n > 0 ? n : 0] = '\0';
}

bool rcl_look_sum(struct rcl_look_sum *sum)
{
    char text[ROLLUP_BYTES];
    read_text("smaps_rollup", text, sizeof text);
    *sum = (struct rcl_look_sum){
        .resident = line_value(text, "Rss"),
        .anonymous = line_value(text, "Anonymous"),
        .lazy_free = line_value(text, "LazyFree"),
        .huge_pages = line_value(text, "AnonHugePages"),
        .swap = line_value(text, "Swap"),
    };
    return sum->resident != 0;
}

size_t rcl_look_most(void)
{
    char text[ROLLUP_BYTES];
    read_text("status", text, sizeof text);
    return line_value(text, "VmHWM");
}

/* statm: "size resident shared ..." in pages. */
bool rcl_look_estimate(struct rcl_look_sum *sum)
{
    char text[128];
    size_t field[3] = {0, 0, 0};
    read_text("statm", text, sizeof text);
    const char *p = text;
    for (unsigned i = 0; i < array_len(field); i++) {
        field[i] = (size_t)number_at(p) * rcl_look_unit();
        while (*p != '\0' && *p != ' ')
            p++;
        p += *p == ' ';
    }
    *sum = (struct rcl_look_sum){.resident = field[1],
                                 .anonymous = field[1] - rcl_min(field[1], field[2])};
    return field[1] != 0;
}
