/* SPDX-License-Identifier: MIT */
/* meta.c - see meta.h. */
#include "meta.h"

#include "die.h"
#include "list.h"
#include "lock.h"
#include "os.h"
#include "release.h"

#ifndef RCL_META_BLOCK_BYTES
#define RCL_META_BLOCK_BYTES (16 * KIB)
#endif
#define SEGMENT_BYTES MIB

enum {
    LINE = RCL_CACHELINE,
    SIZES = RCL_META_MAX / LINE,
    BLOCKS_MAX = SEGMENT_BYTES / RCL_META_BLOCK_BYTES,
};

struct object {
    struct object *next;
};

struct block {
    struct rcl_list link; /* partial list of its size, or the list of empty blocks */
    struct object *free;  /* returned objects, last in first out */
    uint32_t bytes;       /* object size; 0: empty block */
    uint32_t unused;      /* offset of the first object never handed out */
    uint32_t live;
    bool dirty; /* empty, but its pages may be resident */
};

struct segment {
    struct segment *next;
    struct block block[BLOCKS_MAX]; /* entry 0 (and more, with tiny blocks) is the table itself */
};

/* In front of each table. */
struct meta_table {
    struct meta_table *next;
    size_t bytes; /* of the mapping */
} RCL_ALIGNED(LINE);

static struct {
    struct rcl_lock lock;
    bool ready;
    size_t block_bytes;
    struct rcl_list partial[SIZES]; /* blocks with room, by object size */
    struct rcl_list empty;          /* clean ones behind, dirty ones in front */
    size_t mapped, live, dirty_blocks;
    struct segment *segments;  /* all of them; never unmapped */
    struct meta_table *tables; /* likewise, added by compare-and-swap */
    size_t table_bytes;
} meta;

static void meta_init(void)
{
    for (size_t i = 0; i < SIZES; i++)
        rcl_list_init(&meta.partial[i]);
    rcl_list_init(&meta.empty);
    meta.block_bytes = rcl_max(RCL_META_BLOCK_BYTES, rcl_page_size());
    meta.ready = true;
}

static char *block_base(const struct block *b)
{
    uintptr_t segment = rcl_align_down((uintptr_t)b, SEGMENT_BYTES);
    size_t index = (size_t)(b - ((struct segment *)segment)->block);
    return (char *)segment + index * meta.block_bytes;
}

static struct block *block_of(const void *p)
{
    struct segment *s = (struct segment *)rcl_align_down((uintptr_t)p, SEGMENT_BYTES);
    return &s->block[((uintptr_t)p - (uintptr_t)s) / meta.block_bytes];
}

/* A new segment, its blocks on the empty list.  The lock is held; mapping is rare (1 MiB each). */
static bool meta_grow(void)
{
    struct segment *s = rcl_os_map_aligned(SEGMENT_BYTES, SEGMENT_BYTES);
    if (s == NULL)
        return false;
    meta.mapped += SEGMENT_BYTES;
    s->next = meta.segments;
    meta.segments = s;
    rcl_os_no_hugepage(s, SEGMENT_BYTES);
    rcl_os_name(s, SEGMENT_BYTES, "libreclaim meta");
    size_t first = (sizeof *s + meta.block_bytes - 1) / meta.block_bytes;
    for (size_t i = first; i < SEGMENT_BYTES / meta.block_bytes; i++)
        rcl_list_push_back(&meta.empty, &s->block[i].link);
    return true;
}

static struct block *meta_take_block(size_t bytes)
{
    if (rcl_list_empty(&meta.empty) && !meta_grow())
        return NULL;
    struct block *b = container_of(rcl_list_pop_front(&meta.empty), struct block, link);
    meta.dirty_blocks -= b->dirty;
    *b = (struct block){.bytes = (uint32_t)bytes};
    rcl_list_init(&b->link);
    rcl_list_push_front(&meta.partial[bytes / LINE - 1], &b->link);
    return b;
}

void *rcl_meta_alloc(size_t bytes)
{
    rcl_assert(bytes > 0 && bytes <= RCL_META_MAX);
    bytes = rcl_align_up(bytes, LINE);
    rcl_lock(&meta.lock);
    if (unlikely(!meta.ready))
        meta_init();
    struct rcl_list *partial = &meta.partial[bytes / LINE - 1];
    struct block *b = rcl_list_empty(partial) ? meta_take_block(bytes)
                                              : container_of(partial->next, struct block, link);
    struct object *o = NULL;
    if (b != NULL) {
        o = b->free;
        if (o != NULL) {
            b->free = o->next;
        } else {
            o = (struct object *)(block_base(b) + b->unused);
            b->unused += (uint32_t)bytes;
        }
        b->live++;
        meta.live += bytes;
        if (b->free == NULL && b->unused + bytes > meta.block_bytes)
            rcl_list_remove(&b->link);
    }
    rcl_unlock(&meta.lock);
    return o;
}

void rcl_meta_free(void *p, size_t bytes)
{
    bytes = rcl_align_up(bytes, LINE);
    rcl_lock(&meta.lock);
    struct block *b = block_of(p);
    rcl_assert(b->bytes == bytes && b->live > 0);
    struct object *o = p;
    o->next = b->free;
    b->free = o;
    b->live--;
    meta.live -= bytes;
    if (b->live == 0) {
        if (rcl_list_linked(&b->link))
            rcl_list_remove(&b->link);
        b->bytes = 0;
        b->free = NULL;
        b->dirty = true;
        meta.dirty_blocks++;
        rcl_list_push_front(&meta.empty, &b->link);
    } else if (!rcl_list_linked(&b->link)) {
        rcl_list_push_front(&meta.partial[bytes / LINE - 1], &b->link);
    }
    rcl_unlock(&meta.lock);
}

void *rcl_meta_table(size_t bytes, const char *name)
{
    size_t all = rcl_align_up(sizeof(struct meta_table) + bytes, rcl_page_size());
    struct meta_table *t = rcl_os_map(all);
    if (t == NULL)
        return NULL;
    rcl_os_no_hugepage(t, all);
    rcl_os_name(t, all, name);
    t->bytes = all;
    t->next = __atomic_load_n(&meta.tables, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&meta.tables, &t->next, t, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {}
    __atomic_fetch_add(&meta.table_bytes, all, __ATOMIC_RELAXED);
    return t + 1;
}

size_t rcl_meta_purge(size_t keep)
{
    size_t returned = 0;
    rcl_lock(&meta.lock);
    bool worth = meta.dirty_blocks * meta.block_bytes > keep;
    while (worth && meta.dirty_blocks > 0) {
        /* Dirty blocks stand in front.  Out of the list, nobody else can take it. */
        struct block *b = container_of(rcl_list_pop_front(&meta.empty), struct block, link);
        b->dirty = false;
        meta.dirty_blocks--;
        rcl_unlock(&meta.lock);
        if (rcl_release(block_base(b), meta.block_bytes) == 0)
            returned += meta.block_bytes;
        rcl_lock(&meta.lock);
        rcl_list_push_back(&meta.empty, &b->link);
    }
    rcl_unlock(&meta.lock);
    return returned;
}

void rcl_meta_each(void (*fn)(void *arg, const void *addr, size_t bytes), void *arg)
{
    for (const struct segment *s = meta.segments; s != NULL; s = s->next)
        fn(arg, s, SEGMENT_BYTES);
    for (const struct meta_table *t = __atomic_load_n(&meta.tables, __ATOMIC_ACQUIRE); t != NULL;
         t = t->next)
        fn(arg, t, t->bytes);
}

void rcl_meta_usage(size_t *mapped, size_t *live)
{
    rcl_lock(&meta.lock);
    *mapped = meta.mapped;
    *live = meta.live;
    rcl_unlock(&meta.lock);
    size_t tables = __atomic_load_n(&meta.table_bytes, __ATOMIC_RELAXED);
    *mapped += tables;
    *live += tables;
}
