/* SPDX-License-Identifier: MIT */
/*
 * options.h - text to settings.
 *
 * A text is `key:value` pairs separated by commas, white space around them
 * ignored: "dirty_decay_ms:500,narenas:2".  Rows and meanings: options.def.
 * The parser reads no environment and prints nothing: it hands complaints to a
 * callback.  A wrong pair is reported and skipped; the others count.
 *
 * The parsed values are written once during boot and constant afterwards.
 */
#ifndef RCL_OPTIONS_H
#define RCL_OPTIONS_H

#include "base.h"

struct rcl_options {
#define OPT(name, type, min, max, def, unit, text) int64_t name;
#define OPT_TEXT(name, bytes, text) char name[bytes];
#define OPT_WORD(name, words, def, text) int64_t name;
#define OPT_IDLE(name, type, value, reason) bool given_##name;
#include "options.def"
};

/* The longest decay, as jemalloc has it: its nanoseconds fit 64 bits.  Counted is less. */
#define RCL_DECAY_MS_MAX INT64_C(18446744072000)

/* A decay time of at least 0 as it counts. */
static inline uint64_t rcl_decay_ns(int64_t ms)
{
    return (uint64_t)rcl_min(ms, 1000000000) * 1000000u;
}

/* The words of options that have some, by number. */
enum { RCL_THP_AUTO, RCL_THP_NEVER, RCL_THP_DEFAULT, RCL_THP_ALWAYS };
enum { RCL_JUNK_NO, RCL_JUNK_BOTH, RCL_JUNK_ALLOC, RCL_JUNK_FREE };
enum { RCL_ZERO_REALLOC_FREE, RCL_ZERO_REALLOC_ALLOC, RCL_ZERO_REALLOC_ABORT };

/* The values in force.  Defaults until boot has read the environment. */
extern struct rcl_options rcl_opt;

/* Thread caches are wanted: no option asks for every block to be seen. */
static inline bool rcl_options_caching(void)
{
    return rcl_opt.tcache && !rcl_opt.zero && rcl_opt.junk == RCL_JUNK_NO;
}

/* One complaint: `what` is said of the value, or else of the key; both point into the text. */
struct rcl_option_error {
    const char *what;
    const char *key;
    size_t key_bytes;
    const char *value;
    size_t value_bytes;
    bool of_value;
    const char *nearest; /* the valid key most like `key`, or NULL */
    int64_t min, max;    /* of the key; max 0: `what` is not about a range */
    const char *words;   /* "a|b|c": what the value could be, or NULL */
};

typedef void rcl_option_complain(const struct rcl_option_error *error, void *arg);

void rcl_options_parse(struct rcl_options *o, const char *text, rcl_option_complain *complain,
                       void *arg);

/* What prof_at can be: a size, or a share in percent; the other one is 0.  False: neither. */
bool rcl_options_mark(const char *text, uint64_t *bytes, unsigned *percent);

/* Rows for listing: index 0 .. rcl_options_count() - 1. */
size_t rcl_options_count(void);
const char *rcl_options_name(size_t i);

/*
 * The value of row i as text that the parser would take: "true", "1000", "SIGUSR2"; into
 * `buf` (of at least RCL_OPTION_TEXT bytes) where it is no constant.
 */
enum { RCL_OPTION_TEXT = 24 };
const char *rcl_options_text(const struct rcl_options *o, size_t i, char *buf);

/* The value of row i as a number; a row that is a string is 0. */
int64_t rcl_options_value(const struct rcl_options *o, size_t i);
bool rcl_options_is_bool(size_t i);
bool rcl_options_is_text(size_t i);
bool rcl_options_is_word(size_t i); /* one of a few words, or a signal */

/* Where it is in struct rcl_options. */
size_t rcl_options_place(size_t i);

/*
 * Options of jemalloc's that have no effect here: index 0 .. rcl_options_idle_count() - 1.
 * *reason: a sentence.  given: `o` holds that somebody asked for it.
 */
size_t rcl_options_idle_count(void);
const char *rcl_options_idle_name(size_t i, const char **reason);
bool rcl_options_idle_given(const struct rcl_options *o, size_t i);

#endif
