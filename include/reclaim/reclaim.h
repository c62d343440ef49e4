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

#ifdef __cplusplus
}
#endif
#endif
