/* SPDX-License-Identifier: MIT */
/* thread.c - see thread.h. */
#include "thread.h"

#include "account.h"
#include "die.h"
#include "lock.h"
#include "os.h"
#include "prof_rate.h"

#include <pthread.h>

#define PARKED_BYTES_MAX (512 * KIB) /* what one of them may hold */

enum {
    PARKED_MAX = 4,    /* caches that wait for a new thread */
    IDLE_STEPS = 2,    /* decay steps without a change that make a cache idle */
    COUNT_ROUNDS = 50, /* attempts to reach every cache when counting begins or ends */
};

__thread struct rcl_tls rcl_tls __attribute__((tls_model("initial-exec"))) = {
    /* Never written through: every store is behind a test that the empty cache fails. */
    .alloc = (struct rcl_tcache *)&rcl_tcache_none,
    .cache = (struct rcl_tcache *)&rcl_tcache_none,
    .hidden = (struct rcl_tcache *)&rcl_tcache_none,
};

uint32_t rcl_thread_mode;

static struct {
    struct rcl_lock lock; /* the lists, and every rcl_tls.cache */
    struct rcl_list caches;
    struct rcl_list parked; /* of threads that have ended; the newest first */
    unsigned n_parked;
    uint32_t generation; /* forks this process has come through */
    uint32_t shards;     /* of the gate, given out in turn; relaxed */
    bool key_made;       /* by the second stage of the boot; atomic */
    pthread_key_t key;
    void (*after_end)(void);
    void (*late)(void);    /* the second stage */
    struct rcl_tls *first; /* that allocated before it: no other thread, for all that is known */
} threads = {
    .caches = {&threads.caches, &threads.caches},
    .parked = {&threads.parked, &threads.parked},
};

/* Where the thread's cache is. */
static struct rcl_tcache **cache_word(struct rcl_tls *self)
{
    return unlikely(self->tallies) ? &self->hidden : &self->cache;
}

static struct rcl_tcache *get_cache(const struct rcl_tls *self)
{
    return __atomic_load_n(cache_word((struct rcl_tls *)self), __ATOMIC_RELAXED);
}

static void set_cache(struct rcl_tls *self, const struct rcl_tcache *tc)
{
    struct rcl_tcache **word = cache_word(self);
    if (word == &self->cache) {
        const struct rcl_tcache *alloc = rcl_counted_on(&tc->counted) ? &rcl_tcache_none : tc;
        __atomic_store_n(&self->alloc, (struct rcl_tcache *)alloc, __ATOMIC_RELEASE);
    }
    __atomic_store_n(word, (struct rcl_tcache *)tc, __ATOMIC_RELEASE);
}

/* --- counting ----------------------------------------------------------------------------- */

static int lg_of(uint32_t mode)
{
    return (int)(mode & 0xff) - 1;
}

/* The cache has been decided about under another mode.  The owner is inside the gate. */
static RCL_COLD void follow(struct rcl_tls *self, struct rcl_tcache *tc, uint32_t mode)
{
    rcl_lock(&threads.lock);
    rcl_counted_start(&tc->counted, lg_of(mode));
    tc->mode = mode;
    set_cache(self, tc);
    rcl_unlock(&threads.lock);
}

uint64_t *rcl_thread_random(struct rcl_tls *self)
{
    while (unlikely(self->random == 0)) {
        uint64_t seed = rcl_os_now_ns() ^ (uint64_t)rcl_os_tid() << 32 ^ (uintptr_t)self;
        self->random = rcl_prof_random(&seed);
    }
    return &self->random;
}

bool rcl_thread_due(struct rcl_tls *self, size_t bytes)
{
    uint32_t mode = __atomic_load_n(&rcl_thread_mode, __ATOMIC_RELAXED);
    if (lg_of(mode) < 0)
        return false;
    if (self->distance_mode != mode) {
        self->distance = rcl_prof_distance(rcl_thread_random(self), (unsigned)lg_of(mode));
        self->distance_mode = mode;
    }
    if (self->distance >= bytes) {
        self->distance -= bytes;
        return false;
    }
    self->distance = rcl_prof_distance(rcl_thread_random(self), (unsigned)lg_of(mode));
    return true;
}

/* --- the thread's own cache --------------------------------------------------------------- */

/* Its thread does not exist in this process, and its rcl_tls may be another's by now. */
static bool is_gone(const struct rcl_tcache *tc)
{
    return tc->generation != threads.generation;
}

/*
 * A thread has ended whose cache is small and like any other: the next thread may go on with it,
 * which saves the one its flush and the other all its first misses.  Nobody uses it meanwhile, so
 * that it is idle like the cache of a thread that sleeps.
 */
static void park(struct rcl_tls *self)
{
    rcl_lock(&threads.lock);
    struct rcl_tcache *tc = get_cache(self);
    if (tc != &rcl_tcache_none)
        rcl_tcache_measure(tc);
    if (tc != &rcl_tcache_none && self->bound == NULL && !self->tallies &&
        !rcl_counted_on(&tc->counted) && tc->bytes <= PARKED_BYTES_MAX &&
        threads.n_parked < PARKED_MAX) {
        set_cache(self, &rcl_tcache_none);
        tc->owner = NULL;
        tc->idle_steps = 0;
        rcl_list_remove(&tc->link);
        rcl_list_push_front(&threads.parked, &tc->link);
        threads.n_parked++;
    }
    rcl_unlock(&threads.lock);
}

/* The lock is held.  NULL: there is none. */
static struct rcl_tcache *unpark(void)
{
    struct rcl_list *n = threads.parked.next;
    if (n == &threads.parked || is_gone(container_of(n, struct rcl_tcache, link)))
        return NULL;
    rcl_list_remove(n);
    threads.n_parked--;
    return container_of(n, struct rcl_tcache, link);
}

static bool adopt_cache(struct rcl_tls *self)
{
    if (self->bound != NULL || self->tallies)
        return false;
    rcl_lock(&threads.lock);
    struct rcl_tcache *tc = get_cache(self) == &rcl_tcache_none ? unpark() : NULL;
    if (tc != NULL) {
        tc->owner = self;
        rcl_list_push_back(&threads.caches, &tc->link);
        set_cache(self, tc);
        self->arena = tc->arena;
    }
    rcl_unlock(&threads.lock);
    return tc != NULL;
}

static struct rcl_tcache *make_cache(struct rcl_tls *self)
{
    if (adopt_cache(self))
        return get_cache(self);
    struct rcl_tcache *tc;
    struct rcl_tcache *fresh = self->bound != NULL ? rcl_tcache_new_for(self->bound)
                                                   : rcl_tcache_new(self->arena);
    rcl_lock(&threads.lock);
    tc = get_cache(self); /* the taker may have put it back */
    if (tc == &rcl_tcache_none && fresh != NULL) {
        fresh->owner = self;
        fresh->generation = threads.generation;
        rcl_list_push_back(&threads.caches, &fresh->link);
        set_cache(self, fresh);
        self->arena = fresh->arena;
        tc = fresh;
        fresh = NULL;
    }
    rcl_unlock(&threads.lock);
    if (fresh != NULL)
        rcl_tcache_delete(fresh, RCL_AGE_NEW);
    return tc;
}

struct rcl_tcache *rcl_thread_cache(struct rcl_tls *self)
{
    struct rcl_tcache *tc = get_cache(self);
    if (unlikely(tc == &rcl_tcache_none)) {
        if (self->ended || self->no_cache)
            return tc;
        tc = make_cache(self);
        if (tc == &rcl_tcache_none)
            return tc;
    }
    uint32_t mode = __atomic_load_n(&rcl_thread_mode, __ATOMIC_RELAXED);
    if (unlikely(tc->mode != mode))
        follow(self, tc, mode);
    return tc;
}

void rcl_thread_drop_cache(struct rcl_tls *self)
{
    rcl_lock(&threads.lock);
    struct rcl_tcache *tc = get_cache(self);
    set_cache(self, &rcl_tcache_none);
    if (tc != &rcl_tcache_none)
        rcl_list_remove(&tc->link);
    rcl_unlock(&threads.lock);
    if (tc != &rcl_tcache_none)
        rcl_tcache_delete(tc, RCL_AGE_NEW);
}

void rcl_threads_drop_parked(void)
{
    for (;;) {
        rcl_lock(&threads.lock);
        struct rcl_tcache *tc = unpark();
        rcl_unlock(&threads.lock);
        if (tc == NULL)
            return;
        rcl_tcache_delete(tc, RCL_AGE_NEW);
    }
}

void rcl_thread_let_go(struct rcl_tls *self)
{
    rcl_thread_end(self);
    self->no_cache = true;
    rcl_lock(&threads.lock);
    struct rcl_tcache *tc = get_cache(self);
    set_cache(self, &rcl_tcache_none);
    if (tc != &rcl_tcache_none)
        rcl_list_remove(&tc->link);
    rcl_unlock(&threads.lock);
    if (self->gate.inside > 0)
        rcl_gate_leave(&self->gate);
}

void rcl_thread_bind(struct rcl_tls *self, struct rcl_arena *a)
{
    rcl_thread_drop_cache(self);
    if (a != NULL)
        __atomic_fetch_add(&a->bound, 1, __ATOMIC_RELAXED);
    if (self->bound != NULL)
        __atomic_fetch_sub(&self->bound->bound, 1, __ATOMIC_RELAXED);
    self->bound = a;
}

void rcl_thread_use_cache(struct rcl_tls *self, bool use)
{
    self->no_cache = !use;
    if (!use)
        rcl_thread_drop_cache(self);
}

void rcl_thread_start_tally(struct rcl_tls *self)
{
    if (self->tallies)
        return;
    rcl_thread_drop_cache(self);
    rcl_lock(&threads.lock);
    self->tallies = true;
    rcl_unlock(&threads.lock);
}

struct rcl_tcache *rcl_thread_own_cache(const struct rcl_tls *self)
{
    struct rcl_tcache *tc = get_cache(self);
    return tc != &rcl_tcache_none ? tc : NULL;
}

/* libc calls this when a thread ends, perhaps before other destructors that allocate. */
static void thread_ended(void *arg)
{
    struct rcl_tls *self = arg;
    rcl_gate_enter_patient(&self->gate);
    self->ended = 1; /* no new one */
    park(self);
    rcl_thread_bind(self, NULL);
    rcl_gate_leave(&self->gate);
    threads.after_end();
}

void rcl_thread_boot(void (*after_end)(void))
{
    threads.after_end = after_end;
    if (!threads.key_made && pthread_key_create(&threads.key, thread_ended) == 0)
        __atomic_store_n(&threads.key_made, true, __ATOMIC_RELEASE);
}

void rcl_thread_before_boot(void (*boot)(void))
{
    threads.late = boot;
}

static bool key_made(void)
{
    return __atomic_load_n(&threads.key_made, __ATOMIC_ACQUIRE);
}

/*
 * Before our constructor libc may not be ready; where there is a second thread, it is.
 * Constructors of libraries that run before ours start threads, and fork.
 */
static RCL_COLD bool boot_late(struct rcl_tls *self)
{
    struct rcl_tls *first = NULL;
    if (__atomic_compare_exchange_n(&threads.first, &first, self, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED) ||
        first == self || threads.late == NULL)
        return false;
    threads.late();
    return key_made();
}

void rcl_thread_register(struct rcl_tls *self)
{
    if (likely(self->known) || (unlikely(!key_made()) && !boot_late(self)))
        return;
    self->known = true; /* first: pthread_setspecific may come back through malloc */
    self->gate.shard = __atomic_fetch_add(&threads.shards, 1, __ATOMIC_RELAXED) % RCL_GATE_SHARDS;
    pthread_setspecific(threads.key, self);
}

/* --- taking caches away ------------------------------------------------------------------- */

/* What the owner of a cache has taken from it and put into it, as one number. */
static uintptr_t tops_of(const struct rcl_tcache *tc)
{
    uintptr_t sum = 0;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++)
        sum = sum * 31 + (uintptr_t)__atomic_load_n(&tc->bin[cls].top, __ATOMIC_RELAXED);
    return sum;
}

/* Has the owner used it since the last time?  A race here costs a wrong guess, nothing else. */
static bool unchanged(const struct rcl_tcache *tc, uintptr_t *since)
{
    uintptr_t before = *since;
    *since = tops_of(tc);
    return *since == before;
}

static bool step_idle(struct rcl_tcache *tc)
{
    size_t steps = unchanged(tc, &tc->seen) ? rcl_min(tc->idle_steps + 1u, IDLE_STEPS) : 0;
    tc->idle_steps = (uint16_t)steps;
    return tc->idle_steps >= IDLE_STEPS;
}

/* Which are to be taken away. */
struct choice {
    enum rcl_drain which;
    const struct rcl_arena *of; /* NULL: any */
    size_t pages;               /* RCL_DRAIN_RESTING: those that pin more */
};

static bool qualifies(struct rcl_tcache *tc, const struct choice *c)
{
    switch (c->which) {
    case RCL_DRAIN_GONE:
        return false;
    case RCL_DRAIN_RESTING:
        return rcl_tcache_pages_most(tc) > c->pages && unchanged(tc, &tc->looked);
    case RCL_DRAIN_IDLE:
        return step_idle(tc);
    default:
        return true;
    }
}

static bool in_use(struct rcl_tls *owner)
{
    return __atomic_load_n(&owner->busy, __ATOMIC_RELAXED) != 0 ||
           __atomic_load_n(&owner->gate.inside, __ATOMIC_RELAXED) != 0;
}

/* Close those on one list that qualify.  The lock is held. */
static size_t close_on(struct rcl_list *list, struct rcl_tls *self, const struct choice *c,
                       struct rcl_list *taken)
{
    size_t count = 0;
    struct rcl_list *next;
    for (struct rcl_list *n = list->next; n != list; n = next) {
        next = n->next;
        struct rcl_tcache *tc = container_of(n, struct rcl_tcache, link);
        if (c->of != NULL && tc->arena != c->of)
            continue;
        if (!is_gone(tc)) {
            if (!qualifies(tc, c))
                continue;
            if (tc->owner != NULL && tc->owner != self && in_use(tc->owner))
                continue;
            if (tc->owner != NULL)
                set_cache(tc->owner, &rcl_tcache_none);
        }
        rcl_list_remove(n);
        rcl_list_push_back(taken, n);
        count++;
    }
    return count;
}

/* Close the caches that qualify: `taken` gets them all.  The lock is held. */
static void close_caches(struct rcl_tls *self, const struct choice *c, struct rcl_list *taken)
{
    close_on(&threads.caches, self, c, taken);
    threads.n_parked -= (unsigned)close_on(&threads.parked, self, c, taken);
}

/* Put back what turned out to be in use after all.  The lock is held. */
static void reopen_caches(struct rcl_tls *self, bool barrier, struct rcl_list *taken)
{
    struct rcl_list *next;
    for (struct rcl_list *n = taken->next; n != taken; n = next) {
        next = n->next;
        struct rcl_tcache *tc = container_of(n, struct rcl_tcache, link);
        if (is_gone(tc) || tc->owner == NULL || tc->owner == self ||
            (barrier && !in_use(tc->owner)))
            continue;
        rcl_list_remove(n);
        rcl_list_push_back(&threads.caches, n);
        set_cache(tc->owner, tc);
    }
}

static size_t drain(struct rcl_tls *self, const struct choice *c)
{
    size_t count = 0;
    struct rcl_list taken;
    rcl_list_init(&taken);
    rcl_lock(&threads.lock);
    close_caches(self, c, &taken);
    if (!rcl_list_empty(&taken))
        reopen_caches(self, rcl_os_process_barrier(), &taken);
    rcl_unlock(&threads.lock);

    struct rcl_list *n;
    while ((n = rcl_list_pop_front(&taken)) != NULL) {
        rcl_tcache_delete(container_of(n, struct rcl_tcache, link),
                          c->which == RCL_DRAIN_RESTING ? RCL_AGE_NEW : RCL_AGE_OLD);
        count++;
    }
    return count;
}

size_t rcl_threads_drain(struct rcl_tls *self, enum rcl_drain which)
{
    return drain(self, &(struct choice){.which = which});
}

size_t rcl_threads_drain_resting(size_t pages)
{
#ifdef __SANITIZE_THREAD__
    return 0; /* it knows nothing of a barrier for the whole process */
#endif
    return drain(NULL, &(struct choice){.which = RCL_DRAIN_RESTING, .pages = pages});
}

void rcl_threads_drain_of(struct rcl_tls *self, enum rcl_drain which, const struct rcl_arena *a)
{
    drain(self, &(struct choice){.which = which, .of = a});
}

/* Caches that have not come by since the mode was changed. */
static size_t behind(void)
{
    rcl_lock(&threads.lock);
    size_t n = threads.n_parked; /* nobody follows there */
    for (struct rcl_list *at = threads.caches.next; at != &threads.caches; at = at->next)
        n += container_of(at, struct rcl_tcache, link)->mode != rcl_thread_mode;
    rcl_unlock(&threads.lock);
    return n;
}

void rcl_threads_count(struct rcl_tls *self, int lg)
{
    uint32_t mode = __atomic_load_n(&rcl_thread_mode, __ATOMIC_RELAXED);
    __atomic_store_n(&rcl_thread_mode, (mode & ~0xffu) + 0x100 + (uint32_t)(lg + 1),
                     __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < COUNT_ROUNDS && behind() > 0; i++) {
        rcl_threads_drain(self, RCL_DRAIN_ALL);
        rcl_os_yield();
    }
}

void rcl_threads_forked(struct rcl_tls *self)
{
    threads.generation++;
    for (unsigned i = 0; i < rcl_arena_count(); i++) {
        struct rcl_arena *a = rcl_arena_get(i);
        a->bound = a == self->bound;
    }
    if (get_cache(self) != &rcl_tcache_none)
        get_cache(self)->generation = threads.generation;
}

static size_t bytes_of(unsigned cls)
{
    return rcl_class_is_small(cls) ? rcl_classes[cls].size
                                   : (size_t)rcl_classes[cls].slab_pages << rcl_page_shift();
}

static void add_blocks(struct rcl_caches_stats *out, const struct rcl_tcache *tc)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        size_t count = rcl_tcache_count(tc, cls);
        if (count <= tc->cap[cls]) { /* the owner may be at work */
            out->blocks[cls] += count;
            out->bytes += count * bytes_of(cls);
        }
    }
}

void rcl_thread_add_usage(struct rcl_caches_stats *out, const struct rcl_tcache *tc)
{
    out->caches++;
    out->misses += tc->misses;
    out->overflows += tc->overflows;
    add_blocks(out, tc);
}

void rcl_threads_usage(struct rcl_caches_stats *out)
{
    *out = (struct rcl_caches_stats){
        .misses = rcl_account_read(&rcl_account.cache_misses),
        .overflows = rcl_account_read(&rcl_account.cache_overflows),
        .lock_waits = __atomic_load_n(&threads.lock.waits, __ATOMIC_RELAXED),
    };
    struct rcl_list *lists[] = {&threads.caches, &threads.parked};
    rcl_lock(&threads.lock);
    for (unsigned i = 0; i < array_len(lists); i++)
        for (struct rcl_list *n = lists[i]->next; n != lists[i]; n = n->next)
            rcl_thread_add_usage(out, container_of(n, struct rcl_tcache, link));
    rcl_unlock(&threads.lock);
}
