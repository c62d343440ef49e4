/* SPDX-License-Identifier: MIT */
/*
 * prof_object.h - the objects (program and libraries) that stacks pass through.
 *
 * A library may be unloaded while memory that it has allocated is in use, and another one may
 * take its addresses.  So a stack keeps no address of it, but its number here and the distance
 * from its start: then a dump can tell which of the two a frame is of.  An object that is there
 * is written with its addresses, one that is gone with addresses where nothing can be mapped,
 * and with a line in the list of mappings, from which readers go to its file.
 *
 *   slot[hash of start] -> entry   the object that libc finds at a pc, as it was first seen
 *
 * Two objects are the same when they lie at the same place and have the same build id, or the
 * same path where there is none.  Entries are added by compare-and-swap and never removed; when
 * there is no room an object is not noted, and its frames are addresses.
 *
 * No lock, no allocation: for signal handlers.  Where libc has no _dl_find_object nothing is
 * ever noted.
 */
#ifndef RCL_PROF_OBJECT_H
#define RCL_PROF_OBJECT_H

#include "base.h"
#include "out.h"

/*
 * A frame in an object that was noted: this bit, the object's number and the distance.  Above
 * all addresses of user space (2^56 at most), below RCL_FRAME_MARK.
 */
#define RCL_FRAME_OBJECT ((uint64_t)1 << 62)
enum { RCL_OBJECT_LG_SPAN = 40, RCL_OBJECTS_MAX = 256 };

/* What libc says of the object an address is in (dlfcn.h of glibc 2.35, for older headers). */
struct rcl_object {
    unsigned long long flags;
    void *start, *end; /* of its mapping */
    const void *link_map;
    const uint8_t *hdr; /* .eh_frame_hdr */
    unsigned long long more[8];
};

/* Find libc's function and map the table; not inside malloc.  Idempotent. */
void rcl_object_boot(void);
bool rcl_object_ready(void);

/* False: `pc` is in no object. */
bool rcl_object_find(uintptr_t pc, struct rcl_object *found);

/*
 * Its number, noted if it was not; 0: it has none, being the program, which stays, or for want
 * of room.  It is in use: it lies on the caller's stack.
 */
unsigned rcl_object_number(const struct rcl_object *found);

/* What a stack keeps of a return address in an object of this number. */
uint64_t rcl_object_frame(unsigned number, uintptr_t pc);

/* --- for dumps; one caller at a time ------------------------------------------------------ */

/* Find out which objects are gone. */
void rcl_object_look(void);

/* The frame as it is written. */
uint64_t rcl_object_address(uint64_t frame);

/* Of the objects that are gone and had a frame written since rcl_object_look(). */
void rcl_object_print_build_ids(struct rcl_out *o);
void rcl_object_print_maps(struct rcl_out *o);

#endif
