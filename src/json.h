/* SPDX-License-Identifier: MIT */
/*
 * json.h - the pieces of JSON: what is between braces is the caller's business.
 *
 * `*first` says that no comma is due yet in the object or array that is being written; each
 * call clears it.
 */
#ifndef RCL_JSON_H
#define RCL_JSON_H

#include "base.h"
#include "out.h"

/* A value, escaped.  What is not UTF-8 is taken for Latin-1, so that any text is valid. */
void rcl_json_string(struct rcl_out *o, const char *text);

/* `"name":`, the value is to follow.  A member of an array: name is NULL. */
void rcl_json_key(struct rcl_out *o, bool *first, const char *name);

/* `"name":123` and `"name":true`. */
void rcl_json_number(struct rcl_out *o, bool *first, const char *name, uint64_t n);
void rcl_json_bool(struct rcl_out *o, bool *first, const char *name, bool value);

#endif
