/* SPDX-License-Identifier: MIT */
/* Tests of report.h: what programs read is well formed and says what the snapshot says. */
#include "sink.h"

#include "heap.h"
#include "options.h"
#include "report.h"
#include "thread.h"

#include <sys/prctl.h>

static void write_out(struct unit_text *t,
                      void (*write)(const struct rcl_stats *, struct rcl_out *),
                      const struct rcl_stats *s)
{
    char buf[100];
    struct rcl_out o = unit_text_begin(t, buf, sizeof buf);

    write(s, &o);
    rcl_out_flush(&o);
    assert_true(t->used > 0);
    assert_int_equal(t->text[t->used - 1], '\n');
}

/* Elements properly nested and closed, attributes quoted, one root, nothing else. */
static const char *well_formed(const char *p)
{
    char open[16][32];
    unsigned depth = 0, roots = 0;

    for (;;) {
        p += strspn(p, " \t\n");
        if (*p == '\0')
            return depth == 0 && roots == 1 ? NULL : "not closed";
        if (*p++ != '<')
            return p;
        bool closing = *p == '/';
        p += closing;
        size_t length = strspn(p, "abcdefghijklmnopqrstuvwxyz");
        if (length == 0 || length >= sizeof open[0])
            return p;
        char name[32] = "";
        memcpy(name, p, length);
        p += length;
        if (closing) {
            if (depth == 0 || strcmp(open[--depth], name) != 0 || *p++ != '>')
                return p;
            continue;
        }
        if (depth == 0 && roots++ != 0)
            return p;
        for (; *p == ' ';) {
            p += 1 + strspn(p + 1, "abcdefghijklmnopqrstuvwxyz");
            if (strncmp(p, "=\"", 2) != 0)
                return p;
            p += 2 + strcspn(p + 2, "\"<>&");
            if (*p++ != '"')
                return p;
        }
        if (p[0] == '/' && p[1] == '>') {
            p += 2;
            continue;
        }
        if (*p++ != '>' || depth == array_len(open))
            return p;
        memcpy(open[depth++], name, sizeof name);
    }
}

TEST(the_check_of_xml_finds_errors)
{
    assert_null(well_formed("<a><b x=\"1\"/>\n<c></c></a>\n"));
    assert_non_null(well_formed("<a><b></a></b>"));
    assert_non_null(well_formed("<a>"));
    assert_non_null(well_formed("<a/><b/>"));
    assert_non_null(well_formed("<a x=1/>"));
    assert_non_null(well_formed("<a x=\"1/>"));
    assert_non_null(well_formed("<a></a>text"));
}

static size_t number_after(const char *text, const char *before)
{
    const char *at = strstr(text, before);

    assert_non_null(at);
    return (size_t)strtoull(at + strlen(before), NULL, 10);
}

TEST(xml_is_well_formed_and_says_what_the_numbers_say)
{
    static struct unit_text t;
    static struct rcl_stats s;
    void *block[200];

    for (int full = 0; full < 2; full++) {
        if (full)
            for (size_t i = 0; i < array_len(block); i++)
                block[i] = rcl_heap_alloc(i * i * 100);
        rcl_stats_read(&s);
        write_out(&t, rcl_report_xml, &s);
        const char *error = well_formed(t.text);
        if (error != NULL)
            print_message("at: %.60s\n", error);
        assert_null(error);
        assert_int_equal(strncmp(t.text, "<malloc version=\"1\">", 20), 0);
        assert_int_equal(number_after(t.text, "<total type=\"mmap\" count=\""), s.huge_blocks);
        size_t current = number_after(t.text, "<system type=\"current\" size=\"");
        assert_int_equal(current, s.chunk_bytes);
        assert_true(current <= s.mapped_bytes - s.huge_bytes);
        assert_int_equal(number_after(t.text, "<system type=\"max\" size=\""), s.chunk_bytes_max);
        /* Free blocks, by size, and in all. */
        size_t count = 0, total = 0;
        for (const char *at = t.text; (at = strstr(at, "<size from=\"")) != NULL; at++) {
            size_t from = number_after(at, "from=\""), to = number_after(at, "to=\"");
            size_t n = number_after(at, "count=\"");
            assert_true(from <= to && n > 0);
            unsigned cls = rcl_class_of_small(to);
            assert_int_equal(s.heap.cls[cls].size, to);
            assert_int_equal(rcl_class_of_small(from == 0 ? 1 : from), cls);
            assert_int_equal(s.heap.cls[cls].slots - s.heap.cls[cls].live, n);
            assert_int_equal(number_after(at, "total=\""), n * to);
            count += n;
            total += n * to;
        }
        const char *rest = strstr(t.text, "<total type=\"rest\"");
        size_t free_bytes = number_after(rest, "size=\"");
        size_t live = rcl_stats_live(&s) - s.huge_bytes;
        assert_in_range(number_after(rest, "count=\""), count, count + 1);
        assert_true(free_bytes >= total);
        assert_int_equal(current - free_bytes, live);
        if (full)
            assert_true(count > 0 && s.huge_blocks > 0);
    }
    for (size_t i = 0; i < array_len(block); i++)
        rcl_heap_free(block[i], "free");
}

TEST(the_largest_size_of_all_times)
{
    static struct unit_text t;
    struct rcl_stats s = {.mapped_bytes = 10, .chunk_bytes = 10, .chunk_bytes_max = 20};

    write_out(&t, rcl_report_xml, &s);
    assert_null(well_formed(t.text));
    assert_int_equal(number_after(t.text, "<system type=\"current\" size=\""), 10);
    assert_int_equal(number_after(t.text, "<system type=\"max\" size=\""), 20);
    /* What is kept of huge blocks is free memory. */
    s.mapped_bytes = 47;
    s.huge_bytes = 22;
    write_out(&t, rcl_report_xml, &s);
    assert_null(well_formed(t.text));
    assert_int_equal(number_after(t.text, "<system type=\"current\" size=\""), 25);
    assert_int_equal(number_after(t.text, "<system type=\"max\" size=\""), 25);
    assert_int_equal(number_after(t.text, "<total type=\"rest\" count=\""), 1);
    assert_int_equal(number_after(strstr(t.text, "<total type=\"rest\""), "size=\""), 25);
}

/* --- snapshots ---------------------------------------------------------------------------- */

static struct unit_text report;

static const char *as_text(const struct rcl_snapshot *s, const char *opts)
{
    char buf[77];
    struct rcl_out o = unit_text_begin(&report, buf, sizeof buf);
    rcl_report_text(s, opts, &o);
    rcl_out_flush(&o);
    return report.text;
}

static const char *as_json(const struct rcl_snapshot *s, const char *opts)
{
    char buf[77];
    struct rcl_out o = unit_text_begin(&report, buf, sizeof buf);
    rcl_report_json(s, opts, &o);
    rcl_out_flush(&o);
    return report.text;
}

static const char *as_prometheus(const struct rcl_snapshot *s)
{
    char buf[77];
    struct rcl_out o = unit_text_begin(&report, buf, sizeof buf);
    rcl_report_prometheus(s, &o);
    rcl_out_flush(&o);
    return report.text;
}

/* Behind the JSON value that starts here; NULL: it is none. */
static const char *json_end(const char *p, unsigned depth)
{
    if (depth > 20)
        return NULL;
    if (*p == '"') {
        for (p++; *p != '"'; p++) {
            if (*p < ' ' || *p > '~')
                return NULL;
            if (*p == '\\') {
                p++;
                if (*p == 'u' && strspn(p + 1, "0123456789abcdef") >= 4)
                    p += 4;
                else if (*p != '"' && *p != '\\')
                    return NULL;
            }
        }
        return p + 1;
    }
    if (*p == '{' || *p == '[') {
        char close = *p == '{' ? '}' : ']';
        bool object = *p++ == '{';
        if (*p == close)
            return p + 1;
        for (;; p++) {
            if (object) {
                if (*p != '"' || (p = json_end(p, depth + 1)) == NULL || *p++ != ':')
                    return NULL;
            }
            p = json_end(p, depth + 1);
            if (p == NULL || *p == close)
                return p == NULL ? NULL : p + 1;
            if (*p != ',')
                return NULL;
        }
    }
    for (const char *const *word = (const char *const[]){"true", "false", NULL}; *word; word++)
        if (strncmp(p, *word, strlen(*word)) == 0)
            return p + strlen(*word);
    size_t digits = strspn(p + (*p == '-'), "0123456789");
    return digits > 0 ? p + (*p == '-') + digits : NULL;
}

TEST(the_check_of_json_finds_errors)
{
    assert_non_null(json_end("{\"a\":1,\"b\":[true,-2,{}],\"c\":\"\\u00ffx\\\\\"}", 0));
    assert_null(json_end("{\"a\":1,}", 0));
    assert_null(json_end("{\"a\"1}", 0));
    assert_null(json_end("{a:1}", 0));
    assert_null(json_end("[1 2]", 0));
    assert_null(json_end("\"a\nb\"", 0));
    assert_null(json_end("[,]", 0));
    assert_null(json_end("{\"a\":}", 0));
}

/* A process with something in every part. */
struct held {
    void *block[2000];
};

static struct rcl_snapshot *busy_snapshot(struct held *held)
{
    for (size_t i = 0; i < array_len(held->block); i++) {
        size_t size = i % 100 == 0 ? i * 1000 + 1 : i + 1;
        held->block[i] = rcl_heap_alloc(size);
        memset(held->block[i], 1, size);
    }
    for (size_t i = 0; i < array_len(held->block); i += 3) {
        rcl_heap_free(held->block[i], "free");
        held->block[i] = NULL;
    }
    struct rcl_snapshot *s = rcl_snapshot_take(&rcl_tls.gate);
    assert_non_null(s);
    return s;
}

static void let_go(struct held *held, struct rcl_snapshot *s)
{
    for (size_t i = 0; i < array_len(held->block); i++)
        if (held->block[i] != NULL)
            rcl_heap_free(held->block[i], "free");
    rcl_snapshot_free(s);
}

TEST(json_says_what_the_snapshot_says)
{
    static struct held held;
    struct rcl_snapshot *s = busy_snapshot(&held);

    snprintf(rcl_opt.stats_path, sizeof rcl_opt.stats_path, "a \"quoted\\\n\x80 path");
    const char *text = as_json(s, "");
    const char *end = json_end(text, 0);
    assert_non_null(end);
    assert_string_equal(end, "\n");
    assert_non_null(strstr(text, "a \\\"quoted\\\\\\u000a\\u0080 path"));
    rcl_opt.stats_path[0] = '\0';

    const char *resident = strstr(text, "\"resident\":{");
    size_t sum = 0;
    for (unsigned i = 0; i < RCL_PARTS; i++) {
        char key[64];
        snprintf(key, sizeof key, "\"%s\":", rcl_part_texts[i].name);
        assert_int_equal(number_after(resident, key), s->part[i]);
        sum += s->part[i];
    }
    assert_int_equal(number_after(resident, "\"total\":"), sum);
    assert_int_equal(number_after(text, "\"allocated\":"), rcl_stats_live(&s->stats));
    assert_int_equal(number_after(text, "\"cache_misses\":"), s->stats.cache_misses);
    assert_true(number_after(text, "\"pid\":") == (size_t)getpid());
    assert_non_null(strstr(text, "\"dirty_decay_ms\":1000"));
    assert_non_null(strstr(text, "\"stats_signal\":\"none\""));
    assert_non_null(strstr(text, "\"classes\":[{"));

    text = as_json(s, "Jgab");
    assert_non_null(json_end(text, 0));
    assert_null(strstr(text, "\"classes\""));
    assert_null(strstr(text, "\"arenas\":["));
    assert_null(strstr(text, "\"options\""));
    assert_non_null(strstr(text, "\"jemalloc\":{\"stats\":{\"allocated\":"));
    let_go(&held, s);
}

TEST(text_says_what_the_snapshot_says)
{
    static struct held held;
    struct rcl_snapshot *s = busy_snapshot(&held);
    const char *text = as_text(s, NULL);
    static const char begin[] = "___ Begin libreclaim statistics ___\n",
                      end[] = "--- End libreclaim statistics ---\n";

    assert_memory_equal(text, begin, strlen(begin));
    assert_string_equal(text + strlen(text) - strlen(end), end);
    assert_int_equal(number_after(text, "\nAllocated: "), rcl_stats_live(&s->stats));
    assert_int_equal(number_after(text, ", mapped: "), rcl_stats_totals(&s->stats).mapped);
    assert_non_null(strstr(text, "\nVerdict: "));
    /* Every part has its line, every letter takes something away. */
    for (unsigned i = 0; i < RCL_PARTS; i++)
        assert_non_null(strstr(text, rcl_part_texts[i].text));
    static const struct {
        char letter[2];
        const char *gone;
    } row[] = {{"g", "\nOptions: "}, {"m", "\nSince the start:"}, {"a", "\narena threads"},
               {"b", "\n    512 "},  {"l", "without a class"},    {"x", "a lock was found"}};
    for (size_t i = 0; i < array_len(row); i++) {
        assert_non_null(strstr(as_text(s, ""), row[i].gone));
        assert_null(strstr(as_text(s, row[i].letter), row[i].gone));
    }
    assert_string_equal(as_text(s, "deh?"), as_text(s, "")); /* mean nothing here */
    let_go(&held, s);
}

/* The beginning of a line; the program is called as prctl says. */
static const char *series(const char *name, const char *more)
{
    static char text[256];

    snprintf(text, sizeof text, "\nlibreclaim_%s{pid=\"%d\",program=\"a\\\"b\\\\c?\"%s} ", name,
             (int)getpid(), more);
    return text;
}

/* Name, labels and value; HELP and TYPE before the first of a name, no name twice. */
TEST(prometheus_can_read_it)
{
    static struct held held;
    struct rcl_snapshot *s = busy_snapshot(&held);
    assert_int_equal(prctl(PR_SET_NAME, "a\"b\\c\x80"),
                     0); /* /proc/self is the process, not a thread */
    const char *text = as_prometheus(s), *line = text;
    char name[128] = "";

    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_memory_equal(text, "# Verdict: ", 11);
    assert_true(strchr(text, '\n') - text > 20);
    while (*line != '\0') {
        const char *end = strchr(line, '\n');
        if (strncmp(line, "# HELP ", 7) == 0) {
            size_t length = strcspn(line + 7, " ");
            snprintf(name, sizeof name, "%.*s", (int)length, line + 7);
            char again[160];
            snprintf(again, sizeof again, "# HELP %s ", name);
            assert_null(strstr(end, again));
            snprintf(again, sizeof again, "\n# TYPE %s ", name);
            assert_ptr_equal(strstr(line, again), end);
        } else if (line[0] != '#') {
            assert_memory_equal(line, name, strlen(name));
            assert_memory_equal(line, "libreclaim_", 11);
            const char *at = line + strlen(name);
            /* No series without labels: two processes' would be one. */
            assert_int_equal(*at, '{');
            at = strchr(at, '}') + 1;
            assert_int_equal(*at, ' ');
            char *stop;
            assert_true(strtod(at, &stop) >= 0);
            assert_ptr_equal(stop, end);
        }
        line = end + 1;
    }
    assert_int_equal(number_after(text, series("resident_bytes", ",part=\"holes\"")),
                     s->part[RCL_PART_holes]);
    assert_int_equal(number_after(text, series("resident_total_bytes", "")), s->rss);
    assert_int_equal(number_after(text, series("cache_misses_total", "")), s->stats.cache_misses);
    assert_int_equal(number_after(text, series("mapped_bytes", "")),
                     rcl_stats_totals(&s->stats).mapped);
    s->stats.purge_ns = 12345678901;
    text = as_prometheus(s);
    const char *at = strstr(text, series("purge_time_seconds_total", ""));
    assert_non_null(at);
    at += strlen(series("purge_time_seconds_total", ""));
    assert_memory_equal(at, "12.345678901\n", 13);
    let_go(&held, s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_check_of_xml_finds_errors),
        cmocka_unit_test(xml_is_well_formed_and_says_what_the_numbers_say),
        cmocka_unit_test(the_largest_size_of_all_times),
        cmocka_unit_test(the_check_of_json_finds_errors),
        cmocka_unit_test(json_says_what_the_snapshot_says),
        cmocka_unit_test(text_says_what_the_snapshot_says),
        cmocka_unit_test(prometheus_can_read_it),
    };

    rcl_opt.background_thread = 0; /* figures at rest */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
