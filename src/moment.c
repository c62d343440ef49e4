/* SPDX-License-Identifier: MIT */
/* moment.c - see moment.h. */
#include "moment.h"

#include "arena.h"
#include "os.h"

/* An arena at that moment, or several added up. */
struct group {
    size_t index;
    bool destroyed;
    int64_t decay_ms;
    uint64_t uptime_ns;
    struct rcl_stats_heap heap;
};

struct rcl_moment {
    size_t bytes;   /* of this mapping */
    size_t room, n; /* arenas: there is room for, there were */
    size_t indexes, destroyed_arenas;
    int64_t next_decay_ms;
    struct rcl_stats all;
    struct rcl_totals totals;
    struct group destroyed;
    struct group arena[];
};

/* --- taking one --------------------------------------------------------------------------- */

struct rcl_moment *rcl_moment_new(void)
{
    size_t n = rcl_arena_count(); /* those made from here on are not in it */
    size_t bytes = sizeof(struct rcl_moment) + n * sizeof(struct group);
    bytes = rcl_align_up(bytes, rcl_page_size());
    struct rcl_moment *m = rcl_os_map(bytes);
    if (m == NULL)
        return NULL;
    rcl_os_name(m, bytes, "libreclaim statistics");
    m->bytes = bytes;
    m->room = n;
    return m;
}

void rcl_moment_free(struct rcl_moment *m)
{
    if (m != NULL)
        rcl_os_unmap(m, m->bytes);
}

static void read_arena(struct group *g, unsigned place)
{
    const struct rcl_arena *a = rcl_arena_get(place);
    g->index = a->index;
    g->destroyed = __atomic_load_n(&a->destroyed, __ATOMIC_ACQUIRE);
    g->decay_ms = rcl_arena_decay_ms(a);
    g->uptime_ns = rcl_os_now_ns() - a->born_ns;
    rcl_stats_collect_arena(place, &g->heap);
}

static void add_class(struct rcl_stats_class *to, const struct rcl_stats_class *c)
{
    to->slabs += c->slabs;
    to->slots += c->slots;
    to->live += c->live;
    to->taken += c->taken;
    to->fills += c->fills;
    to->flushes += c->flushes;
    to->slabs_made += c->slabs_made;
    to->open += c->open;
    to->lock_waits += c->lock_waits;
}

/* What destroyed arenas have done; they hold nothing any more. */
static void add_destroyed(struct group *to, const struct group *g)
{
    to->heap.large_taken += g->heap.large_taken;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        add_class(&to->heap.cls[cls], &g->heap.cls[cls]);
    for (unsigned i = 0; i < RCL_EXTENTS; i++)
        to->heap.extent[i].taken += g->heap.extent[i].taken;
}

void rcl_moment_fill(struct rcl_moment *m)
{
    m->indexes = rcl_arena_indexes();
    m->next_decay_ms = rcl_arena_next_decay_ms();
    rcl_stats_collect(&m->all);
    m->totals = rcl_stats_totals(&m->all);
    m->n = m->room;
    for (size_t i = 0; i < m->n; i++) {
        read_arena(&m->arena[i], (unsigned)i);
        if (!m->arena[i].destroyed)
            continue;
        m->destroyed_arenas++;
        add_destroyed(&m->destroyed, &m->arena[i]);
    }
}

const struct rcl_stats *rcl_moment_stats(const struct rcl_moment *m)
{
    return &m->all;
}

/* --- questions ---------------------------------------------------------------------------- */

static bool is_all(const struct rcl_moment *m, size_t index)
{
    return index == CTL_ARENAS_ALL || index == m->indexes;
}

/* NULL: no such arena then; all of them have no group, see callers. */
static const struct group *find_group(const struct rcl_moment *m, size_t index)
{
    if (index == CTL_ARENAS_DESTROYED)
        return &m->destroyed;
    for (size_t i = 0; i < m->n; i++)
        if (m->arena[i].index == index && !m->arena[i].destroyed)
            return &m->arena[i];
    return NULL;
}

static const struct rcl_stats_heap *find_heap(const struct rcl_moment *m, size_t index)
{
    if (is_all(m, index))
        return &m->all.heap;
    const struct group *g = find_group(m, index);
    return g != NULL ? &g->heap : NULL;
}

bool rcl_moment_knows(const struct rcl_moment *m, size_t index)
{
    return is_all(m, index) || find_group(m, index) != NULL;
}

size_t rcl_moment_indexes(const struct rcl_moment *m)
{
    return m->indexes;
}

size_t rcl_moment_destroyed(const struct rcl_moment *m)
{
    return m->destroyed_arenas;
}

void rcl_moment_total(const struct rcl_moment *m, enum ctl_stat what, uint64_t *value)
{
    const struct rcl_totals *t = &m->totals;
    const uint64_t values[] = {
        [STAT_ALLOCATED] = t->allocated,
        [STAT_ACTIVE] = t->active,
        [STAT_METADATA] = t->metadata,
        [STAT_RESIDENT] = t->resident,
        [STAT_MAPPED] = t->mapped,
        [STAT_RETAINED] = t->retained,
        [STAT_PURGE_RUNS] = m->all.purge_runs,
    };
    *value = values[what];
}

/* --- one arena, or all -------------------------------------------------------------------- */

static size_t below(size_t whole, size_t part)
{
    return whole - rcl_min(whole, part);
}

/* Only all arenas together know of free pages in part-used slabs: here these are in use. */
static size_t active_bytes(const struct rcl_stats_heap *h)
{
    return below(h->chunk_bytes, h->run_free_bytes) + h->huge_bytes;
}

struct sums {
    uint64_t taken, live, fills, flushes;
};

static struct sums sum_small(const struct rcl_stats_heap *h)
{
    struct sums sum = {0};
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        sum.taken += h->cls[cls].taken;
        sum.live += h->cls[cls].live;
        sum.fills += h->cls[cls].fills;
        sum.flushes += h->cls[cls].flushes;
    }
    return sum;
}

static struct sums sum_large(const struct rcl_stats_heap *h)
{
    struct sums sum = {0};
    for (unsigned i = 0; i < RCL_EXTENTS; i++) {
        sum.taken += h->extent[i].taken;
        sum.live += h->extent[i].live;
    }
    return sum;
}

static uint64_t heap_stat(const struct rcl_stats_heap *h, enum ctl_arena_stat what)
{
    struct sums small = sum_small(h), large = sum_large(h);
    switch (what) {
    case ARENA_THREADS:
        return h->threads;
    case ARENA_SMALL_BYTES:
        return h->small_bytes;
    case ARENA_SMALL_TAKEN:
        return small.taken;
    case ARENA_SMALL_GIVEN:
        return small.taken - small.live;
    case ARENA_FILLS:
        return small.fills;
    case ARENA_FLUSHES:
        return small.flushes;
    case ARENA_LARGE_BYTES:
        return h->large_bytes + h->huge_bytes;
    case ARENA_LARGE_TAKEN:
        return large.taken;
    case ARENA_LARGE_GIVEN:
        return large.taken - large.live;
    case ARENA_NPURGE:
        return h->purge_runs;
    case ARENA_NMADVISE:
        return h->purge_calls;
    case ARENA_PURGED:
        return h->purged_pages;
    default:
        return 0; /* told for all arenas together only */
    }
}

/* False: see heap_stat. */
static bool group_stat(const struct group *g, enum ctl_arena_stat what, uint64_t *value)
{
    const struct rcl_stats_heap *h = &g->heap;
    /* Of destroyed ones nothing is left that would be theirs. */
    size_t own = g->uptime_ns != 0 ? rcl_align_up(sizeof(struct rcl_arena), rcl_page_size()) : 0;
    switch (what) {
    case ARENA_DECAY:
        *value = (uint64_t)g->decay_ms;
        return true;
    case ARENA_UPTIME:
        *value = g->uptime_ns;
        return true;
    case ARENA_BASE:
        *value = own;
        return true;
    case ARENA_PACTIVE:
        *value = active_bytes(h) >> rcl_page_shift();
        return true;
    case ARENA_PDIRTY:
        *value = h->run_dirty_bytes >> rcl_page_shift();
        return true;
    case ARENA_MAPPED:
    case ARENA_RESIDENT:
        *value = active_bytes(h) + h->run_dirty_bytes + own;
        return true;
    case ARENA_RETAINED:
        *value = below(h->run_free_bytes, h->run_dirty_bytes);
        return true;
    default:
        return false;
    }
}

static bool all_stat(const struct rcl_moment *m, enum ctl_arena_stat what, uint64_t *value)
{
    switch (what) {
    case ARENA_DECAY:
        *value = (uint64_t)m->next_decay_ms;
        return true;
    case ARENA_UPTIME:
        *value = m->arena[0].uptime_ns;
        return true;
    case ARENA_BASE:
        *value = m->totals.metadata;
        return true;
    case ARENA_PACTIVE:
        *value = m->totals.active >> rcl_page_shift();
        return true;
    case ARENA_PDIRTY:
        *value = m->all.dirty_bytes >> rcl_page_shift();
        return true;
    case ARENA_MAPPED:
        *value = m->totals.mapped;
        return true;
    case ARENA_RESIDENT:
        *value = m->totals.resident;
        return true;
    case ARENA_RETAINED:
        *value = m->totals.retained;
        return true;
    case ARENA_CACHED:
        *value = m->all.cached_bytes;
        return true;
    case ARENA_NPURGE:
        *value = m->all.purge_runs;
        return true;
    case ARENA_NMADVISE:
        *value = m->all.purge_calls;
        return true;
    case ARENA_PURGED:
        *value = m->all.purged_bytes >> rcl_page_shift();
        return true;
    default:
        return false;
    }
}

bool rcl_moment_arena(const struct rcl_moment *m, size_t index, enum ctl_arena_stat what,
                      uint64_t *value)
{
    if (is_all(m, index)) {
        if (!all_stat(m, what, value))
            *value = heap_stat(&m->all.heap, what);
        return true;
    }
    const struct group *g = find_group(m, index);
    if (g != NULL && !group_stat(g, what, value))
        *value = heap_stat(&g->heap, what);
    return g != NULL;
}

bool rcl_moment_bin(const struct rcl_moment *m, size_t index, size_t bin, enum ctl_bin_stat what,
                    uint64_t *value)
{
    const struct rcl_stats_heap *h = find_heap(m, index);
    if (h == NULL)
        return false;
    const struct rcl_stats_class *c = &h->cls[bin + RCL_CLASS_FIRST];
    const uint64_t values[] = {
        [BIN_TAKEN] = c->taken,      [BIN_GIVEN] = c->taken - c->live,
        [BIN_LIVE] = c->live,        [BIN_FILLS] = c->fills,
        [BIN_FLUSHES] = c->flushes,  [BIN_SLABS_MADE] = c->slabs_made,
        [BIN_SLABS] = c->slabs,      [BIN_OPEN] = c->open,
        [BIN_WAITS] = c->lock_waits,
    };
    *value = values[what];
    return true;
}

bool rcl_moment_extent(const struct rcl_moment *m, size_t index, size_t extent,
                       enum ctl_extent_stat what, uint64_t *value)
{
    const struct rcl_stats_heap *h = find_heap(m, index);
    if (h == NULL)
        return false;
    uint64_t taken = h->extent[extent].taken, live = h->extent[extent].live;
    *value = what == EXTENT_TAKEN ? taken : what == EXTENT_LIVE ? live : taken - live;
    return true;
}
