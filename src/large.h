/* SPDX-License-Identifier: MIT */
/*
 * large.h - a block that is a page run of its own (above 32 KiB, to 1 MiB).
 *
 * Only its first granule has a class byte in the page map, so a pointer into it
 * is seen to be no block.  Its descriptor is the constant part of a rcl_span.
 * Thread-safe: the runs' lock is all there is.
 */
#ifndef RCL_LARGE_H
#define RCL_LARGE_H

#include "base.h"
#include "os.h"
#include "runs.h"
#include "span.h"

/*
 * At least `bytes` (at most RCL_LARGE_MAX) aligned to `align` (a power of two);
 * cls: the class byte, a medium class or LARGE.  *run: which pages hold old
 * data.  NULL: out of memory.
 */
void *rcl_large_take(struct rcl_runs *r, struct rcl_arena *arena, size_t bytes, size_t align,
                     unsigned cls, struct rcl_run *run);

/* The first `size` bytes of a run just taken are zero: the kernel's pages were, the others now. */
void rcl_large_zero(void *p, size_t size, const struct rcl_run *run);

/* Give a block back.  The caller knows that the descriptor is live. */
void rcl_large_give(struct rcl_span *s, enum rcl_age age);

/*
 * Make a block `bytes` (at least 1) long where it stands, of a medium class (then they are its
 * size) or of LARGE from now on.  False: unchanged.
 */
bool rcl_large_resize(struct rcl_span *s, size_t bytes, unsigned cls);

/* A block without a class: so much of it is what the program asked for; at most its bytes. */
void rcl_large_note_asked(struct rcl_span *s, size_t bytes);

static inline size_t rcl_large_asked(const struct rcl_span *s)
{
    return (size_t)s->pages * rcl_page_size() - s->tail;
}

static inline size_t rcl_large_bytes(const struct rcl_span *s)
{
    return (size_t)s->pages * rcl_page_size();
}

#endif
