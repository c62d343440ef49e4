/* SPDX-License-Identifier: MIT */
/*
 * Tests of options.h: every row of options.def at and beyond its limits, every wrong
 * way to write a key or a value, and random text.
 */
#include "unit.h"

#include "options.h"

#include <signal.h>

enum type { BOOL, SIZE, MS, COUNT, LG, SIGNAL, TEXT, WORD };

static const struct row {
    const char *name;
    enum type type;
    int64_t min, max, def;
    const char *text;
    const char *words;
} rows[] = {
#define OPT(name, type, min, max, def, unit, text) {#name, type, min, max, def, text, NULL},
#define OPT_TEXT(name, bytes, text) {#name, TEXT, 0, (bytes)-1, 0, text, NULL},
#define OPT_WORD(name, words, def, text) {#name, WORD, 0, INT64_MAX, def, text, words},
#include "options.def"
};

static const char *const clipped[] = {
#define OPT_CLIP(name) #name,
#include "options.def"
};

static const char *const idle[] = {
#define OPT_IDLE(name, type, value, reason) #name,
#include "options.def"
};

static const struct rcl_options defaults = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#define OPT_TEXT(name, bytes, text) .name = "",
#define OPT_WORD(name, words, def, text) .name = (def),
#include "options.def"
};

static bool is_number(const struct row *r)
{
    return r->type != SIGNAL && r->type != TEXT && r->type != WORD;
}

/* Beyond the range the nearest value counts. */
static bool is_clipped(const struct row *r)
{
    for (size_t i = 0; i < array_len(clipped); i++)
        if (strcmp(r->name, clipped[i]) == 0)
            return true;
    return false;
}

/* --- parsing, with the complaints noted ---------------------------------------------------- */

enum { COMPLAINTS_MAX = 64 };

static struct {
    const char *text;
    size_t n;
    struct rcl_option_error error[COMPLAINTS_MAX];
} noted;

static bool within_text(const char *at, size_t bytes)
{
    return bytes == 0 || (at >= noted.text && at + bytes <= noted.text + strlen(noted.text));
}

static void note(const struct rcl_option_error *error, void *arg)
{
    assert_ptr_equal(arg, &noted);
    assert_non_null(error->what);
    assert_true(within_text(error->key, error->key_bytes));
    assert_true(within_text(error->value, error->value_bytes));
    if (noted.n < COMPLAINTS_MAX)
        noted.error[noted.n] = *error;
    noted.n++;
}

/* How many complaints there were. */
static size_t parse_into(struct rcl_options *o, const char *text)
{
    noted.text = text;
    noted.n = 0;
    rcl_options_parse(o, text, note, &noted);
    return noted.n;
}

/* Parse beside the defaults; all values must lie in their ranges, whatever the text was. */
static struct rcl_options parse(const char *text)
{
    struct rcl_options o = defaults;

    parse_into(&o, text);
    for (size_t i = 0; i < array_len(rows); i++) {
        char buf[RCL_OPTION_TEXT];
        int64_t value = rows[i].type == TEXT ? (int64_t)strlen(rcl_options_text(&o, i, buf))
                                             : rcl_options_value(&o, i);
        assert_in_range((uint64_t)(value - rows[i].min), 0, (uint64_t)(rows[i].max - rows[i].min));
    }
    return o;
}

static void assert_rejected(const char *text)
{
    struct rcl_options o = parse(text);

    if (noted.n == 0)
        print_message("accepted: %s\n", text);
    assert_int_equal(noted.n, 1);
    assert_memory_equal(&o, &defaults, sizeof o);
}

/* The rows but one are what they are by default. */
static void assert_only(const struct rcl_options *o, size_t row)
{
    for (size_t i = 0; i < array_len(rows); i++) {
        char buf[RCL_OPTION_TEXT], wanted[RCL_OPTION_TEXT];
        if (i != row)
            assert_string_equal(rcl_options_text(o, i, buf),
                                rcl_options_text(&defaults, i, wanted));
    }
}

static void assert_value(const char *text, size_t row, int64_t expected)
{
    struct rcl_options o = parse(text);

    if (noted.n != 0)
        print_message("rejected: %s\n", text);
    assert_int_equal(noted.n, 0);
    assert_int_equal(rcl_options_value(&o, row), expected);
    assert_only(&o, row);
}

static void assert_text(const char *text, size_t row, const char *expected)
{
    struct rcl_options o = parse(text);
    char buf[RCL_OPTION_TEXT];

    if (noted.n != 0)
        print_message("rejected: %s\n", text);
    assert_int_equal(noted.n, 0);
    assert_string_equal(rcl_options_text(&o, row, buf), expected);
    assert_only(&o, row);
}

/* The text of one key and value, as printf makes it; valid until the next call. */
static const char *pair(const char *format, ...)
{
    static char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return text;
}

static const char *written(size_t row, int64_t value)
{
    if (rows[row].type == BOOL)
        return pair("%s:%s", rows[row].name, value != 0 ? "true" : "false");
    return pair("%s:%lld", rows[row].name, (long long)value);
}

static size_t row_of(const char *name)
{
    for (size_t i = 0; i < array_len(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return i;
    fail_msg("no option %s", name);
    return 0;
}

/* --- the table ------------------------------------------------------------------------------ */

TEST(the_table_is_in_order)
{
    for (size_t i = 0; i < array_len(rows); i++) {
        const struct row *r = &rows[i];

        assert_true(r->min <= r->def && r->def <= r->max && r->min < r->max);
        assert_true(r->type == MS ? r->min == -1 : r->min >= (r->type == LG ? -1 : 0));
        assert_true(r->type != BOOL || (r->min == 0 && r->max == 1));
        /* One sentence. */
        assert_true(strlen(r->text) > 10 && r->text[strlen(r->text) - 1] == '.');
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(r->name, rows[j].name);
    }
}

TEST(defaults_are_in_force_at_the_start)
{
    assert_memory_equal(&rcl_opt, &defaults, sizeof rcl_opt);
}

TEST(the_listing_is_the_table)
{
    assert_int_equal(rcl_options_count(), array_len(rows));
    for (size_t i = 0; i < array_len(rows); i++) {
        assert_string_equal(rcl_options_name(i), rows[i].name);
        assert_int_equal(rcl_options_value(&defaults, i), rows[i].def);
        assert_int_equal(rcl_options_is_bool(i), rows[i].type == BOOL);
        assert_int_equal(rcl_options_is_text(i), rows[i].type == TEXT);
    }
}

/* --- values -------------------------------------------------------------------------------- */

TEST(both_ends_of_every_range)
{
    for (size_t i = 0; i < array_len(rows); i++) {
        if (!is_number(&rows[i]))
            continue;
        assert_value(written(i, rows[i].min), i, rows[i].min);
        assert_value(written(i, rows[i].max), i, rows[i].max);
        assert_value(written(i, rows[i].def), i, rows[i].def);
        if (rows[i].type == BOOL)
            continue;
        int64_t beyond[] = {rows[i].min - 1, rows[i].max + 1};
        for (size_t k = 0; k < array_len(beyond); k++) {
            if (is_clipped(&rows[i])) {
                bool above = beyond[k] > rows[i].max || beyond[k] < 0;
                assert_value(written(i, beyond[k]), i, above ? rows[i].max : rows[i].min);
                continue;
            }
            assert_rejected(written(i, beyond[k]));
            assert_non_null(strstr(noted.error[0].what, "range"));
            assert_true(noted.error[0].of_value);
            assert_int_equal(noted.error[0].min, rows[i].min);
            assert_int_equal(noted.error[0].max, rows[i].max);
            assert_null(noted.error[0].nearest);
        }
    }
}

TEST(sizes_have_suffixes)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } suffixes[] = {{"", 0}, {"k", 10}, {"K", 10}, {"m", 20}, {"M", 20}, {"g", 30}, {"G", 30}};

    for (size_t i = 0; i < array_len(rows); i++) {
        for (size_t k = 0; k < array_len(suffixes) && is_number(&rows[i]); k++) {
            for (int64_t n = 1; n <= 3; n += 2) {
                int64_t value = (int64_t)((uint64_t)n << suffixes[k].shift);
                const char *text = pair("%s:%lld%s", rows[i].name, (long long)n,
                                        suffixes[k].suffix);

                if (rows[i].type == SIZE && value > rows[i].max && is_clipped(&rows[i]))
                    assert_value(text, i, rows[i].max);
                else if (rows[i].type == SIZE && value >= rows[i].min && value <= rows[i].max)
                    assert_value(text, i, value);
                else if (rows[i].type != SIZE && suffixes[k].shift != 0)
                    assert_rejected(text); /* a number of things is not a number of bytes */
            }
        }
    }
}

TEST(what_is_no_number_is_rejected)
{
    static const char *const wrong[] = {
        "",
        "-",
        "+",
        "+-1",
        "--1",
        "1-",
        "k",
        "m",
        "-k",
        "kk",
        "1kk",
        "1km",
        "1kb",
        "1 k",
        "1 2",
        "0x",
        "0x1z",
        "08",
        "1.5",
        "1e3",
        "1:",
        ":1",
        "1;",
        "true",
        "ten",
        "\"1\"",
        "1\1",
        "\xff",
        "1t",
        "-1k",
        "99999999999999999999x",
    };

    for (size_t i = 0; i < array_len(rows); i++)
        for (size_t k = 0; k < array_len(wrong); k++)
            if (is_number(&rows[i]) && (rows[i].type != BOOL || strcmp(wrong[k], "true") != 0))
                assert_rejected(pair("%s:%s", rows[i].name, wrong[k]));
}

/* Beyond 64 bits, and just within them. */
TEST(very_large_numbers)
{
    static const struct {
        const char *text;
        bool too_large;
    } cases[] = {
        {"9223372036854775807", false},  {"9223372036854775808", false},
        {"18446744073709551615", false}, {"18446744073709551616", true},
        {"18446744073709551617", true},  {"99999999999999999999999999999999999999", true},
        {"36893488147419103232", true},  {"0xffffffffffffffff", false},
        {"0x10000000000000000", true},   {"-9223372036854775808", false},
        {"-9223372036854775809", false}, {"-18446744073709551616", true},
        {"9223372036854775807k", true},  {"9007199254740992k", false},
        {"18014398509481984k", true},    {"8589934592g", false},
        {"17179869184g", true},
    };

    for (size_t i = 0; i < array_len(rows); i++) {
        for (size_t k = 0; k < array_len(cases); k++) {
            const char *text = pair("%s:%s", rows[i].name, cases[k].text);
            bool suffix = strpbrk(cases[k].text, "kg") != NULL;
            if (!is_number(&rows[i]) || rows[i].type == BOOL || (suffix && rows[i].type != SIZE))
                continue;
            if (!cases[k].too_large && is_clipped(&rows[i])) {
                assert_value(text, i, rows[i].max);
                continue;
            }
            assert_rejected(text);
            assert_string_equal(noted.error[0].what,
                                cases[k].too_large ? "is too large" : "is out of range");
        }
    }
    assert_value("narenas:+3", row_of("narenas"), 3);
}

TEST(bases_leading_zeros_and_minus_zero)
{
    size_t i = row_of("narenas");

    assert_value("narenas:007", i, 7);
    assert_value("narenas:0000000000000000000000000000000000000000003", i, 3);
    assert_value("narenas:-0", i, 0);
    /* As in C, and in jemalloc. */
    assert_value("narenas:020", i, 16);
    assert_value("narenas:0x1f", i, 31);
    assert_value("narenas:0X1F", i, 31);
    assert_value("dirty_min:0x10k", row_of("dirty_min"), 16384);
    assert_value("dirty_decay_ms:-0x1", row_of("dirty_decay_ms"), -1);
    assert_rejected("narenas:0x");
    assert_rejected("narenas:08");
    assert_rejected("narenas:1f");
    assert_rejected("narenas:0xg");
}

TEST(only_true_and_false_are_true_or_false)
{
    static const char *const wrong[] = {"",     "1",     "0",          "yes",      "no",
                                        "on",   "t",     "tru",        "truee",    "fals",
                                        "True", "FALSE", "true false", "truefalse"};

    for (size_t i = 0; i < array_len(rows); i++) {
        if (rows[i].type != BOOL)
            continue;
        for (size_t k = 0; k < array_len(wrong); k++)
            assert_rejected(pair("%s:%s", rows[i].name, wrong[k]));
    }
}

TEST(a_text_is_taken_as_it_is)
{
    for (size_t i = 0; i < array_len(rows); i++) {
        char value[512], longer[512];

        if (rows[i].type != TEXT)
            continue;
        snprintf(value, sizeof value, "%0*d", (int)rows[i].max, 7);
        snprintf(longer, sizeof longer, "%s:%sx", rows[i].name, value);
        if (is_clipped(&rows[i])) {
            assert_text(longer, i, value);
        } else {
            assert_rejected(longer);
            assert_non_null(strstr(noted.error[0].what, "too long"));
        }
        longer[strlen(longer) - 1] = '\0';
        assert_text(longer, i, value);
        assert_text(pair("%s:1,%s:", rows[i].name, rows[i].name), i, "");
        if (i != row_of("prof_at"))
            assert_text(pair("%s: a:b c ", rows[i].name), i, "a:b c");
    }
}

TEST(a_mark_is_a_size_or_a_share)
{
    static const char *const bad[] = {"x",  "1x", "10x", "%",   "0%",   "101%",
                                      "-5", "0",  "5kk", "1g%", "500%", "99999999999999999999"};
    static const struct {
        const char *text;
        uint64_t bytes;
        unsigned percent;
    } good[] = {
        {"1g", 1024 * MIB, 0}, {"1G", 1024 * MIB, 0}, {"512m", 512 * MIB, 0}, {"100%", 0, 100},
        {"1%", 0, 1},          {"4096", 4096, 0},     {"70k", 70 * KIB, 0},   {"0x10", 16, 0},
    };
    uint64_t bytes;
    unsigned percent;

    for (size_t i = 0; i < array_len(bad); i++) {
        assert_rejected(pair("prof_at:%s", bad[i]));
        assert_true(noted.error[0].of_value);
        assert_non_null(strstr(noted.error[0].what, "neither a size (1g) nor a share (90%)"));
        assert_false(rcl_options_mark(bad[i], &bytes, &percent));
        assert_true(bytes == 0 && percent == 0);
    }
    for (size_t i = 0; i < array_len(good); i++) {
        assert_text(pair("prof_at:%s", good[i].text), row_of("prof_at"), good[i].text);
        assert_true(rcl_options_mark(good[i].text, &bytes, &percent));
        assert_int_equal(bytes, good[i].bytes);
        assert_int_equal(percent, good[i].percent);
    }
    assert_false(rcl_options_mark("", &bytes, &percent));
    assert_true(bytes == 0 && percent == 0);
}

TEST(signals_have_names_and_numbers)
{
    static const struct {
        const char *text, *shown;
        int64_t number;
    } right[] = {
        {"SIGUSR2", "SIGUSR2", SIGUSR2}, {"USR2", "SIGUSR2", SIGUSR2}, {"12", "SIGUSR2", 12},
        {"SIGHUP", "SIGHUP", SIGHUP},    {"none", "none", 0},          {"0", "none", 0},
    };
    static const char *const wrong[] = {"SIG", "USR",     "USR3",       "SIGSEGV",   "11",
                                        "9",   "SIGKILL", "SIGRTMIN-1", "SIGRTMIN+", "RTMINX",
                                        "65",  "sigusr2", "SIGRTMIN+99"};

    for (size_t i = 0; i < array_len(rows); i++) {
        if (rows[i].type != SIGNAL)
            continue;
        for (size_t k = 0; k < array_len(right); k++) {
            assert_value(pair("%s:%s", rows[i].name, right[k].text), i, right[k].number);
            assert_text(pair("%s:%s", rows[i].name, right[k].text), i, right[k].shown);
        }
        assert_value(pair("%s:SIGRTMIN", rows[i].name), i, SIGRTMIN);
        assert_value(pair("%s:RTMIN+3", rows[i].name), i, SIGRTMIN + 3);
        assert_value(pair("%s:%d", rows[i].name, SIGRTMAX), i, SIGRTMAX);
        for (size_t k = 0; k < array_len(wrong); k++)
            assert_rejected(pair("%s:%s", rows[i].name, wrong[k]));
        /* Those that end a program can be asked for a last profile only. */
        static const char *const ends[] = {"SIGTERM", "TERM", "15", "INT", "2"};
        for (size_t k = 0; k < array_len(ends); k++) {
            const char *text = pair("%s:%s", rows[i].name, ends[k]);
            if (strcmp(rows[i].name, "prof_signal") != 0)
                assert_rejected(text);
            else
                assert_value(text, i, k < 3 ? SIGTERM : SIGINT);
        }
    }
    assert_text("prof_signal:15", row_of("prof_signal"), "SIGTERM");
}

TEST(what_is_shown_would_be_taken)
{
    struct rcl_options o = parse("dirty_decay_ms:-1,dirty_min:8m,thp:never,stats_signal:USR1");
    char buf[RCL_OPTION_TEXT];

    assert_int_equal(noted.n, 0);
    assert_string_equal(rcl_options_text(&o, row_of("dirty_decay_ms"), buf), "-1");
    assert_string_equal(rcl_options_text(&o, row_of("dirty_min"), buf), "8388608");
    assert_string_equal(rcl_options_text(&o, row_of("thp"), buf), "never");
    assert_string_equal(rcl_options_text(&o, row_of("stats_signal"), buf), "SIGUSR1");
    for (size_t i = 0; i < array_len(rows); i++) {
        char text[512];
        snprintf(text, sizeof text, "%s:%s", rows[i].name, rcl_options_text(&o, i, buf));
        assert_text(text, i, rcl_options_text(&o, i, buf));
    }
}

/* --- keys ----------------------------------------------------------------------------------- */

/* The value a row has by default, as text: right for this key and no other. */
static const char *right_value(size_t row)
{
    return rows[row].type == BOOL ? "true" : "1";
}

TEST(every_strict_prefix_of_every_key_is_rejected)
{
    for (size_t i = 0; i < array_len(rows); i++) {
        for (size_t bytes = 0; bytes < strlen(rows[i].name); bytes++) {
            char key[64];
            bool valid = false;

            snprintf(key, sizeof key, "%.*s", (int)bytes, rows[i].name);
            for (size_t k = 0; k < array_len(rows); k++)
                valid = valid || strcmp(rows[k].name, key) == 0; /* tcache is of tcache_max */
            for (size_t k = 0; k < array_len(idle); k++)
                valid = valid ||
                        strcmp(idle[k], key) == 0; /* stats_interval of stats_interval_ms */
            if (valid)
                continue;
            assert_rejected(pair("%s:%s", key, right_value(i)));
            assert_rejected(pair("%s:%s", key, rows[i].name));
        }
    }
}

TEST(longer_and_other_keys_are_rejected)
{
    for (size_t i = 0; i < array_len(rows); i++) {
        const char *name = rows[i].name;

        assert_rejected(pair("%sx:%s", name, right_value(i)));
        assert_rejected(pair("x%s:%s", name, right_value(i)));
        assert_rejected(pair("%s %s:%s", name, name, right_value(i)));
        assert_rejected(pair("%s=%s", name, right_value(i)));
        assert_rejected(pair("%c%s:%s", name[0] - 'a' + 'A', name + 1, right_value(i)));
    }
}

TEST(a_key_without_a_value)
{
    for (size_t i = 0; i < array_len(rows); i++) {
        assert_rejected(rows[i].name);
        assert_non_null(strstr(noted.error[0].what, "no value"));
        assert_null(noted.error[0].nearest);
        assert_false(noted.error[0].of_value);
        if (rows[i].type == TEXT)
            continue;
        assert_rejected(pair("%s: ", rows[i].name));
        assert_non_null(strstr(noted.error[0].what, "no value"));
        assert_false(noted.error[0].of_value);
        assert_int_equal(noted.error[0].key_bytes, strlen(rows[i].name));
    }
    assert_rejected(" :5");
    assert_non_null(strstr(noted.error[0].what, "no key"));
    assert_null(noted.error[0].nearest);
}

TEST(the_complaint_names_key_and_value)
{
    parse("  narenas \t:  many  ,x");
    assert_int_equal(noted.n, 2);
    assert_int_equal(noted.error[0].key_bytes, 7);
    assert_memory_equal(noted.error[0].key, "narenas", 7);
    assert_int_equal(noted.error[0].value_bytes, 4);
    assert_memory_equal(noted.error[0].value, "many", 4);
    assert_int_equal(noted.error[1].key_bytes, 1);
    assert_int_equal(noted.error[1].value_bytes, 0);
}

/* --- the suggestion ----------------------------------------------------------------------- */

/* Levenshtein distance in its simplest form. */
static size_t distance(const char *a, const char *b)
{
    size_t table[64][64], n = strlen(a), m = strlen(b);

    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                table[i][j] = i + j;
                continue;
            }
            size_t change = table[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            table[i][j] = rcl_min(change, rcl_min(table[i - 1][j], table[i][j - 1]) + 1);
        }
    }
    return table[n][m];
}

/* The suggestion for a wrong key is as near as any key is. */
static void assert_nearest(const char *key)
{
    size_t least = SIZE_MAX;

    parse(pair("%s:1", key));
    if (noted.n == 0)
        return; /* the mistake made another key */
    for (size_t i = 0; i < array_len(rows); i++)
        least = rcl_min(least, distance(key, rows[i].name));
    for (size_t i = 0; i < array_len(idle); i++)
        least = rcl_min(least, distance(key, idle[i]));
    least = rcl_min(least, distance(key, "lg_tcache_max"));
    least = rcl_min(least, distance(key, "prof_bt_max"));
    assert_int_equal(noted.n, 1);
    if (noted.error[0].nearest != NULL)
        assert_int_equal(distance(key, noted.error[0].nearest), least);
    else
        assert_true(least > (strlen(key) < 3 ? 0 : strlen(key) < 4 ? 1 : 2));
}

TEST(a_typing_mistake_gets_the_nearest_key)
{
    for (size_t i = 0; i < array_len(rows); i++) {
        const char *name = rows[i].name;
        size_t length = strlen(name);

        for (size_t at = 0; at < length; at++) {
            char key[64];

            snprintf(key, sizeof key, "%.*s%s", (int)at, name, name + at + 1); /* one left out */
            assert_nearest(key);
            snprintf(key, sizeof key, "%.*s%s", (int)at + 1, name, name + at); /* one doubled */
            assert_nearest(key);
            snprintf(key, sizeof key, "%sz", name);
            key[at] = 'q'; /* two others */
            assert_nearest(key);
            if (at + 1 < length && name[at] != name[at + 1]) { /* two exchanged */
                snprintf(key, sizeof key, "%s", name);
                key[at] = name[at + 1];
                key[at + 1] = name[at];
                assert_nearest(key);
            }
        }
    }
}

/* Not letter by letter, but as people misremember. */
TEST(a_word_of_a_key_gets_that_key)
{
    static const struct {
        const char *written, *meant;
    } cases[] = {
        {"DIRTY_DECAY_MS", "dirty_decay_ms"},  {"Narenas", "narenas"},
        {"decay", "dirty_decay_ms"},           {"DECAY", "dirty_decay_ms"},
        {"decay_ms", "dirty_decay_ms"},        {"decayms", "dirty_decay_ms"},
        {"thread", "background_thread"},       {"stats_file_path", "stats_path"},
        {"lg_sample", "lg_prof_sample"},       {"muzzy", "muzzy_decay_ms"},
        {"hpa_sec_nshard", "hpa_sec_nshards"}, {"prof_bt_mx", "prof_bt_max"},
        {"muzzy_decay", "muzzy_decay_ms"},
    };

    for (size_t i = 0; i < array_len(cases); i++) {
        assert_rejected(pair("%s:1", cases[i].written));
        assert_non_null(noted.error[0].nearest);
        assert_string_equal(noted.error[0].nearest, cases[i].meant);
    }
}

TEST(far_from_every_key_there_is_no_suggestion)
{
    static const char *const far[] = {"nonsense", "foo", "x", "ms", "lg", "_", "__", "a_b_c"};

    for (size_t i = 0; i < array_len(far); i++) {
        assert_rejected(pair("%s:1", far[i]));
        assert_null(noted.error[0].nearest);
    }
    assert_rejected("completely_different_words:1");
    assert_null(noted.error[0].nearest);
    assert_rejected(
        "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq:1");
    assert_null(noted.error[0].nearest);
}

/* --- lists of pairs ----------------------------------------------------------------------- */

TEST(pairs_are_independent)
{
    struct rcl_options o = parse("narenas:2,nonsense:1,tcache:false,dirty_decay_ms:-2,thp:always");

    assert_int_equal(noted.n, 2);
    assert_int_equal(o.narenas, 2);
    assert_int_equal(o.tcache, 0);
    assert_int_equal(o.thp, RCL_THP_ALWAYS);
    assert_int_equal(o.dirty_decay_ms, defaults.dirty_decay_ms);
}

TEST(the_last_of_two_counts)
{
    assert_int_equal(parse("narenas:2,narenas:3").narenas, 3);
    assert_int_equal(noted.n, 0);
    assert_int_equal(parse("narenas:2,narenas:x").narenas, 2);
    assert_int_equal(noted.n, 1);
}

TEST(white_space_and_empty_pairs_do_not_matter)
{
    static const char *const texts[] = {
        "narenas:5",           " narenas:5",          "narenas:5 ",        "narenas :5",
        "narenas: 5",          "\tnarenas\n:\r5 \t ", ",narenas:5",        "narenas:5,",
        ",,,narenas:5,,,",     " , narenas:5 , ,",    "\n,\nnarenas:5\n,", "narenas:4, ,narenas:5",
        "  ,narenas  :  5  ,",
    };

    for (size_t i = 0; i < array_len(texts); i++)
        assert_value(texts[i], row_of("narenas"), 5);
    parse("");
    assert_int_equal(noted.n, 0);
    parse("   ,, \t ,\n");
    assert_int_equal(noted.n, 0);
}

/* --- other allocators' texts -------------------------------------------------------------- */

TEST(options_without_effect_are_taken_and_noted)
{
    for (size_t i = 0; i < array_len(idle); i++) {
        const char *reason;
        struct rcl_options o = parse(pair("%s:always", idle[i])), plain = defaults;

        assert_int_equal(noted.n, 0);
        assert_string_equal(rcl_options_idle_name(i, &reason), idle[i]);
        assert_int_equal(reason[strlen(reason) - 1], '.');
        for (size_t k = 0; k < rcl_options_idle_count(); k++)
            assert_int_equal(rcl_options_idle_given(&o, k), k == i);
        /* Nothing else has changed; without a value it says as much. */
        assert_only(&o, array_len(rows));
        parse(idle[i]);
        assert_int_equal(noted.n, 0);
        /* Only the whole key is known. */
        assert_int_equal(parse_into(&plain, pair("%sx:1", idle[i])), 1);
        assert_memory_equal(&plain, &defaults, sizeof plain);
        for (size_t k = 0; k < array_len(rows); k++)
            assert_string_not_equal(idle[i], rows[k].name);
    }
    assert_int_equal(rcl_options_idle_count(), array_len(idle));
    assert_int_equal(parse("metadata_thp:auto,narenas:3,narena:4").narenas, 3);
    assert_int_equal(noted.n, 1);
}

/* What jemalloc's parser takes as the limits and forms of options that are options here too. */
TEST(what_jemalloc_takes_is_taken)
{
    static const char *const texts[] = {
        "dirty_decay_ms:86400000",
        "dirty_decay_ms:18446744072000",
        "dirty_decay_ms:-1",
        "thp:always",
        "thp:never",
        "thp:default",
        "narenas:default",
        "narenas:4294967295",
        "tcache_max:1048576",
        "tcache_max:0",
        "tcache_max:18446744073709551615",
        "lg_tcache_max:63",
        "junk:true",
        "junk:false",
        "junk:alloc",
        "junk:free",
        "zero_realloc:alloc",
        "zero_realloc:free",
        "zero_realloc:abort",
        "lg_prof_sample:63",
        "lg_prof_interval:63",
        "lg_prof_interval:-1",
        "prof_bt_max:4096",
        "prof_bt_max:1",
        "prof_prefix:",
        "stats_print_opts:JgmdablxehJgmdablxeh",
        "hpa_slab_max_alloc:65536,hpa_sec_nshards:4,hpa_dirty_mult:0.25,hpa_dirty_mult:-1",
        "lg_san_uaf_align:12,san_guard_small:0,prof_log:true,quarantine:1,percpu_arena:phycpu",
        "bin_shards:1-160:16|129-512:4,slab_sizes:1-4096:17,mutex_max_spin:-1,log:.",
        "experimental_infallible_new:true,oversize_threshold:8388608,utrace:true,dss:secondary",
        "prof_recent_alloc_max:-1,prof_time_resolution:high,max_background_threads:4",
    };

    for (size_t i = 0; i < array_len(texts); i++) {
        parse(texts[i]);
        if (noted.n != 0)
            print_message("%s\n", texts[i]);
        assert_int_equal(noted.n, 0);
    }
    assert_int_equal(parse("narenas:7,narenas:default").narenas, 0);
    assert_int_equal(parse("prof_bt_max:77").prof_depth, 77);
    assert_rejected("prof_bt_max:many");
    assert_rejected("tcache_max:default");
}

TEST(words_have_numbers)
{
    for (size_t i = 0; i < array_len(rows); i++) {
        if (rows[i].type != WORD)
            continue;
        int64_t n = 0;
        for (const char *word = rows[i].words; word != NULL; n++) {
            int length = (int)strcspn(word, "|");
            const char *text = pair("%s:%.*s", rows[i].name, length, word);
            assert_value(text, i, n);
            if (length > 1)
                assert_rejected(pair("%s:%.*s", rows[i].name, length - 1, word));
            assert_rejected(pair("%s:%.*sx", rows[i].name, length, word));
            word = word[length] == '|' ? word + length + 1 : NULL;
        }
        assert_true(n >= 2 && rows[i].def < n);
        assert_rejected(pair("%s:%s", rows[i].name, rows[i].words));
        assert_rejected(pair("%s:0", rows[i].name));
        assert_string_equal(noted.error[0].words, rows[i].words);
    }
}

TEST(lg_tcache_max_is_tcache_max)
{
    size_t i = row_of("tcache_max");

    assert_value("lg_tcache_max:15", i, 32768);
    assert_value("lg_tcache_max:0", i, 1);
    assert_value("lg_tcache_max:23", i, 8 << 20);
    assert_value("lg_tcache_max:10,tcache_max:4k", i, 4096);
    assert_value("lg_tcache_max:24", i, 8 << 20);
    assert_value("lg_tcache_max:18446744073709551615", i, 8 << 20);
    assert_value("lg_tcache_max:-1", i, 8 << 20);
    assert_rejected("lg_tcache_max:18446744073709551616");
    assert_rejected("lg_tcache_max:");
    assert_rejected("lg_tcache_max:1k");
    assert_rejected("lg_tcache_max");
    assert_rejected("lg_tcache_ma:1");
    assert_string_equal(noted.error[0].nearest, "lg_tcache_max");
}

/* --- anything at all ---------------------------------------------------------------------- */

/* Random text at the very end of a page, so that reading beyond it would be a fault. */
TEST(random_text)
{
    struct unit_random random = unit_random_start();
    size_t page = unit_kernel_page();
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(pages != MAP_FAILED);
    assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
    for (int round = 0; round < 20000; round++) {
        static const char alphabet[] = ",,::  \t-+01579kKmMgGtruefals_x";
        size_t length = unit_below(&random, 80), at = 0;
        char *text = pages + page - length - 1;

        while (at < length) {
            size_t kind = unit_below(&random, 10), row = unit_below(&random, array_len(rows));
            size_t rest = length - at, n = 1;
            if (kind == 0) {
                text[at] = (char)(unit_below(&random, 255) + 1);
            } else if (kind < 3) { /* a key, or what there is room for */
                n = rcl_min(rest, strlen(rows[row].name));
                memcpy(text + at, rows[row].name, n);
            } else {
                text[at] = alphabet[unit_below(&random, sizeof alphabet - 1)];
            }
            at += n;
        }
        text[length] = '\0';
        parse(text);
        struct rcl_options o = defaults;
        assert_true(parse_into(&o, text) <= 80);
    }
    munmap(pages, 2 * page);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_in_order),
        cmocka_unit_test(defaults_are_in_force_at_the_start),
        cmocka_unit_test(the_listing_is_the_table),
        cmocka_unit_test(both_ends_of_every_range),
        cmocka_unit_test(sizes_have_suffixes),
        cmocka_unit_test(what_is_no_number_is_rejected),
        cmocka_unit_test(very_large_numbers),
        cmocka_unit_test(bases_leading_zeros_and_minus_zero),
        cmocka_unit_test(only_true_and_false_are_true_or_false),
        cmocka_unit_test(a_text_is_taken_as_it_is),
        cmocka_unit_test(a_mark_is_a_size_or_a_share),
        cmocka_unit_test(signals_have_names_and_numbers),
        cmocka_unit_test(what_is_shown_would_be_taken),
        cmocka_unit_test(every_strict_prefix_of_every_key_is_rejected),
        cmocka_unit_test(longer_and_other_keys_are_rejected),
        cmocka_unit_test(a_key_without_a_value),
        cmocka_unit_test(the_complaint_names_key_and_value),
        cmocka_unit_test(a_typing_mistake_gets_the_nearest_key),
        cmocka_unit_test(a_word_of_a_key_gets_that_key),
        cmocka_unit_test(far_from_every_key_there_is_no_suggestion),
        cmocka_unit_test(pairs_are_independent),
        cmocka_unit_test(the_last_of_two_counts),
        cmocka_unit_test(white_space_and_empty_pairs_do_not_matter),
        cmocka_unit_test(options_without_effect_are_taken_and_noted),
        cmocka_unit_test(what_jemalloc_takes_is_taken),
        cmocka_unit_test(words_have_numbers),
        cmocka_unit_test(lg_tcache_max_is_tcache_max),
        cmocka_unit_test(random_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
