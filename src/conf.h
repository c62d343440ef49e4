/* SPDX-License-Identifier: MIT */
/*
 * conf.h - where options come from.
 *
 * In this order, what comes later counts more:
 *   1. the string given to configure (--with-malloc-conf)
 *   2. malloc_conf, a variable that the program may define
 *   3. the text of the symbolic link /etc/malloc.conf, then /etc/reclaim.conf
 *   4. the environment: MALLOC_CONF, then RECLAIM_CONF; not in set-user-ID programs
 * The first halves of 3 and 4 are jemalloc's names, for those who come from there.
 */
#ifndef RCL_CONF_H
#define RCL_CONF_H

#include "base.h"

/*
 * Read all sources into rcl_opt; complaints go to stderr.  False: libc has not set up the
 * environment yet, and nothing has been read; call again when it has.
 */
bool rcl_conf_read(void);

/*
 * After that the options also stand in a record that `reclaim stat`, `purge` and `conf` find in
 * the memory of the process: doc/statistics.md.  There it is also counted how often a purge that
 * was asked for from outside has been done.
 */
void rcl_conf_note_purge(void);

/* The sources that say anything, every option, and what has no effect, on stderr. */
void rcl_conf_confirm(unsigned arenas);

/* What configure was told. */
extern const char rcl_conf_built_in[];

/* The program's, if it defines one (its definition takes the place of ours). */
extern const char *malloc_conf;

#endif
