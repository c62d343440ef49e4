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

static const size_t clipped[] = {
#define OPT_CLIP(name) offsetof(struct rcl_options, name),
#include "options.def"
};

static const struct named {
    size_t offset;
    const char *word;
    int64_t value;
} named_values[] = {
#define OPT_NAMED(name, word, value) {offsetof(struct rcl_options, name), word, value},
#include "options.def"
};

static const struct same {
    const char *name, *of;
} same_rows[] = {
#define OPT_SAME(name, of) {#name, #of},
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

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
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
            unsigned best = diagonal + (lower(a.at[i]) != b[j]);
            diagonal = row[i + 1];
            best = best < row[i] + 1 ? best : row[i] + 1;
            row[i + 1] = best < diagonal + 1 ? best : diagonal + 1;
        }
    }
    return row[n];
}

/* What two words have in common at their beginning: all of one of them, from three letters on. */
static unsigned common(const char *a, size_t a_bytes, const char *b)
{
    unsigned n = 0;
    while (n < a_bytes && b[n] != '\0' && b[n] != '_' && lower(a[n]) == b[n])
        n++;
    bool whole_a = n == a_bytes, whole_b = b[n] == '\0' || b[n] == '_';
    return n >= 3 && (whole_a || whole_b) ? n : 0;
}

/* The letters of words, between underscores, that a key shares with a name. */
static unsigned shared(struct slice key, const char *name)
{
    unsigned sum = 0;
    for (size_t i = 0; i < key.bytes; i++) {
        if (i > 0 && key.at[i - 1] != '_')
            continue;
        size_t bytes = 0;
        while (i + bytes < key.bytes && key.at[i + bytes] != '_')
            bytes++;
        unsigned most = 0;
        for (size_t k = 0; name[k] != '\0'; k++)
            if (k == 0 || name[k - 1] == '_')
                most = (unsigned)rcl_max(most, common(key.at + i, bytes, name + k));
        sum += most;
    }
    return sum;
}

struct guess {
    const char *name;
    unsigned distance, shared;
};

/* So many letters wrong are a slip of the fingers. */
static unsigned slip(struct slice key)
{
    return key.bytes < 3 ? 0 : key.bytes < 4 ? 1 : 2;
}

/* A slip is the nearest, then what shares most letters of whole words, then what is like it. */
static bool better(struct guess a, struct guess b, unsigned slip)
{
    if (a.distance <= slip || b.distance <= slip || a.shared == b.shared)
        return a.distance < b.distance;
    return a.shared > b.shared;
}

static void try_name(struct guess *best, struct slice key, const char *name)
{
    struct guess guess = {name, distance(key, name), shared(key, name)};
    bool is_near = guess.shared > 0 || guess.distance <= slip(key) ||
                   guess.distance <= rcl_min(key.bytes / 3, 5);
    if (is_near && (best->name == NULL || better(guess, *best, slip(key))))
        *best = guess;
}

/* NULL where none is near.  What has no effect is suggested only where it is clearly nearer. */
static const char *nearest_key(struct slice key)
{
    struct guess best = {NULL, 0, 0}, idle = {NULL, 0, 0};
    for (size_t i = 0; i < array_len(rows); i++)
        try_name(&best, key, rows[i].name);
    for (size_t i = 0; i < array_len(aliases); i++)
        try_name(&best, key, aliases[i].name);
    for (size_t i = 0; i < array_len(same_rows); i++)
        try_name(&best, key, same_rows[i].name);
    for (size_t i = 0; i < array_len(idle_rows); i++)
        try_name(&idle, key, idle_rows[i].name);
    bool idle_is_meant = idle.name != NULL && idle.distance < best.distance &&
                         (idle.distance <= slip(key) || idle.shared > best.shared);
    if (best.name == NULL || idle_is_meant)
        return idle.name;
    return best.name;
}

enum number { NUMBER, NO_NUMBER, TOO_LARGE };

/* The digits of a number at s.at[*i], as C writes them: decimal, 0x..., 0...; *i moves behind. */
static enum number parse_digits(struct slice s, size_t *i, uint64_t *out)
{
    unsigned base = 10;
    if (*i + 1 < s.bytes && s.at[*i] == '0') {
        bool hex = s.at[*i + 1] == 'x' || s.at[*i + 1] == 'X';
        base = hex ? 16 : 8;
        *i += hex ? 2 : 0;
    }
    size_t start = *i;
    bool large = false;
    for (*out = 0; *i < s.bytes; ++*i) {
        char c = s.at[*i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : base;
        if (digit >= base)
            break;
        large |= __builtin_mul_overflow(*out, (uint64_t)base, out) ||
                 __builtin_add_overflow(*out, (uint64_t)digit, out);
    }
    return *i == start ? NO_NUMBER : large ? TOO_LARGE : NUMBER;
}

/* Up to 64 bits; what an int64_t cannot hold is its largest, or smallest. */
static enum number parse_number(struct slice s, bool suffix, int64_t *out)
{
    static const char letters[] = "kKmMgG";
    bool negative = s.bytes > 0 && s.at[0] == '-';
    size_t i = negative || (s.bytes > 0 && s.at[0] == '+');
    uint64_t n;
    enum number is = parse_digits(s, &i, &n);
    for (unsigned k = 0; suffix && !negative && i + 1 == s.bytes && letters[k] != '\0'; k++) {
        if (s.at[i] != letters[k])
            continue;
        if (__builtin_mul_overflow(n, (uint64_t)1 << (10 * (k / 2 + 1)), &n) && is == NUMBER)
            is = TOO_LARGE;
        i++;
    }
    int64_t value = (int64_t)rcl_min(n, (uint64_t)INT64_MAX);
    *out = negative ? -value : value;
    return i == s.bytes ? is : NO_NUMBER;
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

/* Signals that programs use for requests; and two that end them, for what is wanted at the end. */
static const struct {
    const char *name;
    int number;
    bool ends;
} signal_names[] = {
    {"SIGUSR1", SIGUSR1, false},   {"SIGUSR2", SIGUSR2, false}, {"SIGHUP", SIGHUP, false},
    {"SIGALRM", SIGALRM, false},   {"SIGPROF", SIGPROF, false}, {"SIGVTALRM", SIGVTALRM, false},
    {"SIGIO", SIGIO, false},       {"SIGURG", SIGURG, false},   {"SIGPWR", SIGPWR, false},
    {"SIGWINCH", SIGWINCH, false}, {"SIGQUIT", SIGQUIT, false}, {"SIGTERM", SIGTERM, true},
    {"SIGINT", SIGINT, true},      {"none", 0, false},
};

static const char *signal_name(int64_t number)
{
    for (size_t i = 0; i < array_len(signal_names); i++)
        if (signal_names[i].number == number)
            return signal_names[i].name;
    return NULL;
}

/* One of those, with or without SIG, or its number; SIGRTMIN, also with +n. */
static bool parse_signal(struct slice s, bool may_end, int64_t *out)
{
    int64_t n = 0;
    bool is_number = parse_number(s, false, &n) == NUMBER;
    for (size_t i = 0; i < array_len(signal_names); i++) {
        *out = signal_names[i].number;
        if ((is_number && n == *out) || slice_is(s, signal_names[i].name) ||
            (*out != 0 && slice_is(s, signal_names[i].name + 3)))
            return may_end || !signal_names[i].ends;
    }
    if (is_number) {
        *out = n;
        return n >= SIGRTMIN && n <= SIGRTMAX;
    }
    static const char first[] = "SIGRTMIN";
    size_t i = s.bytes > 0 && s.at[0] == 'R' ? 3 : 0, at = 0;
    while (at < s.bytes && first[i] != '\0' && s.at[at] == first[i]) {
        at++;
        i++;
    }
    *out = 0;
    if (first[i] != '\0' || (at < s.bytes && s.at[at] != '+'))
        return false;
    struct slice more = {s.at + at + 1, s.bytes - at - 1};
    if (at < s.bytes && parse_number(more, false, out) != NUMBER)
        return false;
    bool within = *out >= 0 && *out <= SIGRTMAX - SIGRTMIN;
    *out += within ? SIGRTMIN : 0;
    return within;
}

/* jemalloc reads a negative number where none is possible as a very large one. */
static int64_t clip(int64_t n, int64_t min, int64_t max)
{
    return n > max || (n < 0 && min >= 0) ? max : n < min ? min : n;
}

static const char *parse_in_range(struct slice value, bool suffix, bool clips,
                                  struct rcl_option_error *e, int64_t *out)
{
    enum number is = parse_number(value, suffix, out);
    if (is == NO_NUMBER)
        return suffix ? "is not a size in bytes (like 65536, 64k or 8m)" : "is not a number";
    if (is == NUMBER && clips)
        *out = clip(*out, e->min, e->max);
    if (is == NUMBER && *out >= e->min && *out <= e->max)
        return NULL;
    return is == TOO_LARGE ? "is too large" : "is out of range";
}

static bool is_clipped(size_t offset)
{
    size_t i = 0;
    while (i < array_len(clipped) && clipped[i] != offset)
        i++;
    return i < array_len(clipped);
}

static bool parse_named(size_t offset, struct slice value, int64_t *out)
{
    for (size_t i = 0; i < array_len(named_values); i++) {
        if (named_values[i].offset == offset && slice_is(value, named_values[i].word)) {
            *out = named_values[i].value;
            return true;
        }
    }
    return false;
}

static const char *parse_value(const struct row *row, struct slice value,
                               struct rcl_option_error *e, int64_t *out)
{
    if (row->type == BOOL) {
        *out = slice_is(value, "true");
        return *out || slice_is(value, "false") ? NULL : "is neither true nor false";
    }
    if (row->type == WORD) {
        e->words = row->words;
        return parse_word(value, row->words, out) ? NULL : "is none of the words";
    }
    if (row->type == SIGNAL)
        return parse_signal(value, row->offset == offsetof(struct rcl_options, prof_signal), out)
                   ? NULL
                   : "is no signal that can be used";
    e->min = row->min;
    e->max = row->max;
    if (parse_named(row->offset, value, out))
        return NULL;
    return parse_in_range(value, row->type == SIZE, is_clipped(row->offset), e, out);
}

static const char *parse_text(const struct row *row, struct slice value, char *field)
{
    if (value.bytes > (size_t)row->max && !is_clipped(row->offset))
        return "is too long";
    size_t bytes = rcl_min(value.bytes, (size_t)row->max);
    for (size_t i = 0; i < bytes; i++)
        field[i] = value.at[i];
    field[bytes] = '\0';
    return NULL;
}

static bool parse_mark(struct slice s, int64_t *bytes, int64_t *percent)
{
    bool share = s.bytes > 0 && s.at[s.bytes - 1] == '%';
    s.bytes -= share;
    *bytes = *percent = 0;
    return parse_number(s, !share, share ? percent : bytes) == NUMBER &&
           (share ? *percent >= 1 && *percent <= 100 : *bytes > 0);
}

bool rcl_options_mark(const char *text, uint64_t *bytes, unsigned *percent)
{
    struct slice s = {text, 0};
    int64_t size, share;
    while (text[s.bytes] != '\0')
        s.bytes++;
    bool is = parse_mark(s, &size, &share);
    *bytes = is ? (uint64_t)size : 0;
    *percent = is ? (unsigned)share : 0;
    return is;
}

static const char *set_row(struct rcl_options *o, const struct row *row, struct slice value,
                           struct rcl_option_error *e)
{
    int64_t n = 0;
    void *field = (char *)o + row->offset;
    if (row->offset == offsetof(struct rcl_options, prof_at) && value.bytes > 0 &&
        value.bytes <= (size_t)row->max && !parse_mark(value, &n, &(int64_t){0}))
        return "is neither a size (1g) nor a share (90%)";
    if (row->type == TEXT)
        return parse_text(row, value, field);
    const char *what = parse_value(row, value, e, &n);
    if (what == NULL)
        *(int64_t *)field = n;
    return what;
}

static const char *set_alias(struct rcl_options *o, const struct alias *a, struct slice value,
                             struct rcl_option_error *e)
{
    int64_t n;
    e->min = a->min;
    e->max = a->max;
    const char *what = parse_in_range(value, false, true, e, &n);
    if (what == NULL)
        *(int64_t *)((char *)o + a->offset) = (int64_t)1 << n;
    return what;
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

static struct slice proper_name(struct slice key)
{
    size_t i = FIND(same_rows, key), bytes = 0;
    if (i == array_len(same_rows))
        return key;
    while (same_rows[i].of[bytes] != '\0')
        bytes++;
    return (struct slice){same_rows[i].of, bytes};
}

static void parse_pair(struct rcl_options *o, struct slice key, struct slice value, bool has_value,
                       rcl_option_complain *complain, void *arg)
{
    struct rcl_option_error e = {
        .key = key.at, .key_bytes = key.bytes, .value = value.at, .value_bytes = value.bytes};
    struct slice name = proper_name(key);
    size_t row = FIND(rows, name), alias = FIND(aliases, name), none = FIND(idle_rows, name);
    bool is_row = row < array_len(rows);
    if (none < array_len(idle_rows)) {
        *(bool *)((char *)o + idle_rows[none].offset) = true;
        return;
    }
    if (key.bytes == 0) {
        e.what = "has no key (write key:value)";
        e.of_value = true;
    } else if (!is_row && alias == array_len(aliases)) {
        e.what = "is no option";
        e.nearest = nearest_key(key);
    } else if (!has_value || (value.bytes == 0 && !(is_row && rows[row].type == TEXT))) {
        e.what = "has no value (write key:value)";
    } else {
        e.what = is_row ? set_row(o, &rows[row], value, &e)
                        : set_alias(o, &aliases[alias], value, &e);
        e.of_value = true;
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
