/* SPDX-License-Identifier: MIT */
/*
 * boot.h - from the first instruction to a working allocator.
 *
 * Stage 1, at the first slow path, wherever that is (the dynamic loader may call
 * before libc is initialised): page size, tables, options, first arena.  Raw
 * system calls only; a second thread that comes meanwhile waits.
 * Stage 2, from a constructor, when libc can be called: fork handlers, the hook
 * at thread end.
 */
#ifndef RCL_BOOT_H
#define RCL_BOOT_H

#include "base.h"

extern uint32_t rcl_boot_state;
enum { RCL_BOOT_DONE = 2 };

/* False: no memory even for that. */
bool rcl_boot_slow(void);

static inline bool rcl_boot(void)
{
    return likely(__atomic_load_n(&rcl_boot_state, __ATOMIC_ACQUIRE) == RCL_BOOT_DONE) ||
           rcl_boot_slow();
}

#endif
