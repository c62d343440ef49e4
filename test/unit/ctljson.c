/* SPDX-License-Identifier: MIT */
/*
 * Tests of ctljson.h: which parts are there, and what letters leave out.  A real parser, and the
 * numbers beside mallctl's: test/contract/jemalloc_json.
 */
#include "blocks.h"
#include "sink.h"

#include "boot.h"
#include "ctljson.h"

static struct unit_text report;

static const char *write_report(const char *opts)
{
    char buf[100];
    struct rcl_out o = unit_text_begin(&report, buf, sizeof buf);
    struct rcl_moment *m = rcl_moment_new();

    assert_non_null(m);
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_moment_fill(m);
    rcl_gate_leave(&rcl_tls.gate);
    rcl_ctljson(m, opts, &o);
    rcl_out_flush(&o);
    rcl_moment_free(m);
    return report.text;
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)) != NULL; text++)
        n++;
    return n;
}

TEST(every_part_is_there)
{
    static const char *const parts[] = {
        "{\"version\":\"5.",
        "\"config\":{\"cache_oblivious\":false,",
        "\"opt\":{\"dirty_decay_ms\":",
        "\"hpa\":false",
        "\"muzzy_decay_ms\":0",
        "\"arenas\":{\"dirty_decay_ms\":",
        "\"bin\":[{\"size\":16,\"nregs\":",
        "\"lextent\":[{\"size\":36864},",
        "\"prof\":{\"thread_active_init\":true,\"active\":false,",
        "\"stats\":{\"allocated\":",
        "\"background_thread\":{\"num_threads\":",
        "\"stats.arenas\":{\"merged\":{\"nthreads\":",
        "\"uptime_ns\":",
        "\"small\":{\"allocated\":",
        "\"large\":{\"allocated\":",
        "\"mutex\":{\"num_wait\":",
        "\"0\":{\"nthreads\":",
    };
    const char *text = write_report(NULL);

    for (size_t i = 0; i < array_len(parts); i++) {
        if (strstr(text, parts[i]) == NULL)
            print_message("missing: %s\n", parts[i]);
        assert_non_null(strstr(text, parts[i]));
    }
    assert_null(strstr(text, "\"destroyed\""));
    assert_int_equal(count(text, "\"curregs\""), 2 * CTL_BINS);
    assert_int_equal(count(text, "\"curlextents\""), 2 * CTL_EXTENTS);
    assert_int_equal(count(text, "\"nregs\""), CTL_BINS);
    assert_int_equal(count(text, "{"), count(text, "}"));
    assert_int_equal(count(text, "["), count(text, "]"));
    assert_null(strstr(text, ",}"));
    assert_null(strstr(text, ",,"));
    assert_null(strstr(text, "{,"));
}

TEST(every_letter_takes_its_part_away)
{
    static const struct {
        const char *letters, *gone, *stays;
    } rows[] = {
        {"g", "\"config\"", "\"merged\""},      {"g", "\"bin\"", "\"bins\""},
        {"m", "\"merged\"", "\"0\":{"},         {"a", "\"0\":{", "\"merged\""},
        {"b", "\"bins\"", "\"lextents\""},      {"l", "\"lextents\"", "\"bins\""},
        {"x", "\"mutex\"", "\"curregs\""},      {"mad", "\"stats.arenas\"", "\"stats\":{"},
        {"gmdablx", "\"bins\"", "\"stats\":{"},
    };

    for (size_t i = 0; i < array_len(rows); i++) {
        const char *text = write_report(rows[i].letters);
        assert_null(strstr(text, rows[i].gone));
        assert_non_null(strstr(text, rows[i].stays));
        assert_int_equal(count(text, "{"), count(text, "}"));
    }
}

TEST(explicit_and_destroyed_arenas)
{
    char key[32];
    rcl_gate_enter_patient(&rcl_tls.gate);
    struct rcl_arena *a = rcl_arena_create();
    rcl_gate_leave(&rcl_tls.gate);

    snprintf(key, sizeof key, "\"%u\":{", a->index);
    assert_non_null(strstr(write_report("bl"), key));
    rcl_arena_retire(a);
    const char *text = write_report("bl");
    assert_null(strstr(text, key));
    assert_non_null(strstr(text, "\"destroyed\":{"));
    assert_null(strstr(write_report("bld"), "\"destroyed\":{"));
}

static int boot(void **state)
{
    (void)state;
    rcl_opt.background_thread = 0;
    return rcl_boot() ? 0 : -1;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_is_there),
        cmocka_unit_test(every_letter_takes_its_part_away),
        cmocka_unit_test(explicit_and_destroyed_arenas),
    };

    return cmocka_run_group_tests(tests, boot, NULL);
}
