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
#include "options.def"
#undef OPT
};

/* The values in force.  Defaults until boot has read the environment. */
extern struct rcl_options rcl_opt;

/* One complaint: `what` is a full sentence part, key and value point into the text. */
struct rcl_option_error {
    const char *what;
    const char *key;
    size_t key_bytes;
    const char *value;
    size_t value_bytes;
    const char *nearest; /* the valid key most like `key`, or NULL */
    int64_t min, max;    /* of the key, where `what` is about a range */
};

typedef void rcl_option_complain(const struct rcl_option_error *error, void *arg);

/*
 * Parse `text` into `o`.  With `foreign` set, unknown keys that are known
 * options of other allocators' MALLOC_CONF are passed over in silence.
 */
void rcl_options_parse(struct rcl_options *o, const char *text, bool foreign,
                       rcl_option_complain *complain, void *arg);

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

#endif
