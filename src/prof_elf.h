/* SPDX-License-Identifier: MIT */
/*
 * prof_elf.h - what an ELF image in memory says of itself: where its code is, and which build
 * it is of.
 *
 * Read by a function of the caller's, which says false where there is nothing to be read.
 */
#ifndef RCL_PROF_ELF_H
#define RCL_PROF_ELF_H

#include "base.h"
#include "out.h"

enum { RCL_ELF_ID_MAX = 64 };

struct rcl_elf {
    uintptr_t first;                         /* where the image begins, as the file has it */
    uintptr_t code, code_offset, code_bytes; /* the first executable segment; 0 bytes: none */
    uint32_t id_at, id_bytes;                /* the build id, from the start; 0 bytes: none */
    unsigned char id[RCL_ELF_ID_MAX];
};

typedef bool rcl_elf_copy(void *to, const void *from, size_t bytes);

/* The image whose file begins at `base`; false: there is none. */
bool rcl_elf_read(struct rcl_elf *e, uintptr_t base, rcl_elf_copy *copy);

/* "# build-id PATH HEX"; nothing where there is none. */
void rcl_elf_print_id(struct rcl_out *o, const struct rcl_elf *e, const char *path);

#endif
