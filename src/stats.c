/* SPDX-License-Identifier: MIT */
/* stats.c - see stats.h. */
#include "stats.h"

#include "account.h"
#include "arena.h"
#include "boot.h"
#include "demand.h"
#include "huge.h"
#include "meta.h"
#include "os.h"
#include "pagemap.h"
#include "thread.h"
#include "xcache.h"

#include <string.h>

static size_t bytes_of_pages(int64_t pages)
{
    return pages > 0 ? (size_t)pages << rcl_page_shift() : 0;
}

static void collect_bin(struct rcl_stats_heap *h, struct rcl_bin *b, unsigned cls)
{
    struct rcl_stats_class *c = &h->cls[cls];
    rcl_lock(&b->lock);
    size_t live = b->live;
    c->slabs += b->slabs;
    c->taken += b->taken;
    c->fills += b->fills;
    c->flushes += b->flushes;
    c->slabs_made += b->slabs_made;
    c->open += b->open;
    rcl_unlock(&b->lock);
    uint64_t waits = __atomic_load_n(&b->lock.waits, __ATOMIC_RELAXED);
    c->size = rcl_classes[cls].size;
    c->slots = c->slabs * rcl_classes[cls].slots;
    c->live += live;
    c->lock_waits += waits;
    h->small_bytes += live * c->size;
    h->lock_waits += waits;
}

/* The blocks there are; of two numbers read one after the other, the first may be the older. */
static size_t collect_extent(struct rcl_stats_heap *h, unsigned i, uint64_t taken, uint64_t given)
{
    size_t live = (size_t)(taken - rcl_min(taken, given));
    h->extent[i].taken += taken;
    h->extent[i].live += live;
    return live;
}

static void collect_arena(struct rcl_stats_heap *h, struct rcl_arena *a)
{
    struct rcl_runs_stats runs;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        collect_bin(h, &a->bin[cls], cls);
    rcl_runs_usage(&a->runs, &runs);
    h->chunk_bytes += runs.pages << rcl_page_shift();
    h->run_free_bytes += runs.free << rcl_page_shift();
    h->run_dirty_bytes += runs.dirty << rcl_page_shift();
    h->large_bytes += bytes_of_pages(rcl_account_get(&a->runs.large.pages));
    for (unsigned i = 0; i < RCL_RUN_KINDS; i++) {
        uint64_t given = rcl_account_read(&a->runs.large.kind[i].given);
        uint64_t taken = rcl_account_read(&a->runs.large.kind[i].taken);
        h->large_taken += taken;
        h->large_blocks += collect_extent(h, i, taken, given);
    }
    for (unsigned i = 0; i < RCL_EXTENTS; i++) {
        uint64_t given = rcl_account_read(&a->huge.kind[i].given);
        uint64_t taken = rcl_account_read(&a->huge.kind[i].taken);
        h->huge_blocks += collect_extent(h, i, taken, given);
    }
    h->huge_bytes += rcl_account_read(&a->huge.bytes);
    rcl_demand_tick(&a->demand); /* before the process's counters are read */
    rcl_lock(&a->demand.lock);
    h->purged_pages += a->demand.purged_pages;
    h->purge_calls += a->demand.purge_calls;
    h->purge_runs += a->demand.purge_runs;
    rcl_unlock(&a->demand.lock);
    h->threads += __atomic_load_n(&a->threads, __ATOMIC_RELAXED);
    h->lock_waits += runs.waits + __atomic_load_n(&a->demand.lock.waits, __ATOMIC_RELAXED);
}

static void read_account(struct rcl_stats *s)
{
    s->used_bytes = bytes_of_pages(rcl_account_get(&rcl_account.used_pages));
    s->dirty_bytes = bytes_of_pages(rcl_account_get(&rcl_account.dirty_pages));
    s->mapped_bytes = rcl_account_read(&rcl_account.mapped_bytes);
    s->chunk_bytes = rcl_account_read(&rcl_account.chunk_bytes);
    s->chunk_bytes_max = rcl_max(s->chunk_bytes, rcl_account_read(&rcl_account.chunk_bytes_max));
    s->purge_runs = rcl_account_read(&rcl_account.purge_runs);
    s->purge_calls = rcl_os_returns();
    s->purge_ns = rcl_account_read(&rcl_account.purge_ns);
    s->purge_refused = rcl_account_read(&rcl_account.purge_refused);
    s->purged_bytes = rcl_account_read(&rcl_account.purged_pages) << rcl_page_shift();
    s->refaulted_bytes = rcl_account_read(&rcl_account.refaulted_pages) << rcl_page_shift();
}

void rcl_stats_collect(struct rcl_stats *s)
{
    struct rcl_huge_stats of_huge;
    struct rcl_caches_stats of_caches;
    memset(s, 0, sizeof *s);
    s->arenas = rcl_arena_count();
    for (unsigned i = 0; i < s->arenas; i++) {
        struct rcl_arena *a = rcl_arena_get(i);
        collect_arena(&s->heap, a);
        s->table_bytes += rcl_align_up(sizeof *a, RCL_GRANULE) + rcl_runs_table_bytes(&a->runs);
    }
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        s->fills += s->heap.cls[cls].fills;
        s->flushes += s->heap.cls[cls].flushes;
    }
    rcl_huge_tick();
    rcl_huge_usage(&of_huge);
    s->huge_blocks = of_huge.live_blocks;
    s->huge_bytes = of_huge.live_bytes;
    s->huge_taken = of_huge.taken;
    rcl_threads_usage(&of_caches);
    rcl_xcaches_usage(&of_caches);
    s->caches = of_caches.caches;
    s->cached_bytes = of_caches.bytes;
    s->cache_misses = of_caches.misses;
    s->cache_overflows = of_caches.overflows;
    s->lock_waits = s->heap.lock_waits + of_huge.lock_waits + of_caches.lock_waits;
    rcl_meta_usage(&s->meta_mapped_bytes, &s->meta_bytes);
    read_account(s);
    s->table_bytes += s->chunk_bytes / RCL_GRANULE * RCL_PAGEMAP_ENTRY_BYTES;
}

void rcl_stats_collect_arena(unsigned index, struct rcl_stats_heap *h)
{
    memset(h, 0, sizeof *h);
    collect_arena(h, rcl_arena_get(index));
}

bool rcl_stats_read(struct rcl_stats *s)
{
    struct rcl_tls *self = &rcl_tls;
    memset(s, 0, sizeof *s);
    if (!rcl_boot())
        return false;
    rcl_gate_enter_patient(&self->gate);
    rcl_stats_collect(s);
    rcl_gate_leave(&self->gate);
    return true;
}

bool rcl_stats_read_arena(unsigned index, struct rcl_stats_heap *h)
{
    struct rcl_tls *self = &rcl_tls;
    if (!rcl_boot() || index >= rcl_arena_count()) {
        memset(h, 0, sizeof *h);
        return false;
    }
    rcl_gate_enter_patient(&self->gate);
    rcl_stats_collect_arena(index, h);
    rcl_gate_leave(&self->gate);
    return true;
}

size_t rcl_stats_live(const struct rcl_stats *s)
{
    size_t out = s->heap.small_bytes + s->heap.large_bytes + s->huge_bytes;
    return out - rcl_min(out, s->cached_bytes);
}

/* Counters of several moments: where they disagree, the larger number stands for what holds it. */
struct rcl_totals rcl_stats_totals(const struct rcl_stats *s)
{
    size_t page = rcl_page_size();
    struct rcl_totals t = {
        .allocated = rcl_stats_live(s),
        .metadata = s->meta_bytes + s->table_bytes,
        .retained = s->heap.run_free_bytes -
                    rcl_min(s->heap.run_free_bytes, s->heap.run_dirty_bytes),
    };
    t.active = rcl_max(s->used_bytes, rcl_align_up(t.allocated, page));
    t.resident = rcl_align_up(t.active + s->dirty_bytes + t.metadata, page);
    t.mapped = s->mapped_bytes - rcl_min(s->mapped_bytes, t.retained) +
               rcl_max(s->meta_mapped_bytes, s->meta_bytes) + s->table_bytes;
    t.mapped = rcl_max(rcl_align_up(t.mapped, page), t.resident);
    return t;
}
