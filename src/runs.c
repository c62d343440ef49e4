/* SPDX-License-Identifier: MIT */
/* runs.c - see runs.h. */
#include "runs.h"

#include "account.h"
#include "die.h"
#include "meta.h"
#include "options.h"
#include "os.h"
#include "pagemap.h"
#include "place.h"
#include "release.h"

#include <string.h>

enum {
    FIRST_CAPACITY = 512,              /* chunks: 2 GiB */
    RUNS_BATCH = 64,                   /* ranges per system call */
    MOSTLY_TRIES = 16,                 /* chunks, at some 50 ns: less than the faults saved */
    POPULATED_STEPS = RCL_DECAY_STEPS, /* a window, for the program to come and use them */
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

/* The lock is held, and dropped for the system calls.  False: no memory. */
static bool table_grow(struct rcl_runs *r)
{
    size_t old_capacity = r->capacity;
    size_t capacity = old_capacity == 0 ? FIRST_CAPACITY : old_capacity * 2;
    rcl_unlock(&r->lock);
    char *memory = rcl_os_map(table_bytes(capacity)), *unused = memory;
    size_t unused_bytes = table_bytes(capacity);
    rcl_lock(&r->lock);
    /* Somebody else may have been here meanwhile. */
    if (memory != NULL && r->capacity == old_capacity) {
        unused = (char *)r->chunk;
        unused_bytes = table_bytes(old_capacity);
        table_place(r, memory, capacity);
    }
    if (unused != NULL) {
        rcl_unlock(&r->lock);
        rcl_os_unmap(unused, unused_bytes);
        rcl_lock(&r->lock);
    }
    return memory != NULL;
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
    /* Under mlockall(MCL_FUTURE) the kernel has made all its pages already. */
    c->populated = rcl_os_is_resident(base) ? POPULATED_STEPS : 0;
    rcl_account_peak(&rcl_account.chunk_bytes, bytes, &rcl_account.chunk_bytes_max);
    return c;
}

/* The first free place; r->nchunks: there is none. */
static size_t free_place(const struct rcl_runs *r)
{
    size_t i = 0;
    while (i < r->nchunks && r->chunk[i] != NULL)
        i++;
    return i;
}

/* The lock is held, and may be dropped meanwhile.  False: the table could not grow. */
static bool chunk_enter(struct rcl_runs *r, struct rcl_chunk *c)
{
    size_t i;
    while ((i = free_place(r)) == r->capacity)
        if (!table_grow(r))
            return false;
    if (i == r->nchunks) {
        __atomic_store_n(&r->nchunks, i + 1, __ATOMIC_RELAXED); /* chunk_map reads it */
        r->any.n = r->nchunks;
        r->dirty.n = r->nchunks;
    }
    r->chunk[i] = c;
    c->index = (uint32_t)i;
    c->touched = (uint32_t)rcl_min(r->unmapped, c->pages);
    r->unmapped -= c->touched;
    rcl_maxindex_set(&r->any, i, (uint16_t)c->pages);
    rcl_maxindex_set(&r->dirty, i, 0);
    r->empty_chunks++;
    r->populated_chunks += c->populated != 0;
    return true;
}

/* Pages that were refused are not dirty any more, or are to be tried again.  The lock is held. */
static void chunk_forget_refused(struct rcl_chunk *c, size_t first, size_t pages)
{
    if (likely(c->refused_pages == 0))
        return;
    size_t n = rcl_bits_count_range(c->refused, first, pages);
    rcl_bits_clear_range(c->refused, first, pages);
    c->refused_pages -= (uint32_t)n;
    rcl_account_add(&rcl_account.refused_pages, -(int64_t)n);
}

/* The lock is held; afterwards the chunk is nobody's but the caller's. */
static void chunk_leave(struct rcl_runs *r, struct rcl_chunk *c)
{
    rcl_assert(c->free_pages == c->pages);
    if (c->dirty_pages > 0)
        rcl_list_remove(&c->dirty_link);
    chunk_forget_refused(c, 0, c->pages);
    r->unmapped += c->touched;
    r->populated_chunks -= c->populated != 0;
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
    rcl_os_return(c->base, bytes);
    rcl_meta_free(c, sizeof *c);
}

/* --- taking ------------------------------------------------------------------------------- */

/* Look through the chunks that may have such a run; correct the index where it was too high. */
static struct rcl_chunk *find(struct rcl_runs *r, bool dirty_only, size_t pages, size_t align_pages,
                              size_t *first)
{
    struct rcl_maxindex *m = dirty_only ? &r->dirty : &r->any;
    for (size_t i = 0; (i = rcl_maxindex_find(m, i, (uint16_t)pages)) < m->n; i++) {
        struct rcl_chunk *c = r->chunk[i];
        size_t longest;
        *first = rcl_place_first(c, dirty_only ? c->dirty : c->free, pages, align_pages, &longest);
        if (*first < c->pages)
            return c;
        rcl_maxindex_set(m, i, (uint16_t)longest);
    }
    return NULL;
}

/*
 * No run is dirty as a whole: of the first chunks with one that is half so long, the place with
 * most dirty pages.  A clean page taken is a fault, and a dirty one left will be, when it has gone.
 */
static struct rcl_chunk *find_mostly(struct rcl_runs *r, size_t pages, size_t *first)
{
    struct rcl_maxindex *m = &r->dirty;
    struct rcl_chunk *best = NULL;
    size_t most = 0, tries = 0;
    uint16_t least = (uint16_t)rcl_max(pages / 2, 1);
    for (size_t i = 0; (i = rcl_maxindex_find(m, i, least)) < m->n && tries < MOSTLY_TRIES; i++) {
        if (r->any.value[i] < pages)
            continue;
        size_t n, longest;
        size_t at = rcl_place_mostly(r->chunk[i], pages, &n, &longest);
        rcl_maxindex_set(m, i, (uint16_t)longest);
        tries++;
        if (n > most) {
            most = n;
            best = r->chunk[i];
            *first = at;
        }
    }
    return best;
}

/* Mark pages as taken.  The number of dirty ones among them. */
static size_t chunk_take(struct rcl_runs *r, struct rcl_chunk *c, size_t first, size_t pages)
{
    size_t dirty = c->dirty_pages == 0 ? 0 : rcl_bits_count_range(c->dirty, first, pages);
    r->empty_chunks -= c->free_pages == c->pages;
    rcl_bits_clear_range(c->free, first, pages);
    c->free_pages -= (uint32_t)pages;
    if (dirty > 0) {
        chunk_forget_refused(c, first, pages);
        rcl_bits_clear_range(c->dirty, first, pages);
        c->dirty_pages -= (uint32_t)dirty;
        if (c->dirty_pages == 0)
            rcl_list_remove(&c->dirty_link);
    }
    return dirty;
}

static void run_take(struct rcl_runs *r, struct rcl_chunk *c, size_t first, size_t pages,
                     struct rcl_run *run)
{
    size_t end = first + pages, touched = rcl_max(first, c->touched);
    *run = (struct rcl_run){.chunk = c, .first = first, .pages = pages};
    if (c->dirty_pages > 0)
        rcl_bits_extract(c->dirty, first, pages, run->dirty);
    run->dirty_pages = chunk_take(r, c, first, pages);
    if (end > touched) {
        run->new_pages = end - touched -
                         rcl_bits_count_range(run->dirty, touched - first, end - touched);
        c->touched = (uint32_t)end;
    }
}

bool rcl_runs_take_held(struct rcl_runs *r, size_t pages, size_t align_pages, struct rcl_run *run)
{
    struct rcl_chunk *c = NULL;
    size_t first = 0;
    while ((c = find(r, true, pages, align_pages, &first)) == NULL &&
           (align_pages != 1 || (c = find_mostly(r, pages, &first)) == NULL) &&
           (c = find(r, false, pages, align_pages, &first)) == NULL) {
        rcl_unlock(&r->lock);
        struct rcl_chunk *fresh = chunk_map(r, pages, align_pages);
        rcl_lock(&r->lock);
        if (fresh == NULL)
            return false;
        if (!chunk_enter(r, fresh)) {
            rcl_unlock(&r->lock);
            chunk_discard(fresh);
            rcl_lock(&r->lock);
            return false;
        }
    }
    run_take(r, c, first, pages, run);
    return true;
}

bool rcl_runs_extend(struct rcl_runs *r, struct rcl_chunk *c, size_t first, size_t pages,
                     size_t more, struct rcl_run *run)
{
    size_t from = first + pages;
    rcl_lock(&r->lock);
    if (from + more > c->pages || !rcl_bits_all_range(c->free, from, more)) {
        rcl_unlock(&r->lock);
        return false;
    }
    run_take(r, c, from, more, run);
    rcl_unlock(&r->lock);
    return true;
}

/* --- giving back -------------------------------------------------------------------------- */

void rcl_runs_give_held(struct rcl_runs *r, struct rcl_chunk *c, size_t first, size_t pages,
                        const uint64_t *dirty, enum rcl_age age)
{
    rcl_assert(first + pages <= c->pages && rcl_bits_count_range(c->free, first, pages) == 0);
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

/* --- returning to the kernel -------------------------------------------------------------- */

/* The clean pages of a chunk that the kernel has populated become what they are.  How many. */
static size_t chunk_find_resident(struct rcl_runs *r, struct rcl_chunk *c)
{
    size_t found = 0;
    c->populated = 0;
    for (size_t at = rcl_bits_next_set(c->free, 0, c->pages); at < c->pages;) {
        size_t end = rcl_bits_next_clear(c->free, at, c->pages);
        size_t dirty = rcl_bits_next_set(c->dirty, at, end);
        if (dirty == at) {
            at = rcl_bits_next_clear(c->dirty, at, end);
        } else {
            chunk_take(r, c, at, dirty - at);
            rcl_runs_give_held(r, c, at, dirty - at, NULL, RCL_AGE_OLD);
            found += dirty - at;
            at = dirty;
        }
        at = rcl_bits_next_set(c->free, at, c->pages);
    }
    return found;
}

/* A step, or all of them, for chunks that the kernel has populated. */
static RCL_COLD void age_populated(struct rcl_runs *r, bool all)
{
    size_t found = 0;
    rcl_lock(&r->lock);
    for (size_t i = 0; i < r->nchunks; i++) {
        struct rcl_chunk *c = r->chunk[i];
        if (c == NULL || c->populated == 0 || (--c->populated > 0 && !all))
            continue;
        found += chunk_find_resident(r, c);
        r->populated_chunks--;
    }
    rcl_unlock(&r->lock);
    rcl_demand_tell(r->demand, &(struct rcl_demand_note){.found = found});
}

static bool any_populated(const struct rcl_runs *r)
{
    return unlikely(__atomic_load_n(&r->populated_chunks, __ATOMIC_RELAXED) != 0);
}

void rcl_runs_age(struct rcl_runs *r)
{
    if (any_populated(r))
        age_populated(r, false);
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
                 (what == RCL_PURGE_OLD ? c->age_low[w] & c->age_high[w] : ~(uint64_t)0) &
                 ~c->refused[w];
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

/* Give back what is clean now, or what was refused.  The lock is held. */
static void chunk_returned(struct rcl_runs *r, struct rcl_chunk *c, size_t first, size_t pages,
                           bool refused)
{
    static const uint64_t clean[RCL_CHUNK_WORDS];
    rcl_runs_give_held(r, c, first, pages, refused ? NULL : clean, RCL_AGE_NEW);
    if (unlikely(refused)) {
        rcl_bits_set_range(c->refused, first, pages);
        c->refused_pages += (uint32_t)pages;
        rcl_account_add(&rcl_account.refused_pages, (int64_t)pages);
    }
}

/* The kernel refused the run, in which one page may be locked: page by page.  Pages returned. */
static RCL_COLD size_t runs_purge_pages(struct rcl_runs *r, struct rcl_chunk *c, size_t first,
                                        size_t pages)
{
    size_t returned = 0;
    for (size_t at = first; at < first + pages; at++) {
        bool refused = rcl_release(c->base + (at << rcl_page_shift()), rcl_page_size()) != 0;
        rcl_lock(&r->lock);
        chunk_returned(r, c, at, 1, refused);
        rcl_unlock(&r->lock);
        returned += !refused;
    }
    return returned;
}

/* Everything that was refused may be tried again. */
static void runs_forget_refused(struct rcl_runs *r)
{
    rcl_lock(&r->lock);
    for (struct rcl_list *n = r->dirty_list.next; n != &r->dirty_list; n = n->next) {
        struct rcl_chunk *c = container_of(n, struct rcl_chunk, dirty_link);
        chunk_forget_refused(c, 0, c->pages);
    }
    rcl_unlock(&r->lock);
}

size_t rcl_runs_purge(struct rcl_runs *r, enum rcl_purge_what what, size_t budget)
{
    size_t returned = 0;
    struct runs_batch b;
    if (what == RCL_PURGE_ALL) {
        runs_forget_refused(r);
        if (any_populated(r))
            age_populated(r, true);
    }
    while (returned < budget) {
        rcl_lock(&r->lock);
        runs_collect(r, what, budget - returned, &b);
        rcl_unlock(&r->lock);
        if (b.n == 0)
            break;
        uint64_t start = rcl_os_now_ns();
        uint64_t refused = rcl_release_many(b.range, b.n);
        rcl_account_count(&rcl_account.purge_ns, rcl_os_now_ns() - start);
        rcl_account_count(&rcl_account.purge_calls, 1);
        rcl_account_count(&rcl_account.purge_refused, refused != 0);
        rcl_lock(&r->lock);
        for (size_t i = 0; i < b.n; i++)
            if (likely(((refused >> i) & 1) == 0))
                chunk_returned(r, b.run[i].chunk, b.run[i].first, b.run[i].pages, false);
        rcl_unlock(&r->lock);
        for (; refused != 0; refused &= refused - 1) {
            unsigned i = rcl_ctz(refused);
            b.pages -= b.run[i].pages;
            b.pages += runs_purge_pages(r, b.run[i].chunk, b.run[i].first, b.run[i].pages);
        }
        rcl_demand_tell(r->demand, &(struct rcl_demand_note){.purged = b.pages,
                                                             .aged = what == RCL_PURGE_OLD,
                                                             .goes_on = returned != 0});
        returned += b.pages;
    }
    return returned;
}

/* The lock is held. */
static bool may_unmap(const struct rcl_runs *r, const struct rcl_chunk *c, size_t keep,
                      bool dirty_too)
{
    if (c == NULL || c->free_pages != c->pages)
        return false;
    if (unlikely(c->refused_pages > 0) && c->dirty_pages == c->refused_pages)
        return true;
    return r->empty_chunks > keep && (c->dirty_pages == 0 || dirty_too);
}

size_t rcl_runs_unmap_empty(struct rcl_runs *r, size_t keep, bool dirty_too)
{
    size_t bytes = 0;
    rcl_lock(&r->lock);
    /* From the top: the low chunks are the ones that fill first. */
    for (size_t i = r->nchunks; i-- > 0 && r->empty_chunks > 0;) {
        struct rcl_chunk *c = r->chunk[i];
        if (!may_unmap(r, c, keep, dirty_too))
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
