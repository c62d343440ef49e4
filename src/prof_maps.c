/* SPDX-License-Identifier: MIT */
/* prof_maps.c - see prof_maps.h. */
#include "prof_maps.h"

#include "die.h"
#include "meta.h"
#include "os.h"
#include "prof_elf.h"

#include <errno.h>
#include <string.h>

enum { LINE_MAX = 4096 + 128 }; /* a path and what stands before it */

/* Line by line; longer ones are cut. */
struct reader {
    int fd;
    size_t used, at;
    char buf[LINE_MAX];
};

/* Mapped when it is first wanted: a handler on a small stack may write a dump. */
struct maps_room {
    struct reader reader;
};

static struct maps_room *maps_room;

bool rcl_maps_boot(void)
{
    if (maps_room == NULL)
        maps_room = rcl_meta_table(sizeof *maps_room, "libreclaim dumps");
    return maps_room != NULL;
}

static bool next_line(struct reader *r, char **line)
{
    for (;;) {
        char *start = r->buf + r->at, *end = memchr(start, '\n', r->used - r->at);
        if (end != NULL) {
            *end = '\0';
            *line = start;
            r->at = (size_t)(end + 1 - r->buf);
            return true;
        }
        if (r->at > 0) {
            r->used -= r->at;
            memmove(r->buf, start, r->used);
            r->at = 0;
        }
        if (r->used == sizeof r->buf)
            r->used = 0;
        long n = rcl_os_read(r->fd, r->buf + r->used, sizeof r->buf - r->used);
        if (n <= 0)
            return false;
        r->used += (size_t)n;
    }
}

static int open_maps(struct reader *r)
{
    char path[RCL_OS_PROC_BYTES];
    r->used = r->at = 0;
    return rcl_os_open(rcl_os_proc(path, "maps"), &r->fd);
}

static void rewind_maps(struct reader *r)
{
    r->used = r->at = 0;
    if (r->fd >= 0)
        rcl_os_rewind(r->fd);
}

int rcl_maps_open(void)
{
    static bool told;
    int error = open_maps(&maps_room->reader);
    if (error == EMFILE || error == ENFILE)
        return error;
    if (error != 0 && !told)
        rcl_warn("heap profile: /proc/self/maps cannot be read (error %d), so profiles have "
                 "addresses and no names",
                 error);
    told = error != 0;
    return 0;
}

void rcl_maps_close(void)
{
    if (maps_room->reader.fd >= 0)
        rcl_os_close(maps_room->reader.fd);
}

void rcl_maps_print(struct rcl_out *o)
{
    struct reader *r = &maps_room->reader;
    char *line;
    bool any = false;
    rcl_out_print(o, "\nMAPPED_LIBRARIES:\n");
    rewind_maps(r);
    for (; r->fd >= 0 && next_line(r, &line); any = true)
        rcl_out_print(o, "%s\n", line);
    if (!any)
        rcl_out_print(o, "# no mappings\n");
}

/* --- build ids ---------------------------------------------------------------------------- */

static uintptr_t parse_hex(const char **at)
{
    uintptr_t n = 0;
    for (;; (*at)++) {
        char c = **at;
        if (c >= '0' && c <= '9')
            n = n * 16 + (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            n = n * 16 + (uintptr_t)(c - 'a' + 10);
        else
            return n;
    }
}

static const char *skip_word(const char *at)
{
    while (*at != ' ' && *at != '\0')
        at++;
    while (*at == ' ')
        at++;
    return at;
}

/* The path of a line that maps the start of a file at *base; NULL: some other line. */
static const char *start_of_file(const char *line, uintptr_t *base)
{
    *base = parse_hex(&line);
    if (*line++ != '-')
        return NULL;
    parse_hex(&line);
    line = skip_word(line + (*line == ' ')); /* permissions */
    if (parse_hex(&line) != 0)
        return NULL;
    line = skip_word(line + (*line == ' ')); /* device */
    line = skip_word(line);                  /* inode */
    return *line == '/' ? line : NULL;
}

void rcl_maps_print_build_ids(struct rcl_out *o)
{
    struct reader *r = &maps_room->reader;
    char *line;
    uintptr_t base;
    struct rcl_elf elf;
    rewind_maps(r);
    while (r->fd >= 0 && next_line(r, &line)) {
        const char *path = start_of_file(line, &base);
        if (path != NULL && rcl_elf_read(&elf, base, rcl_os_copy))
            rcl_elf_print_id(o, &elf, path);
    }
}

bool rcl_maps_find(uintptr_t address, uintptr_t *start, uintptr_t *end)
{
    struct reader r; /* of its own: a dump may be under way */
    char *line;
    bool found = false;
    if (open_maps(&r) == 0) {
        while (!found && next_line(&r, &line)) {
            const char *at = line;
            *start = parse_hex(&at);
            at++; /* the dash */
            *end = parse_hex(&at);
            found = address >= *start && address < *end;
        }
        rcl_os_close(r.fd);
    }
    if (!found)
        *start = *end = 0;
    return found;
}
