/* SPDX-License-Identifier: MIT */
/* prof_elf.c - see prof_elf.h. */
#include "prof_elf.h"

#include <elf.h>
#include <string.h>

enum { PHDRS_MAX = 64, NOTES_MAX = 1024 };

/* A note's head, and the name if it is GNU's. */
struct note {
    Elf64_Nhdr head;
    char name[4];
};

/* Piece by piece: a signal handler on a small stack may want it.  False: it is not there. */
static bool read_id(struct rcl_elf *e, uintptr_t base, const Elf64_Phdr *p, rcl_elf_copy *copy)
{
    struct note n;
    /* Notes are mapped with the start of the file, where offset and distance are one. */
    uintptr_t at = p->p_offset, end = at + rcl_min(p->p_filesz, NOTES_MAX);
    while (at + sizeof n <= end && copy(&n, (void *)(base + at), sizeof n)) {
        size_t name = rcl_align_up(n.head.n_namesz, 4), desc = n.head.n_descsz;
        if (name > NOTES_MAX || desc > NOTES_MAX)
            return false;
        at += sizeof n.head + name;
        if (n.head.n_type == NT_GNU_BUILD_ID && name == 4 && memcmp(n.name, "GNU", 4) == 0) {
            e->id_at = (uint32_t)at;
            e->id_bytes = (uint32_t)rcl_min(desc, RCL_ELF_ID_MAX);
            if (at + desc <= end && copy(e->id, (void *)(base + at), e->id_bytes))
                return true;
            e->id_bytes = 0;
            return false;
        }
        at += rcl_align_up(desc, 4);
    }
    return false;
}

bool rcl_elf_read(struct rcl_elf *e, uintptr_t base, rcl_elf_copy *copy)
{
    Elf64_Ehdr h;
    Elf64_Phdr p;
    bool loads = false;
    memset(e, 0, sizeof *e);
    if (!copy(&h, (void *)base, sizeof h) || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
        h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_phentsize != sizeof p)
        return false;
    for (size_t i = 0; i < rcl_min(h.e_phnum, PHDRS_MAX); i++) {
        if (!copy(&p, (void *)(base + h.e_phoff + i * sizeof p), sizeof p))
            return false;
        if (p.p_type == PT_NOTE && e->id_bytes == 0)
            read_id(e, base, &p, copy);
        if (p.p_type != PT_LOAD)
            continue;
        if (!loads)
            e->first = p.p_vaddr;
        loads = true;
        if ((p.p_flags & PF_X) != 0 && e->code_bytes == 0) {
            e->code = p.p_vaddr;
            e->code_offset = p.p_offset;
            e->code_bytes = p.p_memsz;
        }
    }
    return loads;
}

void rcl_elf_print_id(struct rcl_out *o, const struct rcl_elf *e, const char *path)
{
    if (e->id_bytes == 0)
        return;
    rcl_out_print(o, "# build-id %s ", path);
    for (size_t k = 0; k < e->id_bytes; k++)
        rcl_out_print(o, "%x%x", e->id[k] >> 4, e->id[k] & 15u);
    rcl_out_print(o, "\n");
}
