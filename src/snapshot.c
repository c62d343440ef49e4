/* SPDX-License-Identifier: MIT */
/* snapshot.c - see snapshot.h and doc/statistics.md. */
#include "snapshot.h"

#include "background.h"
#include "boot.h"
#include "demand.h"
#include "huge.h"
#include "look.h"
#include "meta.h"
#include "moment.h"
#include "os.h"
#include "pagemap.h"
#include "purge.h"
#include "slab.h"
#include "thread.h"
#include "xcache.h"

enum {
    /* The kernel's count takes 10 to 25 ms per GiB: beyond this, slow paths do not wait for it. */
    HOLD_FOR_KERNEL_BYTES = 1 << 30,
};

const struct rcl_part_text rcl_part_texts[RCL_PARTS] = {
#define PART(name, label, text) {#name, label, text},
#include "snapshot.def"
};

/* While the gate is held. */
struct walk {
    struct rcl_snapshot *s;
    struct rcl_look look;
    size_t large_asked, huge_asked;        /* resident bytes of blocks without a class */
    struct rcl_stats_heap heap;            /* of one arena */
    uint8_t resident[RCL_CHUNK_PAGES_MAX]; /* of the pages looked at, in units of the kernel */
};

/* --- which pages are resident ------------------------------------------------------------- */

/* At most RCL_CHUNK_PAGES_MAX pages. */
static void look_at(struct walk *w, const void *addr, size_t pages)
{
    if (rcl_look_pages(&w->look, addr, pages, w->resident) == 0)
        return;
    /* No such call here: what may be resident is taken for resident. */
    w->s->exact = false;
    for (size_t i = 0; i < pages; i++)
        w->resident[i] = (uint8_t)(rcl_page_size() / rcl_look_unit());
}

static size_t resident_bytes(const struct walk *w, size_t page)
{
    return w->resident[page] * rcl_look_unit();
}

static size_t resident_range(const struct walk *w, size_t first, size_t pages)
{
    size_t bytes = 0;
    for (size_t i = first; i < first + pages; i++)
        bytes += resident_bytes(w, i);
    return bytes;
}

/* The part of that which lies behind the first `asked` bytes. */
static size_t resident_behind(const struct walk *w, size_t first, size_t pages, size_t asked)
{
    size_t page = rcl_page_size(), at = rcl_min(asked / page, pages), bytes = 0;
    if (asked % page != 0 && at < pages)
        bytes = rcl_min(resident_bytes(w, first + at++), page - asked % page);
    return bytes + resident_range(w, first + at, pages - at);
}

/* Of any number of pages; *behind: as above. */
static size_t resident_mapping(struct walk *w, const char *addr, size_t bytes, size_t asked,
                               size_t *behind)
{
    size_t sum = 0, step;
    *behind = 0;
    for (size_t at = 0; at < bytes; at += step) {
        step = rcl_min(bytes - at, (size_t)RCL_CHUNK_PAGES_MAX << rcl_page_shift());
        look_at(w, addr + at, step >> rcl_page_shift());
        sum += resident_range(w, 0, step >> rcl_page_shift());
        *behind += resident_behind(w, 0, step >> rcl_page_shift(), asked - rcl_min(asked, at));
    }
    return sum;
}

static void add_metadata(void *arg, const void *addr, size_t bytes)
{
    struct walk *w = arg;
    size_t behind;
    w->s->part[RCL_PART_metadata] += resident_mapping(w, addr, bytes, bytes, &behind);
}

/* --- chunks ------------------------------------------------------------------------------- */

static unsigned age_of(const uint64_t *low, const uint64_t *high, size_t page)
{
    return 2u * rcl_bits_test(high, page) + rcl_bits_test(low, page);
}

static void add_dirty(struct walk *w, size_t bytes, unsigned age)
{
    w->s->part[RCL_PART_dirty] += bytes;
    w->s->dirty_by_age[age] += bytes;
}

static void add_slab_page(struct walk *w, const struct rcl_span *slab, unsigned page)
{
    struct rcl_snapshot_class *c = &w->s->cls[slab->cls];
    size_t bytes = resident_bytes(w, slab->first + page), blocks;
    size_t used = rcl_slab_used_on_page(slab, page, &blocks);
    if (blocks == 0) {
        c->dirty += bytes;
        add_dirty(w, bytes, age_of(&slab->age_low, &slab->age_high, page));
    } else if (bytes == 0) {
        c->absent += used;
    } else {
        size_t in = rcl_min(used, bytes), holes = bytes - in;
        c->resident += in;
        c->absent += used - in;
        c->holes += holes;
        w->s->part[RCL_PART_holes] += holes;
        if (used <= rcl_page_size() / 2) {
            c->thin_holes += holes;
            c->survivors += blocks;
        }
    }
}

static void add_slab(struct walk *w, const struct rcl_span *slab)
{
    struct rcl_snapshot_class *c = &w->s->cls[slab->cls];
    c->blocks += (size_t)(slab->slots - slab->free_slots);
    for (unsigned page = 0; page < slab->pages; page++)
        add_slab_page(w, slab, page);
}

static void add_run(struct walk *w, const struct rcl_span *run)
{
    size_t bytes = resident_range(w, run->first, run->pages);
    size_t all = (size_t)run->pages << rcl_page_shift();
    if (run->cls < RCL_CLASS_LARGE) {
        struct rcl_snapshot_class *c = &w->s->cls[run->cls];
        c->blocks++;
        c->resident += bytes;
        c->absent += all - bytes;
        return;
    }
    size_t tail = resident_behind(w, run->first, run->pages, all - run->tail);
    w->s->large_blocks++;
    w->s->large_resident += bytes;
    w->s->untouched += all - bytes;
    w->s->part[RCL_PART_rounding] += tail;
    w->large_asked += bytes - tail;
}

static void add_chunk(struct walk *w, const struct rcl_chunk *chunk)
{
    look_at(w, chunk->base, chunk->pages);
    for (size_t page = 0; page < chunk->pages;) {
        const char *addr = chunk->base + (page << rcl_page_shift());
        unsigned cls = rcl_block_class(addr);
        if (rcl_bits_test(chunk->free, page) || cls == RCL_CLASS_NONE) {
            /* A clean one that is resident all the same is the kernel's doing, and free too. */
            unsigned age = rcl_bits_test(chunk->dirty, page)
                               ? age_of(chunk->age_low, chunk->age_high, page)
                               : 0;
            add_dirty(w, resident_bytes(w, page), age);
            page++;
            continue;
        }
        const struct rcl_span *span = rcl_pagemap_desc(addr);
        if (rcl_class_is_small(span->cls)) /* the byte may say only whose it is */
            add_slab(w, span);
        else
            add_run(w, span);
        page = span->first + span->pages;
    }
}

/* --- everything of ours ------------------------------------------------------------------- */

static void add_counts(struct walk *w, unsigned index)
{
    const struct rcl_stats_heap *h = &w->heap;
    rcl_stats_collect_arena(index, &w->heap);
    w->s->arena[index] = (struct rcl_snapshot_arena){
        .threads = h->threads,
        .small_bytes = h->small_bytes,
        .large_bytes = h->large_bytes,
        .chunk_bytes = h->chunk_bytes,
        .free_bytes = h->run_free_bytes,
        .dirty_bytes = h->run_dirty_bytes,
        .lock_waits = h->lock_waits,
    };
}

static void add_arena_pages(struct walk *w, struct rcl_arena *a)
{
    add_metadata(w, a, rcl_align_up(sizeof *a, rcl_page_size()));
    if (a->runs.chunk != NULL)
        add_metadata(w, a->runs.chunk, rcl_runs_table_bytes(&a->runs));
    for (size_t i = 0; i < a->runs.nchunks; i++)
        if (a->runs.chunk[i] != NULL)
            add_chunk(w, a->runs.chunk[i]);
}

static void add_huge(void *arg, const struct rcl_huge *h)
{
    struct walk *w = arg;
    size_t asked = __atomic_load_n(&h->asked, __ATOMIC_RELAXED), tail;
    size_t bytes = resident_mapping(w, h->base, h->bytes, asked, &tail);
    if (h->kept) {
        add_dirty(w, bytes, h->age < RCL_AGE_MAX ? h->age : RCL_AGE_MAX);
        return;
    }
    w->s->huge_blocks++;
    w->s->huge_resident += bytes;
    w->s->untouched += h->bytes - bytes;
    w->s->part[RCL_PART_rounding] += tail;
    w->huge_asked += bytes - tail;
}

static void walk_all(struct walk *w)
{
    struct rcl_caches_stats caches;
    w->s->arenas = rcl_arena_count();
    for (unsigned i = 0; i < w->s->arenas; i++) {
        add_counts(w, i);
        add_arena_pages(w, rcl_arena_get(i));
    }
    rcl_huge_each(add_huge, w);
    rcl_meta_each(add_metadata, w);
    rcl_pagemap_each(add_metadata, w);
    rcl_threads_usage(&caches);
    rcl_xcaches_usage(&caches);
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        struct rcl_snapshot_class *c = &w->s->cls[cls];
        uint64_t bytes = 0, blocks = 0;
        for (unsigned i = 0; i < rcl_arena_count(); i++) {
            const struct rcl_asked *a = &rcl_arena_get(i)->asked[cls];
            bytes += __atomic_load_n(&a->bytes, __ATOMIC_RELAXED);
            blocks += __atomic_load_n(&a->blocks, __ATOMIC_RELAXED);
        }
        c->size = rcl_classes[cls].size;
        c->cached = rcl_min(caches.blocks[cls], c->blocks); /* owners go on meanwhile */
        c->asked = blocks == 0 ? 0 : (size_t)((bytes + blocks - 1) / blocks);
        w->s->samples += blocks;
    }
}

/* --- blocks of a class: in caches, asked for, rounding ------------------------------------ */

/* Of the resident bytes of a class, those of blocks in thread caches. */
static size_t cached_part(const struct rcl_snapshot_class *c, bool small)
{
    if (c->blocks == 0)
        return 0;
    if (!small)
        return (size_t)((double)c->resident * (double)c->cached / (double)c->blocks);
    /* What has never been touched was fetched ahead: it is the caches' first. */
    size_t bytes = c->cached * c->size;
    return rcl_min(bytes - rcl_min(bytes, c->absent), c->resident);
}

static void split_class(struct rcl_snapshot *s, unsigned cls)
{
    struct rcl_snapshot_class *c = &s->cls[cls];
    bool small = rcl_class_is_small(cls);
    size_t below = cls == RCL_CLASS_FIRST ? 0 : rcl_classes[cls - 1].size;
    size_t asked = c->asked != 0 ? rcl_min(c->asked, c->size) : (below + 1 + c->size) / 2;
    size_t cached = cached_part(c, small), live = c->resident - cached;
    /* A small block is resident as a whole; of a medium one the end may never be touched. */
    size_t bytes = small ? (size_t)((double)live * (double)asked / (double)c->size)
                         : rcl_min(live, (c->blocks - c->cached) * asked);
    s->part[RCL_PART_cached] += cached;
    s->part[RCL_PART_asked] += bytes;
    s->part[RCL_PART_rounding] += live - bytes;
    s->estimated += live;
    s->untouched += c->absent;
}

/* --- adding up ---------------------------------------------------------------------------- */

static size_t ours(const struct rcl_snapshot *s)
{
    size_t sum = 0;
    for (unsigned i = 0; i < RCL_PARTS; i++)
        if (i != RCL_PART_other && i != RCL_PART_files)
            sum += s->part[i];
    return sum;
}

/* The kernel's count, or the next best. */
static void read_sum(struct rcl_snapshot *s)
{
    struct rcl_look_sum sum;
    s->rss_known = rcl_look_sum(&sum) || rcl_look_estimate(&sum);
    s->rss = sum.resident;
    s->anonymous = sum.anonymous;
    s->lazy_free = sum.lazy_free;
    s->huge_pages = sum.huge_pages;
    s->swap = sum.swap;
}

/* What is left of the kernel's count is not ours. */
static void add_up(struct rcl_snapshot *s)
{
    size_t sum = ours(s);
    if (!s->rss_known)
        s->rss = s->anonymous = sum;
    s->part[RCL_PART_files] = s->rss - rcl_min(s->rss, s->anonymous);
    if (sum <= s->anonymous) {
        s->part[RCL_PART_other] = s->anonymous - sum;
        return;
    }
    /* Mapped to the page of zeros on an older kernel, or touched between our look and its. */
    size_t over = sum - s->anonymous;
    s->unmatched = over;
    for (unsigned i = 0; i < RCL_PARTS && over > 0; i++) {
        size_t off = i == RCL_PART_other || i == RCL_PART_files ? 0 : rcl_min(s->part[i], over);
        s->part[i] -= off;
        over -= off;
    }
}

static void read_plan(struct rcl_snapshot *s)
{
    uint64_t next = rcl_background_next_ns();
    s->step_ns = rcl_purge_step_ns();
    if (next != 0)
        s->next_step_ns = next > s->when_ns ? next - s->when_ns : 1;
    size_t ceiling = rcl_demand_ceiling();
    s->ceiling = ceiling > SIZE_MAX >> rcl_page_shift() ? SIZE_MAX : ceiling << rcl_page_shift();
}

struct rcl_snapshot *rcl_snapshot_take(struct rcl_gate_pass *me)
{
    size_t bytes = rcl_align_up(sizeof(struct rcl_snapshot) + sizeof(struct walk), KIB * 64);
    struct rcl_snapshot *s = rcl_boot() ? rcl_os_map(bytes) : NULL;
    if (s == NULL)
        return NULL;
    struct walk *w = (struct walk *)(s + 1);
    struct rcl_look_sum about;
    w->s = s;
    s->exact = true;
    /* Or the first one after a burst of frees that were all hits would miss the helper. */
    rcl_background_kick();
    s->moment = rcl_moment_new();
    uint64_t signals = rcl_os_block_signals();
    if (s->moment == NULL || !rcl_gate_hold(me)) {
        rcl_os_restore_signals(signals);
        rcl_snapshot_free(s);
        return NULL;
    }
    s->when_ns = rcl_os_now_ns();
    rcl_moment_fill(s->moment);
    s->stats = *rcl_moment_stats(s->moment);
    rcl_look_begin(&w->look);
    walk_all(w);
    bool now = rcl_look_estimate(&about) && about.resident <= HOLD_FOR_KERNEL_BYTES;
    if (now)
        read_sum(s);
    read_plan(s);
    s->held_ns = rcl_os_now_ns() - s->when_ns;
    rcl_gate_release();
    rcl_os_restore_signals(signals);
    rcl_look_end(&w->look);
    if (!now)
        read_sum(s);
    s->part[RCL_PART_asked] = w->large_asked + w->huge_asked;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++)
        split_class(s, cls);
    add_up(s);
    s->took_ns = rcl_os_now_ns() - s->when_ns;
    return s;
}

void rcl_snapshot_free(struct rcl_snapshot *s)
{
    size_t bytes = rcl_align_up(sizeof(struct rcl_snapshot) + sizeof(struct walk), KIB * 64);
    if (s == NULL)
        return;
    rcl_moment_free(s->moment);
    rcl_os_unmap(s, bytes);
}
