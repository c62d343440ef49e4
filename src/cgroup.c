/* SPDX-License-Identifier: MIT */
/* cgroup.c - see cgroup.h. */
#include "cgroup.h"

#include "os.h"
#include "out.h"

#include <string.h>

enum { CGROUP_PATH_MAX = 1024 };

static struct {
    char used[CGROUP_PATH_MAX]; /* of the files; "": there is no limit */
    char limit[CGROUP_PATH_MAX];
} cgroup;

/* A file that holds one number; false: it does not, or there is none ("max"). */
static bool read_number(const char *path, uint64_t *n)
{
    char text[32];
    long bytes = rcl_os_read_file(path, text, sizeof text - 1);
    if (bytes <= 0 || text[0] < '0' || text[0] > '9')
        return false;
    text[bytes] = '\0';
    *n = 0;
    for (const char *at = text; *at >= '0' && *at <= '9'; at++)
        *n = *n * 10 + (uint64_t)(*at - '0');
    /* Version 1 says "none" by a number that is as good as infinite. */
    return *n < (uint64_t)1 << 62;
}

static void join(char *to, const char *a, const char *b, size_t b_bytes, const char *c)
{
    struct rcl_out o = {.buf = to, .size = CGROUP_PATH_MAX - 1};
    rcl_out_print(&o, "%s", a);
    for (size_t i = 0; i < b_bytes; i++)
        rcl_out_print(&o, "%c", b[i]);
    rcl_out_print(&o, "%s", c);
    to[o.used] = '\0';
}

/* From the group `path` up to the root: the first one that has a limit. */
static bool find_limited(const char *root, const char *path, size_t length, const char *used,
                         const char *limit)
{
    uint64_t n;
    for (;;) {
        while (length > 0 && path[length - 1] == '/')
            length--;
        join(cgroup.limit, root, path, length, limit);
        join(cgroup.used, root, path, length, used);
        if (read_number(cgroup.limit, &n) && read_number(cgroup.used, &n))
            return true;
        if (length == 0)
            return false;
        while (length > 0 && path[length - 1] != '/')
            length--;
    }
}

/* A piece of a text. */
struct piece_of_text {
    const char *at;
    size_t bytes;
};

/* Lines are "ID:CONTROLLERS:PATH"; version 2 has no controllers.  bytes 0: no such line. */
static struct piece_of_text group_of(const char *lines, const char *controller)
{
    size_t length = strlen(controller);
    while (*lines != '\0') {
        const char *end = lines + strcspn(lines, "\n"), *at = lines + strcspn(lines, ":\n");
        bool found = false;
        while (*at == ':' || *at == ',') { /* the controllers stand between the two colons */
            const char *word = at + 1;
            at = word + strcspn(word, ",:\n");
            found = found ||
                    ((size_t)(at - word) == length && memcmp(word, controller, length) == 0);
            if (*at == ':')
                break;
        }
        if (found && *at == ':')
            return (struct piece_of_text){at + 1, (size_t)(end - (at + 1))};
        lines = *end == '\n' ? end + 1 : end;
    }
    return (struct piece_of_text){NULL, 0};
}

void rcl_cgroup_find_in(const char *root, const char *self)
{
    char lines[2048], version1[CGROUP_PATH_MAX];
    long n = rcl_os_read_file(self, lines, sizeof lines - 1);
    lines[n > 0 ? n : 0] = '\0';
    struct piece_of_text group = group_of(lines, "");
    if (group.bytes > 0 &&
        find_limited(root, group.at, group.bytes, "/memory.current", "/memory.max"))
        return;
    group = group_of(lines, "memory");
    join(version1, root, "/memory", sizeof "/memory" - 1, "");
    if (group.bytes > 0 && find_limited(version1, group.at, group.bytes, "/memory.usage_in_bytes",
                                        "/memory.limit_in_bytes"))
        return;
    cgroup.limit[0] = cgroup.used[0] = '\0';
}

void rcl_cgroup_find(void)
{
    rcl_cgroup_find_in("/sys/fs/cgroup", "/proc/self/cgroup");
}

bool rcl_cgroup_memory(uint64_t *used, uint64_t *limit)
{
    return cgroup.limit[0] != '\0' && read_number(cgroup.used, used) &&
           read_number(cgroup.limit, limit);
}
