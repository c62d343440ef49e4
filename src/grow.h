/* SPDX-License-Identifier: MIT */
/*
 * grow.h - realloc of blocks that have pages of their own: where they stand, or by
 * moving the pages.
 *
 * A block with a mapping of its own that is made longer gets room for another eighth
 * behind it: pages that nobody has touched, so they cost addresses only.  Growing by
 * equal steps then takes a number of moves that goes with the logarithm of the size,
 * and steps within the room take no system call.  Where freed blocks are kept, it
 * grows over one of those instead, with little room: those pages are resident.  So
 * may be the pages behind a run, where others could use them: there is less.
 * Shrinking is exact.  What was asked for is kept beside the descriptor's bytes, so
 * that both can be told apart.
 *
 * All calls inside the gate; the block is the caller's.
 */
#ifndef RCL_GROW_H
#define RCL_GROW_H

#include "base.h"
#include "huge.h"
#include "span.h"

/*
 * A block of a class that is somewhat too large may stay: copying would cost more than it saves.
 * But whole pages behind it are soon a large part of what lives.
 */
static inline bool rcl_grow_fits(size_t usable, size_t size)
{
    size_t spare = usable <= 16 * KIB ? usable / 4 : usable / 16;
    return size <= usable && size >= usable - spare;
}

/* Bytes to take for a block that has grown to `size`, above RCL_SMALL_MAX. */
size_t rcl_grow_room(size_t size);

/*
 * The block may be so large now as it stands, with the room behind it.  Outside the gate too: only
 * what is the owner's is looked at and changed.  False: it is unchanged.
 */
static inline bool rcl_grow_within(struct rcl_huge *h, size_t size)
{
    if (size > h->bytes || size < h->asked)
        return false;
    rcl_huge_note_asked(h, size);
    return true;
}

/* size: above RCL_LARGE_MAX.  The block, perhaps elsewhere; NULL: it is unchanged. */
void *rcl_grow_huge(struct rcl_huge *h, size_t size);

/* size: RCL_MEDIUM_MAX .. RCL_LARGE_MAX.  False: it cannot stay here, and is unchanged. */
bool rcl_grow_large(struct rcl_span *s, size_t size);

#endif
