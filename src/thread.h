/* SPDX-License-Identifier: MIT */
/*
 * thread.h - a thread's own word, and taking an idle thread's cache away.
 *
 * The thread-local part is a pointer to the cache, twice, and a few flags, in the
 * initial-exec model: no call and no lazy set-up to reach it.  It starts with
 * the constant empty cache, so the hit path needs no "am I ready".
 *
 * malloc goes by the word `alloc`, free by the word `cache`.  They name the same cache but while
 * allocations are counted: then `alloc` names the empty one, so every malloc is a miss, and
 * rcl_thread_pop_counted() its hit.
 *
 * Taking a cache away from a thread that may be running (or may have been
 * stopped anywhere, even in a signal handler in the middle of a malloc):
 *
 *     owner, each hit               taker, with the registry's lock
 *       busy = 1                      owner.alloc = owner.cache = &rcl_tcache_none
 *       use alloc or cache            process-wide memory barrier
 *       busy = 0                      busy or inside the gate?  put it back
 *                                     else the cache is the taker's
 *
 * After the barrier (sys_membarrier) either the taker sees busy, or the owner
 * loads the empty cache from now on and goes the slow way, where the lock waits
 * for it.  The owner pays two plain stores.  (Asymmetric Dekker: D. Dice,
 * H. Huang, M. Yang, "Asymmetric Dekker Synchronization", 2001.)
 * Where there is no membarrier, caches of other threads are left alone.
 *
 * When a thread ends, its cache waits for a thread that begins, without an owner, and idle.
 */
#ifndef RCL_THREAD_H
#define RCL_THREAD_H

#include "base.h"
#include "gate.h"
#include "tcache.h"

struct rcl_tls {
    struct rcl_tcache *alloc; /* these two: changed under the registry's lock; read by the owner */
    struct rcl_tcache *cache;
    uint32_t busy;  /* the owner is between loading one of them and its last use of it */
    uint32_t ended; /* the thread's destructors run: it gets no cache any more */
    struct rcl_gate_pass gate;
    struct rcl_arena *arena; /* of its last cache, or NULL */
    struct rcl_arena *bound; /* the one it has asked for, or NULL */
    bool no_cache;           /* it has asked for none */
    bool known;              /* it has allocated: the destructor is, or is being, registered */
    bool sampling;           /* a sample is being recorded: none is taken meanwhile */

    /*
     * A thread that wants to know how many bytes it takes and gives back counts, from its first
     * question on: its cache is then in `hidden`, and the first two words stay the empty one, so
     * that every call goes the slow way, where it is counted.  Set under the registry's lock.
     */
    bool tallies;
    struct rcl_tcache *hidden;
    uint64_t bytes_in, bytes_out; /* taken and given back, by size of the block */
    uint64_t peak_base;           /* bytes_in - bytes_out when the peak was reset */
    int64_t peak;                 /* the highest since, above that */

    uint64_t random;        /* of what is drawn for this thread; 0: not seeded */
    uint64_t distance;      /* bytes to the next sample in blocks that no cache serves */
    uint32_t distance_mode; /* rcl_thread_mode when that was drawn */
} RCL_ALIGNED(32);          /* the first three on one cache line */

extern __thread struct rcl_tls rcl_tls __attribute__((tls_model("initial-exec")));

/* The fences are for the compiler; the processor's part is the barrier above. */
static inline void rcl_thread_busy(struct rcl_tls *self)
{
    __atomic_store_n(&self->busy, 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* To pop from, and to push on. */
static inline struct rcl_tcache *rcl_thread_begin_alloc(struct rcl_tls *self)
{
    rcl_thread_busy(self);
    return __atomic_load_n(&self->alloc, __ATOMIC_RELAXED);
}

static inline struct rcl_tcache *rcl_thread_begin_free(struct rcl_tls *self)
{
    rcl_thread_busy(self);
    return __atomic_load_n(&self->cache, __ATOMIC_RELAXED);
}

static inline void rcl_thread_end(struct rcl_tls *self)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&self->busy, 0, __ATOMIC_RELAXED);
}

/* The same for the cache of a thread that counts its bytes. */
static inline struct rcl_tcache *rcl_thread_begin_hidden(struct rcl_tls *self)
{
    rcl_thread_busy(self);
    return __atomic_load_n(&self->hidden, __ATOMIC_RELAXED);
}

static inline void rcl_thread_tally_in(struct rcl_tls *self, size_t bytes)
{
    self->bytes_in += bytes;
    int64_t net = (int64_t)(self->bytes_in - self->bytes_out - self->peak_base);
    if (net > self->peak)
        self->peak = net;
}

static inline void rcl_thread_tally_out(struct rcl_tls *self, size_t bytes)
{
    self->bytes_out += bytes;
}

static inline bool rcl_thread_has_none(const struct rcl_tls *self)
{
    const struct rcl_tcache *tc = self->tallies ? self->hidden : self->cache;
    return tc == &rcl_tcache_none;
}

/* Count bytes from now on.  Inside the gate. */
void rcl_thread_start_tally(struct rcl_tls *self);

/* The caller's cache as it is; NULL: it has none.  Inside the gate. */
struct rcl_tcache *rcl_thread_own_cache(const struct rcl_tls *self);

/*
 * After a miss, still busy: the hit of a thread whose allocations are counted.  NULL: it is no
 * such thread, or this is a miss for it too.
 */
static inline void *rcl_thread_pop_counted(struct rcl_tls *self, unsigned cls)
{
    void *p = rcl_tcache_pop_counted(__atomic_load_n(&self->cache, __ATOMIC_RELAXED), cls);
    if (likely(p != NULL))
        rcl_thread_end(self);
    return p;
}

/*
 * The cache to use in a slow path, inside the gate; made if there is none.  Allocations from it
 * are counted if and only if they are to be, now.
 * rcl_tcache_none when the thread has ended or memory is short: then blocks are
 * taken from and given to rcl_arena_get(0) one by one.
 */
struct rcl_tcache *rcl_thread_cache(struct rcl_tls *self);

/*
 * A thread that has not allocated yet, or is about to end, has no cache of its own and gets none
 * for a free: that may come after its destructors, when nobody takes the cache from it any more.
 * (glibc frees what belonged to dead threads in the next detached thread that ends, last of all.)
 */
static inline bool rcl_thread_is_guest(const struct rcl_tls *self)
{
    return unlikely(!self->known || self->ended != 0) && rcl_thread_has_none(self) &&
           !self->no_cache;
}

/* The arena that serves this thread where its cache does not.  Never NULL. */
static inline struct rcl_arena *rcl_thread_arena(const struct rcl_tls *self)
{
    return self->bound != NULL ? self->bound : rcl_arena_get(0);
}

/*
 * What a thread asks for itself, inside the gate: an arena to take from (NULL: choose), a
 * cache or none.  Its cache is dropped and made anew.
 */
void rcl_thread_bind(struct rcl_tls *self, struct rcl_arena *a);
void rcl_thread_use_cache(struct rcl_tls *self, bool use);

/*
 * Have libc call us when the thread ends, after an allocation.  Outside the gate: it may
 * allocate.  Cheap after the first time.
 */
void rcl_thread_register(struct rcl_tls *self);

/* What is to be called by the second thread, if there is one before the constructor. */
void rcl_thread_before_boot(void (*boot)(void));

/* Once, when libc is ready (constructor).  after_end: for a thread that has given its cache up. */
void rcl_thread_boot(void (*after_end)(void));

/* In the lowest eight bits lg + 1, or 0: nothing is counted; above them the number of changes. */
extern uint32_t rcl_thread_mode;

static inline bool rcl_thread_counting(void)
{
    return (__atomic_load_n(&rcl_thread_mode, __ATOMIC_RELAXED) & 0xff) != 0;
}

/*
 * From now on allocations are counted and sampled with a mean distance of 2^lg
 * (prof_rate.h), drawn anew; -1: they are not.  Threads that cannot be reached (stopped in
 * the middle of a hit; no membarrier) follow at their next miss.  Inside the gate.
 */
void rcl_threads_count(struct rcl_tls *self, int lg);

/* The caller has taken a block of so many bytes that no cache serves: is it to be sampled? */
bool rcl_thread_due(struct rcl_tls *self, size_t bytes);

/* The state of the caller's draws, seeded. */
uint64_t *rcl_thread_random(struct rcl_tls *self);

enum rcl_drain {
    RCL_DRAIN_GONE,    /* of threads that a fork left behind */
    RCL_DRAIN_RESTING, /* those, and large ones: by the call below */
    RCL_DRAIN_IDLE,    /* the first, and what has been unused for the last steps */
    RCL_DRAIN_ALL,
};

/*
 * With IDLE a step of idleness for every cache, then take away those
 * that qualify and empty them.  `self`: the caller's, whose own cache may be taken too; NULL for
 * a thread without one.  Inside the gate.  Blocks given back count as `old`.
 */
size_t rcl_threads_drain(struct rcl_tls *self, enum rcl_drain which);

/*
 * Those of other threads that pin more than so many pages and have not been used since the last
 * such call.  Inside the gate; the blocks count as new.
 */
size_t rcl_threads_drain_resting(size_t pages);

/*
 * The same for those of threads that are bound to this arena.  What is in use just then stays: who
 * wants ALL of them holds the gate.
 */
void rcl_threads_drain_of(struct rcl_tls *self, enum rcl_drain which, const struct rcl_arena *a);

/* The caller's own cache goes back to the bins; the next slow path makes a new, small one. */
void rcl_thread_drop_cache(struct rcl_tls *self);

/* The same for the caches that wait for a thread. */
void rcl_threads_drop_parked(void);

/*
 * The caller is about to abort, perhaps inside the gate: out of it, and its cache, which may hold
 * what is free already, is not used any more.  Nothing goes back to the bins.
 */
void rcl_thread_let_go(struct rcl_tls *self);

/*
 * In a forked child: every cache but the caller's is that of a thread that is
 * gone, and the next drain of any kind takes it over.  Takes no lock.
 */
void rcl_threads_forked(struct rcl_tls *self);

/* What is in all caches, about (owners go on meanwhile). */
struct rcl_caches_stats {
    size_t caches, bytes;
    size_t blocks[RCL_MEDIUM_LAST + 1]; /* by class */
    uint64_t misses, overflows;         /* of caches there are and have been */
    size_t lock_waits;
};
void rcl_threads_usage(struct rcl_caches_stats *out);

/* Add what is in one cache. */
void rcl_thread_add_usage(struct rcl_caches_stats *out, const struct rcl_tcache *tc);

#endif
