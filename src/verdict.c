/* SPDX-License-Identifier: MIT */
/* verdict.c - see verdict.h. */
#include "verdict.h"

enum {
    WORTH_SHARE = 16, /* a cause is named from 1/16 of the resident memory on, */
    FILES_SHARE = 4,  /* files from a quarter on: code is in every process, */
};
#define WORTH_BYTES MIB /* and from here on */
#define FILES_BYTES (16 * MIB)

/* --- numbers ------------------------------------------------------------------------------ */

void rcl_verdict_grouped(uint64_t n, struct rcl_out *o)
{
    char text[32];
    size_t at = sizeof text;
    text[--at] = '\0';
    for (unsigned digits = 0; n != 0 || digits == 0; digits++) {
        if (digits > 0 && digits % 3 == 0)
            text[--at] = ',';
        text[--at] = (char)('0' + n % 10);
        n /= 10;
    }
    rcl_out_print(o, "%s", text + at);
}

/* In tenths below ten, else whole; rounded. */
static void print_scaled(uint64_t n, uint64_t unit, struct rcl_out *o)
{
    uint64_t tenths = (n * 10 + unit / 2) / unit;
    if (tenths < 100)
        rcl_out_print(o, "%u.%u", (unsigned)(tenths / 10), (unsigned)(tenths % 10));
    else
        rcl_verdict_grouped((n + unit / 2) / unit, o);
}

void rcl_verdict_megabytes(size_t bytes, struct rcl_out *o)
{
    print_scaled(bytes, MIB, o);
    rcl_out_print(o, " MB");
}

/* --- which -------------------------------------------------------------------------------- */

enum rcl_cause rcl_verdict(const struct rcl_snapshot *s)
{
    static const struct {
        enum rcl_part part;
        enum rcl_cause cause;
    } causes[] = {
        {RCL_PART_dirty, RCL_CAUSE_PENDING},     {RCL_PART_holes, RCL_CAUSE_FRAGMENTATION},
        {RCL_PART_cached, RCL_CAUSE_CACHES},     {RCL_PART_rounding, RCL_CAUSE_ROUNDING},
        {RCL_PART_metadata, RCL_CAUSE_METADATA}, {RCL_PART_other, RCL_CAUSE_OTHERS},
        {RCL_PART_files, RCL_CAUSE_FILES},
    };
    size_t most = rcl_max(s->rss / WORTH_SHARE, WORTH_BYTES);
    enum rcl_cause cause = RCL_CAUSE_NONE;
    for (unsigned i = 0; i < array_len(causes); i++) {
        if (causes[i].part == RCL_PART_files) /* the last */
            most = rcl_max(most, rcl_max(s->rss / FILES_SHARE, FILES_BYTES));
        if (s->part[causes[i].part] >= most) {
            most = s->part[causes[i].part] + 1;
            cause = causes[i].cause;
        }
    }
    return cause;
}

/* --- the sentences ------------------------------------------------------------------------ */

/* From now until the youngest of what is free has gone, in ns; 0: no time is known. */
static uint64_t due_in(const struct rcl_snapshot *s)
{
    if (s->next_step_ns == 0 || s->step_ns == 0)
        return 0;
    for (unsigned age = 0; age <= RCL_AGE_MAX; age++)
        if (s->dirty_by_age[age] > 0)
            return s->next_step_ns +
                   (age + 1 < RCL_AGE_MAX ? RCL_AGE_MAX - 1 - age : 0) * s->step_ns;
    return s->next_step_ns;
}

static void print_pending(const struct rcl_snapshot *s, struct rcl_out *o)
{
    uint64_t due = due_in(s);
    rcl_out_print(o, "decay pending: ");
    rcl_verdict_megabytes(s->part[RCL_PART_dirty], o);
    if (due != 0) {
        rcl_out_print(o, " due in ");
        print_scaled(due, 1000000000, o);
        rcl_out_print(o, " s");
    } else if (s->step_ns == 0) {
        rcl_out_print(o, " of freed pages, which do not go by time (dirty_decay_ms)");
    } else {
        rcl_out_print(o, " of freed pages, which go with the next frees or a purge (no helper "
                         "thread is at work)");
    }
}

static void print_fragmentation(const struct rcl_snapshot *s, struct rcl_out *o)
{
    size_t thin = 0, survivors = 0;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        thin += s->cls[cls].thin_holes;
        survivors += s->cls[cls].survivors;
    }
    /* A few blocks on many pages, or free blocks everywhere? */
    bool pinned = thin >= s->part[RCL_PART_holes] / 2;
    unsigned worst = RCL_CLASS_FIRST;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        const struct rcl_snapshot_class *c = &s->cls[cls], *w = &s->cls[worst];
        if (pinned ? c->thin_holes > w->thin_holes : c->holes > w->holes)
            worst = cls;
    }
    rcl_out_print(o, "fragmentation: ");
    rcl_verdict_megabytes(pinned ? thin : s->part[RCL_PART_holes], o);
    if (pinned) {
        rcl_out_print(o, " pinned by ");
        rcl_verdict_grouped(survivors, o);
        rcl_out_print(o, " survivors");
    } else {
        rcl_out_print(o, " free between blocks in use");
    }
    rcl_out_print(o, ", most in class %zu", s->cls[worst].size);
}

static void print_part(const struct rcl_snapshot *s, const char *before, enum rcl_part part,
                       const char *after, struct rcl_out *o)
{
    rcl_out_print(o, "%s: ", before);
    rcl_verdict_megabytes(s->part[part], o);
    rcl_out_print(o, " %s", after);
}

void rcl_verdict_print(const struct rcl_snapshot *s, struct rcl_out *o)
{
    switch (rcl_verdict(s)) {
    case RCL_CAUSE_PENDING:
        print_pending(s, o);
        break;
    case RCL_CAUSE_FRAGMENTATION:
        print_fragmentation(s, o);
        break;
    case RCL_CAUSE_CACHES:
        print_part(s, "thread caches", RCL_PART_cached, "in the caches of", o);
        rcl_out_print(o, " ");
        rcl_verdict_grouped(s->stats.caches, o);
        rcl_out_print(o, " threads, emptied when a thread idles");
        break;
    case RCL_CAUSE_ROUNDING:
        print_part(s, "rounding", RCL_PART_rounding, "beyond what was asked for", o);
        break;
    case RCL_CAUSE_METADATA:
        print_part(s, "metadata", RCL_PART_metadata, "of the allocator's own", o);
        break;
    case RCL_CAUSE_OTHERS:
        print_part(s, "not malloc", RCL_PART_other, "in other anonymous mappings", o);
        break;
    case RCL_CAUSE_FILES:
        print_part(s, "not malloc", RCL_PART_files, "in mapped files and shared memory", o);
        break;
    case RCL_CAUSE_NONE:
        print_part(s, "in use", RCL_PART_asked, "are what the program holds, of", o);
        rcl_out_print(o, " ");
        rcl_verdict_megabytes(s->rss, o);
        rcl_out_print(o, " resident");
        break;
    }
}
