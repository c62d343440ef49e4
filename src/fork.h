/* SPDX-License-Identifier: MIT */
/*
 * fork.h - what happens around fork().
 *
 *   before   end the helper thread; return all that is dirty, so that neither
 *            side copies it or has to return it; close the gate (gate.h)
 *   parent   open the gate
 *   child    reset the gate; take over the caches of threads that do not exist
 *
 * No lock of ours is held while libc takes its own.
 */
#ifndef RCL_FORK_H
#define RCL_FORK_H

/* Once, when libc is ready (constructor). */
void rcl_fork_boot(void);

#endif
