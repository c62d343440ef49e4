/* SPDX-License-Identifier: MIT */
/* prof_text.c - see prof_text.h. */
#include "prof_text.h"

#include "look.h"
#include "meta.h"
#include "prof_maps.h"
#include "prof_object.h"
#include "prof_python.h"
#include "prof_rate.h"
#include "prof_stack.h"

#include <string.h>

/* The four numbers of a line: blocks: bytes [blocks: bytes]. */
struct numbers {
    struct rcl_prof_count live, all;
};

static struct numbers *by_thread, in_all; /* of RCL_PROF_THREADS_MAX; mapped when first wanted */

bool rcl_prof_text_boot(void)
{
    if (by_thread == NULL)
        by_thread = rcl_meta_table(RCL_PROF_THREADS_MAX * sizeof *by_thread, "libreclaim dumps");
    return by_thread != NULL && rcl_maps_boot();
}

/* --- small things ------------------------------------------------------------------------- */

static void print_digits(struct rcl_out *o, uint64_t n, unsigned width)
{
    uint64_t most = 1;
    for (unsigned i = 1; i < width; i++)
        most *= 10;
    for (; most > 1 && n < most; most /= 10)
        rcl_out_print(o, "0");
    rcl_out_print(o, "%llu", (unsigned long long)n);
}

/* The calendar of days since 1970: eras of 400 years that begin in March. */
static void civil(uint64_t days, unsigned *year, unsigned *month, unsigned *day)
{
    uint64_t z = days + 719468, era = z / 146097, in_era = z % 146097;
    uint64_t y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    uint64_t in_year = in_era - (365 * y + y / 4 - y / 100), m = (5 * in_year + 2) / 153;
    *day = (unsigned)(in_year - (153 * m + 2) / 5 + 1);
    *month = (unsigned)(m < 10 ? m + 3 : m - 9);
    *year = (unsigned)(y + era * 400 + (*month <= 2));
}

void rcl_prof_print_time(struct rcl_out *o, uint64_t time, bool dashes)
{
    const char *dash = dashes ? "-" : "", *colon = dashes ? ":" : "";
    unsigned year, month, day;
    civil(time / 86400, &year, &month, &day);
    print_digits(o, year, 4);
    rcl_out_print(o, "%s", dash);
    print_digits(o, month, 2);
    rcl_out_print(o, "%s", dash);
    print_digits(o, day, 2);
    rcl_out_print(o, "T");
    print_digits(o, time / 3600 % 24, 2);
    rcl_out_print(o, "%s", colon);
    print_digits(o, time / 60 % 60, 2);
    rcl_out_print(o, "%s", colon);
    print_digits(o, time % 60, 2);
    rcl_out_print(o, "Z");
}

/* To the end of a line: what would break it, or a reader, is left out. */
static void print_name(struct rcl_out *o, const char *name)
{
    for (; *name != '\0'; name++)
        rcl_out_print(o, "%c", (unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name);
}

static void print_numbers(struct rcl_out *o, const struct numbers *n)
{
    rcl_out_print(o, "%llu: %llu [%llu: %llu]", (unsigned long long)n->live.blocks,
                  (unsigned long long)n->live.bytes, (unsigned long long)n->all.blocks,
                  (unsigned long long)n->all.bytes);
}

/* --- the profile -------------------------------------------------------------------------- */

static struct rcl_prof_weight load(const struct rcl_prof_weight *w)
{
    return (struct rcl_prof_weight){.units = __atomic_load_n(&w->units, __ATOMIC_RELAXED),
                                    .bytes = __atomic_load_n(&w->bytes, __ATOMIC_RELAXED)};
}

/* False: nothing to tell of this stack. */
static bool numbers_of(const struct rcl_stack *s, const struct rcl_prof_head *head,
                       struct numbers *n)
{
    n->live = rcl_prof_unweigh(load(head->peak ? &s->peak : &s->live), head->lg);
    n->all = rcl_prof_unweigh(load(&s->all), head->lg);
    return n->live.blocks > 0 || n->all.blocks > 0;
}

static void numbers_add(struct numbers *to, const struct numbers *n)
{
    to->live.blocks += n->live.blocks;
    to->live.bytes += n->live.bytes;
    to->all.blocks += n->all.blocks;
    to->all.bytes += n->all.bytes;
}

static void add_all_threads(const struct rcl_prof_head *head)
{
    memset(by_thread, 0, RCL_PROF_THREADS_MAX * sizeof *by_thread);
    memset(&in_all, 0, sizeof in_all);
    for (struct rcl_stack *s = rcl_stacks_first(); s != NULL; s = s->older) {
        struct numbers n;
        if (!numbers_of(s, head, &n))
            continue;
        numbers_add(&in_all, &n);
        numbers_add(&by_thread[s->thread], &n);
    }
}

static void write_comments(struct rcl_out *o, const struct rcl_prof_head *head)
{
    struct rcl_stacks_total t;
    struct rcl_look_sum sum;
    rcl_stacks_total(&t);
    rcl_out_print(o, "# reclaim 2\n# program ");
    print_name(o, head->program);
    rcl_out_print(o, "\n# pid %d\n# time ", head->pid);
    rcl_prof_print_time(o, head->time, true);
    rcl_out_print(o, "\n# reason %s\n# profile %s\n# live %llu\n", head->reason,
                  head->peak ? "peak" : "live", (unsigned long long)head->live_bytes);
    if (head->parent != 0)
        rcl_out_print(o, "# parent %d\n# inherited %llu\n", head->parent,
                      (unsigned long long)head->inherited);
    rcl_out_print(o, "# samples %llu live, %llu in all\n", (unsigned long long)t.live_samples,
                  (unsigned long long)t.all_samples);
    /* What it was at the peak nobody knows: at most so much, and mostly just that. */
    size_t resident = head->peak ? rcl_look_most() : rcl_look_estimate(&sum) ? sum.resident : 0;
    if (resident != 0)
        rcl_out_print(o, "# resident %zu\n", resident);
}

static void write_threads(struct rcl_out *o, bool legacy)
{
    for (unsigned i = 0; i < RCL_PROF_THREADS_MAX; i++) {
        const char *name = rcl_prof_thread_name(i);
        if (name == NULL || (by_thread[i].live.blocks == 0 && by_thread[i].all.blocks == 0))
            continue;
        if (!legacy) {
            rcl_out_print(o, "  t%u: ", i);
            print_numbers(o, &by_thread[i]);
            rcl_out_print(o, "\n");
        }
        rcl_out_print(o, "# thread %u ", i);
        print_name(o, name);
        rcl_out_print(o, "\n");
    }
}

static void write_frames(struct rcl_out *o, const struct rcl_stack *s)
{
    rcl_out_print(o, "@");
    for (unsigned i = 0; i < s->frames; i++) {
        bool code = (s->frame[i] & RCL_FRAME_MARK) == 0;
        uint64_t address = rcl_object_address(s->frame[i]);
        rcl_out_print(o, " 0x%zx", (size_t)(address - (i == 0 && code)));
    }
    rcl_out_print(o, "\n");
}

static void write_stack(struct rcl_out *o, const struct rcl_stack *s, const struct numbers *n,
                        bool legacy)
{
    if (legacy) {
        print_numbers(o, n);
        rcl_out_print(o, " ");
        write_frames(o, s);
        return;
    }
    write_frames(o, s);
    rcl_out_print(o, "  t*: ");
    print_numbers(o, n);
    rcl_out_print(o, "\n  t%u: ", s->thread);
    print_numbers(o, n);
    rcl_out_print(o, "\n");
}

static void write_frame_names(struct rcl_out *o)
{
    rcl_out_print(o, "# frame 0x%zx 0 [no stack]\t\n", (size_t)RCL_FRAME_NO_STACK);
    rcl_out_print(o, "# frame 0x%zx 0 [too many stacks]\t\n", (size_t)RCL_FRAME_TOO_MANY);
    rcl_python_print(o);
}

void rcl_prof_write(struct rcl_out *o, const struct rcl_prof_head *head)
{
    size_t mean = (size_t)1 << head->lg;
    add_all_threads(head);
    rcl_object_look();
    if (head->legacy) {
        rcl_out_print(o, "heap profile: ");
        print_numbers(o, &in_all);
        rcl_out_print(o, " @ heap_v2/%zu\n", mean);
    } else {
        rcl_out_print(o, "heap_v2/%zu\n", mean);
    }
    write_comments(o, head);
    if (!head->legacy) {
        rcl_out_print(o, "  t*: ");
        print_numbers(o, &in_all);
        rcl_out_print(o, "\n");
    }
    write_threads(o, head->legacy);
    for (struct rcl_stack *s = rcl_stacks_first(); s != NULL; s = s->older) {
        struct numbers n;
        if (numbers_of(s, head, &n))
            write_stack(o, s, &n, head->legacy);
    }
    write_frame_names(o);
    rcl_maps_print_build_ids(o);
    rcl_object_print_build_ids(o);
    rcl_maps_print(o);
    rcl_object_print_maps(o);
    rcl_out_print(o, "# end\n"); /* nothing else tells a list that was cut */
}
