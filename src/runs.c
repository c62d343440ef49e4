/* SPDX-License-Identifier: MIT */
/* runs.c - see runs.h. */
#include "runs.h"

#include "account.h"
#include "die.h"
#include "meta.h"
#include "options.h"
#include "os.h"
#include "pagemap.h"

#include <string.h>

enum {
    FIRST_CAPACITY = 512, /* chunks: 2 GiB */
    RUNS_BATCH = 64,      /* ranges per system call */
};

void rcl_runs_init(struct rcl_runs *r, struct rcl_demand *demand, unsigned thp)
{
    memset(r, 0, sizeof *r);
    rcl_lock_init(&r->lock);
    rcl_list_init(&r->dirty_list);
    r->demand = demand;
    r->thp = thp;
}

static size_t chunk_words(const struct rcl_chunk *c)
{
    return RCL_BITS_WORDS(c->pages);
}

/* --- the table of chunks ------------------------------------------------------------------ */

/* Bytes of the table: pointers, then the two indexes' values, then their bounds. */
static size_t table_bytes(size_t capacity)
{
    size_t groups = capacity / RCL_MAXINDEX_GROUP;
    return rcl_align_up(capacity * sizeof(struct rcl_chunk *) +
                            2 * (capacity + groups) * sizeof(uint16_t),
                        rcl_page_size());
}

static void table_place(struct rcl_runs *r, char *memory, size_t capacity)
{
    size_t groups = capacity / RCL_MAXINDEX_GROUP;
    struct rcl_chunk **chunk = (struct rcl_chunk **)memory;
    uint16_t *value = (uint16_t *)(chunk + capacity);
    if (r->nchunks > 0) {
        memcpy(chunk, r->chunk, r->nchunks * sizeof *chunk);
        memcpy(value, r->any.value, r->nchunks * sizeof *value);
        memcpy(value + capacity, r->dirty.value, r->nchunks * sizeof *value);
        memcpy(value + 2 * capacity, r->any.bound, r->capacity / RCL_MAXINDEX_GROUP * 2);
        memcpy(value + 2 * capacity + groups, r->dirty.bound, r->capacity / RCL_MAXINDEX_GROUP * 2);
    }
    r->chunk = chunk;
    r->any.value = value;
    r->dirty.value = value + capacity;
    r->any.bound = value + 2 * capacity;
    r->dirty.bound = value + 2 * capacity + groups;
    r->capacity = capacity;
}

static bool table_grow(struct rcl_runs *r)
{
    size_t capacity = r->capacity == 0 ? FIRST_CAPACITY : r->capacity * 2;
    char *memory = rcl_os_map(table_bytes(capacity)), *old = (char *)r->chunk;
    size_t old_bytes = table_bytes(r->capacity);
    if (memory == NULL)
        return false;
    table_place(r, memory, capacity);
    if (old != NULL)
        rcl_os_unmap(old, old_bytes);
    return true;
}

size_t rcl_runs_table_bytes(const struct rcl_runs *r)
{
    return r->chunk == NULL ? 0 : table_bytes(r->capacity);
}

/* --- chunks: made and unmade -------------------------------------------------------------- */

/* Note what a freshly merged free run around [first, first + pages) allows. */
static void index_run(struct rcl_maxindex *m, const struct rcl_chunk *c, const uint64_t *map,
                      size_t first, size_t pages)
{
    size_t before = rcl_bits_run_before(map, first);
    size_t end = rcl_bits_next_clear(map, first + pages, c->pages);
    size_t length = end - (first - before);
    if (length > m->value[c->index])
        rcl_maxindex_set(m, c->index, (uint16_t)length);
}

/* Map a chunk for at least `pages`: the usual size, or less when memory is short. */
static struct rcl_chunk *chunk_map(struct rcl_runs *r, size_t pages, size_t align_pages)
{
    size_t page = rcl_page_size();
    struct rcl_chunk *c = rcl_meta_alloc(sizeof *c);
    if (c == NULL)
        return NULL;
    /* The first ones are smaller: most programs need few, and some have a tight limit. */
    size_t nchunks = __atomic_load_n(&r->nchunks, __ATOMIC_RELAXED);
    size_t usual = RCL_CHUNK_BYTES >> (nchunks < 4 ? 2 : nchunks < 8 ? 1 : 0);
    size_t least = pages * page, bytes = rcl_max(usual, least);
    size_t align = rcl_max(align_pages * page, page);
    void *base = NULL;
    while ((base = rcl_os_map_aligned(bytes, align)) == NULL && bytes > least)
        bytes = rcl_max(rcl_align_up(bytes / 4, page), least);
    if (base == NULL || !rcl_pagemap_cover(base, bytes)) {
        if (base != NULL)
            rcl_os_unmap(base, bytes);
        rcl_meta_free(c, sizeof *c);
        return NULL;
    }
    /* The same advice on every chunk, so that neighbours stay one mapping to the kernel. */
    if (r->thp == RCL_THP_AUTO || r->thp == RCL_THP_NEVER)
        rcl_os_no_hugepage(base, bytes);
    else if (r->thp == RCL_THP_ALWAYS)
        rcl_os_hugepage(base, bytes);
    rcl_os_name(base, bytes, "libreclaim");
    memset(c, 0, sizeof *c);
    c->base = base;
    c->runs = r;
    c->pages = (uint32_t)(bytes / page);
    c->free_pages = c->pages;
    rcl_list_init(&c->dirty_link);
    rcl_bits_set_range(c->free, 0, c->pages);
    rcl_account_count(&rcl_account.mapped_bytes, bytes);
    rcl_account_peak(&rcl_account.chunk_bytes, bytes, &rcl_account.chunk_bytes_max);
    return c;
}

/* The lock is held.  False: the table could not grow. */
static bool chunk_enter(struct rcl_runs *r, struct rcl_chunk *c)
{
    size_t i = 0;
    while (i < r->nchunks && r->chunk[i] != NULL)
        i++;
    if (i == r->capacity && !table_grow(r))
        return false;
    if (i == r->nchunks) {
        __atomic_store_n(&r->nchunks, i + 1, __ATOMIC_RELAXED); /* chunk_map reads it */
        r->any.n = r->nchunks;
        r->dirty.n = r->nchunks;
    }
    r->chunk[i] = c;
    c->index = (uint32_t)i;
    rcl_maxindex_set(&r->any, i, (uint16_t)c->pages);
    rcl_maxindex_set(&r->dirty, i, 0);
    r->empty_chunks++;
    return true;
}

/* The lock is held; afterwards the chunk is nobody's but the caller's. */
static void chunk_leave(struct rcl_runs *r, struct rcl_chunk *c)
{
    rcl_assert(c->free_pages == c->pages);
    if (c->dirty_pages > 0)
        rcl_list_remove(&c->dirty_link);
    r->chunk[c->index] = NULL;
    rcl_maxindex_set(&r->any, c->index, 0);
    rcl_maxindex_set(&r->dirty, c->index, 0);
    r->empty_chunks--;
}

static void chunk_discard(struct rcl_chunk *c)
{
    size_t bytes = c->pages * rcl_page_size();
    rcl_pagemap_forget(c->base, bytes);
    rcl_demand_tell(c->runs->demand, &(struct rcl_demand_note){.purged = c->dirty_pages});
    rcl_account_count(&rcl_account.mapped_bytes, -(uint64_t)bytes);
    rcl_account_count(&rcl_account.chunk_bytes, -(uint64_t)bytes);
    rcl_os_unmap(c->base, bytes);
    rcl_meta_free(c, sizeof *c);
}

/* --- taking ------------------------------------------------------------------------------- */

/* First place in `map` where `pages` ones start at a multiple of the alignment, or c->pages. */
static size_t chunk_find(const struct rcl_chunk *c, const uint64_t *map, size_t pages,
                         size_t align_pages, size_t *longest)
{
    size_t base_page = (uintptr_t)c->base >> rcl_page_shift();
    *longest = 0;
    for (size_t at = rcl_bits_next_set(map, 0, c->pages); at < c->pages;) {
        size_t end = rcl_bits_next_clear(map, at, c->pages);
        size_t start = rcl_align_up(base_page + at, align_pages) - base_page;
        if (start + pages <= end)
            return start;
        *longest = rcl_max(*longest, end - at);
        at = rcl_bits_next_set(map, end, c->pages);
    }
    return c->pages;
}

/* Look through the chunks that may have such a run; correct the index where it was too high. */
static struct rcl_chunk *find(struct rcl_runs *r, bool dirty_only, size_t pages, size_t align_pages,
                              size_t *first)
{
    struct rcl_maxindex *m = dirty_only ? &r->dirty : &r->any;
    for (size_t i = 0; (i = rcl_maxindex_find(m, i, (uint16_t)pages)) < m->n; i++) {
        struct rcl_chunk *c = r->chunk[i];
        size_t longest;
        *first = chunk_find(c, dirty_only ? c->dirty : c->free, pages, align_pages, &longest);
        if (*first < c->pages)
            return c;
        rcl_maxindex_set(m, i, (uint16_t)longest);
    }
    return NULL;
}

/* Mark pages as taken.  The number of dirty ones among them. */
static size_t chunk_take(struct rcl_runs *r, struct rcl_chunk *c, size_t first, size_t pages)
{
    size_t dirty = c->dirty_pages == 0 ? 0 : rcl_bits_count_range(c->dirty, first, pages);
    r->empty_chunks -= c->free_pages == c->pages;
    rcl_bits_clear_range(c->free, first, pages);
    c->free_pages -= (uint32_t)pages;
    if (dirty > 0) {
        rcl_bits_clear_range(c->dirty, first, pages);
        c->dirty_pages -= (uint32_t)dirty;
        if (c->dirty_pages == 0)
            rcl_list_remove(&c->dirty_link);
    }
    return dirty;
}

bool rcl_runs_take(struct rcl_runs *r, size_t pages, size_t align_pages, struct rcl_run *run)
{
    rcl_lock(&r->lock);
    struct rcl_chunk *c = NULL;
    size_t first = 0;
    while ((c = find(r, true, pages, align_pages, &first)) == NULL &&
           (c = find(r, false, pages, align_pages, &first)) == NULL) {
        rcl_unlock(&r->lock);
        struct rcl_chunk *fresh = chunk_map(r, pages, align_pages);
        if (fresh == NULL)
            return false;
        rcl_lock(&r->lock);
        if (!chunk_enter(r, fresh)) {
            rcl_unlock(&r->lock);
            chunk_discard(fresh);
            return false;
        }
    }
    run->chunk = c;
    run->first = first;
    run->pages = pages;
    memset(run->dirty, 0, sizeof run->dirty);
    if (c->dirty_pages > 0)
        rcl_bits_extract(c->dirty, first, pages, run->dirty);
    run->dirty_pages = chunk_take(r, c, first, pages);
    rcl_unlock(&r->lock);
    return true;
}

bool rcl_runs_extend(struct rcl_runs *r, struct rcl_chunk *c, size_t first, size_t pages,
                     size_t more, size_t *dirty_pages)
{
    size_t from = first + pages;
    rcl_lock(&r->lock);
    if (from + more > c->pages || !rcl_bits_all_range(c->free, from, more)) {
        rcl_unlock(&r->lock);
        return false;
    }
    *dirty_pages = chunk_take(r, c, from, more);
    rcl_unlock(&r->lock);
    return true;
}

/* --- giving back -------------------------------------------------------------------------- */

/* Mark pages free; those in `dirty` (bit i: page first + i; NULL: all) as dirty. */
static void chunk_give(struct rcl_runs *r, struct rcl_chunk *c, size_t first, size_t pages,
                       const uint64_t *dirty, enum rcl_age age)
{
    size_t count = 0;
    rcl_bits_set_range(c->free, first, pages);
    c->free_pages += (uint32_t)pages;
    r->empty_chunks += c->free_pages == c->pages;
    index_run(&r->any, c, c->free, first, pages);

    for (size_t i = 0; i < pages;) {
        size_t from = dirty == NULL ? 0 : rcl_bits_next_set(dirty, i, pages);
        size_t end = dirty == NULL ? pages : rcl_bits_next_clear(dirty, from, pages);
        if (from == end)
            break;
        rcl_bits_set_range(c->dirty, first + from, end - from);
        if (age == RCL_AGE_OLD) {
            rcl_bits_set_range(c->age_low, first + from, end - from);
            rcl_bits_set_range(c->age_high, first + from, end - from);
        } else {
            rcl_bits_clear_range(c->age_low, first + from, end - from);
            rcl_bits_clear_range(c->age_high, first + from, end - from);
        }
        index_run(&r->dirty, c, c->dirty, first + from, end - from);
        count += end - from;
        i = end;
    }
    if (count > 0) {
        if (c->dirty_pages == 0)
            rcl_list_push_back(&r->dirty_list, &c->dirty_link);
        c->dirty_pages += (uint32_t)count;
    }
}

void rcl_runs_give(struct rcl_runs *r, struct rcl_chunk *c, size_t first, size_t pages,
                   const uint64_t *dirty, enum rcl_age age)
{
    rcl_lock(&r->lock);
    rcl_assert(first + pages <= c->pages && rcl_bits_count_range(c->free, first, pages) == 0);
    chunk_give(r, c, first, pages, dirty, age);
    rcl_unlock(&r->lock);
}

/* --- returning to the kernel -------------------------------------------------------------- */

void rcl_runs_age(struct rcl_runs *r)
{
    rcl_lock(&r->lock);
    for (struct rcl_list *n = r->dirty_list.next; n != &r->dirty_list; n = n->next) {
        struct rcl_chunk *c = container_of(n, struct rcl_chunk, dirty_link);
        for (size_t w = 0; w < chunk_words(c); w++) {
            /* Two-bit counters side by side: add one, stay at three. */
            uint64_t low = c->age_low[w], high = c->age_high[w];
            c->age_low[w] = ~low | high;
            c->age_high[w] = high | low;
        }
    }
    rcl_unlock(&r->lock);
}

/* Pages on their way to the kernel. */
struct runs_batch {
    struct rcl_os_range range[RUNS_BATCH];
    struct {
        struct rcl_chunk *chunk;
        uint32_t first, pages;
    } run[RUNS_BATCH];
    size_t n;
    size_t pages;
};

/* Move qualifying pages of `c` into the batch.  The lock is held. */
static void chunk_collect(struct rcl_runs *r, struct rcl_chunk *c, enum rcl_purge_what what,
                          size_t budget, struct runs_batch *b)
{
    uint64_t map[RCL_CHUNK_WORDS];
    for (size_t w = 0; w < chunk_words(c); w++)
        map[w] = c->dirty[w] &
                 (what == RCL_PURGE_OLD ? c->age_low[w] & c->age_high[w] : ~(uint64_t)0);
    size_t at = rcl_bits_next_set(map, 0, c->pages);
    while (at < c->pages && b->n < RUNS_BATCH && b->pages < budget) {
        size_t end = rcl_bits_next_clear(map, at, c->pages);
        end = at + rcl_min(end - at, budget - b->pages);
        b->range[b->n].addr = c->base + (at << rcl_page_shift());
        b->range[b->n].bytes = (end - at) << rcl_page_shift();
        b->run[b->n].chunk = c;
        b->run[b->n].first = (uint32_t)at;
        b->run[b->n].pages = (uint32_t)(end - at);
        b->n++;
        b->pages += end - at;
        chunk_take(r, c, at, end - at);
        at = rcl_bits_next_set(map, end, c->pages);
    }
}

/* Fill a batch from the chunks in order of age.  The lock is held. */
static void runs_collect(struct rcl_runs *r, enum rcl_purge_what what, size_t budget,
                         struct runs_batch *b)
{
    b->n = 0;
    b->pages = 0;
    struct rcl_list *n = r->dirty_list.next;
    while (n != &r->dirty_list && b->n < RUNS_BATCH && b->pages < budget) {
        struct rcl_list *next = n->next; /* collecting may take the chunk off the list */
        chunk_collect(r, container_of(n, struct rcl_chunk, dirty_link), what, budget, b);
        n = next;
    }
}

size_t rcl_runs_purge(struct rcl_runs *r, enum rcl_purge_what what, size_t budget)
{
    static const uint64_t clean[RCL_CHUNK_WORDS];
    size_t returned = 0;
    struct runs_batch b;
    while (returned < budget) {
        rcl_lock(&r->lock);
        runs_collect(r, what, budget - returned, &b);
        rcl_unlock(&r->lock);
        if (b.n == 0)
            break;
        uint64_t start = rcl_os_now_ns();
        bool done = rcl_os_purge_many(b.range, b.n) == 0;
        rcl_account_count(&rcl_account.purge_ns, rcl_os_now_ns() - start);
        rcl_account_count(&rcl_account.purge_calls, 1);
        rcl_lock(&r->lock);
        for (size_t i = 0; i < b.n; i++)
            chunk_give(r, b.run[i].chunk, b.run[i].first, b.run[i].pages, done ? clean : NULL,
                       RCL_AGE_NEW);
        rcl_unlock(&r->lock);
        if (!done) {
            rcl_account_count(&rcl_account.purge_refused, 1);
            break;
        }
        rcl_demand_tell(r->demand, &(struct rcl_demand_note){.purged = b.pages});
        returned += b.pages;
    }
    return returned;
}

size_t rcl_runs_unmap_empty(struct rcl_runs *r, size_t keep, bool dirty_too)
{
    size_t bytes = 0;
    rcl_lock(&r->lock);
    /* From the top: the low chunks are the ones that fill first. */
    for (size_t i = r->nchunks; i-- > 0 && r->empty_chunks > keep;) {
        struct rcl_chunk *c = r->chunk[i];
        if (c == NULL || c->free_pages != c->pages || (c->dirty_pages > 0 && !dirty_too))
            continue;
        chunk_leave(r, c);
        rcl_unlock(&r->lock);
        bytes += c->pages * rcl_page_size();
        chunk_discard(c);
        rcl_lock(&r->lock);
    }
    rcl_unlock(&r->lock);
    return bytes;
}

void rcl_runs_usage(struct rcl_runs *r, struct rcl_runs_stats *out)
{
    *out = (struct rcl_runs_stats){0};
    rcl_lock(&r->lock);
    for (size_t i = 0; i < r->nchunks; i++) {
        const struct rcl_chunk *c = r->chunk[i];
        if (c == NULL)
            continue;
        out->pages += c->pages;
        out->free += c->free_pages;
        out->dirty += c->dirty_pages;
    }
    rcl_unlock(&r->lock);
    out->waits = __atomic_load_n(&r->lock.waits, __ATOMIC_RELAXED);
}
