/* SPDX-License-Identifier: MIT */
/* prof_object.c - see prof_object.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "prof_object.h"

#include "meta.h"
#include "os.h"
#include "prof_elf.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

extern __typeof__(dlsym) dlsym __attribute__((weak));

enum {
    LG_SLOTS = 9, /* never full: twice as many as there are entries */
    PATH_ROOM = 512,
    PATH_PIECE = 64, /* of a path that is compared */
    BUSY = UINT16_MAX,
};

_Static_assert((int)RCL_OBJECTS_MAX < 1 << LG_SLOTS, "a search ends");

struct entry {
    uintptr_t start, end;
    const void *hdr;
    bool stays;         /* the program, and what is not understood: frames are addresses */
    bool by_id;         /* the id lies on the first page, where whatever lies there can be read */
    bool gone, written; /* for the dump */
    struct rcl_elf elf;
    char path[PATH_ROOM]; /* as the loader has it */
};

/* Mapped when profiling is first switched on. */
struct object_tables {
    uint32_t entries;             /* in use; the first is none */
    uint16_t slot[1 << LG_SLOTS]; /* 0: empty; BUSY: an entry is being written */
    struct entry entry[RCL_OBJECTS_MAX];
    /* For the dump. */
    char folder[PATH_ROOM];
    char shown[2 * PATH_ROOM + PATH_PIECE];
};

static struct object_tables *objects;
static int (*find_object)(void *address, struct rcl_object *found);

void rcl_object_boot(void)
{
    if (dlsym != NULL)
        find_object = (int (*)(void *, struct rcl_object *))dlsym(RTLD_DEFAULT, "_dl_find_object");
    if (find_object != NULL && objects == NULL)
        objects = rcl_meta_table(sizeof *objects, "libreclaim stacks");
}

bool rcl_object_ready(void)
{
    return find_object != NULL;
}

bool rcl_object_find(uintptr_t pc, struct rcl_object *found)
{
    return find_object((void *)pc, found) == 0;
}

/* --- noting ------------------------------------------------------------------------------- */

/* Of memory that nobody unmaps.  By no call that a filter of system calls may punish. */
RCL_FOREIGN static bool copy_probed(void *to, const void *from, size_t bytes)
{
    uintptr_t at = (uintptr_t)from, end = at + bytes;
    for (uintptr_t word = at & ~(uintptr_t)7; word < end; word = (word | (RCL_GRANULE - 1)) + 1)
        if (!rcl_os_readable((const void *)word))
            return false;
    memcpy(to, from, bytes);
    return true;
}

static const char *path_of(const struct rcl_object *found)
{
    return ((const struct link_map *)found->link_map)->l_name;
}

static bool same_place(const struct entry *e, const struct rcl_object *found)
{
    return e->start == (uintptr_t)found->start && e->end == (uintptr_t)found->end &&
           e->hdr == found->hdr;
}

RCL_FOREIGN static bool is_same(const struct entry *e, const struct rcl_object *found)
{
    if (!same_place(e, found))
        return false;
    if (e->by_id)
        return memcmp((const char *)found->start + e->elf.id_at, e->elf.id, 8) == 0;
    return strncmp(path_of(found), e->path, PATH_ROOM - 1) == 0;
}

RCL_FOREIGN static void fill(struct entry *e, const struct rcl_object *found)
{
    const char *path = path_of(found), *nul = memchr(path, '\0', PATH_ROOM);
    size_t length = nul != NULL ? (size_t)(nul - path) : PATH_ROOM;
    e->start = (uintptr_t)found->start;
    e->end = (uintptr_t)found->end;
    e->hdr = found->hdr;
    memcpy(e->path, path, rcl_min(length, PATH_ROOM - 1));
    bool known = rcl_elf_read(&e->elf, e->start, copy_probed) && e->elf.code_bytes > 0 &&
                 e->elf.code >= e->elf.first &&
                 e->elf.code - e->elf.first + e->elf.code_bytes <= e->end - e->start;
    e->by_id = e->elf.id_bytes >= 8 && e->elf.id_at + 8 <= RCL_GRANULE;
    e->stays = !known || length == 0 || length == PATH_ROOM ||
               e->end - e->start >= (uintptr_t)1 << RCL_OBJECT_LG_SPAN;
}

/* An empty slot gets an entry.  A child forked in the middle never notes this object. */
static RCL_COLD unsigned add_object(uint16_t *slot, const struct rcl_object *found)
{
    uint16_t empty = 0;
    if (__atomic_load_n(&objects->entries, __ATOMIC_RELAXED) >= RCL_OBJECTS_MAX - 1 ||
        !__atomic_compare_exchange_n(slot, &empty, BUSY, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return 0;
    uint32_t n = __atomic_add_fetch(&objects->entries, 1, __ATOMIC_RELAXED);
    if (n >= RCL_OBJECTS_MAX) {
        __atomic_fetch_sub(&objects->entries, 1, __ATOMIC_RELAXED);
        __atomic_store_n(slot, 0, __ATOMIC_RELAXED);
        return 0;
    }
    fill(&objects->entry[n], found);
    __atomic_store_n(slot, (uint16_t)n, __ATOMIC_RELEASE);
    return objects->entry[n].stays ? 0 : n;
}

unsigned rcl_object_number(const struct rcl_object *found)
{
    if (objects == NULL)
        return 0;
    for (size_t i = (uintptr_t)found->start * 0x9e3779b97f4a7c15u >> (64 - LG_SLOTS);; i++) {
        uint16_t *slot = &objects->slot[i % array_len(objects->slot)];
        unsigned n = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
        if (n == 0)
            return add_object(slot, found);
        if (n == BUSY)
            return 0; /* for now: it may be this one */
        const struct entry *e = &objects->entry[n];
        if (is_same(e, found))
            return e->stays ? 0 : n;
    }
}

uint64_t rcl_object_frame(unsigned number, uintptr_t pc)
{
    if (number == 0)
        return pc;
    return RCL_FRAME_OBJECT | (uint64_t)number << RCL_OBJECT_LG_SPAN |
           (pc - objects->entry[number].start);
}

/* --- dumps -------------------------------------------------------------------------------- */

static struct entry *next_entry(size_t *slot)
{
    while (*slot < array_len(objects->slot)) {
        unsigned n = __atomic_load_n(&objects->slot[(*slot)++], __ATOMIC_ACQUIRE);
        if (n != 0 && n != BUSY && !objects->entry[n].stays)
            return &objects->entry[n];
    }
    return NULL;
}

/* Everything by copies: it may be unloaded just now. */
static bool has_path(const struct rcl_object *found, const char *path)
{
    const struct link_map *map = found->link_map;
    const char *name;
    char piece[PATH_PIECE];
    if (!rcl_os_copy(&name, &map->l_name, sizeof name))
        return false;
    for (size_t at = 0, left = strlen(path) + 1; left > 0;) {
        size_t bytes = rcl_min(left, sizeof piece);
        if (!rcl_os_copy(piece, name + at, bytes) || memcmp(piece, path + at, bytes) != 0)
            return false;
        at += bytes;
        left -= bytes;
    }
    return true;
}

/* copies: they are allowed. */
static bool is_there(const struct entry *e, bool copies)
{
    struct rcl_object found;
    unsigned char id[RCL_ELF_ID_MAX];
    if (!rcl_object_find(e->start, &found) || !same_place(e, &found))
        return false;
    if (!copies)
        return true; /* for all that can be known */
    if (e->elf.id_bytes == 0)
        return has_path(&found, e->path);
    return rcl_os_copy(id, (const void *)(e->start + e->elf.id_at), e->elf.id_bytes) &&
           memcmp(id, e->elf.id, e->elf.id_bytes) == 0;
}

void rcl_object_look(void)
{
    size_t slot = 0;
    char byte;
    if (objects == NULL)
        return;
    bool copies = rcl_os_copy(&byte, "", 1);
    for (struct entry *e; (e = next_entry(&slot)) != NULL;) {
        e->gone = !is_there(e, copies);
        e->written = false;
    }
}

uint64_t rcl_object_address(uint64_t frame)
{
    uint64_t n = (frame & ~RCL_FRAME_OBJECT) >> RCL_OBJECT_LG_SPAN;
    uint64_t distance = frame & (((uint64_t)1 << RCL_OBJECT_LG_SPAN) - 1);
    /* What is in a chain of frame pointers may look like anything. */
    if (frame >> 62 != RCL_FRAME_OBJECT >> 62 || objects == NULL || n >= RCL_OBJECTS_MAX)
        return frame;
    struct entry *e = &objects->entry[n];
    if (e->end == 0)
        return frame;
    if (!e->gone)
        return e->start + distance;
    e->written = true;
    return frame;
}

static bool same_build(const struct entry *a, const struct entry *b)
{
    return a->elf.id_bytes == b->elf.id_bytes && a->end - a->start == b->end - b->start &&
           memcmp(a->elf.id, b->elf.id, a->elf.id_bytes) == 0;
}

/* Its file has been replaced since: what has the same path is of another build, and newer. */
static bool is_replaced(const struct entry *e)
{
    size_t slot = 0;
    for (const struct entry *other; (other = next_entry(&slot)) != NULL;)
        if (strcmp(other->path, e->path) == 0 && !same_build(other, e) &&
            (!other->gone || other > e))
            return true;
    return false;
}

static struct entry *next_written(size_t *slot)
{
    for (struct entry *e; (e = next_entry(slot)) != NULL;)
        if (e->gone && e->written)
            return e;
    return NULL;
}

/* As the kernel has it: whole, and " (deleted)" where another file has taken its name. */
static const char *shown_path(const struct entry *e)
{
    const char *path = e->path;
    struct rcl_out o = {.buf = objects->shown, .size = sizeof objects->shown - 1};
    char proc[RCL_OS_PROC_BYTES];
    if (path[0] != '/') {
        while (strncmp(path, "./", 2) == 0)
            path += 2;
        /* Where the program is now: mostly where it was when it loaded it. */
        if (rcl_os_read_link(rcl_os_proc(proc, "cwd"), objects->folder, sizeof objects->folder) > 0)
            rcl_out_print(&o, "%s/", objects->folder);
    }
    rcl_out_print(&o, "%s%s", path, is_replaced(e) ? " (deleted)" : "");
    for (size_t i = 0; i < o.used; i++)
        if ((unsigned char)o.buf[i] < ' ' || o.buf[i] == 0x7f)
            o.buf[i] = '?';
    o.buf[o.used] = '\0';
    return o.buf;
}

/* It was at another place too, and that has been written. */
static bool is_said(const struct entry *e)
{
    size_t slot = 0;
    for (const struct entry *other; (other = next_written(&slot)) != e;)
        if (strcmp(other->path, e->path) == 0 && same_build(other, e))
            return true;
    return false;
}

void rcl_object_print_build_ids(struct rcl_out *o)
{
    size_t slot = 0;
    if (objects == NULL)
        return;
    for (const struct entry *e; (e = next_written(&slot)) != NULL;)
        if (!is_said(e))
            rcl_elf_print_id(o, &e->elf, shown_path(e));
}

void rcl_object_print_maps(struct rcl_out *o)
{
    size_t slot = 0, page = RCL_GRANULE; /* of x86-64, whatever page the build is tested with */
    if (objects == NULL)
        return;
    for (const struct entry *e; (e = next_written(&slot)) != NULL;) {
        const struct rcl_elf *elf = &e->elf;
        uint64_t base = rcl_object_frame((unsigned)(e - objects->entry), e->start) -
                        (elf->first & ~(page - 1));
        rcl_out_print(o, "%zx-%zx r-xp %zx 00:00 0 %s\n",
                      (size_t)(base + (elf->code & ~(page - 1))),
                      (size_t)(base + rcl_align_up(elf->code + elf->code_bytes, page)),
                      (size_t)(elf->code_offset & ~(page - 1)), shown_path(e));
    }
}
