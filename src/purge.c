/* SPDX-License-Identifier: MIT */
/* purge.c - see purge.h. */
#include "purge.h"

#include "arena.h"
#include "decay.h"
#include "huge.h"
#include "meta.h"
#include "options.h"
#include "xcache.h"

enum {
    /*
     * Work per free: so many pages as take EXCESS_NS, with what else it did, at the pace of late
     * (0.2 us a page in long ranges, 0.5 to 1.5 us one by one), within limits.  A flush frees at
     * most 320 KiB, 80 pages; a cache that is made smaller 256 KiB; a large block 256 pages.
     */
    EXCESS_NS = 80000,
    EXCESS_PAGES_MIN = 64,
    EXCESS_PAGES_MAX = 256,
    EXCESS_SHARE = 4,      /* and a quarter of what there is, if a program frees faster than that */
    EXCESS_SLICE = 64,     /* pages of slabs from one look at the clock to the next */
    PACE_SHARE = 4,        /* each call counts for a quarter in the pace */
    CEILING_SLACK = 8,     /* go below the ceiling by 1/8, so as not to come back for each page */
    CACHE_SHARE = 2,       /* caches may pin half of the ceiling, an equal part each, */
    CACHE_PAGES_MIN = 16,  /* and so many pages each, or bytes, whatever that is; */
    REST_PAGES_MIN = 8,    /* those that rest, half as many */
    KEEP_EMPTY_CHUNKS = 1, /* per arena: address space for the next burst */
};
#define CACHE_BYTES_BESIDE (512 * KIB) /* of what each cache but the first pins, see below */
#define CACHE_BYTES_MIN (256 * KIB)
#define REST_BYTES_MIN (32 * KIB)
#define META_KEEP_BYTES (256 * KIB) /* empty descriptors, until they have decayed */
#define CACHE_STEP_NS 250000000u    /* for caches alone, where pages go back at once */
#define LOOK_NS 2000000u            /* who rests so long may lose it; 4 ms by a coarse clock */

/* --- one round over everything ------------------------------------------------------------ */

/* Bins of one arena, beginning where the last round ended. */
static size_t purge_bins(struct rcl_arena *a, enum rcl_purge_what what, size_t budget)
{
    size_t spent = 0;
    unsigned first = __atomic_load_n(&a->next_purge, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < RCL_SMALL_LAST && spent < budget; i++) {
        unsigned cls = RCL_CLASS_FIRST + (first + i) % RCL_SMALL_LAST;
        if (!rcl_bin_has_work(&a->bin[cls], what))
            continue;
        spent += rcl_bin_purge(&a->bin[cls], what, budget - spent);
        __atomic_store_n(&a->next_purge, (first + i) % RCL_SMALL_LAST, __ATOMIC_RELAXED);
    }
    return spent;
}

/* Free runs and kept mappings. */
static size_t purge_runs(enum rcl_purge_what what, size_t budget)
{
    size_t spent = rcl_huge_purge(what, budget);
    for (unsigned i = 0; i < rcl_arena_count() && spent < budget; i++)
        spent += rcl_runs_purge(&rcl_arena_get(i)->runs, what, budget - spent);
    return spent;
}

static size_t purge_slabs(enum rcl_purge_what what, size_t budget)
{
    size_t spent = 0;
    for (unsigned i = 0; i < rcl_arena_count() && spent < budget; i++)
        spent += purge_bins(rcl_arena_get(i), what, budget - spent);
    return spent;
}

static size_t unmap_empty(size_t keep, bool dirty_too)
{
    size_t bytes = 0;
    if (rcl_opt.retain)
        return 0;
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        bytes += rcl_runs_unmap_empty(&rcl_arena_get(i)->runs, keep, dirty_too);
    return bytes;
}

/* --- amount ------------------------------------------------------------------------------- */

static uint32_t pace; /* ns for a page; threads may overwrite each other's */

/* Pages that a free returns in any case, of so many that are too much; nobody frees faster. */
static size_t excess_least(size_t over)
{
    return rcl_min(rcl_min(rcl_max(EXCESS_PAGES_MIN, over / EXCESS_SHARE), EXCESS_PAGES_MAX), over);
}

/* And that one may which has taken so long. */
static size_t excess_most(size_t over, uint64_t spent_ns)
{
    size_t each = rcl_max(__atomic_load_n(&pace, __ATOMIC_RELAXED), 1);
    size_t most = spent_ns < EXCESS_NS ? (EXCESS_NS - spent_ns) / each : 0;
    return rcl_min(rcl_min(most, EXCESS_PAGES_MAX), over);
}

static void note_pace(uint64_t ns, size_t pages)
{
    uint32_t old = __atomic_load_n(&pace, __ATOMIC_RELAXED), now = (uint32_t)(ns / pages);
    __atomic_store_n(&pace, old - old / PACE_SHARE + now / PACE_SHARE, __ATOMIC_RELAXED);
}

static size_t purge_any(size_t budget)
{
    size_t spent = purge_runs(RCL_PURGE_ANY, budget);
    return spent < budget ? spent + purge_slabs(RCL_PURGE_ANY, budget - spent) : spent;
}

/* Return pages until at most `target` are dirty, or as many as a free that began then may. */
static void purge_down_to(int64_t target, uint64_t began)
{
    int64_t over = rcl_purge_dirty() - target;
    if (over <= 0)
        return;
    uint64_t start = rcl_os_now_ns(), now;
    size_t least = excess_least((size_t)over);
    size_t most = rcl_max(excess_most((size_t)over, start - began), least), some;
    /* Runs first: long ranges are the cheapest to return, and to do without. */
    size_t pages = purge_runs(RCL_PURGE_ANY, most);
    do {
        /* The pace is that of late: the next pages may take longer. */
        now = rcl_os_now_ns();
        size_t left = now - began < EXCESS_NS ? most : least;
        left -= rcl_min(left, pages);
        some = left == 0 ? 0 : purge_slabs(RCL_PURGE_ANY, rcl_min(left, EXCESS_SLICE));
        pages += some;
    } while (some != 0);
    if (pages != 0)
        note_pace(now - start, pages);
}

/*
 * With many threads the caches alone could use up the ceiling.  What they pin beside it is never
 * more than a quarter of it again, 5 MiB by default (6.25 with regret), where 8 are promised, or
 * what they have shown that they take back.
 */
static size_t pinned_beside(size_t ceiling)
{
    int64_t caches = rcl_account_get(&rcl_account.caches), pinned = rcl_purge_pinned();
    size_t shown = (size_t)rcl_account_get(&rcl_account.cache_shown) >> rcl_page_shift();
    if (caches <= 1 || pinned <= 0)
        return 0;
    size_t more = (size_t)(caches - 1) * (CACHE_BYTES_BESIDE >> rcl_page_shift());
    return rcl_min((size_t)pinned, rcl_max(shown, rcl_min(more, ceiling / 4)));
}

static void shrink_own_cache(struct rcl_tls *self, size_t part)
{
    struct rcl_tcache *own = rcl_thread_own_cache(self), *tc = own;
    if (rcl_thread_is_guest(self))
        tc = rcl_xcache_begin(rcl_xcache_of_guest(self));
    if (tc == NULL)
        return;
    rcl_tcache_measure(tc);
    if (rcl_tcache_pages(tc) > part)
        rcl_tcache_shrink(tc, SIZE_MAX, part - part / 4);
    if (tc != own)
        rcl_xcache_end(tc->number - 1);
}

/* True, for one caller: the time has come, and comes again after `step_ns`. */
static bool due(uint64_t *at, uint64_t step_ns)
{
    uint64_t now = rcl_os_coarse_ns(), then = __atomic_load_n(at, __ATOMIC_RELAXED);
    return now >= then && __atomic_compare_exchange_n(at, &then, now + step_ns, false,
                                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static size_t part_of_share(size_t each, size_t pages_min, size_t bytes_min)
{
    return rcl_max(rcl_max(each, pages_min), bytes_min >> rcl_page_shift());
}

/*
 * Caches pin more than `share` pages: make the caller's smaller if it has more than its part.  And
 * if that is not enough, empty those of threads that rest: they have been filled when more was
 * allowed, and cannot give back themselves.
 */
static void relieve_caches(struct rcl_tls *self, size_t share)
{
    static uint64_t next_look;
    int64_t caches = rcl_account_get(&rcl_account.caches), uncounted = rcl_purge_uncounted();
    if (rcl_purge_pinned() + uncounted <= (int64_t)share)
        return;
    size_t each = share / (size_t)(caches > 0 ? caches : 1);
    if (rcl_purge_pinned() > (int64_t)share)
        shrink_own_cache(self, part_of_share(each, CACHE_PAGES_MIN, CACHE_BYTES_MIN));
    if (caches > 1 && rcl_purge_pinned() + uncounted > (int64_t)share && due(&next_look, LOOK_NS))
        rcl_threads_drain_resting(caches <= RCL_TCACHES_FEW
                                      ? part_of_share(each, CACHE_PAGES_MIN, CACHE_BYTES_MIN)
                                      : part_of_share(each, REST_PAGES_MIN, REST_BYTES_MIN));
}

static void count_run(void)
{
    rcl_account_count(&rcl_account.purge_runs, 1);
}

/* Arenas that keep nothing, in a process that does. */
static RCL_COLD void purge_at_once(void)
{
    for (unsigned i = 0; i < rcl_arena_count(); i++) {
        struct rcl_arena *a = rcl_arena_get(i);
        if (rcl_arena_decay_ms(a) == 0 && rcl_demand_decay_ms() != 0)
            rcl_purge_arena(a, false);
    }
}

static RCL_COLD void purge_excess(struct rcl_tls *self, size_t ceiling)
{
    uint64_t began = rcl_os_now_ns();
    size_t beside = pinned_beside(ceiling);
    relieve_caches(self, ceiling / CACHE_SHARE + beside);
    int64_t dirty = rcl_purge_dirty(), slack = (int64_t)(ceiling / CEILING_SLACK);
    int64_t room = (int64_t)(ceiling + beside) - rcl_purge_pinned() - rcl_purge_uncounted() -
                   rcl_purge_described();
    if (beside != 0) { /* caches do not take the place of what is wanted again */
        int64_t demand = rcl_account_get(&rcl_account.demand_pages);
        room = room > demand ? room : demand;
    }
    if (dirty <= room || dirty < slack)
        return;
    count_run();
    purge_down_to(room > slack ? room - slack : 0, began);
    unmap_empty(KEEP_EMPTY_CHUNKS, false);
    rcl_meta_purge(META_KEEP_BYTES);
}

/*
 * An arena withdraws old demand, regret and growth when it is told of pages, and in the helper's
 * steps.  One that nobody uses any more must not move the ceiling for others while no helper runs.
 */
static RCL_COLD void withdraw_old_demand(void)
{
    static uint64_t next_tick;
    if (!due(&next_tick, rcl_purge_step_ns()))
        return;
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        rcl_demand_tick(&rcl_arena_get(i)->demand);
    rcl_huge_tick();
}

void rcl_purge_excess(struct rcl_tls *self)
{
    int64_t held = rcl_purge_dirty() + rcl_purge_pinned() + rcl_purge_described();
    if (unlikely(held << rcl_page_shift() > (int64_t)rcl_opt.dirty_min) &&
        (rcl_account_get(&rcl_account.demand_pages) | rcl_account_get(&rcl_account.regret_pages) |
         rcl_account_get(&rcl_account.grown_pages)) != 0)
        withdraw_old_demand();
    size_t ceiling = rcl_demand_ceiling();
    if (unlikely(held + rcl_purge_uncounted() > (int64_t)ceiling))
        purge_excess(self, ceiling);
    if (unlikely(rcl_arena_own_decay()))
        purge_at_once();
}

void rcl_purge_before_fork(struct rcl_tls *self)
{
    int64_t least = (int64_t)(RCL_PURGE_WORTH_BYTES >> rcl_page_shift());
    if (rcl_demand_decay_ms() < 0)
        return;
    if (rcl_purge_dirty() + rcl_purge_pinned_most() <= least)
        return;
    count_run();
    /* In a handler that interrupted a hit, that hit will go on with the cache as it is. */
    rcl_threads_drain(self->busy ? NULL : self, RCL_DRAIN_ALL);
    rcl_xcaches_drain(true);
    purge_any(SIZE_MAX);
    unmap_empty(KEEP_EMPTY_CHUNKS, false);
    rcl_meta_purge(0);
}

/* --- time --------------------------------------------------------------------------------- */

static uint64_t step_of(int64_t ms)
{
    return ms <= 0 ? 0 : rcl_decay_ns(ms) / RCL_DECAY_STEPS;
}

/*
 * That of the process.  Where pages go back at once none is left to decay; but threads that sleep
 * have their caches all the same.
 */
static uint64_t process_step(void)
{
    int64_t ms = rcl_demand_decay_ms();
    return unlikely(ms == 0) ? CACHE_STEP_NS : step_of(ms);
}

/* The shortest there is. */
static RCL_COLD uint64_t shortest_step(void)
{
    uint64_t shortest = process_step();
    for (unsigned i = 0; i < rcl_arena_count(); i++) {
        uint64_t step = step_of(rcl_arena_decay_ms(rcl_arena_get(i)));
        if (step != 0 && (shortest == 0 || step < shortest))
            shortest = step;
    }
    return shortest;
}

uint64_t rcl_purge_step_ns(void)
{
    return unlikely(rcl_arena_own_decay()) ? shortest_step() : process_step();
}

/* Whether, `step_ns` after the last time, one of those with steps of `own_ns` is over. */
static bool step_over(uint64_t *waited_ns, uint64_t step_ns, uint64_t own_ns)
{
    *waited_ns += step_ns;
    if (own_ns == 0 || *waited_ns + step_ns / 2 < own_ns)
        return false;
    *waited_ns = 0;
    return true;
}

static void age_arena(struct rcl_arena *a)
{
    rcl_runs_age(&a->runs);
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        if (rcl_bin_has_work(&a->bin[cls], RCL_PURGE_OLD))
            rcl_bin_age(&a->bin[cls]);
    rcl_demand_tick(&a->demand);
}

/* Arenas with windows of their own; caches go by those of the arenas that they belong to. */
static RCL_COLD void step_by_own_windows(struct rcl_tls *self, uint64_t step, bool process)
{
    for (unsigned i = 0; i < rcl_arena_count(); i++) {
        struct rcl_arena *a = rcl_arena_get(i);
        uint64_t own = step_of(rcl_arena_decay_ms(a));
        bool over = own != 0 && step_over(&a->unaged_ns, step, own);
        if (over)
            age_arena(a);
        if (over || (own == 0 && process))
            rcl_threads_drain_of(self, RCL_DRAIN_IDLE, a);
    }
}

void rcl_purge_step(struct rcl_tls *self)
{
    static uint64_t process_unaged_ns; /* the helper's alone, or under test */
    count_run();
    if (unlikely(rcl_arena_own_decay())) {
        uint64_t step = shortest_step();
        bool process = step_over(&process_unaged_ns, step, process_step());
        step_by_own_windows(self, step, process);
        if (!process)
            return;
        rcl_huge_age();
    } else {
        for (unsigned i = 0; i < rcl_arena_count(); i++)
            age_arena(rcl_arena_get(i));
        rcl_huge_age();
        /* After the ageing: what an idle cache held has been idle for a window already. */
        rcl_threads_drain(self, RCL_DRAIN_IDLE);
    }
    rcl_xcaches_drain(false);
}

size_t rcl_purge_old(size_t budget)
{
    size_t spent = purge_slabs(RCL_PURGE_OLD, budget);
    if (spent < budget)
        spent += purge_runs(RCL_PURGE_OLD, budget - spent);
    if (spent < budget) {
        unmap_empty(KEEP_EMPTY_CHUNKS, false);
        rcl_meta_purge(0);
    }
    return spent;
}

/* --- request ------------------------------------------------------------------------------ */

void rcl_purge_arena(struct rcl_arena *a, bool old)
{
    enum rcl_purge_what what = old ? RCL_PURGE_OLD : RCL_PURGE_ALL;
    if (purge_bins(a, what, SIZE_MAX) + rcl_runs_purge(&a->runs, what, SIZE_MAX) != 0)
        count_run(); /* not each look at an arena that keeps nothing, see purge_at_once() */
    if (!rcl_opt.retain)
        rcl_runs_unmap_empty(&a->runs, old ? KEEP_EMPTY_CHUNKS : 0, false);
}

/* --- all of it ------------------------------------------------------------------------------ */

bool rcl_purge_may_help(size_t bytes)
{
    int64_t used = rcl_account_get(&rcl_account.used_pages) << rcl_page_shift();
    int64_t held = (int64_t)rcl_account_read(&rcl_account.mapped_bytes) - used +
                   rcl_account_get(&rcl_account.cache_bytes);
    if (held >= (int64_t)bytes)
        return true;
    /* With all of it gone, that much more would be needed: is it there? */
    size_t rest = rcl_align_up(bytes - (size_t)(held > 0 ? held : 0), rcl_page_size());
    void *p = rcl_os_map(rest);
    if (p == NULL)
        return false;
    rcl_os_unmap(p, rest);
    return true;
}

size_t rcl_purge_all(struct rcl_tls *self)
{
    uint64_t before = rcl_account_read(&rcl_account.purged_pages);
    count_run();
    rcl_threads_drain(self, RCL_DRAIN_ALL);
    rcl_xcaches_drain(true);
    purge_slabs(RCL_PURGE_ALL, SIZE_MAX);
    purge_runs(RCL_PURGE_ALL, SIZE_MAX);
    unmap_empty(0, true);
    return rcl_meta_purge(0) +
           ((rcl_account_read(&rcl_account.purged_pages) - before) << rcl_page_shift());
}
