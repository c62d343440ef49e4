/* SPDX-License-Identifier: MIT */
/*
 * place.h - where in a chunk a run fits.
 *
 * Looks at bitmaps and changes nothing; the lock is the caller's (runs.h).
 */
#ifndef RCL_PLACE_H
#define RCL_PLACE_H

#include "base.h"
#include "span.h"

/*
 * The first place in `map`, one of the chunk's, where `pages` ones start at a multiple of
 * align_pages.  c->pages: there is none, and *longest is the longest run of ones.
 */
size_t rcl_place_first(const struct rcl_chunk *c, const uint64_t *map, size_t pages,
                       size_t align_pages, size_t *longest);

/*
 * Of the places for `pages` free pages around a dirty run of half of them or more, the one with
 * most dirty pages, *dirty_pages; the lowest of equal ones.  c->pages: there is none.
 * *longest: the longest dirty run, in any case.
 */
size_t rcl_place_mostly(const struct rcl_chunk *c, size_t pages, size_t *dirty_pages,
                        size_t *longest);

#endif
