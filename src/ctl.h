/* SPDX-License-Identifier: MIT */
/*
 * ctl.h - what a row of ctl.def is, and the functions behind the rows.
 *
 * mallctl.c has looked the name up and checked access, lengths and numbers; the function
 * tells the value as it is (into c->old), then does what the program has written (*c->in, if
 * that is not NULL) or, in an action, what the name says.  It returns 0 or an errno that jemalloc
 * documents.
 */
#ifndef RCL_CTL_H
#define RCL_CTL_H

#include "base.h"

#include <sys/types.h>

enum ctl_type {
    CTL_VOID,
    CTL_BOOL,
    CTL_UNSIGNED,
    CTL_MAKE, /* an UNSIGNED whose reading makes something */
    CTL_SIZE,
    CTL_SSIZE,
    CTL_U64,
    CTL_TEXT, /* a pointer to it */
    CTL_PTR,
};

/* Written and read in the member of its type; the machines we know are little-endian. */
union ctl_value {
    bool b;
    unsigned u;
    size_t z;
    ssize_t s;
    uint64_t u64;
    const char *text;
    void *p;
};

enum { CTL_NUMBERS = 2 }; /* <i> and <j> */

struct rcl_moment;

struct ctl {
    const struct ctl_row *row;
    size_t number[CTL_NUMBERS];
    const struct rcl_moment *moment; /* whose statistics; NULL: the last epoch's */
    union ctl_value old;
    const union ctl_value *in; /* NULL: nothing is written */
};

typedef int ctl_function(struct ctl *c);

struct ctl_row {
    const char *name;
    enum ctl_type out, in;
    ctl_function *function;
    uintptr_t argument;
};

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0.0.0"
#endif
#define CTL_VERSION "5.3.0-0-g0 libreclaim " PACKAGE_VERSION

#define CTL(name, out, in, function, argument, note) ctl_function rcl_ctl_##function;
#include "ctl.def"
#undef CTL

/* For opt.*, from options.def: the argument is a place in struct rcl_options. */
ctl_function rcl_ctl_opt_flag, rcl_ctl_opt_number, rcl_ctl_opt_text, rcl_ctl_opt_word;

/* Arguments of rows. */
enum { THREAD_IN, THREAD_OUT };
enum { SHAPE_SIZE, SHAPE_SLOTS, SHAPE_SLAB };

#endif
