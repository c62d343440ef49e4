/* SPDX-License-Identifier: MIT */
/*
 * huge.h - a block above 1 MiB: a mapping of its own.
 *
 * It grows by mremap, so realloc never holds two copies, and is unmapped when it
 * goes, so that what was advised on it (MADV_HUGEPAGE) goes with it.  A freed
 * block is kept for reuse (keep.h) while the ceiling of free pages allows
 * (demand.h) and until it is a window old; as to huge pages it is then like a
 * fresh one.
 *
 * Thread-safe: one lock around two lists; no system call is made with it held.
 */
#ifndef RCL_HUGE_H
#define RCL_HUGE_H

#include "base.h"
#include "keep.h"
#include "runs.h"

struct rcl_arena;

/* The live blocks of an arena, for statistics: relaxed atomics. */
struct rcl_huge_group {
    struct rcl_arena *arena;
    uint64_t bytes;
    struct {
        uint64_t taken, given; /* blocks, since the start, as in struct rcl_large_stats */
    } kind[RCL_EXTENTS];
};

/* Once, at boot, with the decay window, and RCL_THP_... of options.h. */
void rcl_huge_init(uint64_t window_ns, unsigned thp);

/* In the child of a fork: what it maps is no kin of what it has inherited. */
void rcl_huge_forked(void);

void rcl_huge_set_window(uint64_t window_ns);

/*
 * At least `bytes` aligned to `align` (a power of two), of an arena's group or, with NULL, of
 * none.  *zero: all is zero.  NULL: no memory.
 */
void *rcl_huge_take_in(struct rcl_huge_group *group, size_t bytes, size_t align, bool *zero);

/* All blocks of an arena back to the system, however many. */
void rcl_huge_discard(const struct rcl_huge_group *group);

/*
 * For a block that is growing: the front of a kept block of at least twice its size, so that it
 * finds its next pages behind it.  NULL: there is none.
 */
void *rcl_huge_take_to_grow(struct rcl_huge_group *group, size_t bytes);

/*
 * The same for any size, with no lock taken and nothing counted: for the one
 * case where every lock may be frozen, see gate.h.  Its descriptor is a mapping
 * of its own.
 */
void *rcl_huge_take_unlisted(size_t bytes, size_t align);

void rcl_huge_give(struct rcl_huge *h);

/*
 * The block `bytes` (above RCL_LARGE_MAX) long, perhaps elsewhere.  NULL: it is unchanged; the
 * kernel has no memory, or took it for several mappings (keep.h), and a copy may do.
 */
void *rcl_huge_resize(struct rcl_huge *h, size_t bytes);

/*
 * Growth without a system call and without a fault, where there is a kept block: over the one
 * behind it, by what `least` bytes need or up to `most`; or by copying it to the front of one of
 * at least twice `bytes`.  False: there is none, and nothing has changed.
 */
bool rcl_huge_extend(struct rcl_huge *h, size_t least, size_t most);
bool rcl_huge_move_to_kept(struct rcl_huge *h, size_t bytes);

/* So much of a live block is what the program asked for; at most its bytes.  Its owner's. */
static inline void rcl_huge_note_asked(struct rcl_huge *h, size_t asked)
{
    __atomic_store_n(&h->asked, asked, __ATOMIC_RELAXED);
}

/* The same without moving it.  False: it is unchanged. */
bool rcl_huge_resize_in_place(struct rcl_huge *h, size_t bytes);

/* Let time pass for the demand: rcl_demand_tick(). */
void rcl_huge_tick(void);

/* A decay step for kept blocks; then, as in runs.h: unmap kept blocks, pages returned. */
void rcl_huge_age(void);
size_t rcl_huge_purge(enum rcl_purge_what what, size_t budget);

/* The live block that contains `p`, or NULL: for error messages, linear. */
const struct rcl_huge *rcl_huge_around(const void *p);

struct rcl_huge_stats {
    size_t live_blocks, live_bytes;
    size_t kept_blocks, kept_bytes;
    uint64_t taken; /* blocks, since the start */
    size_t lock_waits;
};
void rcl_huge_usage(struct rcl_huge_stats *out);

/* Every live or kept block: nothing may be taken or given meanwhile. */
void rcl_huge_each(void (*fn)(void *arg, const struct rcl_huge *h), void *arg);

#endif
