/* SPDX-License-Identifier: MIT */
/*
 * prof_eh.h - from a frame to its caller by .eh_frame, the table that compilers write for
 * exceptions: it is there for code without frame pointers too.
 *
 *   pc -> object (libc's _dl_find_object: no lock, for signal handlers too; glibc 2.35)
 *      -> function (.eh_frame_hdr, sorted) -> its rules (CIE and FDE: a small program in DWARF)
 *      -> where the caller's registers are
 *
 * Rules that are no more than offsets, as nearly all are, are kept in a table by pc.  A library
 * may be unloaded and another one take its addresses: what is kept is believed only while the
 * entry in .eh_frame_hdr that it was made from reads the same.
 *
 * Every object on the way is noted (prof_object.h), known rules or not.
 *
 * No lock, no allocation, no call but _dl_find_object.  The stack is probed before it is read.
 * x86-64 only; elsewhere, and without _dl_find_object, nothing is known of any frame.
 */
#ifndef RCL_PROF_EH_H
#define RCL_PROF_EH_H

#include "base.h"

/* DWARF's numbers of x86-64. */
enum { RCL_EH_RBX = 3, RCL_EH_RBP = 6, RCL_EH_RSP = 7, RCL_EH_R12 = 12, RCL_EH_PC = 16 };

/* The object of the pc that a step begins with; all 0: none. */
struct rcl_eh_object {
    uintptr_t start, end;
    const uint8_t *hdr; /* .eh_frame_hdr */
    unsigned number;    /* prof_object.h */
};

struct rcl_eh_frame {
    uintptr_t reg[RCL_EH_PC + 1];
    uint32_t known;              /* a bit for each of them */
    bool exact;                  /* a signal came at this pc: it is no return address */
    uintptr_t page;              /* of the stack, proven readable; 0 at the start */
    struct rcl_eh_object object; /* of the last step: the next one is mostly in the same */
};

/* Find libc's function and map the tables; not inside malloc.  Idempotent. */
void rcl_eh_boot(void);
bool rcl_eh_ready(void);

enum rcl_eh_step {
    RCL_EH_CALLER,  /* `f` is the caller now */
    RCL_EH_OUTMOST, /* there is none */
    RCL_EH_UNKNOWN, /* no rules for this pc, or none that can be followed; `f` is as it was */
};
enum rcl_eh_step rcl_eh_step(struct rcl_eh_frame *f);

/* The 8 bytes at `address`, a multiple of 8; false: they cannot be read. */
bool rcl_eh_read(struct rcl_eh_frame *f, uintptr_t address, uintptr_t *word);

#endif
