/* SPDX-License-Identifier: MIT */
/* grow.c - see grow.h. */
#include "grow.h"

#include "large.h"
#include "sizeclass.h"

enum { ROOM_SHARE = 8 };
/* Where the room is of pages that may be resident, and of use to others: */
#define RUN_ROOM (64 * KIB)   /* those of a chunk, */
#define KEPT_ROOM (256 * KIB) /* and of kept blocks */

size_t rcl_grow_room(size_t size)
{
    size_t room = size / ROOM_SHARE;
    if (size > RCL_LARGE_MAX)
        return size + room;
    return rcl_min(size + rcl_min(room, RUN_ROOM), RCL_LARGE_MAX);
}

void *rcl_grow_huge(struct rcl_huge *h, size_t size)
{
    void *p = NULL;
    size_t with_room = size + rcl_min(size / ROOM_SHARE, KEPT_ROOM);
    if (rcl_grow_within(h, size))
        return h->base;
    if (size > h->bytes &&
        (rcl_huge_extend(h, size, with_room) || rcl_huge_move_to_kept(h, with_room)))
        p = h->base;
    else if (size > h->bytes)
        p = rcl_huge_resize(h, rcl_grow_room(size));
    if (p == NULL)
        return rcl_huge_resize(h, size);
    rcl_huge_note_asked(h, size);
    return p;
}

bool rcl_grow_large(struct rcl_span *s, size_t size)
{
    size_t bytes = rcl_large_bytes(s);
    if ((size <= bytes && size >= rcl_large_asked(s)) ||
        (size > bytes && rcl_large_resize(s, rcl_grow_room(size), RCL_CLASS_LARGE))) {
        rcl_large_note_asked(s, size);
        return true;
    }
    return rcl_large_resize(s, size, RCL_CLASS_LARGE);
}
