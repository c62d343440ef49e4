/* SPDX-License-Identifier: MIT */
/*
 * Tests of runs.h: random operations against a model with one state for every page.
 * Pages in use carry marks; pages that are said to be clean are read.
 */
#include "unit.h"

#include "account.h"
#include "meta.h"
#include "pagemap.h"
#include "options.h"
#include "runs.h"

#define LONG_NS UINT64_C(3600000000000)

enum { CHUNKS_MAX = 64, HELD_MAX = 48, MOSTLY_TRIES = 16 /* as in runs.c */ };
enum page_state { HELD, CLEAN, DIRTY };

/* What a chunk should look like. */
struct chunk_model {
    struct rcl_chunk *chunk;
    uint8_t state[RCL_CHUNK_PAGES_MAX];
    uint8_t age[RCL_CHUNK_PAGES_MAX]; /* where dirty */
    size_t used_up_to;                /* behind the last page ever taken */
};

/* A run in use, and which of its pages we have written to. */
struct held {
    struct rcl_run run;
    bool written[RCL_RUN_PAGES_MAX];
    uint64_t mark;
};

static struct rcl_demand demand;
static struct rcl_runs runs;
static struct chunk_model model[CHUNKS_MAX]; /* by index in runs.chunk[]; chunk NULL: none */
static struct held held[HELD_MAX];
static size_t n_held;
static size_t model_gone; /* used_up_to of chunks that were unmapped, and not made up for */

static void start(void)
{
    memset(model, 0, sizeof model);
    n_held = 0;
    model_gone = 0;
    memset(&rcl_account, 0, sizeof rcl_account);
    rcl_demand_init(&demand, LONG_NS);
    rcl_runs_init(&runs, &demand, RCL_THP_AUTO);
}

/* The longest run there can be. */
static size_t longest_run(void)
{
    return rcl_min(RCL_RUN_PAGES_MAX, MIB / rcl_page_size());
}

static char *address(const struct rcl_chunk *c, size_t page)
{
    return c->base + page * rcl_page_size();
}

/* --- the model -------------------------------------------------------------------------------- */

/* Longest run of pages whose state is at least `least`: free ones, or dirty ones. */
static size_t longest(const struct chunk_model *m, enum page_state least)
{
    size_t best = 0, now = 0;

    for (size_t p = 0; p < m->chunk->pages; p++) {
        now = m->state[p] >= least ? now + 1 : 0;
        best = rcl_max(best, now);
    }
    return best;
}

static bool on_dirty_list(const struct rcl_chunk *c)
{
    for (struct rcl_list *n = runs.dirty_list.next; n != &runs.dirty_list; n = n->next)
        if (n == &c->dirty_link)
            return true;
    return false;
}

static size_t assert_chunk(const struct chunk_model *m, size_t index)
{
    const struct rcl_chunk *c = m->chunk;
    size_t free = 0, dirty = 0;

    assert_int_equal(c->index, index);
    assert_ptr_equal(c->runs, &runs);
    for (size_t p = 0; p < c->pages; p++) {
        assert_int_equal(rcl_bits_test(c->free, p), m->state[p] != HELD);
        assert_int_equal(rcl_bits_test(c->dirty, p), m->state[p] == DIRTY);
        if (m->state[p] == DIRTY)
            assert_int_equal(rcl_bits_test(c->age_high, p) * 2 + rcl_bits_test(c->age_low, p),
                             m->age[p]);
        free += m->state[p] != HELD;
        dirty += m->state[p] == DIRTY;
    }
    assert_int_equal(c->free_pages, free);
    assert_int_equal(c->dirty_pages, dirty);
    assert_int_equal(on_dirty_list(c), dirty > 0);
    assert_true(runs.any.value[index] >= longest(m, CLEAN));
    assert_true(runs.dirty.value[index] >= longest(m, DIRTY));
    assert_true(runs.any.bound[index / RCL_MAXINDEX_GROUP] >= runs.any.value[index]);
    assert_true(runs.dirty.bound[index / RCL_MAXINDEX_GROUP] >= runs.dirty.value[index]);
    return dirty;
}

static void assert_same(void)
{
    size_t dirty = 0, empty = 0, mapped = 0;

    for (size_t i = 0; i < runs.nchunks; i++) {
        assert_ptr_equal(runs.chunk[i], model[i].chunk);
        if (model[i].chunk == NULL)
            continue;
        dirty += assert_chunk(&model[i], i);
        empty += model[i].chunk->free_pages == model[i].chunk->pages;
        mapped += model[i].chunk->pages * rcl_page_size();
    }
    assert_int_equal(runs.empty_chunks, empty);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), dirty);
    assert_int_equal(rcl_account_read(&rcl_account.mapped_bytes), mapped);
    assert_int_equal(rcl_account_read(&rcl_account.chunk_bytes), mapped);
    assert_true(rcl_account_read(&rcl_account.chunk_bytes_max) >= mapped);
}

/* Where a run should come from by the rules of runs.h; false: from a new chunk. */
static bool choose(size_t pages, size_t align, enum page_state least, size_t *index, size_t *first)
{
    for (*index = 0; *index < runs.nchunks; ++*index) {
        const struct chunk_model *m = &model[*index];
        for (*first = 0; m->chunk != NULL && *first + pages <= m->chunk->pages; ++*first) {
            size_t p = *first;
            if ((uintptr_t)address(m->chunk, p) % (align * rcl_page_size()) != 0)
                continue;
            while (p < *first + pages && m->state[p] >= least)
                p++;
            if (p == *first + pages)
                return true;
        }
    }
    return false;
}

/* The same, when no run is dirty as a whole: one around a dirty run of half the length and more. */
static bool choose_mostly(size_t pages, size_t *index, size_t *first)
{
    size_t most = 0;

    for (size_t i = 0; i < runs.nchunks; i++) {
        const struct chunk_model *m = &model[i];
        for (size_t at = 0, end; m->chunk != NULL && at < m->chunk->pages; at = end + 1) {
            size_t from = at, to, dirty = 0;
            for (end = at; end < m->chunk->pages && m->state[end] == DIRTY; end++)
                continue;
            if (end == at || end - at < pages / 2)
                continue;
            for (to = end; to < m->chunk->pages && m->state[to] != HELD; to++)
                continue;
            while (from > 0 && m->state[from - 1] != HELD)
                from--;
            if (to - from < pages)
                continue;
            from = rcl_min(at, to - pages);
            for (size_t p = from; p < from + pages; p++)
                dirty += m->state[p] == DIRTY;
            if (dirty > most) {
                most = dirty;
                *index = i;
                *first = from;
            }
        }
    }
    return most > 0;
}

/* --- content ------------------------------------------------------------------------------ */

static void write_page(struct held *h, size_t i)
{
    char *p = address(h->run.chunk, h->run.first + i);
    uint64_t mark = h->mark + i;

    memcpy(p, &mark, 8);
    memcpy(p + rcl_page_size() - 8, &mark, 8);
    h->written[i] = true;
}

static void assert_content(const struct held *h)
{
    for (size_t i = 0; i < h->run.pages; i++) {
        const char *p = address(h->run.chunk, h->run.first + i);
        uint64_t mark = h->mark + i;
        if (h->written[i]) {
            assert_memory_equal(p, &mark, 8);
            assert_memory_equal(p + rcl_page_size() - 8, &mark, 8);
        }
    }
}

static void tell(size_t freed, size_t taken_dirty, size_t taken_clean)
{
    struct rcl_demand_note note = {
        .freed = freed, .taken_dirty = taken_dirty, .taken_clean = taken_clean};

    rcl_demand_tell(&demand, &note);
}

/* --- operations on both ------------------------------------------------------------------- */

/* Pages [from, to) of a held run are new to it: check what was said of them, and use some. */
static void enter_pages(struct held *h, size_t from, size_t to, struct unit_random *random)
{
    struct chunk_model *m = &model[h->run.chunk->index];

    for (size_t i = from; i < to; i++) {
        size_t p = h->run.first + i;
        assert_int_not_equal(m->state[p], HELD);
        if (m->state[p] == CLEAN)
            assert_true(unit_zero(address(h->run.chunk, p), rcl_page_size()));
        if (m->state[p] == DIRTY)
            rcl_bits_set_range(h->run.dirty, i, 1);
        m->state[p] = HELD;
        h->written[i] = false;
        if (unit_below(random, 3) != 0)
            write_page(h, i);
    }
}

/* How many of the pages that are taken are behind all that were before. */
static size_t count_new(struct chunk_model *m, size_t first, size_t pages)
{
    size_t count = 0;

    for (size_t p = first; p < first + pages; p++)
        count += p >= m->used_up_to;
    m->used_up_to = rcl_max(m->used_up_to, first + pages);
    return count;
}

static void take(struct unit_random *random, size_t pages, size_t align)
{
    struct held *h = &held[n_held];
    size_t index, first, dirty = 0;
    bool dirty_run = choose(pages, align, DIRTY, &index, &first);
    bool known = dirty_run || (align == 1 && choose_mostly(pages, &index, &first)) ||
                 choose(pages, align, CLEAN, &index, &first);
    /* Of more chunks not each is looked into for the most dirty pages. */
    bool foretold = dirty_run || align != 1 || runs.nchunks <= MOSTLY_TRIES;
#ifndef RCL_HOSTILE_H /* where chunks are small */
    assert_true(runs.nchunks <= MOSTLY_TRIES);
#endif

    assert_true(rcl_runs_take(&runs, pages, align, &h->run));
    struct rcl_chunk *c = h->run.chunk;
    if (known && foretold) {
        assert_int_equal(c->index, index);
        assert_int_equal(h->run.first, first);
    } else if (known) {
        assert_ptr_equal(model[c->index].chunk, c);
    } else {
        assert_true(c->index < CHUNKS_MAX);
        assert_null(model[c->index].chunk);
        model[c->index].chunk = c;
        memset(model[c->index].state, CLEAN, c->pages);
        model[c->index].used_up_to = rcl_min(model_gone, c->pages);
        model_gone -= model[c->index].used_up_to;
    }
    assert_int_equal(h->run.pages, pages);
    assert_true(h->run.first + pages <= c->pages);
    assert_int_equal((uintptr_t)address(c, h->run.first) % (align * rcl_page_size()), 0);
    for (size_t i = 0; i < RCL_RUN_PAGES_MAX; i++) {
        bool is_dirty = i < pages && model[c->index].state[h->run.first + i] == DIRTY;
        assert_int_equal(rcl_bits_test(h->run.dirty, i), is_dirty);
        dirty += is_dirty;
    }
    assert_int_equal(h->run.dirty_pages, dirty);
    assert_int_equal(h->run.new_pages, count_new(&model[c->index], h->run.first, pages));
    h->mark = unit_next(random);
    enter_pages(h, 0, pages, random);
    tell(0, dirty, pages - dirty);
    n_held++;
}

static void extend(struct unit_random *random, struct held *h, size_t more)
{
    struct rcl_run *run = &h->run;
    struct chunk_model *m = &model[run->chunk->index];
    size_t end = run->first + run->pages, dirty = 0;
    struct rcl_run said;
    bool possible = end + more <= run->chunk->pages;

    for (size_t p = end; possible && p < end + more; p++) {
        possible = m->state[p] != HELD;
        dirty += m->state[p] == DIRTY;
    }
    assert_int_equal(rcl_runs_extend(&runs, run->chunk, run->first, run->pages, more, &said),
                     possible);
    if (!possible)
        return;
    assert_int_equal(said.first, end);
    assert_int_equal(said.pages, more);
    assert_int_equal(said.dirty_pages, dirty);
    assert_int_equal(said.new_pages, count_new(m, end, more));
    enter_pages(h, run->pages, run->pages + more, random);
    run->pages += more;
    tell(0, dirty, more - dirty);
}

/* Give back all but `rest` pages from the front. */
static void give(struct unit_random *random, struct held *h, size_t rest)
{
    enum rcl_age age = unit_below(random, 3) == 0 ? RCL_AGE_OLD : RCL_AGE_NEW;
    bool all_dirty = unit_below(random, 2) == 0;
    struct chunk_model *m = &model[h->run.chunk->index];
    uint64_t dirty[RCL_RUN_WORDS] = {0};
    size_t count = h->run.pages - rest, clean = 0;

    assert_content(h);
    for (size_t i = 0; i < count; i++) {
        size_t p = h->run.first + rest + i;
        bool is_dirty = all_dirty || h->written[rest + i] || rcl_bits_test(h->run.dirty, rest + i);
        if (is_dirty)
            rcl_bits_set_range(dirty, i, 1);
        clean += !is_dirty;
        m->state[p] = is_dirty ? DIRTY : CLEAN;
        m->age[p] = age == RCL_AGE_OLD ? RCL_AGE_MAX : 0;
    }
    rcl_runs_give(&runs, h->run.chunk, h->run.first + rest, count, all_dirty ? NULL : dirty, age);
    tell(count - clean, 0, 0);
    rcl_bits_clear_range(h->run.dirty, rest, count);
    h->run.pages = rest;
    if (rest == 0)
        *h = held[--n_held];
}

static void age(void)
{
    rcl_runs_age(&runs);
    for (size_t i = 0; i < runs.nchunks; i++)
        for (size_t p = 0; model[i].chunk != NULL && p < model[i].chunk->pages; p++)
            if (model[i].age[p] < RCL_AGE_MAX)
                model[i].age[p]++;
}

static bool qualifies(const struct chunk_model *m, size_t p, enum rcl_purge_what what)
{
    return m->state[p] == DIRTY && (what == RCL_PURGE_ANY || m->age[p] == RCL_AGE_MAX);
}

static void purge(enum rcl_purge_what what, size_t budget)
{
    size_t candidates = 0, gone = 0;

    for (size_t i = 0; i < runs.nchunks; i++)
        for (size_t p = 0; model[i].chunk != NULL && p < model[i].chunk->pages; p++)
            candidates += qualifies(&model[i], p, what);
    size_t said = rcl_runs_purge(&runs, what, budget);
    assert_true(said >= rcl_min(budget, candidates));
    for (size_t i = 0; i < runs.nchunks; i++) {
        for (size_t p = 0; model[i].chunk != NULL && p < model[i].chunk->pages; p++) {
            if (model[i].state[p] == DIRTY && !rcl_bits_test(model[i].chunk->dirty, p)) {
                assert_true(qualifies(&model[i], p, what));
                model[i].state[p] = CLEAN;
                gone++;
            }
        }
    }
    assert_int_equal(said, gone);
}

static void unmap_empty(size_t keep, bool dirty_too)
{
    size_t bytes = 0, left = runs.empty_chunks;

    /* The highest go first. */
    for (size_t i = runs.nchunks; i-- > 0 && left > keep;) {
        struct rcl_chunk *c = model[i].chunk;
        if (c == NULL || c->free_pages != c->pages || (c->dirty_pages > 0 && !dirty_too))
            continue;
        model[i].chunk = NULL;
        model_gone += model[i].used_up_to;
        bytes += c->pages * rcl_page_size();
        left--;
    }
    assert_int_equal(rcl_runs_unmap_empty(&runs, keep, dirty_too), bytes);
    assert_int_equal(runs.empty_chunks, left);
}

static size_t random_pages(struct unit_random *random)
{
    size_t most = longest_run();

    return 1 + unit_below(random, unit_below(random, 4) == 0 ? most : rcl_min(8, most));
}

static void one_step(struct unit_random *random)
{
    size_t kind = unit_below(random, 20);

    if (n_held < HELD_MAX && (n_held == 0 || kind < 7)) {
        take(random, random_pages(random), kind == 0 ? (size_t)1 << unit_below(random, 5) : 1);
    } else if (kind < 12) {
        give(random, &held[unit_below(random, n_held)], 0);
    } else if (kind < 14) {
        struct held *h = &held[unit_below(random, n_held)];
        size_t more = random_pages(random);
        if (h->run.pages + more <= longest_run())
            extend(random, h, more);
    } else if (kind < 15) {
        struct held *h = &held[unit_below(random, n_held)];
        give(random, h, h->run.pages - 1 - unit_below(random, h->run.pages));
    } else if (kind < 17) {
        age();
    } else if (kind < 19) {
        enum rcl_purge_what what = kind == 17 ? RCL_PURGE_OLD : RCL_PURGE_ANY;
        purge(what, unit_below(random, 3) == 0 ? SIZE_MAX : 1 + unit_below(random, 200));
    } else {
        unmap_empty(unit_below(random, 3), unit_below(random, 2) == 0);
    }
    assert_same();
}

/* --- tests -------------------------------------------------------------------------------- */

TEST(random_operations)
{
    struct unit_random random = unit_random_start();

    start();
    for (int step = 0; step < 4000; step++)
        one_step(&random);
    while (n_held > 0)
        give(&random, &held[n_held - 1], 0);
    assert_same();
    purge(RCL_PURGE_ANY, SIZE_MAX);
    assert_same();
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), 0);
    unmap_empty(0, false);
    assert_same();
    assert_int_equal(rcl_account_read(&rcl_account.mapped_bytes), 0);
}

TEST(runs_of_every_length_and_alignment)
{
    struct unit_random random = unit_random_start();

    start();
    for (size_t pages = 1; pages <= longest_run(); pages += 1 + pages / 4) {
        for (size_t align = 1; align <= longest_run(); align *= 2) {
            take(&random, pages, align);
            give(&random, &held[0], 0);
        }
        assert_same();
    }
    unmap_empty(0, true);
}

TEST(purged_pages_are_not_resident)
{
    struct unit_random random = unit_random_start();
    size_t pages = longest_run(), page = rcl_page_size();

    start();
    take(&random, pages, 1);
    struct rcl_run run = held[0].run;
    char *base = address(run.chunk, run.first);
    memset(base, 1, pages * page);
    memset(held[0].written, 0, sizeof held[0].written); /* our marks are gone, */
    rcl_bits_set_range(held[0].run.dirty, 0, pages);    /* but the pages are not clean */
    assert_int_equal(unit_resident(base, pages * page), pages * page);
    give(&random, &held[0], pages / 2);
    purge(RCL_PURGE_ANY, SIZE_MAX);
    assert_int_equal(unit_resident(base, pages / 2 * page), pages / 2 * page);
    assert_int_equal(unit_resident(base + pages / 2 * page, (pages - pages / 2) * page), 0);
    assert_int_equal(rcl_account_read(&rcl_account.purged_pages), pages - pages / 2);
    give(&random, &held[0], 0);
    unmap_empty(0, true);
}

TEST(unmapped_chunks_leave_the_address_space_and_the_page_map)
{
    struct unit_random random = unit_random_start();

    start();
    take(&random, 1, 1);
    struct rcl_chunk chunk = *held[0].run.chunk;
    size_t bytes = chunk.pages * rcl_page_size();
    rcl_pagemap_set(chunk.base, bytes, RCL_CLASS_FIRST, &chunk);
    rcl_pagemap_clear(chunk.base, bytes);
    give(&random, &held[0], 0);
    unmap_empty(1, true);
    assert_int_not_equal(unit_resident(chunk.base, bytes), SIZE_MAX);
    unmap_empty(0, true);
    assert_int_equal(unit_resident(chunk.base, bytes), SIZE_MAX);
    assert_int_equal(rcl_pagemap_class(chunk.base), RCL_CLASS_NONE);
}

TEST(huge_pages_are_left_to_the_system_where_asked)
{
    char *sample = rcl_os_map(MIB);

    assert_non_null(sample);
    rcl_os_no_hugepage(sample, MIB);
    if (!unit_no_huge_pages(sample))
        skip(); /* not to be seen here */
    for (unsigned thp = RCL_THP_AUTO; thp <= RCL_THP_ALWAYS; thp++) {
        struct rcl_run run;

        start();
        rcl_runs_init(&runs, &demand, thp);
        assert_true(rcl_runs_take(&runs, 1, 1, &run));
        bool none = unit_no_huge_pages(run.chunk->base);
        rcl_runs_give(&runs, run.chunk, run.first, 1, NULL, RCL_AGE_NEW);
        rcl_runs_unmap_empty(&runs, 0, true);
        assert_int_equal(none, thp <= RCL_THP_NEVER);
    }
    assert_int_equal(rcl_os_unmap(sample, MIB), 0);
}

TEST(the_table_of_chunks_grows)
{
    enum { CHUNKS = 600, RUNS = CHUNKS * 8 };
    static struct rcl_run run[RUNS];
    size_t pages = rcl_min(longest_run(), RCL_CHUNK_BYTES / rcl_page_size()), n = 0;

    start();
    for (; n < RUNS && runs.nchunks < CHUNKS; n++)
        assert_true(rcl_runs_take(&runs, pages, 1, &run[n]));
    assert_int_equal(runs.nchunks, CHUNKS);
    assert_true(runs.capacity >= CHUNKS);
    /* All different, and none forgotten when the table moved. */
    for (size_t i = 0; i < n; i++) {
        uint64_t mark = i;
        assert_ptr_equal(runs.chunk[run[i].chunk->index], run[i].chunk);
        memcpy(address(run[i].chunk, run[i].first), &mark, 8);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t mark = i;
        assert_memory_equal(address(run[i].chunk, run[i].first), &mark, 8);
        rcl_runs_give(&runs, run[i].chunk, run[i].first, pages, NULL, RCL_AGE_NEW);
    }
    /* A run is still found where there is one. */
    assert_true(rcl_runs_take(&runs, pages, 1, &run[0]));
    assert_int_equal(run[0].chunk->index, 0);
    rcl_runs_give(&runs, run[0].chunk, run[0].first, pages, NULL, RCL_AGE_NEW);
    rcl_runs_unmap_empty(&runs, 0, true);
    assert_int_equal(rcl_account_read(&rcl_account.mapped_bytes), 0);
}

/* --- refused and out of memory ------------------------------------------------------------ */

static void refuse_one_page(void *arg)
{
    struct unit_random random = unit_random_start();
    size_t page = rcl_page_size();
    (void)arg;

    unit_old_kernel();
    start();
    take(&random, 8, 1);
    struct rcl_run run = held[0].run;
    char *base = address(run.chunk, run.first);
    for (size_t i = 0; i < 8; i++)
        write_page(&held[0], i);
    if (!unit_lock(base + 3 * page, page))
        _exit(UNIT_CHILD_SKIPS);
    give(&random, &held[0], 0);
    /* All but that one, which is free, dirty, and left aside. */
    REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_ANY, SIZE_MAX) == 7);
    REQUIRE(unit_zero(base, 3 * page) && unit_zero(base + 4 * page, 4 * page));
    REQUIRE(run.chunk->dirty_pages == 1 && rcl_bits_test(run.chunk->dirty, run.first + 3));
    REQUIRE(rcl_account_get(&rcl_account.dirty_pages) == 1);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == 1);
    uint64_t calls = rcl_account_read(&rcl_account.purge_calls);
    REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_ANY, SIZE_MAX) == 0);
    REQUIRE(rcl_account_read(&rcl_account.purge_calls) == calls);
    REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_ALL, SIZE_MAX) == 0);
    REQUIRE(rcl_account_read(&rcl_account.purge_calls) == calls + 1);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == 1);
    /* Used again it is one like any other. */
    struct rcl_run again;
    REQUIRE(rcl_runs_take(&runs, 8, 1, &again) && again.first == run.first);
    REQUIRE(again.dirty_pages == 1 && again.dirty[0] == 8);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == 0);
    rcl_runs_give(&runs, again.chunk, again.first, 8, again.dirty, RCL_AGE_NEW);
    REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_ANY, SIZE_MAX) == 0);
    REQUIRE(syscall(SYS_munlock, base, 8 * page) == 0);
    REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_ANY, SIZE_MAX) == 0);
    REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_ALL, SIZE_MAX) == 1);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == 0);
    REQUIRE(unit_zero(base, 8 * page));
}

TEST(a_page_that_is_refused_is_in_the_way_of_no_other)
{
    unit_child_passes(refuse_one_page, NULL);
}

static void refuse_a_chunk(void *arg)
{
    struct rcl_run run;
    (void)arg;

    unit_old_kernel();
    start();
    REQUIRE(rcl_runs_take(&runs, 8, 1, &run));
    char *base = address(run.chunk, run.first);
    if (!unit_lock(base, 8 * rcl_page_size()))
        _exit(UNIT_CHILD_SKIPS);
    rcl_runs_give(&runs, run.chunk, run.first, 8, NULL, RCL_AGE_NEW);
    rcl_account_add(&rcl_account.dirty_pages, 8);
    REQUIRE(rcl_runs_unmap_empty(&runs, 1, false) == 0);
    REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_ANY, SIZE_MAX) == 0);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == 8);
    /* Even the one that would be kept. */
    REQUIRE(rcl_runs_unmap_empty(&runs, 1, false) > 0);
    REQUIRE(unit_resident(base, rcl_page_size()) == SIZE_MAX);
    REQUIRE(rcl_account_get(&rcl_account.refused_pages) == 0);
    REQUIRE(rcl_account_get(&rcl_account.dirty_pages) == 0);
}

TEST(a_chunk_with_refused_pages_is_unmapped)
{
    unit_child_passes(refuse_a_chunk, NULL);
}

static void use_populated_chunk(void *arg)
{
    enum { RUNS_MCL_FUTURE = 2 };
    struct rcl_run run, again;
    bool step_by_step = arg != NULL;

    start();
    if (!unit_can_return_locked() || syscall(SYS_mlockall, RUNS_MCL_FUTURE) != 0 ||
        !rcl_runs_take(&runs, 5, 1, &run))
        _exit(UNIT_CHILD_SKIPS);
    /* New to the program: no demand arises. */
    REQUIRE(run.dirty_pages == 0 && run.new_pages == 5 && run.chunk->populated > 0);
    size_t others = run.chunk->pages - 5;
    REQUIRE(rcl_account_get(&rcl_account.dirty_pages) == 0);
    if (step_by_step) {
        for (unsigned i = 1; i < RCL_DECAY_STEPS; i++) {
            rcl_runs_age(&runs);
            REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_OLD, SIZE_MAX) == 0);
        }
        rcl_runs_age(&runs);
        REQUIRE(rcl_account_get(&rcl_account.dirty_pages) == (int64_t)others);
        /* The program has never had them, but they are resident. */
        REQUIRE(rcl_runs_take(&runs, 3, 1, &again));
        REQUIRE(again.dirty_pages == 3 && again.new_pages == 0);
        rcl_runs_give(&runs, again.chunk, again.first, 3, NULL, RCL_AGE_OLD);
        REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_OLD, SIZE_MAX) == others);
    } else {
        REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_ALL, SIZE_MAX) == others);
    }
    REQUIRE(rcl_account_get(&rcl_account.dirty_pages) == 0);
    size_t bytes = run.chunk->pages * rcl_page_size();
    REQUIRE(unit_resident(run.chunk->base, bytes) == 5 * rcl_page_size());
    rcl_runs_give(&runs, run.chunk, run.first, 5, NULL, RCL_AGE_NEW);
    REQUIRE(rcl_runs_purge(&runs, RCL_PURGE_ANY, SIZE_MAX) == 5);
    REQUIRE(unit_resident(run.chunk->base, bytes) == 0);
}

TEST(what_the_kernel_populates_goes_when_it_is_not_used)
{
    unit_child_passes(use_populated_chunk, NULL);
    unit_child_passes(use_populated_chunk, &runs);
}

static void use_all_memory(void *arg)
{
    enum { RUNS = 4096 };
    static struct rcl_run run[RUNS];
    size_t page = rcl_page_size(), some = 24 * page, n = 0;

    (void)arg;
    /* Metadata, the table and the page map are there; a small chunk is what is left. */
    REQUIRE(rcl_runs_take(&runs, 1, 1, &run[0]));
    for (int i = 0; i < 64; i++)
        rcl_meta_free(rcl_meta_alloc(RCL_META_MAX), RCL_META_MAX);
    size_t before = run[0].chunk->pages;
    unit_cover_holes();
    unit_limit_memory(some);
    REQUIRE(!rcl_runs_take(&runs, RCL_RUN_PAGES_MAX, 1, &run[1]) || longest_run() < 25);
    while (n + 1 < RUNS && rcl_runs_take(&runs, 1, 1, &run[n + 1]))
        n++;
    /* The first chunk, and at least half of what was left. */
    REQUIRE(n + 1 >= before + 12);
    for (size_t i = 0; i <= n; i++)
        memcpy(address(run[i].chunk, run[i].first), &i, sizeof i);
    for (size_t i = 0; i <= n; i++) {
        REQUIRE(memcmp(address(run[i].chunk, run[i].first), &i, sizeof i) == 0);
        rcl_runs_give(&runs, run[i].chunk, run[i].first, 1, NULL, RCL_AGE_NEW);
    }
    REQUIRE(rcl_runs_take(&runs, 2, 1, &run[0]));
    unit_unlimit_memory();
    REQUIRE(rcl_runs_take(&runs, longest_run(), 1, &run[1]));
}

TEST(out_of_memory_is_false_and_little_memory_is_used)
{
    start();
    unit_child_passes(use_all_memory, NULL);
}

/* --- threads ------------------------------------------------------------------------------ */

enum { THREADS = 4, ROUNDS = 3000, OWN = 12 };

struct own {
    struct rcl_run run;
    uint64_t mark;
};

static void drop(struct own *o)
{
    char *p = address(o->run.chunk, o->run.first);

    for (size_t i = 0; i < o->run.pages; i++, p += rcl_page_size())
        REQUIRE(memcmp(p, &o->mark, 8) == 0);
    rcl_runs_give(&runs, o->run.chunk, o->run.first, o->run.pages, NULL, RCL_AGE_NEW);
    o->run.pages = 0;
}

static void *work(void *arg)
{
    struct own own[OWN] = {{.mark = 0}};
    struct unit_random random = {(uintptr_t)arg};

    for (int i = 0; i < ROUNDS; i++) {
        struct own *o = &own[unit_below(&random, OWN)];
        if (o->run.pages != 0) {
            drop(o);
        } else {
            REQUIRE(rcl_runs_take(&runs, random_pages(&random), 1, &o->run));
            o->mark = unit_next(&random);
            char *p = address(o->run.chunk, o->run.first);
            for (size_t k = 0; k < o->run.pages; k++, p += rcl_page_size()) {
                if (!rcl_bits_test(o->run.dirty, k))
                    REQUIRE(unit_zero(p, rcl_page_size()));
                memcpy(p, &o->mark, 8);
            }
        }
        if (i % 16 == 0)
            rcl_runs_purge(&runs, RCL_PURGE_ANY, 100);
        if (i % 256 == 0)
            rcl_runs_unmap_empty(&runs, 0, i % 512 == 0);
    }
    for (size_t i = 0; i < OWN; i++)
        if (own[i].run.pages != 0)
            drop(&own[i]);
    return NULL;
}

TEST(several_threads)
{
    char args[THREADS];

    start();
    unit_threads(THREADS, work, args, 1);
    rcl_runs_purge(&runs, RCL_PURGE_ANY, SIZE_MAX);
    for (size_t i = 0; i < runs.nchunks; i++) {
        struct rcl_chunk *c = runs.chunk[i];
        if (c != NULL) {
            assert_int_equal(c->free_pages, c->pages);
            assert_int_equal(c->dirty_pages, 0);
        }
    }
    assert_true(rcl_list_empty(&runs.dirty_list));
    rcl_runs_unmap_empty(&runs, 0, false);
    assert_int_equal(rcl_account_read(&rcl_account.mapped_bytes), 0);
    assert_int_equal(runs.empty_chunks, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(runs_of_every_length_and_alignment),
        cmocka_unit_test(purged_pages_are_not_resident),
        cmocka_unit_test(unmapped_chunks_leave_the_address_space_and_the_page_map),
        cmocka_unit_test(huge_pages_are_left_to_the_system_where_asked),
        cmocka_unit_test(the_table_of_chunks_grows),
        cmocka_unit_test(a_page_that_is_refused_is_in_the_way_of_no_other),
        cmocka_unit_test(a_chunk_with_refused_pages_is_unmapped),
        cmocka_unit_test(what_the_kernel_populates_goes_when_it_is_not_used),
        cmocka_unit_test(out_of_memory_is_false_and_little_memory_is_used),
        cmocka_unit_test(several_threads),
    };

    rcl_os_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
