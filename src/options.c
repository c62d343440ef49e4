/* SPDX-License-Identifier: MIT */
/* options.c - the parser of options.h, driven by options.def. */
#include "options.h"

#include <signal.h>

enum option_type { BOOL, SIZE, MS, COUNT, LG, SIGNAL, TEXT, WORD };

struct row {
    const char *name;
    enum option_type type;
    int64_t min, max; /* TEXT: of the length; WORD: all there are */
    size_t offset;
    const char *words; /* WORD: "a|b|c" */
};

static const struct row rows[] = {
#define OPT(name, type, min, max, def, unit, text) \
    {#name, type, min, max, offsetof(struct rcl_options, name), NULL},
#define OPT_TEXT(name, bytes, text) \
    {#name, TEXT, 0, (bytes)-1, offsetof(struct rcl_options, name), NULL},
#define OPT_WORD(name, words, def, text) \
    {#name, WORD, 0, INT64_MAX, offsetof(struct rcl_options, name), words},
#include "options.def"
};

/* Other ways to write an option. */
static const struct alias {
    const char *name;
    int64_t min, max;
    size_t offset; /* of what is set to 2 to the power of the value */
} aliases[] = {
#define OPT_ALIAS(name, of, min, max, text) {#name, min, max, offsetof(struct rcl_options, of)},
#include "options.def"
};

static const struct idle {
    const char *name;
    const char *reason;
    size_t offset;
} idle_rows[] = {
#define OPT_IDLE(name, type, value, reason) \
    {#name, reason, offsetof(struct rcl_options, given_##name)},
#include "options.def"
};

struct rcl_options rcl_opt = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#define OPT_TEXT(name, bytes, text) .name = "",
#define OPT_WORD(name, words, def, text) .name = (def),
#include "options.def"
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

struct guess {
    const char *name;
    unsigned distance;
};

static void try_name(struct guess *best, struct slice key, const char *name)
{
    unsigned d = distance(key, name);
    if (d < best->distance)
        *best = (struct guess){name, d};
}

static const char *nearest_key(struct slice key)
{
    /* Further away is no suggestion: two letters, or a third of the word. */
    struct guess best = {NULL, (unsigned)rcl_max(2, rcl_min(key.bytes / 3, 5)) + 1};
    for (size_t i = 0; i < array_len(rows); i++)
        try_name(&best, key, rows[i].name);
    for (size_t i = 0; i < array_len(aliases); i++)
        try_name(&best, key, aliases[i].name);
    for (size_t i = 0; i < array_len(idle_rows); i++)
        try_name(&best, key, idle_rows[i].name);
    return best.name;
}

/* The digits of a number at s.at[*i], as C writes them: decimal, 0x..., 0...; *i moves behind. */
static bool parse_digits(struct slice s, size_t *i, int64_t most, int64_t *out)
{
    unsigned base = 10;
    if (*i + 1 < s.bytes && s.at[*i] == '0') {
        bool hex = s.at[*i + 1] == 'x' || s.at[*i + 1] == 'X';
        base = hex ? 16 : 8;
        *i += hex ? 2 : 0;
    }
    size_t start = *i;
    for (*out = 0; *i < s.bytes; ++*i) {
        char c = s.at[*i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : base;
        if (digit >= base)
            break;
        *out = *out * base + digit;
        if (*out > most)
            return false;
    }
    return *i > start;
}

static bool parse_number(struct slice s, bool suffix, int64_t *out)
{
    const int64_t most = INT64_MAX / 2048;
    bool negative = s.bytes > 0 && s.at[0] == '-';
    size_t i = negative;
    int64_t n;
    if (!parse_digits(s, &i, most, &n))
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

/* The n-th of "a|b|c"; no bytes: there is none. */
static struct slice option_word(const char *words, int64_t n)
{
    for (; n > 0 && *words != '\0'; words++)
        n -= *words == '|';
    struct slice word = {words, 0};
    while (words[word.bytes] != '\0' && words[word.bytes] != '|')
        word.bytes++;
    return word;
}

static bool parse_word(struct slice s, const char *words, int64_t *out)
{
    struct slice word;
    for (*out = 0; (word = option_word(words, *out)).bytes > 0; ++*out) {
        size_t i = 0;
        while (i < s.bytes && i < word.bytes && s.at[i] == word.at[i])
            i++;
        if (i == s.bytes && i == word.bytes)
            return true;
    }
    return false;
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
    if (row->type == WORD)
        return parse_word(value, row->words, out) ? NULL : "is none of the words";
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

static const char *set_row(struct rcl_options *o, const struct row *row, struct slice value,
                           struct rcl_option_error *e)
{
    int64_t n = 0;
    void *field = (char *)o + row->offset;
    bool has_range = row->type != TEXT && row->type != SIGNAL && row->type != WORD;
    const char *what = row->type == TEXT ? parse_text(row, value, field)
                                         : parse_value(row, value, &n);
    e->min = row->min;
    e->max = has_range ? row->max : 1;
    e->words = row->words;
    if (what == NULL && row->type != TEXT)
        *(int64_t *)field = n;
    return what;
}

static const char *set_alias(struct rcl_options *o, const struct alias *a, struct slice value,
                             struct rcl_option_error *e)
{
    int64_t n;
    e->min = a->min;
    e->max = a->max;
    if (!parse_number(value, false, &n))
        return "is not a number";
    if (n < a->min || n > a->max)
        return "is out of range";
    *(int64_t *)((char *)o + a->offset) = (int64_t)1 << n;
    return NULL;
}

#define FIND(table, key) find_name(&(table)[0].name, array_len(table), sizeof(table)[0], key)

/* The index of a row by its name, the first member; n: there is none. */
static size_t find_name(const char *const *names, size_t n, size_t row_bytes, struct slice key)
{
    for (size_t i = 0; i < n; i++)
        if (slice_is(key, *(const char *const *)((const char *)names + i * row_bytes)))
            return i;
    return n;
}

static void parse_pair(struct rcl_options *o, struct slice key, struct slice value, bool has_value,
                       rcl_option_complain *complain, void *arg)
{
    struct rcl_option_error e = {
        .key = key.at, .key_bytes = key.bytes, .value = value.at, .value_bytes = value.bytes};
    size_t row = FIND(rows, key), alias = FIND(aliases, key), none = FIND(idle_rows, key);
    if (none < array_len(idle_rows)) {
        *(bool *)((char *)o + idle_rows[none].offset) = true;
        return;
    }
    if (row == array_len(rows) && alias == array_len(aliases)) {
        e.what = "is no option";
        e.nearest = nearest_key(key);
    } else if (!has_value) {
        e.what = "has no value (write key:value)";
    } else if (row < array_len(rows)) {
        e.what = set_row(o, &rows[row], value, &e);
    } else {
        e.what = set_alias(o, &aliases[alias], value, &e);
    }
    if (e.what != NULL)
        complain(&e, arg);
}

void rcl_options_parse(struct rcl_options *o, const char *text, rcl_option_complain *complain,
                       void *arg)
{
    while (*text != '\0') {
        const char *end = text, *colon = NULL;
        for (; *end != '\0' && *end != ','; end++)
            if (*end == ':' && colon == NULL)
                colon = end;
        struct slice key = slice_trim(text, colon != NULL ? colon : end);
        struct slice value = colon != NULL ? slice_trim(colon + 1, end) : slice_trim(end, end);
        if (key.bytes > 0 || colon != NULL)
            parse_pair(o, key, value, colon != NULL, complain, arg);
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

bool rcl_options_is_word(size_t i)
{
    return rows[i].type == WORD || rows[i].type == SIGNAL;
}

size_t rcl_options_place(size_t i)
{
    return rows[i].offset;
}

bool rcl_options_is_text(size_t i)
{
    return rows[i].type == TEXT;
}

static const char *word_text(struct slice word, char *buf)
{
    size_t n = rcl_min(word.bytes, RCL_OPTION_TEXT - 1);
    for (size_t i = 0; i < n; i++)
        buf[i] = word.at[i];
    buf[n] = '\0';
    return buf;
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
    if (rows[i].type == WORD)
        return word_text(option_word(rows[i].words, v), buf);
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

size_t rcl_options_idle_count(void)
{
    return array_len(idle_rows);
}

const char *rcl_options_idle_name(size_t i, const char **reason)
{
    *reason = idle_rows[i].reason;
    return idle_rows[i].name;
}

bool rcl_options_idle_given(const struct rcl_options *o, size_t i)
{
    return *(const bool *)((const char *)o + idle_rows[i].offset);
}
