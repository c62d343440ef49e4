/* SPDX-License-Identifier: MIT */
/* lock.c - the contended half of the mutex; see lock.h. */
#include "lock.h"

#include "os.h"

enum {
    LOCK_SPINS = 100,
    HOLDERS_MAX = 4096, /* threads that hold a lock at one time, in debug builds */
};

uint32_t rcl_lock_waiters;
uint32_t rcl_lock_frozen;

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void rcl_lock_init(struct rcl_lock *l)
{
    *l = (struct rcl_lock){0};
}

/*
 * Counted as waiting only while asleep; and before the next step towards a lock comes
 * a look at rcl_lock_frozen.  So whoever sets that and then finds us counted knows that
 * we stay out.
 */
static void sleep_counted(uint32_t *word, uint32_t value)
{
    __atomic_fetch_add(&rcl_lock_waiters, 1, __ATOMIC_SEQ_CST);
    rcl_os_futex_wait(word, value, 0);
    __atomic_fetch_sub(&rcl_lock_waiters, 1, __ATOMIC_SEQ_CST);
}

void rcl_lock_slow(struct rcl_lock *l)
{
    __atomic_fetch_add(&l->waits, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < LOCK_SPINS; i++) {
        if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == 0 && rcl_lock_try(l))
            return;
        cpu_relax();
    }
    /* No handler may fork while this thread is counted: gate.c would take it for another. */
    uint64_t signals = rcl_os_block_signals();
    while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE) != 0) {
        sleep_counted(&l->word, 2);
        while (__atomic_load_n(&rcl_lock_frozen, __ATOMIC_SEQ_CST))
            sleep_counted(&rcl_lock_frozen, 1);
    }
    rcl_os_restore_signals(signals);
}

void rcl_unlock_slow(struct rcl_lock *l)
{
    rcl_os_futex_wake(&l->word, 1);
}

/* Thread ids of those that hold a lock; open addressing.  By tid: the helper has no TLS. */
static int holders[HOLDERS_MAX];

void rcl_lock_held(void)
{
    int me = rcl_os_tid();
    for (unsigned i = 0; i < HOLDERS_MAX; i++) {
        int *slot = &holders[((unsigned)me + i) % HOLDERS_MAX], none = 0;
        if (__atomic_load_n(slot, __ATOMIC_RELAXED) == me)
            rcl_die_of_bug("internal error, please report: a lock is taken while another is held");
        if (__atomic_compare_exchange_n(slot, &none, me, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return;
    }
}

void rcl_lock_released(void)
{
    int me = rcl_os_tid();
    for (unsigned i = 0; i < HOLDERS_MAX; i++) {
        int *slot = &holders[((unsigned)me + i) % HOLDERS_MAX];
        if (__atomic_load_n(slot, __ATOMIC_RELAXED) == me) {
            __atomic_store_n(slot, 0, __ATOMIC_RELAXED);
            return;
        }
    }
}
