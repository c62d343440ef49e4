/* SPDX-License-Identifier: MIT */
/*
 * mallctl.c - jemalloc's tree of names to read, set and act by; ctl.def has them, and
 * doc/control.md says how names and numbers are looked up and what is checked when.
 */
#include "arena.h"
#include "boot.h"
#include "ctl.h"
#include "ctlstat.h"
#include "options.h"

#include "reclaim/jemalloc.h"

#include <errno.h>
#include <string.h>

enum { DEPTH_MAX = 7 }; /* components of the longest name, and one */

/* --- the table ---------------------------------------------------------------------------- */

static const struct ctl_row ctl_rows[] = {
#define CTL(name, out, in, function, argument, note) \
    {name, CTL_##out, CTL_##in, rcl_ctl_##function, (uintptr_t)(argument)},
#include "ctl.def"
#undef CTL
#include "ctlopt.def"
};

static const uint8_t type_bytes[] = {
    [CTL_VOID] = 0,
    [CTL_BOOL] = sizeof(bool),
    [CTL_UNSIGNED] = sizeof(unsigned),
    [CTL_MAKE] = sizeof(unsigned),
    [CTL_SIZE] = sizeof(size_t),
    [CTL_SSIZE] = sizeof(ssize_t),
    [CTL_U64] = sizeof(uint64_t),
    [CTL_TEXT] = sizeof(char *),
    [CTL_PTR] = sizeof(void *),
};

/* --- names -------------------------------------------------------------------------------- */

/* A component of a name: `bytes` up to the next dot or the end. */
struct word {
    const char *at;
    size_t bytes;
};

static struct word word_here(const char *name)
{
    struct word w = {name, 0};
    while (name[w.bytes] != '\0' && name[w.bytes] != '.')
        w.bytes++;
    return w;
}

/* The next component; false: there is none. */
static bool word_next(struct word *w)
{
    if (w->at[w->bytes] == '\0')
        return false;
    *w = word_here(w->at + w->bytes + 1);
    return true;
}

static bool word_same(struct word a, struct word b)
{
    return a.bytes == b.bytes && memcmp(a.at, b.at, a.bytes) == 0;
}

/* <i> or <j> in a row's name. */
static bool word_is_number(struct word w)
{
    return w.bytes == 3 && w.at[0] == '<';
}

/* Digits, or 0x and digits: as jemalloc takes them. */
static bool word_number(struct word w, size_t *number)
{
    bool hex = w.bytes > 2 && w.at[0] == '0' && (w.at[1] == 'x' || w.at[1] == 'X');
    size_t n = 0;
    for (size_t i = hex ? 2 : 0; i < w.bytes; i++) {
        char c = w.at[i];
        unsigned digit = c >= '0' && c <= '9'          ? (unsigned)(c - '0')
                         : hex && c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : hex && c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                       : 99;
        if (digit == 99 || n > UINT32_MAX)
            return false;
        n = n * (hex ? 16 : 10) + digit;
    }
    *number = n;
    return w.bytes > 0;
}

/* Whether a number may stand behind this component of a name. */
static bool number_valid(struct word before, bool of_stats, size_t n)
{
    bool bin = before.bytes >= 3 && memcmp(before.at, "bin", 3) == 0;
    bool extent = before.bytes >= 7 && memcmp(before.at, "lextent", 7) == 0;
    if (bin || extent)
        return n < (bin ? CTL_BINS : CTL_EXTENTS);
    if (of_stats)
        return rcl_ctlstat_knows(n);
    return n <= rcl_arena_indexes() || n == CTL_ARENAS_ALL || n == CTL_ARENAS_DESTROYED;
}

/* A name looked up: the MIB of its components, and the row if the name is whole. */
struct found {
    size_t mib[DEPTH_MAX];
    size_t depth;
    const struct ctl_row *row;
    size_t number[CTL_NUMBERS];
};

/* Bytes of the first `depth` components of a row's name, with the dots behind them. */
static size_t prefix_bytes(const char *name, size_t depth)
{
    size_t bytes = 0;
    for (; depth > 0; depth--)
        bytes += word_here(name + bytes).bytes + 1;
    return bytes;
}

/*
 * Of the rows that begin with the same `depth` components as *row, which is the first of them:
 * the first that goes on with `next`.  They stand together.
 */
static bool find_row(size_t *row, size_t depth, struct word next)
{
    const char *like = ctl_rows[*row].name;
    size_t bytes = prefix_bytes(like, depth);
    for (; *row < array_len(ctl_rows); ++*row) {
        const char *name = ctl_rows[*row].name;
        if (strncmp(name, like, bytes) != 0)
            return false;
        struct word w = word_here(name + bytes);
        if (word_same(w, next) || (word_is_number(w) && next.bytes > 0 && next.at[0] <= '9'))
            return true;
    }
    return false;
}

static int look_up(const char *name, struct found *f)
{
    struct word w = word_here(name), before = w;
    size_t row = 0, numbers = 0;
    memset(f, 0, sizeof *f);
    do {
        if (f->depth == DEPTH_MAX || !find_row(&row, f->depth, w))
            return ENOENT;
        const char *row_name = ctl_rows[row].name;
        struct word in_row = word_here(row_name + prefix_bytes(row_name, f->depth));
        f->mib[f->depth] = row;
        if (word_is_number(in_row)) {
            size_t n;
            bool of_stats = row_name[0] == 's';
            if (!word_number(w, &n) || !number_valid(before, of_stats, n))
                return ENOENT;
            f->number[numbers++] = f->mib[f->depth] = n;
        }
        f->depth++;
        before = w;
        /* Whole, if the row's name ends here too. */
        f->row = in_row.at[in_row.bytes] == '\0' ? &ctl_rows[row] : NULL;
    } while (word_next(&w));
    return 0;
}

/* The other way round: components by number.  The last one that is no number names the row. */
static int look_up_mib(const size_t *mib, size_t depth, struct found *f)
{
    memset(f, 0, sizeof *f);
    if (depth == 0 || depth > DEPTH_MAX || mib[depth - 1] >= array_len(ctl_rows))
        return ENOENT;
    size_t row = mib[depth - 1], numbers = 0;
    struct word w = word_here(ctl_rows[row].name), before = w;
    for (size_t i = 0; i < depth; i++) {
        if (i > 0 && !word_next(&w))
            return ENOENT;
        if (word_is_number(w)) {
            if (!number_valid(before, ctl_rows[row].name[0] == 's', mib[i]))
                return ENOENT;
            f->number[numbers++] = mib[i];
        } else {
            /* The number of the first row that begins so, up to here. */
            size_t first = mib[i];
            size_t bytes = (size_t)(w.at - ctl_rows[row].name) + w.bytes;
            if (first > row || strncmp(ctl_rows[first].name, ctl_rows[row].name, bytes) != 0 ||
                (ctl_rows[first].name[bytes] != '.' && ctl_rows[first].name[bytes] != '\0'))
                return ENOENT;
        }
        before = w;
    }
    if (w.at[w.bytes] != '\0')
        return ENOENT;
    f->row = &ctl_rows[row];
    f->depth = depth;
    return 0;
}

/* --- reading and writing ------------------------------------------------------------------ */

/* Everything that can be said against the question before anything is done. */
static int check(const struct ctl_row *row, const void *oldp, const size_t *oldlenp,
                 const void *newp, size_t newlen)
{
    bool reads = oldp != NULL || oldlenp != NULL, writes = newp != NULL || newlen != 0;
    if ((row->out == CTL_VOID && reads) || (row->in == CTL_VOID && writes))
        return EPERM;
    if (newp != NULL && newlen != type_bytes[row->in])
        return EINVAL;
    return 0;
}

static int copy_out(const struct ctl *c, void *oldp, size_t *oldlenp)
{
    if (oldp == NULL || oldlenp == NULL)
        return 0;
    size_t bytes = type_bytes[c->row->out], given = *oldlenp;
    *oldlenp = rcl_min(given, bytes);
    memcpy(oldp, &c->old, *oldlenp);
    return given == bytes ? 0 : EINVAL;
}

static int perform(const struct found *f, void *oldp, size_t *oldlenp, const void *newp,
                   size_t newlen)
{
    struct ctl c = {.row = f->row};
    union ctl_value in;
    int err = check(f->row, oldp, oldlenp, newp, newlen);
    if (err != 0)
        return err;
    if (f->row->out == CTL_MAKE &&
        (oldp == NULL || oldlenp == NULL || *oldlenp != type_bytes[CTL_MAKE])) {
        if (oldlenp != NULL)
            *oldlenp = 0;
        return EINVAL;
    }
    memcpy(c.number, f->number, sizeof c.number);
    memset(&c.old, 0, sizeof c.old);
    /* With a place of the wrong size for the old value nothing is written; what fits is read. */
    bool fits = oldp == NULL || oldlenp == NULL || *oldlenp == type_bytes[f->row->out];
    if (newp != NULL && fits) {
        memset(&in, 0, sizeof in);
        memcpy(&in, newp, newlen);
        if (f->row->in == CTL_BOOL)
            in.b = *(const unsigned char *)newp != 0; /* any other byte is no bool */
        c.in = &in;
    }
    err = f->row->function(&c);
    return err != 0 ? err : copy_out(&c, oldp, oldlenp);
}

RCL_EXPORT int mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen)
{
    struct found f;
    if (name == NULL)
        return EINVAL;
    if (!rcl_boot())
        return EAGAIN;
    int err = look_up(name, &f);
    if (err == 0 && f.row == NULL)
        err = ENOENT;
    return err != 0 ? err : perform(&f, oldp, oldlenp, newp, newlen);
}

RCL_EXPORT int mallctlnametomib(const char *name, size_t *mibp, size_t *miblenp)
{
    struct found f;
    if (name == NULL || mibp == NULL || miblenp == NULL)
        return EINVAL;
    if (!rcl_boot())
        return EAGAIN;
    int err = look_up(name, &f);
    if (err != 0)
        return err;
    *miblenp = rcl_min(*miblenp, f.depth);
    memcpy(mibp, f.mib, *miblenp * sizeof *mibp);
    return 0;
}

RCL_EXPORT int mallctlbymib(const size_t *mib, size_t miblen, void *oldp, size_t *oldlenp,
                            void *newp, size_t newlen)
{
    struct found f;
    if (mib == NULL)
        return EINVAL;
    if (!rcl_boot())
        return EAGAIN;
    int err = look_up_mib(mib, miblen, &f);
    return err != 0 ? err : perform(&f, oldp, oldlenp, newp, newlen);
}
