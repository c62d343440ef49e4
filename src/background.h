/* SPDX-License-Identifier: MIT */
/*
 * background.h - the helper thread that nobody sees.
 *
 * Started by the first free that leaves more than RCL_PURGE_WORTH_BYTES (1 MiB)
 * dirty or pinned by caches; takes one decay step after another; ends when
 * nothing worth it is left.  An idle process has no thread of ours and no wake-up.
 *
 * It is a bare kernel thread (os.h): creating it calls nothing in libc, so it is
 * safe from any free(), even one libc makes with its own locks held (it frees
 * thread stacks so), and libc goes on believing that the process is
 * single-threaded.  All signals are blocked in it.
 *
 * fork() stops and joins it first (fork.h), so that whoever counts threads sees
 * none; afterwards a later free starts it again, in parent and child.
 *
 * Where no thread can be made, the ceiling inside free() still holds.
 */
#ifndef RCL_BACKGROUND_H
#define RCL_BACKGROUND_H

#include "base.h"

/* Once, when libc is ready (constructor). */
void rcl_background_boot(void);

/* At the end of a slow path, outside the gate: is it needed? */
void rcl_background_kick(void);

/* Whether it is started when needed: the option, until it is said otherwise; is there one? */
bool rcl_background_enabled(void);
void rcl_background_enable(bool on);
bool rcl_background_running(void);

/* Steps may be shorter from now on: it shall not wait for the end of a long one. */
void rcl_background_hurry(void);

/* When its next step is due (rcl_os_now_ns); 0: there is no helper, and none is being started. */
uint64_t rcl_background_next_ns(void);

/* fork: end it and let nobody start it; allow it again; in the child: it is gone. */
void rcl_background_stop(void);
void rcl_background_resume(void);
void rcl_background_forget(void);

/* The calling thread is the helper, and is about to end where it stands (die.h). */
void rcl_background_let_go(void);

#endif
