/* SPDX-License-Identifier: MIT */
/*
 * die.h - the last words: one line on stderr, then abort(); asserts; warnings.
 *
 * rcl_assert() states what this library believes of itself.  It is always
 * compiled (so it cannot rot) and checked in debug builds (--enable-debug).
 * What a program can do wrong is not an assert: it is checked always and ends
 * in rcl_die() with the address and what is known of it.
 */
#ifndef RCL_DIE_H
#define RCL_DIE_H

#include "base.h"

#ifndef RCL_DEBUG
#define RCL_DEBUG 0
#endif

/*
 * Let go of what this thread has of ours (below), print "libreclaim: " and the message (formats
 * of out.h), end the line, abort.  No lock may be held: a handler of SIGABRT may allocate, free
 * and fork.  The helper thread, which cannot run such a handler, ends instead, and the process
 * with it where SIGABRT has no handler, or else at the next slow path: rcl_die_late().
 */
__attribute__((noreturn, cold, format(printf, 1, 2))) void rcl_die(const char *format, ...);
__attribute__((cold)) void rcl_die_late(void);
extern bool rcl_die_pending; /* relaxed */

/* Set at boot: give up the gate and the cache of the calling thread. */
extern void (*rcl_die_let_go)(void);

/* This library is wrong itself, perhaps with a lock held: the line and the end, no more. */
__attribute__((noreturn, cold, format(printf, 1, 2))) void rcl_die_of_bug(const char *format, ...);

/* The same line, and the program goes on; with rcl_warn_fatal(true) (option `abort`) it ends. */
__attribute__((cold, format(printf, 1, 2))) void rcl_warn(const char *format, ...);
void rcl_warn_fatal(bool fatal);

/* The same line, and the program goes on in any case. */
__attribute__((cold, format(printf, 1, 2))) void rcl_tell(const char *format, ...);

/*
 * jemalloc's: where the program sets it, lines go to this function instead of stderr.  The
 * first argument is NULL.
 */
extern void (*malloc_message)(void *, const char *);

#define rcl_assert(condition)                                                              \
    do {                                                                                   \
        if (RCL_DEBUG && unlikely(!(condition)))                                           \
            rcl_die_of_bug("internal error, please report: %s:%d: %s", __FILE__, __LINE__, \
                           #condition);                                                    \
    } while (0)

#endif
