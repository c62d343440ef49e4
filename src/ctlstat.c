/* SPDX-License-Identifier: MIT */
/* ctlstat.c - see ctlstat.h. */
#include "ctlstat.h"

#include "boot.h"
#include "gate.h"
#include "lock.h"
#include "os.h"
#include "stats.h"
#include "thread.h"

#include <string.h>

/* An arena at that moment, or several added up. */
struct group {
    size_t index;
    bool destroyed;
    int64_t decay_ms;
    uint64_t uptime_ns;
    size_t arenas; /* in it */
    struct rcl_stats_heap heap;
};

struct moment {
    size_t bytes; /* of this mapping */
    size_t indexes;
    struct rcl_stats all;
    struct group destroyed;
    size_t n;
    struct group arena[];
};

static struct {
    struct rcl_lock lock;
    struct moment *now;
    uint64_t epoch;
} ctlstat;

/* --- a moment ----------------------------------------------------------------------------- */

static void read_arena(struct group *g, unsigned place)
{
    const struct rcl_arena *a = rcl_arena_get(place);
    g->index = a->index;
    g->destroyed = __atomic_load_n(&a->destroyed, __ATOMIC_ACQUIRE);
    g->decay_ms = rcl_arena_decay_ms(a);
    g->uptime_ns = rcl_os_now_ns() - a->born_ns;
    g->arenas = 1;
    rcl_stats_read_arena(place, &g->heap);
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
    to->arenas++;
    to->heap.large_taken += g->heap.large_taken;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        add_class(&to->heap.cls[cls], &g->heap.cls[cls]);
    for (unsigned i = 0; i < RCL_RUN_KINDS; i++)
        to->heap.run[i].taken += g->heap.run[i].taken;
}

static struct moment *take_moment(void)
{
    size_t n = rcl_arena_count(); /* those made from here on are not in it */
    size_t bytes = sizeof(struct moment) + n * sizeof(struct group);
    bytes = rcl_align_up(bytes, rcl_page_size());
    struct moment *m = rcl_os_map(bytes);
    if (m == NULL)
        return NULL;
    rcl_os_name(m, bytes, "libreclaim statistics");
    m->bytes = bytes;
    m->indexes = rcl_arena_indexes();
    m->n = n;
    rcl_stats_read(&m->all);
    for (size_t i = 0; i < n; i++) {
        read_arena(&m->arena[i], (unsigned)i);
        if (m->arena[i].destroyed)
            add_destroyed(&m->destroyed, &m->arena[i]);
    }
    return m;
}

/* Inside the gate, or fork could leave it locked in the child. */
static void moment_lock(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_lock(&ctlstat.lock);
}

static void moment_unlock(void)
{
    rcl_unlock(&ctlstat.lock);
    rcl_gate_leave(&rcl_tls.gate);
}

static bool replace_moment(bool first)
{
    struct moment *fresh = rcl_boot() ? take_moment() : NULL;
    if (fresh == NULL)
        return false;
    moment_lock();
    struct moment *old = ctlstat.now;
    if (first && old != NULL) { /* another thread had the same first question */
        old = fresh;
    } else {
        __atomic_store_n(&ctlstat.now, fresh, __ATOMIC_RELAXED);
        __atomic_store_n(&ctlstat.epoch, ctlstat.epoch + 1, __ATOMIC_RELAXED);
    }
    moment_unlock();
    if (old != NULL)
        rcl_os_unmap(old, old->bytes);
    return true;
}

bool rcl_ctlstat_refresh(void)
{
    return replace_moment(false);
}

uint64_t rcl_ctlstat_epoch(void)
{
    uint64_t epoch = __atomic_load_n(&ctlstat.epoch, __ATOMIC_RELAXED);
    return epoch != 0 ? epoch : 1;
}

/* The moment, locked; NULL: there is none, and nothing is. */
static const struct moment *moment_begin(void)
{
    if (__atomic_load_n(&ctlstat.now, __ATOMIC_RELAXED) == NULL && !replace_moment(true))
        return NULL;
    moment_lock();
    return ctlstat.now;
}

/* --- questions ---------------------------------------------------------------------------- */

static bool is_all(const struct moment *m, size_t index)
{
    return index == CTL_ARENAS_ALL || index == m->indexes;
}

/* NULL: no such arena then; all of them have no group, see callers. */
static const struct group *find_group(const struct moment *m, size_t index)
{
    if (index == CTL_ARENAS_DESTROYED)
        return &m->destroyed;
    for (size_t i = 0; i < m->n; i++)
        if (m->arena[i].index == index && !m->arena[i].destroyed)
            return &m->arena[i];
    return NULL;
}

static const struct rcl_stats_heap *find_heap(const struct moment *m, size_t index)
{
    if (is_all(m, index))
        return &m->all.heap;
    const struct group *g = find_group(m, index);
    return g != NULL ? &g->heap : NULL;
}

bool rcl_ctlstat_knows(size_t index)
{
    const struct moment *m = moment_begin();
    if (m == NULL)
        return false;
    bool known = is_all(m, index) || find_group(m, index) != NULL;
    moment_unlock();
    return known;
}

static size_t below(size_t whole, size_t part)
{
    return whole - rcl_min(whole, part);
}

/* The process-wide count says more than the arenas': it knows free pages in part-used slabs. */
static size_t run_clean(const struct rcl_stats_heap *h)
{
    return below(h->run_free_bytes, h->run_dirty_bytes);
}

bool rcl_ctlstat(enum ctl_stat what, uint64_t *value)
{
    const struct moment *m = moment_begin();
    if (m == NULL)
        return false;
    const struct rcl_stats *s = &m->all;
    size_t metadata = s->meta_bytes + m->n * rcl_align_up(sizeof(struct rcl_arena), RCL_GRANULE);
    switch (what) {
    case STAT_ALLOCATED:
        *value = rcl_stats_live(s);
        break;
    case STAT_ACTIVE:
        /* Blocks in caches are not the program's, but their pages are in use. */
        *value = rcl_max(s->used_bytes, rcl_align_up(rcl_stats_live(s), rcl_page_size()));
        break;
    case STAT_METADATA:
        *value = metadata;
        break;
    case STAT_RESIDENT:
        *value = rcl_align_up(s->used_bytes + s->dirty_bytes + metadata, rcl_page_size());
        break;
    case STAT_MAPPED:
        *value = below(s->heap.chunk_bytes, s->heap.run_free_bytes) + s->huge_bytes;
        break;
    case STAT_RETAINED:
        *value = run_clean(&s->heap);
        break;
    case STAT_PURGE_RUNS:
        *value = s->purge_runs;
        break;
    }
    moment_unlock();
    return true;
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

static uint64_t heap_stat(const struct rcl_stats_heap *h, enum ctl_arena_stat what,
                          const struct rcl_stats *with)
{
    size_t huge_bytes = with != NULL ? with->huge_bytes : 0;
    size_t huge_blocks = with != NULL ? with->huge_blocks : 0;
    uint64_t huge_taken = with != NULL ? with->huge_taken : 0;
    size_t active = below(h->chunk_bytes, h->run_free_bytes) + huge_bytes;
    struct sums small = sum_small(h);
    switch (what) {
    case ARENA_THREADS:
        return h->threads;
    case ARENA_PACTIVE:
        return active >> rcl_page_shift();
    case ARENA_PDIRTY:
        return h->run_dirty_bytes >> rcl_page_shift();
    case ARENA_MAPPED:
        return active;
    case ARENA_RETAINED:
        return run_clean(h);
    case ARENA_RESIDENT:
        return active + h->run_dirty_bytes;
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
        return h->large_bytes + huge_bytes;
    case ARENA_LARGE_TAKEN:
        return h->large_taken + huge_taken;
    case ARENA_LARGE_GIVEN:
        return h->large_taken + huge_taken - h->large_blocks - huge_blocks;
    default:
        return 0; /* told for all arenas together only */
    }
}

/* What is known of all arenas together, or of one beside its heap.  False: see heap_stat. */
static bool special_stat(const struct moment *m, const struct group *g, enum ctl_arena_stat what,
                         uint64_t *value)
{
    size_t arena_bytes = rcl_align_up(sizeof(struct rcl_arena), RCL_GRANULE);
    switch (what) {
    case ARENA_DECAY:
        *value = (uint64_t)(g != NULL ? g->decay_ms : rcl_arena_next_decay_ms());
        return true;
    case ARENA_UPTIME:
        *value = g != NULL ? g->uptime_ns : m->arena[0].uptime_ns;
        return true;
    case ARENA_BASE:
        *value = g != NULL ? arena_bytes : m->all.meta_bytes + m->n * arena_bytes;
        return true;
    case ARENA_PDIRTY:
        *value = m->all.dirty_bytes >> rcl_page_shift();
        return g == NULL;
    case ARENA_RESIDENT:
        *value = m->all.used_bytes + m->all.dirty_bytes;
        return g == NULL;
    case ARENA_CACHED:
        *value = m->all.cached_bytes;
        return g == NULL;
    case ARENA_NPURGE:
        *value = m->all.purge_runs;
        return g == NULL;
    case ARENA_NMADVISE:
        *value = m->all.purge_calls;
        return g == NULL;
    case ARENA_PURGED:
        *value = m->all.purged_bytes >> rcl_page_shift();
        return g == NULL;
    default:
        return false;
    }
}

bool rcl_ctlstat_arena(size_t index, enum ctl_arena_stat what, uint64_t *value)
{
    const struct moment *m = moment_begin();
    if (m == NULL)
        return false;
    bool all = is_all(m, index);
    const struct group *g = all ? NULL : find_group(m, index);
    if ((all || g != NULL) && !special_stat(m, g, what, value))
        /* Huge blocks are listed with the first arena, so that sums over arenas are whole. */
        *value = heap_stat(all ? &m->all.heap : &g->heap, what,
                           all || g == &m->arena[0] ? &m->all : NULL);
    moment_unlock();
    return all || g != NULL;
}

bool rcl_ctlstat_bin(size_t index, size_t bin, enum ctl_bin_stat what, uint64_t *value)
{
    const struct moment *m = moment_begin();
    if (m == NULL)
        return false;
    const struct rcl_stats_heap *h = find_heap(m, index);
    if (h != NULL) {
        const struct rcl_stats_class *c = &h->cls[bin + RCL_CLASS_FIRST];
        const uint64_t values[] = {
            [BIN_TAKEN] = c->taken,      [BIN_GIVEN] = c->taken - c->live,
            [BIN_LIVE] = c->live,        [BIN_FILLS] = c->fills,
            [BIN_FLUSHES] = c->flushes,  [BIN_SLABS_MADE] = c->slabs_made,
            [BIN_SLABS] = c->slabs,      [BIN_OPEN] = c->open,
            [BIN_WAITS] = c->lock_waits,
        };
        *value = values[what];
    }
    moment_unlock();
    return h != NULL;
}

bool rcl_ctlstat_extent(size_t index, size_t extent, enum ctl_extent_stat what, uint64_t *value)
{
    const struct moment *m = moment_begin();
    if (m == NULL)
        return false;
    const struct rcl_stats_heap *h = find_heap(m, index);
    if (h != NULL) {
        bool is_huge = extent >= RCL_RUN_KINDS;
        bool here = h == &m->all.heap || h == &m->arena[0].heap;
        uint64_t taken = !is_huge ? h->run[extent].taken : here ? m->all.huge_taken : 0;
        uint64_t live = !is_huge ? h->run[extent].live : here ? m->all.huge_blocks : 0;
        *value = what == EXTENT_TAKEN ? taken : what == EXTENT_LIVE ? live : taken - live;
    }
    moment_unlock();
    return h != NULL;
}
