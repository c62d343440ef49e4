/* SPDX-License-Identifier: MIT */
/*
 * prof_maps.h - what lies where in this process: for whoever turns addresses into names.
 *
 * Read from /proc/self/maps and, for build ids, from the ELF headers in memory, which
 * are copied by a system call that survives a dlclose in the same instant.
 * No lock, no allocation; one caller at a time.
 */
#ifndef RCL_PROF_MAPS_H
#define RCL_PROF_MAPS_H

#include "base.h"
#include "out.h"

/* Map what printing needs, for good; false: no memory.  Before it; idempotent. */
bool rcl_maps_boot(void);

/*
 * Open the list that the next two print, once for both: there may be no descriptor left later.
 * errno of a lack of descriptors, else 0: where there is no /proc, what is printed says so.
 */
int rcl_maps_open(void);
void rcl_maps_close(void);

/* "MAPPED_LIBRARIES:" and the kernel's text, or "# no mappings". */
void rcl_maps_print(struct rcl_out *o);

/* A line "# build-id PATH HEX" for each mapped file that has one. */
void rcl_maps_print_build_ids(struct rcl_out *o);

/* The mapping that contains `address`; false: there is none, and both ends are 0. */
bool rcl_maps_find(uintptr_t address, uintptr_t *start, uintptr_t *end);

#endif
