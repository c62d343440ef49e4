/* SPDX-License-Identifier: MIT */
/* report.c - see report.h. */
#include "report.h"

#include "ctljson.h"
#include "json.h"
#include "options.h"
#include "os.h"
#include "verdict.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0.0.0"
#endif

struct counter {
    const char *name, *unit, *text;
    size_t offset; /* in struct rcl_stats */
};

static const struct counter counters[] = {
#define COUNTER(field, name, unit, text) {#name, #unit, text, offsetof(struct rcl_stats, field)},
#include "snapshot.def"
};

static uint64_t counter_value(const struct rcl_snapshot *s, size_t i)
{
    return *(const uint64_t *)((const char *)&s->stats + counters[i].offset);
}

static bool is_unit(const struct counter *c, const char *unit)
{
    return c->unit[0] == unit[0]; /* count, bytes, ns: told apart by the first letter */
}

static bool class_is_used(const struct rcl_snapshot_class *c)
{
    return c->blocks != 0 || c->dirty != 0;
}

/* --- text --------------------------------------------------------------------------------- */

bool rcl_report_omits(const char *opts, char letter)
{
    for (; opts != NULL && *opts != '\0'; opts++)
        if (*opts == letter)
            return true;
    return false;
}

/* Right-aligned in `width`. */
static void put(struct rcl_out *o, uint64_t n, unsigned width)
{
    unsigned digits = 1, commas;
    for (uint64_t left = n; left >= 10; left /= 10)
        digits++;
    commas = (digits - 1) / 3;
    for (unsigned used = digits + commas; used < width; used++)
        rcl_out_print(o, " ");
    rcl_verdict_grouped(n, o);
}

/* Left-aligned. */
static void put_text(struct rcl_out *o, const char *text, unsigned width)
{
    for (unsigned used = 0; used < width || *text != '\0'; used++)
        rcl_out_print(o, "%c", *text != '\0' ? *text++ : ' ');
}

static void text_general(const struct rcl_snapshot *s, struct rcl_out *o)
{
    char value[RCL_OPTION_TEXT];
    rcl_out_print(o, "Version: %s, process %d, page size %zu, %u arenas\n", PACKAGE_VERSION,
                  rcl_os_pid(), rcl_page_size(), s->arenas);
    rcl_out_print(o, "Options: ");
    for (size_t i = 0; i < rcl_options_count(); i++)
        rcl_out_print(o, "%s%s:%s", i == 0 ? "" : ",", rcl_options_name(i),
                      rcl_options_text(&rcl_opt, i, value));
    rcl_out_print(o, "\n");
}

static void text_parts(const struct rcl_snapshot *s, struct rcl_out *o)
{
    struct rcl_totals t = rcl_stats_totals(&s->stats);
    rcl_out_print(o,
                  "Allocated: %zu, active: %zu, metadata: %zu, resident: %zu, mapped: %zu, "
                  "retained: %zu\n",
                  t.allocated, t.active, t.metadata, t.resident, t.mapped, t.retained);
    rcl_out_print(o, "\nResident memory of the process, kB:\n");
    for (unsigned i = 0; i < RCL_PARTS; i++) {
        put(o, s->part[i] / KIB, 14);
        rcl_out_print(o, "  ");
        put_text(o, rcl_part_texts[i].label, 15);
        rcl_out_print(o, "%s\n", rcl_part_texts[i].text);
    }
    put(o, s->rss / KIB, 14);
    rcl_out_print(o, "  together\n");
    rcl_out_print(o, "Where asked for ends and rounding begins is an estimate in %zu kB, from ",
                  s->estimated / KIB);
    rcl_verdict_grouped(s->samples, o);
    rcl_out_print(o, " requests.\n");
    rcl_out_print(o, "Beside it: %zu kB handed out but not resident; %zu kB swapped out\n",
                  s->untouched / KIB, s->swap / KIB);
    if (!s->exact)
        rcl_out_print(o, "The kernel does not tell which pages are resident: ours are those that "
                         "may be.\n");
    if (!s->rss_known)
        rcl_out_print(o, "The kernel does not tell the resident memory: these are ours alone.\n");
    rcl_out_print(o, "\nVerdict: ");
    rcl_verdict_print(s, o);
    rcl_out_print(o, "\n");
}

static void text_counters(const struct rcl_snapshot *s, struct rcl_out *o, bool locks)
{
    rcl_out_print(o, "\nSince the start:\n");
    for (size_t i = 0; i < array_len(counters); i++) {
        if (!locks && counters[i].offset == offsetof(struct rcl_stats, lock_waits))
            continue;
        bool bytes = is_unit(&counters[i], "bytes"), ns = is_unit(&counters[i], "ns");
        put(o, counter_value(s, i) / (bytes ? KIB : ns ? 1000 : 1), 14);
        rcl_out_print(o, " %s %s\n", bytes ? "kB" : ns ? "us" : "  ", counters[i].text);
    }
    rcl_out_print(o, "This snapshot held up others for %zu us and took %zu us.\n",
                  (size_t)(s->held_ns / 1000), (size_t)(s->took_ns / 1000));
}

static void text_arenas(const struct rcl_snapshot *s, struct rcl_out *o)
{
    rcl_out_print(o, "\narena threads     small kB     large kB    mapped kB      free kB   "
                     "of it dirty\n");
    for (unsigned i = 0; i < s->arenas; i++) {
        const struct rcl_snapshot_arena *a = &s->arena[i];
        put(o, i, 5);
        put(o, a->threads, 8);
        put(o, a->small_bytes / KIB, 13);
        put(o, a->large_bytes / KIB, 13);
        put(o, a->chunk_bytes / KIB, 13);
        put(o, a->free_bytes / KIB, 13);
        put(o, a->dirty_bytes / KIB, 14);
        rcl_out_print(o, "\n");
    }
}

static void text_classes(const struct rcl_snapshot *s, struct rcl_out *o, unsigned first,
                         unsigned last)
{
    rcl_out_print(o, "\n  class      blocks   in caches   average      resident kB     holes kB "
                     "survivors    dirty kB\n");
    for (unsigned cls = first; cls <= last; cls++) {
        const struct rcl_snapshot_class *c = &s->cls[cls];
        if (!class_is_used(c))
            continue;
        put(o, c->size, 7);
        put(o, c->blocks, 12);
        put(o, c->cached, 12);
        put(o, c->asked, 10);
        put(o, c->resident / KIB, 17);
        put(o, c->holes / KIB, 13);
        put(o, c->survivors, 10);
        put(o, c->dirty / KIB, 12);
        rcl_out_print(o, "\n");
    }
}

void rcl_report_text(const struct rcl_snapshot *s, const char *opts, struct rcl_out *o)
{
    rcl_out_print(o, "___ Begin libreclaim statistics ___\n");
    if (!rcl_report_omits(opts, 'g'))
        text_general(s, o);
    text_parts(s, o);
    if (!rcl_report_omits(opts, 'm'))
        text_counters(s, o, !rcl_report_omits(opts, 'x'));
    if (!rcl_report_omits(opts, 'a'))
        text_arenas(s, o);
    if (!rcl_report_omits(opts, 'b'))
        text_classes(s, o, RCL_CLASS_FIRST, RCL_SMALL_LAST);
    if (!rcl_report_omits(opts, 'l')) {
        text_classes(s, o, RCL_SMALL_LAST + 1, RCL_MEDIUM_LAST);
        rcl_out_print(o,
                      "without a class: %zu blocks, %zu kB resident; mappings of their own: %zu, "
                      "%zu kB\n",
                      s->large_blocks, s->large_resident / KIB, s->huge_blocks,
                      s->huge_resident / KIB);
    }
    rcl_out_print(o, "--- End libreclaim statistics ---\n");
}

/* --- JSON --------------------------------------------------------------------------------- */

/* As a JSON value: numbers and truth values bare. */
static void json_option(struct rcl_out *o, size_t i)
{
    char buf[RCL_OPTION_TEXT];
    const char *text = rcl_options_text(&rcl_opt, i, buf);
    bool number = !rcl_options_is_text(i) && (*text == '-' || (*text >= '0' && *text <= '9'));
    if (number || rcl_options_is_bool(i))
        rcl_out_print(o, "%s", text);
    else
        rcl_json_string(o, text);
}

static void json_options(struct rcl_out *o)
{
    rcl_out_print(o, "{");
    for (size_t i = 0; i < rcl_options_count(); i++) {
        rcl_out_print(o, "%s\"%s\":", i == 0 ? "" : ",", rcl_options_name(i));
        json_option(o, i);
    }
    rcl_out_print(o, "}");
}

static void json_resident(const struct rcl_snapshot *s, struct rcl_out *o)
{
    bool first = true;
    rcl_out_print(o, ",\"resident\":{");
    rcl_json_number(o, &first, "total", s->rss);
    for (unsigned i = 0; i < RCL_PARTS; i++)
        rcl_json_number(o, &first, rcl_part_texts[i].name, s->part[i]);
    rcl_out_print(o, "},\"verdict\":\"");
    rcl_verdict_print(s, o); /* holds nothing to escape */
    rcl_out_print(o, "\",\"beside\":{");
    first = true;
    rcl_json_number(o, &first, "untouched", s->untouched);
    rcl_json_number(o, &first, "swap", s->swap);
    rcl_json_number(o, &first, "lazy_free", s->lazy_free);
    rcl_json_number(o, &first, "huge_pages", s->huge_pages);
    rcl_json_number(o, &first, "estimated", s->estimated);
    rcl_json_number(o, &first, "samples", s->samples);
    rcl_json_number(o, &first, "unmatched", s->unmatched);
    rcl_out_print(o, ",\"exact\":%s,\"rss_known\":%s}", s->exact ? "true" : "false",
                  s->rss_known ? "true" : "false");
    rcl_out_print(o, ",\"decay\":{");
    first = true;
    rcl_json_number(o, &first, "ceiling", s->ceiling);
    rcl_json_number(o, &first, "step_ns", s->step_ns);
    rcl_json_number(o, &first, "next_step_ns", s->next_step_ns);
    rcl_out_print(o, ",\"dirty_by_age\":[");
    for (unsigned age = 0; age <= RCL_AGE_MAX; age++)
        rcl_out_print(o, "%s%zu", age == 0 ? "" : ",", s->dirty_by_age[age]);
    rcl_out_print(o, "]}");
}

static void json_classes(const struct rcl_snapshot *s, struct rcl_out *o)
{
    bool first_class = true;
    rcl_out_print(o, ",\"classes\":[");
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        const struct rcl_snapshot_class *c = &s->cls[cls];
        if (!class_is_used(c))
            continue;
        bool first = true;
        rcl_out_print(o, "%s{", first_class ? "" : ",");
        first_class = false;
        rcl_json_number(o, &first, "size", c->size);
        rcl_json_number(o, &first, "blocks", c->blocks);
        rcl_json_number(o, &first, "cached", c->cached);
        rcl_json_number(o, &first, "resident", c->resident);
        rcl_json_number(o, &first, "absent", c->absent);
        rcl_json_number(o, &first, "holes", c->holes);
        rcl_json_number(o, &first, "thin_holes", c->thin_holes);
        rcl_json_number(o, &first, "survivors", c->survivors);
        rcl_json_number(o, &first, "dirty", c->dirty);
        rcl_json_number(o, &first, "average_request", c->asked);
        if (rcl_class_is_small(cls)) {
            const struct rcl_stats_class *b = &s->stats.heap.cls[cls];
            rcl_json_number(o, &first, "slabs", b->slabs);
            rcl_json_number(o, &first, "fills", b->fills);
            rcl_json_number(o, &first, "flushes", b->flushes);
            rcl_json_number(o, &first, "lock_waits", b->lock_waits);
        }
        rcl_out_print(o, "}");
    }
    rcl_out_print(o, "],\"large\":{\"blocks\":%zu,\"resident\":%zu}", s->large_blocks,
                  s->large_resident);
    rcl_out_print(o, ",\"huge\":{\"blocks\":%zu,\"resident\":%zu}", s->huge_blocks,
                  s->huge_resident);
}

static void json_arenas(const struct rcl_snapshot *s, struct rcl_out *o)
{
    rcl_out_print(o, ",\"arenas\":[");
    for (unsigned i = 0; i < s->arenas; i++) {
        const struct rcl_snapshot_arena *a = &s->arena[i];
        bool first = true;
        rcl_out_print(o, i == 0 ? "{" : ",{");
        rcl_json_number(o, &first, "threads", a->threads);
        rcl_json_number(o, &first, "small", a->small_bytes);
        rcl_json_number(o, &first, "large", a->large_bytes);
        rcl_json_number(o, &first, "mapped", a->chunk_bytes);
        rcl_json_number(o, &first, "free", a->free_bytes);
        rcl_json_number(o, &first, "dirty", a->dirty_bytes);
        rcl_json_number(o, &first, "lock_waits", a->lock_waits);
        rcl_out_print(o, "}");
    }
    rcl_out_print(o, "]");
}

void rcl_report_json(const struct rcl_snapshot *s, const char *opts, struct rcl_out *o)
{
    bool first = true;
    rcl_out_print(o, "{\"jemalloc\":");
    rcl_ctljson(s->moment, opts, o);
    rcl_out_print(o, ",\"libreclaim\":{\"version\":\"%s\",\"pid\":%d,\"page\":%zu", PACKAGE_VERSION,
                  rcl_os_pid(), rcl_page_size());
    json_resident(s, o);
    rcl_out_print(o, ",\"counters\":{");
    for (size_t i = 0; i < array_len(counters); i++)
        rcl_json_number(o, &first, counters[i].name, counter_value(s, i));
    rcl_out_print(o, "},\"caches\":%zu,\"mapped\":%zu", s->stats.caches,
                  rcl_stats_totals(&s->stats).mapped);
    if (!rcl_report_omits(opts, 'g')) {
        rcl_out_print(o, ",\"options\":");
        json_options(o);
    }
    if (!rcl_report_omits(opts, 'a'))
        json_arenas(s, o);
    if (!rcl_report_omits(opts, 'b'))
        json_classes(s, o);
    first = false;
    rcl_json_number(o, &first, "held_ns", s->held_ns);
    rcl_json_number(o, &first, "took_ns", s->took_ns);
    rcl_out_print(o, "}}\n");
}

/* --- Prometheus --------------------------------------------------------------------------- */

enum { PROGRAM_BYTES = 64, LABELS_BYTES = 2 * PROGRAM_BYTES + 64 };

/* Every series of a process has its labels: files of several processes may lie in one folder. */
struct prom {
    struct rcl_out *o;
    char labels[LABELS_BYTES];
};

/* A value of a label: what must not stand there bare is escaped, what is no ASCII left out. */
static void print_label(struct rcl_out *o, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            rcl_out_print(o, "\\%c", *text);
        else
            rcl_out_print(o, "%c", *text < ' ' || *text > '~' ? '?' : *text);
    }
}

static void prom_begin(struct prom *p, struct rcl_out *o)
{
    char program[PROGRAM_BYTES];
    struct rcl_out to = {.buf = p->labels, .size = sizeof p->labels - 1};
    long n = rcl_os_read_file("/proc/self/comm", program, sizeof program - 1);
    while (n > 0 && program[n - 1] == '\n')
        n--;
    program[n > 0 ? n : 0] = '\0';
    p->o = o;
    rcl_out_print(&to, "pid=\"%d\",program=\"", rcl_os_pid());
    print_label(&to, program);
    rcl_out_print(&to, "\"");
    p->labels[to.used] = '\0';
}

static void prom_head(const struct prom *p, const char *name, const char *type, const char *help)
{
    rcl_out_print(p->o, "# HELP libreclaim_%s %s\n# TYPE libreclaim_%s %s\n", name, help, name,
                  type);
}

static void prom_gauge(const struct prom *p, const char *name, const char *help, uint64_t value)
{
    prom_head(p, name, "gauge", help);
    rcl_out_print(p->o, "libreclaim_%s{%s} %llu\n", name, p->labels, (unsigned long long)value);
}

/* In seconds with all nine places: a float of Prometheus has them. */
static void prom_seconds(struct rcl_out *o, uint64_t ns)
{
    char places[10];
    uint64_t rest = ns % 1000000000;
    places[9] = '\0';
    for (unsigned i = 9; i-- > 0; rest /= 10)
        places[i] = (char)('0' + rest % 10);
    rcl_out_print(o, "%llu.%s\n", (unsigned long long)(ns / 1000000000), places);
}

static void prom_counter(const struct prom *p, const struct rcl_snapshot *s, size_t i)
{
    const struct counter *c = &counters[i];
    bool ns = is_unit(c, "ns");
    const char *unit = ns ? "_seconds" : is_unit(c, "bytes") ? "_bytes" : "";
    rcl_out_print(p->o, "# HELP libreclaim_%s%s_total %s\n# TYPE libreclaim_%s%s_total counter\n",
                  c->name, unit, c->text, c->name, unit);
    rcl_out_print(p->o, "libreclaim_%s%s_total{%s} ", c->name, unit, p->labels);
    if (ns)
        prom_seconds(p->o, counter_value(s, i));
    else
        rcl_out_print(p->o, "%llu\n", (unsigned long long)counter_value(s, i));
}

static void prom_totals(const struct prom *p, const struct rcl_snapshot *s)
{
    struct rcl_totals t = rcl_stats_totals(&s->stats);
    prom_gauge(p, "allocated_bytes", "Blocks the program holds.", t.allocated);
    prom_gauge(p, "active_bytes", "Pages with such blocks on them.", t.active);
    prom_gauge(p, "mapped_bytes", "Address space of blocks and descriptors.", t.mapped);
    prom_gauge(p, "retained_bytes", "Free address space, with nothing resident in it.", t.retained);
}

static void prom_classes(const struct prom *p, const struct rcl_snapshot *s)
{
    static const char *const what[] = {"blocks", "holes", "dirty"};
    prom_head(p, "class_bytes", "gauge", "Resident bytes of slabs by size class.");
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        const struct rcl_snapshot_class *c = &s->cls[cls];
        const size_t value[] = {c->resident, c->holes, c->dirty};
        for (unsigned i = 0; i < array_len(value) && class_is_used(c); i++)
            rcl_out_print(p->o, "libreclaim_class_bytes{%s,class=\"%zu\",what=\"%s\"} %zu\n",
                          p->labels, c->size, what[i], value[i]);
    }
}

void rcl_report_prometheus(const struct rcl_snapshot *s, struct rcl_out *o)
{
    struct prom prom, *p = &prom;
    prom_begin(p, o);
    /* A comment to those who collect: only HELP and TYPE mean something there. */
    rcl_out_print(o, "# Verdict: ");
    rcl_verdict_print(s, o);
    rcl_out_print(o, "\n");
    prom_head(p, "resident_bytes", "gauge", "Resident memory of the process by what it is.");
    for (unsigned i = 0; i < RCL_PARTS; i++)
        rcl_out_print(o, "libreclaim_resident_bytes{%s,part=\"%s\"} %zu\n", p->labels,
                      rcl_part_texts[i].name, s->part[i]);
    prom_gauge(p, "resident_total_bytes", "Their sum, as the kernel counts it.", s->rss);
    prom_gauge(p, "untouched_bytes", "Handed out, but not resident.", s->untouched);
    prom_totals(p, s);
    prom_gauge(p, "ceiling_bytes", "Freed memory up to this much may stay until it is due.",
               s->ceiling);
    prom_gauge(p, "thread_caches", "Threads that have a cache.", s->stats.caches);
    for (size_t i = 0; i < array_len(counters); i++)
        prom_counter(p, s, i);
    prom_classes(p, s);
}

/* --- glibc's malloc_info ------------------------------------------------------------------ */

void rcl_report_xml(const struct rcl_stats *s, struct rcl_out *o)
{
    size_t blocks = 0, bytes = 0;
    /* Mappings of their own that are kept for reuse are free memory like any other (mallinfo2). */
    size_t heap = s->mapped_bytes - rcl_min(s->mapped_bytes, s->huge_bytes);
    size_t most = rcl_max(s->chunk_bytes_max, heap);
    rcl_out_print(o, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        const struct rcl_stats_class *c = &s->heap.cls[cls];
        size_t n = c->slots - rcl_min(c->slots, c->live);
        if (n == 0)
            continue;
        rcl_out_print(o, "  <size from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n",
                      (size_t)rcl_classes[cls - 1].size + (cls != RCL_CLASS_FIRST), c->size,
                      n * c->size, n);
        blocks += n;
        bytes += n * c->size;
    }
    rcl_out_print(o, "</sizes>\n");
    /* Of what readers take for used, system less rest, no more shall be left than there is. */
    size_t live = rcl_stats_live(s) - rcl_min(rcl_stats_live(s), s->huge_bytes);
    size_t runs = heap - rcl_min(heap, live + bytes);
    blocks += runs != 0;
    bytes += runs;
    for (int whole = 0; whole < 2; whole++) {
        rcl_out_print(o, "<total type=\"fast\" count=\"0\" size=\"0\"/>\n");
        rcl_out_print(o, "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n", blocks, bytes);
        if (whole)
            rcl_out_print(o, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n", s->huge_blocks,
                          s->huge_bytes);
        rcl_out_print(o, "<system type=\"current\" size=\"%zu\"/>\n", heap);
        rcl_out_print(o, "<system type=\"max\" size=\"%zu\"/>\n", most);
        rcl_out_print(o, "<aspace type=\"total\" size=\"%zu\"/>\n", heap);
        rcl_out_print(o, "<aspace type=\"mprotect\" size=\"%zu\"/>\n", heap);
        if (!whole)
            rcl_out_print(o, "</heap>\n");
    }
    rcl_out_print(o, "</malloc>\n");
}
