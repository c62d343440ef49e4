/* SPDX-License-Identifier: MIT */
/*
 * lock.h - the mutex, and the order in which mutexes are taken.
 *
 * A lock is one futex word: 0 free, 1 held, 2 held with waiters (Ulrich Drepper,
 * "Futexes Are Tricky", mutex 2).  Uncontended: one atomic operation each way,
 * no system call, no libc.  A waiter spins a little first, because no lock here
 * is held across a system call.
 *
 * Ranks: a thread that holds a lock may take only locks of a later rank, never
 * one of the same.  The enum is the whole order.
 */
#ifndef RCL_LOCK_H
#define RCL_LOCK_H

#include "base.h"

enum rcl_lock_rank {
    RCL_RANK_FORKS,   /* gate.c: one fork at a time */
    RCL_RANK_THREADS, /* thread.c: the registry of thread caches */
    RCL_RANK_ARENAS,  /* arena.c: creation of arenas */
    RCL_RANK_BIN,     /* bin.c: one class of one arena */
    RCL_RANK_HUGE,    /* huge.c: list of huge blocks and kept mappings */
    RCL_RANK_RUNS,    /* runs.c: page runs of one arena */
    RCL_RANK_DEMAND,  /* demand.c: what the program takes back */
    RCL_RANK_META,    /* meta.c: memory for descriptors */
};

struct rcl_lock {
    uint32_t word;
    uint32_t rank;
    uint64_t waits; /* how often somebody found it held; relaxed */
};

#define RCL_LOCK_INIT(r) {.rank = (r)}

void rcl_lock_init(struct rcl_lock *l, enum rcl_lock_rank rank);
void rcl_lock_slow(struct rcl_lock *l);
void rcl_unlock_slow(struct rcl_lock *l);

static inline bool rcl_lock_try(struct rcl_lock *l)
{
    uint32_t free = 0;
    return __atomic_compare_exchange_n(&l->word, &free, 1, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static inline void rcl_lock(struct rcl_lock *l)
{
    if (unlikely(!rcl_lock_try(l)))
        rcl_lock_slow(l);
}

static inline void rcl_unlock(struct rcl_lock *l)
{
    if (unlikely(__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2))
        rcl_unlock_slow(l);
}

#endif
