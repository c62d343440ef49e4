/* SPDX-License-Identifier: MIT */
/*
 * reclaim.h - what libreclaim offers beside malloc and its family.
 *
 * A program that only wants its memory back needs none of this: linking or
 * preloading the library is all.  Every function here may be called by any
 * thread at any time and leaves errno alone.
 *
 * To find out at run time whether the library is loaded, declare a function
 * weak, or look it up with dlsym(RTLD_DEFAULT, "reclaim_purge").
 */
#ifndef RECLAIM_RECLAIM_H
#define RECLAIM_RECLAIM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of the library that is running, "major.minor.patch". Static storage. */
const char *reclaim_version(void);

/*
 * Return to the system at once all memory that the program has freed, process
 * wide: the caches of this and of other idle threads, free pages inside part-used
 * slabs, free runs, kept mappings.  Takes about 0.2 microseconds per page and
 * blocks no other thread meanwhile.  Returns the number of bytes given back.
 * malloc_trim() does the same.
 */
size_t reclaim_purge(void);

/*
 * Whether `p` may be a block of this library: 1 for each block, in use or in a thread cache; 0 for
 * memory that is not ours.  Any pointer will do.  It looks at 4 KiB at once: a pointer to somewhere
 * else in the 4 KiB in which a block of ours may begin gets 1 too, one that has been freed mostly.
 */
int reclaim_owns(const void *p);

/*
 * Where the resident memory of the process is: a snapshot as text, or with 'J' among
 * `opts` as JSON, in pieces to write_cb (NULL: to stderr).  Same name and arguments as
 * jemalloc's; man libreclaim(3) has the letters of `opts`, which may be NULL.  Other
 * threads' slow paths wait while it is taken, 1 to 3 ms per 100 MB resident.
 * Not to be called from a signal handler.
 */
void malloc_stats_print(void (*write_cb)(void *, const char *), void *cbopaque, const char *opts);

#ifdef __cplusplus
}
#endif
#endif
