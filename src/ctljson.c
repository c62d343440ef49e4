/* SPDX-License-Identifier: MIT */
/* ctljson.c - see ctljson.h. */
#include "ctljson.h"

#include "ctl.h"
#include "json.h"
#include "options.h"
#include "prof.h"
#include "prof_when.h"

#include <string.h>

enum { COMPONENT_BYTES = 48 }; /* of a name, at most */

static const struct ctl_row told_rows[] = {
#define CTL(name, out, in, function, argument, note) \
    {name, CTL_##out, CTL_##in, rcl_ctl_##function, (uintptr_t)(argument)},
#include "ctlread.def"
#undef CTL
};

static const struct ctl_row opt_rows[] = {
#include "ctlopt.def"
};

/* Where the report is, and what it leaves out. */
struct report {
    const struct rcl_moment *moment;
    struct rcl_out *o;
    const char *opts;
};

static bool omits(const struct report *r, char letter)
{
    return r->opts != NULL && strchr(r->opts, letter) != NULL;
}

/* --- a value ------------------------------------------------------------------------------ */

static void print_signed(struct rcl_out *o, int64_t n)
{
    uint64_t size = n < 0 ? -(uint64_t)n : (uint64_t)n;
    rcl_out_print(o, "%s%llu", n < 0 ? "-" : "", (unsigned long long)size);
}

static void print_value(struct rcl_out *o, enum ctl_type type, const union ctl_value *v)
{
    if (type == CTL_BOOL)
        rcl_out_print(o, v->b ? "true" : "false");
    else if (type == CTL_TEXT)
        rcl_json_string(o, v->text != NULL ? v->text : "");
    else if (type == CTL_SSIZE)
        print_signed(o, v->s);
    else if (type == CTL_UNSIGNED)
        rcl_out_print(o, "%u", v->u);
    else
        rcl_out_print(o, "%llu", (unsigned long long)v->u64);
}

/* Its last component as the key; jemalloc's report has one by another name. */
static const char *key_of(const char *name)
{
    return strcmp(name, "uptime") == 0 ? "uptime_ns" : name;
}

static void print_row(const struct report *r, const struct ctl_row *row, const char *key,
                      const size_t *number, bool *first)
{
    struct ctl c = {.row = row, .number = {number[0], number[1]}, .moment = r->moment};
    if (row->function(&c) != 0)
        return;
    rcl_json_key(r->o, first, key_of(key));
    print_value(r->o, row->out, &c.old);
}

/* --- rows with the same beginning --------------------------------------------------------- */

/* Of "small.nmalloc" the "small"; false: there is no dot. */
static bool object_of(const char *rest, char *group)
{
    const char *dot = strchr(rest, '.');
    size_t bytes = dot != NULL ? (size_t)(dot - rest) : 0;
    if (bytes == 0 || bytes >= COMPONENT_BYTES)
        return false;
    memcpy(group, rest, bytes);
    group[bytes] = '\0';
    return true;
}

/*
 * The members for all rows whose names go on behind `prefix` without a number; names of two
 * more components make an object.
 */
static void print_rows(const struct report *r, const char *prefix, const size_t *number,
                       bool *first)
{
    char open[COMPONENT_BYTES] = "", group[COMPONENT_BYTES];
    size_t bytes = strlen(prefix);
    bool first_inside = true;
    for (size_t i = 0; i < array_len(told_rows); i++) {
        const char *rest = told_rows[i].name + bytes;
        if (strncmp(told_rows[i].name, prefix, bytes) != 0 || strchr(rest, '<') != NULL)
            continue;
        bool inside = object_of(rest, group);
        if (inside && strcmp(group, "mutex") == 0 && omits(r, 'x'))
            continue;
        if (open[0] != '\0' && (!inside || strcmp(open, group) != 0)) {
            rcl_out_print(r->o, "}");
            open[0] = '\0';
        }
        if (inside && open[0] == '\0') {
            rcl_json_key(r->o, first, group);
            rcl_out_print(r->o, "{");
            memcpy(open, group, sizeof open);
            first_inside = true;
        }
        print_row(r, &told_rows[i], inside ? rest + strlen(group) + 1 : rest, number,
                  inside ? &first_inside : first);
    }
    if (open[0] != '\0')
        rcl_out_print(r->o, "}");
}

/* An array: number[at] goes from 0 to n - 1. */
static void print_array(const struct report *r, const char *key, const char *prefix, size_t *number,
                        unsigned at, size_t n, bool *first)
{
    bool first_member = true;
    rcl_json_key(r->o, first, key);
    rcl_out_print(r->o, "[");
    for (number[at] = 0; number[at] < n; number[at]++) {
        bool first_inside = true;
        rcl_json_key(r->o, &first_member, NULL);
        rcl_out_print(r->o, "{");
        print_rows(r, prefix, number, &first_inside);
        rcl_out_print(r->o, "}");
    }
    rcl_out_print(r->o, "]");
}

/* --- the parts ---------------------------------------------------------------------------- */

static void open_object(const struct report *r, bool *outer, const char *key, bool *inner)
{
    rcl_json_key(r->o, outer, key);
    rcl_out_print(r->o, "{");
    *inner = true;
}

static void close_object(const struct report *r)
{
    rcl_out_print(r->o, "}");
}

static void print_options(const struct report *r, bool *outer)
{
    static const size_t none[CTL_NUMBERS];
    bool first;
    open_object(r, outer, "opt", &first);
    for (size_t i = 0; i < array_len(opt_rows); i++)
        print_row(r, &opt_rows[i], opt_rows[i].name + strlen("opt."), none, &first);
    close_object(r);
}

static void print_shapes(const struct report *r, bool *outer)
{
    size_t number[CTL_NUMBERS] = {0};
    uint64_t decay_ms;
    bool first;
    open_object(r, outer, "arenas", &first);
    rcl_moment_arena(r->moment, CTL_ARENAS_ALL, ARENA_DECAY, &decay_ms);
    rcl_json_key(r->o, &first, "dirty_decay_ms");
    print_signed(r->o, (int64_t)decay_ms);
    rcl_json_number(r->o, &first, "muzzy_decay_ms", 0);
    print_rows(r, "arenas.", number, &first);
    print_array(r, "bin", "arenas.bin.<i>.", number, 0, CTL_BINS, &first);
    print_array(r, "lextent", "arenas.lextent.<i>.", number, 0, CTL_EXTENTS, &first);
    close_object(r);
}

static void print_prof(const struct report *r, bool *outer)
{
    static const struct ctl_row told[] = {
        {"interval", CTL_U64, CTL_VOID, rcl_ctl_prof_interval, 0},
        {"lg_sample", CTL_SIZE, CTL_VOID, rcl_ctl_prof_lg_sample, 0},
    };
    static const size_t none[CTL_NUMBERS];
    bool first;
    open_object(r, outer, "prof", &first);
    rcl_json_bool(r->o, &first, "thread_active_init", true);
    rcl_json_bool(r->o, &first, "active", rcl_prof_active());
    rcl_json_bool(r->o, &first, "gdump", rcl_prof_gdump());
    for (size_t i = 0; i < array_len(told); i++)
        print_row(r, &told[i], told[i].name, none, &first);
    close_object(r);
}

static void print_general(const struct report *r, bool *outer)
{
    static const size_t none[CTL_NUMBERS];
    bool first;
    rcl_json_key(r->o, outer, "version");
    rcl_json_string(r->o, CTL_VERSION);
    open_object(r, outer, "config", &first);
    print_rows(r, "config.", none, &first);
    close_object(r);
    print_options(r, outer);
    print_shapes(r, outer);
    print_prof(r, outer);
}

static void print_arena(const struct report *r, const char *key, size_t index, bool *outer)
{
    size_t number[CTL_NUMBERS] = {index};
    bool first;
    open_object(r, outer, key, &first);
    print_rows(r, "stats.arenas.<i>.", number, &first);
    if (!omits(r, 'b'))
        print_array(r, "bins", "stats.arenas.<i>.bins.<j>.", number, 1, CTL_BINS, &first);
    if (!omits(r, 'l'))
        print_array(r, "lextents", "stats.arenas.<i>.lextents.<j>.", number, 1, CTL_EXTENTS,
                    &first);
    close_object(r);
}

static void print_arenas(const struct report *r, bool *outer)
{
    bool first;
    open_object(r, outer, "stats.arenas", &first);
    if (!omits(r, 'm'))
        print_arena(r, "merged", CTL_ARENAS_ALL, &first);
    if (!omits(r, 'd') && rcl_moment_destroyed(r->moment) > 0)
        print_arena(r, "destroyed", CTL_ARENAS_DESTROYED, &first);
    for (size_t i = 0; !omits(r, 'a') && i < rcl_moment_indexes(r->moment); i++) {
        char key[24];
        struct rcl_out to_key = {.buf = key, .size = sizeof key - 1};
        if (!rcl_moment_knows(r->moment, i))
            continue;
        rcl_out_print(&to_key, "%zu", i);
        key[to_key.used] = '\0';
        print_arena(r, key, i, &first);
    }
    close_object(r);
}

void rcl_ctljson(const struct rcl_moment *m, const char *opts, struct rcl_out *o)
{
    static const size_t none[CTL_NUMBERS];
    const struct report r = {m, o, opts};
    bool outer = true, first;
    rcl_out_print(o, "{");
    if (!omits(&r, 'g'))
        print_general(&r, &outer);
    open_object(&r, &outer, "stats", &first);
    print_rows(&r, "stats.", none, &first);
    close_object(&r);
    if (!omits(&r, 'm') || !omits(&r, 'd') || !omits(&r, 'a'))
        print_arenas(&r, &outer);
    rcl_out_print(o, "}");
}
