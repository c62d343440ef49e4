/* SPDX-License-Identifier: MIT */
/*
 * prof_python.h - the Python functions a thread is in, read from inside malloc.
 *
 * The chain of frames is changed only by the thread itself, so it holds still while the
 * thread is here, with the interpreter's lock or without.  Nothing of Python is called but
 * the two getters of the thread state, which allocate nothing.  Every page is probed before
 * it is read and every object's type is looked at, so that a thread state that has been
 * freed under a daemon thread ends the walk and not the program.
 *
 * A frame that is kept becomes a number (prof_stack.h): file, function and line are copied
 * at its first sight, by content, because code objects come and go and their addresses are
 * used again.  These tables only grow and are read without a lock.
 *
 * Off when there is no CPython, or none that is known (prof_pylayout.h), or by the
 * option prof_python.
 */
#ifndef RCL_PROF_PYTHON_H
#define RCL_PROF_PYTHON_H

#include "base.h"
#include "out.h"

struct rcl_python_frame {
    uintptr_t code;
    int instruction; /* negative: unknown */
    uintptr_t
        anchor; /* what of the C stack belongs to the loop that runs this and those before; 0 */
};

enum {
    RCL_PYTHON_PAGES = 256,
    RCL_PYTHON_USES = 256, /* walks after which pages are probed anew */
    RCL_PYTHON_TEXT = 2048,
};

/* Room for a walk; zeroed before the first. */
struct rcl_python_room {
    uintptr_t page[RCL_PYTHON_PAGES]; /* proven readable */
    unsigned uses;
    char text[RCL_PYTHON_TEXT];
};

/* The caller's Python frames, innermost first, at most `max`.  Not inside the gate. */
unsigned rcl_python_walk(struct rcl_python_frame *out, unsigned max, struct rcl_python_room *room);

/* The number for a frame of the walk just made; 0: it cannot be read.  Inside the gate. */
uint64_t rcl_python_number(const struct rcl_python_frame *f, struct rcl_python_room *room);

/* Is this an address in the interpreter's code? */
bool rcl_python_owns(uintptr_t pc);

/* A line "# frame NUMBER LINE FUNCTION<tab>FILE" for each number given out. */
void rcl_python_print(struct rcl_out *o);

/*
 * Look for an interpreter, unless one is found already.  Not inside malloc, and one thread at a
 * time: whenever profiling is switched on, since one may have been loaded since.  False: no
 * memory for the tables.
 */
bool rcl_python_look(void);

#endif
