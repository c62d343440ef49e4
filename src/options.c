/* SPDX-License-Identifier: MIT */
/* options.c - the parser of options.h, driven by options.def. */
#include "options.h"

#include <signal.h>

enum option_type { BOOL, SIZE, MS, COUNT, SIGNAL, TEXT };

struct row {
    const char *name;
    enum option_type type;
    int64_t min, max; /* TEXT: of the length */
    size_t offset;
};

static const struct row rows[] = {
#define OPT(name, type, min, max, def, unit, text) \
    {#name, type, min, max, offsetof(struct rcl_options, name)},
#define OPT_TEXT(name, bytes, text) {#name, TEXT, 0, (bytes)-1, offsetof(struct rcl_options, name)},
#include "options.def"
#undef OPT
};

struct rcl_options rcl_opt = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#define OPT_TEXT(name, bytes, text) .name = "",
#include "options.def"
#undef OPT
};

/* A piece of the text. */
struct slice {
    const char *at;
    size_t bytes;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct slice slice_trim(const char *from, const char *to)
{
    while (from < to && is_space(*from))
        from++;
    while (to > from && is_space(to[-1]))
        to--;
    return (struct slice){from, (size_t)(to - from)};
}

static bool slice_is(struct slice s, const char *word)
{
    size_t i = 0;
    while (i < s.bytes && word[i] != '\0' && s.at[i] == word[i])
        i++;
    return i == s.bytes && word[i] == '\0';
}

/* Levenshtein distance, words cut at 31 bytes: enough to suggest a key. */
static unsigned distance(struct slice a, const char *b)
{
    unsigned row[32];
    size_t n = rcl_min(a.bytes, 31);
    for (size_t i = 0; i <= n; i++)
        row[i] = (unsigned)i;
    for (size_t j = 0; b[j] != '\0' && j < 31; j++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)j + 1;
        for (size_t i = 0; i < n; i++) {
            unsigned best = diagonal + (a.at[i] != b[j]);
            diagonal = row[i + 1];
            best = best < row[i] + 1 ? best : row[i] + 1;
            row[i + 1] = best < diagonal + 1 ? best : diagonal + 1;
        }
    }
    return row[n];
}

static const char *nearest_key(struct slice key)
{
    const char *best = NULL;
    unsigned best_distance = 6; /* further away is no suggestion */
    for (size_t i = 0; i < array_len(rows); i++) {
        unsigned d = distance(key, rows[i].name);
        if (d < best_distance) {
            best_distance = d;
            best = rows[i].name;
        }
    }
    return best;
}

/* jemalloc's keys that ask for nothing this allocator could do differently. */
static bool is_foreign_key(struct slice key)
{
    /* clang-format off */
    static const char *const known[] = {
        "abort", "metadata_thp", "retain", "dss", "percpu_arena", "oversize_threshold",
        "muzzy_decay_ms", "max_background_threads", "junk", "zero", "utrace", "xmalloc",
        "stats_interval", "stats_interval_opts",
        "lg_extent_max_active_fit", "lg_tcache_max", "lg_tcache_nslots_mul",
        "tcache_nslots_small_min",
        "tcache_nslots_small_max", "tcache_nslots_large", "tcache_gc_incr_bytes",
        "tcache_gc_delay_bytes", "lg_tcache_flush_small_div", "lg_tcache_flush_large_div",
        "slab_sizes", "bin_shards", "cache_oblivious", "trust_madvise", "zero_realloc",
        "experimental_infallible_new", "mutex_max_spin", "lg_chunk", "lg_dirty_mult", "purge",
        "decay_time", "hpa", "prof_accum", "prof_thread_active_init",
        "prof_recent_alloc_max", "prof_stats", "prof_sys_thread_name",
        "prof_time_resolution", "san_guard_small", "san_guard_large", "debug_double_free_max_scan",
        "disable_large_size_classes", "process_madvise_max_batch", "calloc_madvise_threshold",
    };
    /* clang-format on */
    for (size_t i = 0; i < array_len(known); i++)
        if (slice_is(key, known[i]))
            return true;
    return false;
}

static bool parse_number(struct slice s, bool suffix, int64_t *out)
{
    const int64_t most = INT64_MAX / 2048;
    size_t i = 0;
    bool negative = s.bytes > 0 && s.at[0] == '-';
    i += negative;
    int64_t n = 0;
    size_t digits = 0;
    for (; i < s.bytes && s.at[i] >= '0' && s.at[i] <= '9'; i++, digits++) {
        n = n * 10 + (s.at[i] - '0');
        if (n > most)
            return false;
    }
    if (digits == 0)
        return false;
    if (suffix && i + 1 == s.bytes) {
        static const char letters[] = "kKmMgG";
        for (unsigned k = 0; letters[k] != '\0'; k++) {
            if (s.at[i] == letters[k]) {
                if (n > (most >> (10 * (k / 2 + 1))))
                    return false;
                n <<= 10 * (k / 2 + 1);
                i++;
                break;
            }
        }
    }
    *out = negative ? -n : n;
    return i == s.bytes;
}

/* Signals whose default is not to stop or to dump, or that programs use for requests. */
static const struct {
    const char *name;
    int number;
} signal_names[] = {
    {"SIGUSR1", SIGUSR1}, {"SIGUSR2", SIGUSR2},     {"SIGHUP", SIGHUP},   {"SIGALRM", SIGALRM},
    {"SIGPROF", SIGPROF}, {"SIGVTALRM", SIGVTALRM}, {"SIGIO", SIGIO},     {"SIGURG", SIGURG},
    {"SIGPWR", SIGPWR},   {"SIGWINCH", SIGWINCH},   {"SIGQUIT", SIGQUIT}, {"none", 0},
};

static const char *signal_name(int64_t number)
{
    for (size_t i = 0; i < array_len(signal_names); i++)
        if (signal_names[i].number == number)
            return signal_names[i].name;
    return NULL;
}

/* One of those, with or without SIG, or its number; SIGRTMIN, also with +n. */
static bool parse_signal(struct slice s, int64_t *out)
{
    for (size_t i = 0; i < array_len(signal_names); i++) {
        *out = signal_names[i].number;
        if (slice_is(s, signal_names[i].name) ||
            (*out != 0 && slice_is(s, signal_names[i].name + 3)))
            return true;
    }
    if (parse_number(s, false, out))
        return signal_name(*out) != NULL || (*out >= SIGRTMIN && *out <= SIGRTMAX);
    static const char first[] = "SIGRTMIN";
    size_t i = s.bytes > 0 && s.at[0] == 'R' ? 3 : 0, at = 0;
    while (at < s.bytes && first[i] != '\0' && s.at[at] == first[i]) {
        at++;
        i++;
    }
    *out = 0;
    if (first[i] != '\0' || (at < s.bytes && s.at[at] != '+'))
        return false;
    if (at < s.bytes && !parse_number((struct slice){s.at + at + 1, s.bytes - at - 1}, false, out))
        return false;
    *out += SIGRTMIN;
    return *out >= SIGRTMIN && *out <= SIGRTMAX;
}

static const char *parse_value(const struct row *row, struct slice value, int64_t *out)
{
    if (row->type == BOOL) {
        *out = slice_is(value, "true");
        return *out || slice_is(value, "false") ? NULL : "is neither true nor false";
    }
    if (row->type == SIGNAL)
        return parse_signal(value, out) ? NULL : "is no signal that can be used";
    if (!parse_number(value, row->type == SIZE, out))
        return row->type == SIZE ? "is not a size in bytes (like 65536, 64k or 8m)"
                                 : "is not a number";
    return *out < row->min || *out > row->max ? "is out of range" : NULL;
}

static const char *parse_text(const struct row *row, struct slice value, char *field)
{
    if (value.bytes > (size_t)row->max)
        return "is too long";
    for (size_t i = 0; i < value.bytes; i++)
        field[i] = value.at[i];
    field[value.bytes] = '\0';
    return NULL;
}

static void parse_pair(struct rcl_options *o, struct slice key, struct slice value, bool has_value,
                       bool foreign, rcl_option_complain *complain, void *arg)
{
    struct rcl_option_error e = {
        .key = key.at, .key_bytes = key.bytes, .value = value.at, .value_bytes = value.bytes};
    const struct row *row = NULL;
    for (size_t i = 0; i < array_len(rows) && row == NULL; i++)
        if (slice_is(key, rows[i].name))
            row = &rows[i];
    if (row == NULL) {
        if (foreign && is_foreign_key(key))
            return;
        e.what = "is no option";
        e.nearest = nearest_key(key);
    } else if (!has_value) {
        e.what = "has no value (write key:value)";
    } else {
        int64_t n = 0;
        void *field = (char *)o + row->offset;
        e.what = row->type == TEXT ? parse_text(row, value, field) : parse_value(row, value, &n);
        e.min = row->min;
        e.max = row->type == TEXT || row->type == SIGNAL ? 1 : row->max; /* no range to show */
        if (e.what == NULL && row->type != TEXT)
            *(int64_t *)field = n;
    }
    if (e.what != NULL)
        complain(&e, arg);
}

void rcl_options_parse(struct rcl_options *o, const char *text, bool foreign,
                       rcl_option_complain *complain, void *arg)
{
    while (*text != '\0') {
        const char *end = text, *colon = NULL;
        for (; *end != '\0' && *end != ','; end++)
            if (*end == ':' && colon == NULL)
                colon = end;
        struct slice key = slice_trim(text, colon != NULL ? colon : end);
        struct slice value = colon != NULL ? slice_trim(colon + 1, end) : slice_trim(end, end);
        if (key.bytes > 0 || colon != NULL)
            parse_pair(o, key, value, colon != NULL, foreign, complain, arg);
        text = *end == ',' ? end + 1 : end;
    }
}

size_t rcl_options_count(void)
{
    return array_len(rows);
}

const char *rcl_options_name(size_t i)
{
    return rows[i].name;
}

static const void *field_of(const struct rcl_options *o, size_t i)
{
    return (const char *)o + rows[i].offset;
}

int64_t rcl_options_value(const struct rcl_options *o, size_t i)
{
    return rows[i].type == TEXT ? 0 : *(const int64_t *)field_of(o, i);
}

bool rcl_options_is_bool(size_t i)
{
    return rows[i].type == BOOL;
}

bool rcl_options_is_text(size_t i)
{
    return rows[i].type == TEXT;
}

const char *rcl_options_text(const struct rcl_options *o, size_t i, char *buf)
{
    int64_t v = rcl_options_value(o, i);
    if (rows[i].type == TEXT)
        return field_of(o, i);
    if (rows[i].type == BOOL)
        return v ? "true" : "false";
    if (rows[i].type == SIGNAL && signal_name(v) != NULL)
        return signal_name(v);
    char *at = buf + RCL_OPTION_TEXT - 1;
    uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    *at = '\0';
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left != 0);
    if (v < 0)
        *--at = '-';
    return at;
}
