/* SPDX-License-Identifier: MIT */
/* Tests of report.h: what programs read is well formed and says what the snapshot says. */
#include "unit.h"

#include "heap.h"
#include "report.h"
#include "thread.h"

struct text {
    char text[64 * 1024];
    size_t used;
};

static void collect(void *arg, const char *text, size_t bytes)
{
    struct text *t = arg;

    REQUIRE(t->used + bytes < sizeof t->text);
    memcpy(t->text + t->used, text, bytes);
    t->used += bytes;
    t->text[t->used] = '\0';
}

static void write_out(struct text *t, void (*write)(const struct rcl_stats *, struct rcl_out *),
                      const struct rcl_stats *s)
{
    char buf[100];
    struct rcl_out o = {.buf = buf, .size = sizeof buf, .sink = collect, .arg = t};

    t->used = 0;
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
    static struct text t;
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
        assert_int_equal(number_after(t.text, "<system type=\"current\" size=\""),
                         s.mapped_bytes - s.huge_bytes);
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
        assert_int_equal(number_after(t.text, "<total type=\"rest\" count=\""), count);
        const char *rest = strstr(t.text, "<total type=\"rest\"");
        assert_int_equal(number_after(rest, "size=\""), total);
        if (full)
            assert_true(count > 0 && s.huge_blocks > 0);
    }
    for (size_t i = 0; i < array_len(block); i++)
        rcl_heap_free(block[i], "free");
}

TEST(what_was_read_a_moment_apart_makes_no_negative_numbers)
{
    static struct text t;
    struct rcl_stats s = {.mapped_bytes = 10, .huge_bytes = 20};

    write_out(&t, rcl_report_xml, &s);
    assert_null(well_formed(t.text));
    assert_int_equal(number_after(t.text, "<system type=\"current\" size=\""), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_check_of_xml_finds_errors),
        cmocka_unit_test(xml_is_well_formed_and_says_what_the_numbers_say),
        cmocka_unit_test(what_was_read_a_moment_apart_makes_no_negative_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
