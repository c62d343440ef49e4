/* SPDX-License-Identifier: MIT */
/*
 * prof_unwind.h - the return addresses on the caller's stack.
 *
 * By frame pointers: no lock, no call into libc, and memory is probed before it is
 * read, so a chain that was overwritten, or was never one because code uses the
 * register for something else, ends the walk and does nothing worse.  Configured
 * --with-libunwind: by libunwind, which knows .eh_frame; not inside the gate, since it
 * takes locks of its own.
 *
 * Functions of this library on the way from its surface to here are marked RCL_OWN
 * (base.h) and left out.
 */
#ifndef RCL_PROF_UNWIND_H
#define RCL_PROF_UNWIND_H

#include "base.h"

struct rcl_frame {
    uintptr_t pc;        /* return address */
    uintptr_t low, high; /* of the stack: what belongs to the frame it returns to */
    unsigned object;     /* that `pc` is in (prof_object.h); 0: none, or not noted */
};

/* Up to `max` frames of the caller, from the first one outside this library on. */
unsigned rcl_unwind(struct rcl_frame *out, unsigned max);

/* Once, when libc is ready: what has to be initialised is initialised now. */
void rcl_unwind_boot(void);

/*
 * In the parent; in the child.  A child of several threads walks frame pointers from then on:
 * locks that libunwind needs may have been held by a thread that is not there any more.
 */
void rcl_unwind_before_fork(void);
void rcl_unwind_forked(void);

#endif
