/* SPDX-License-Identifier: MIT */
/* lock.c - the contended half of the mutex; see lock.h. */
#include "lock.h"

#include "os.h"

enum { LOCK_SPINS = 100 };

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void rcl_lock_init(struct rcl_lock *l, enum rcl_lock_rank rank)
{
    *l = (struct rcl_lock)RCL_LOCK_INIT(rank);
}

void rcl_lock_slow(struct rcl_lock *l)
{
    __atomic_fetch_add(&l->waits, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < LOCK_SPINS; i++) {
        if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == 0 && rcl_lock_try(l))
            return;
        cpu_relax();
    }
    while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE) != 0)
        rcl_os_futex_wait(&l->word, 2, 0);
}

void rcl_unlock_slow(struct rcl_lock *l)
{
    rcl_os_futex_wake(&l->word, 1);
}
