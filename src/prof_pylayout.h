/* SPDX-License-Identifier: MIT */
/*
 * prof_pylayout.h - where CPython keeps the frames of a thread: offsets, by version.
 *
 * CPython has no interface for that which allocates nothing, needs no lock and works
 * without the interpreter's lock.  The offsets of 3.9 to 3.12 are constants, since these
 * series are frozen; from 3.13 on the interpreter has a table of them (_Py_DebugOffsets),
 * whose own order is known by version.  What is used is held against what PyCode_Type says
 * of itself.  An interpreter that is not known exactly gives no Python frames, and why.
 */
#ifndef RCL_PROF_PYLAYOUT_H
#define RCL_PROF_PYLAYOUT_H

#include "base.h"

struct rcl_pylayout {
    unsigned minor;
    /* thread state */
    uint16_t ts_top; /* to the innermost frame, or to the _PyCFrame (3.11, 3.12) */
    uint16_t ts_thread;
    /* _PyCFrame, where there is one: the frame, and the next such */
    bool has_cframe;
    uint16_t cf_frame, cf_previous;
    /* frame */
    uint16_t fr_code, fr_previous, fr_instr, fr_bytes;
    bool has_owner, has_entry, instr_is_int;
    uint16_t fr_owner, fr_entry;
    uint8_t bare_owner; /* owners from here on have no Python code */
    /* code object */
    uint16_t co_bytes; /* and its instructions begin there (3.11) */
    uint16_t co_first_line, co_file, co_name, co_table;
    /* str object: where its text begins */
    uint16_t ascii_text, other_text;
};

/* What was found of an interpreter in this process. */
struct rcl_pyinfo {
    struct rcl_pylayout layout;
    uintptr_t code_type, str_type, bytes_type;
    const uintptr_t *finalizing; /* whose thread state takes the runtime down, or 0 */
    void *(*bound)(void);        /* the thread state of this thread, with or without the GIL */
    void *(*holder)(void); /* of the holder of the GIL (to 3.11), or of this thread if it is it */
    const char *why_not;   /* NULL: all is well; "": there is no CPython here */
};

/* Not inside malloc: it asks the dynamic loader. */
void rcl_python_find(struct rcl_pyinfo *info);

#endif
