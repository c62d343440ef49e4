/* SPDX-License-Identifier: MIT */
/*
 * prof_trace.h - one captured stack on its way into the table.
 *
 * Capturing happens outside the gate and with no lock held: what it calls may wait for
 * locks of libc or of the loader.  The room for it is not on the stack, which may be
 * small: a few buffers are kept, more are mapped when many threads capture at once.
 *
 * Python frames stand where the native walk has found the loop that runs them.  If it has
 * not come so far they follow the first native frame inside the interpreter.
 */
#ifndef RCL_PROF_TRACE_H
#define RCL_PROF_TRACE_H

#include "base.h"
#include "prof_python.h"
#include "prof_stack.h"
#include "prof_unwind.h"

struct rcl_trace {
    unsigned natives, pythons;
    struct rcl_frame native[RCL_STACK_FRAMES_MAX];
    struct rcl_python_frame python[RCL_STACK_FRAMES_MAX];
    struct rcl_python_room room;
    uint64_t frame[RCL_STACK_FRAMES_MAX]; /* what goes into the table */
};

/* A buffer; NULL: no memory. */
struct rcl_trace *rcl_trace_take(void);
void rcl_trace_give(struct rcl_trace *t);

/* The caller's stack.  Not inside the gate. */
void rcl_trace_capture(struct rcl_trace *t, unsigned depth);

/* Fill t->frame from what was captured; how many.  Inside the gate. */
unsigned rcl_trace_resolve(struct rcl_trace *t, unsigned depth);

#endif
