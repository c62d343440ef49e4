/* SPDX-License-Identifier: MIT */
/*
 * control.h - requests that reclaim.h, glibc's names (malloc.c) and mallctl answer alike.
 *
 * All outside the gate.
 */
#ifndef RCL_CONTROL_H
#define RCL_CONTROL_H

#include "arena.h"
#include "base.h"

/* Return everything that can be returned, process-wide; bytes given back. */
size_t rcl_control_purge(void);

/* Return what is dirty in one arena; old: what is due. */
void rcl_control_purge_arena(struct rcl_arena *a, bool old);

/* Another dirty_decay_ms for one arena: all that is dirty in it goes back, but with -1. */
void rcl_control_decay(struct rcl_arena *a, int64_t ms);

/*
 * All blocks of an explicit arena, and its memory, go; destroy: and the arena.  False: it is
 * automatic, threads are bound to it (destroy), or a slow path of this thread is interrupted.
 */
bool rcl_control_reset(struct rcl_arena *a, bool destroy);

/* Have a helper thread when needed, or none from now on.  False: this thread is forking. */
bool rcl_control_background(bool on);

#endif
