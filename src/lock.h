/* SPDX-License-Identifier: MIT */
/*
 * lock.h - the mutex, and the order in which mutexes are taken.
 *
 * A lock is one futex word: 0 free, 1 held, 2 held with waiters (Ulrich Drepper,
 * "Futexes Are Tricky", mutex 2).  Uncontended: one atomic operation each way,
 * no system call, no libc.  A waiter spins a little first, because no lock here
 * is held across a system call.
 *
 * The order of locks is the simplest there is: a thread that holds one waits for
 * no other.  So no cycle can form, and a thread that waits has nothing half done:
 * fork (gate.h) relies on it.  Debug builds check it.
 */
#ifndef RCL_LOCK_H
#define RCL_LOCK_H

#include "base.h"
#include "die.h"

struct rcl_lock {
    uint32_t word;
    uint32_t waits; /* how often somebody found it held; relaxed */
};

/* Threads that sleep for a lock just now. */
extern uint32_t rcl_lock_waiters;

/* Futex word.  While it is 1, a thread that slept for a lock does not take it. */
extern uint32_t rcl_lock_frozen;

void rcl_lock_init(struct rcl_lock *l);
void rcl_lock_slow(struct rcl_lock *l);
void rcl_unlock_slow(struct rcl_lock *l);

/* Debug builds: note that this thread holds a lock (dies if it does already), or none. */
void rcl_lock_held(void);
void rcl_lock_released(void);

static inline bool rcl_lock_try(struct rcl_lock *l)
{
    uint32_t free = 0;
    return __atomic_compare_exchange_n(&l->word, &free, 1, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static inline void rcl_lock(struct rcl_lock *l)
{
    if (RCL_DEBUG)
        rcl_lock_held();
    if (unlikely(!rcl_lock_try(l)))
        rcl_lock_slow(l);
}

static inline void rcl_unlock(struct rcl_lock *l)
{
    if (unlikely(__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2))
        rcl_unlock_slow(l);
    if (RCL_DEBUG)
        rcl_lock_released();
}

#endif
