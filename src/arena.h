/* SPDX-License-Identifier: MIT */
/*
 * arena.h - one set of bins over one set of page runs; threads share arenas.
 *
 * There is one arena while there is one thread, then as many as the processors
 * the process may really use (or the option narenas), made as threads come.
 * Blocks always go back to the arena they came from, whoever frees them.
 */
#ifndef RCL_ARENA_H
#define RCL_ARENA_H

#include "base.h"
#include "bin.h"
#include "demand.h"
#include "runs.h"
#include "sizeclass.h"

#ifndef RCL_ARENAS_MAX
#define RCL_ARENAS_MAX 256
#endif

/*
 * What programs ask for in a class is known on a miss only: a miss in a few dozen
 * requests is the sample from which statistics.md estimates rounding.  Relaxed.
 */
struct rcl_asked {
    uint64_t bytes, blocks;
};

static inline void rcl_asked_note(struct rcl_asked *a, size_t bytes)
{
    __atomic_fetch_add(&a->bytes, bytes, __ATOMIC_RELAXED);
    __atomic_fetch_add(&a->blocks, 1, __ATOMIC_RELAXED);
}

struct rcl_arena {
    unsigned index;
    unsigned next_purge; /* bin at which the next purge begins; relaxed */
    uint32_t threads;    /* caches that are filled from here; relaxed */
    struct rcl_demand demand;
    struct rcl_runs runs;
    struct rcl_asked asked[RCL_MEDIUM_LAST + 1]; /* by class */
    struct rcl_bin bin[RCL_SMALL_LAST + 1];      /* by class; entry 0 unused */
};

/* How long what the program takes back is remembered, by the options. */
uint64_t rcl_arena_window_ns(void);

/* Once, at boot; options are known. False: out of memory. */
bool rcl_arena_boot(void);

/*
 * The arena for a new thread cache: the one with the fewest, so that a thread
 * that follows another inherits its memory; of several the one in `prefer`
 * (may be NULL), where the thread's blocks are.  Never NULL after boot.
 */
struct rcl_arena *rcl_arena_assign(struct rcl_arena *prefer);
void rcl_arena_release(struct rcl_arena *a);

/* Arenas made so far: index 0 .. count - 1. */
unsigned rcl_arena_count(void);
struct rcl_arena *rcl_arena_get(unsigned index);

/* The most there may be. */
unsigned rcl_arena_limit(void);

/*
 * Give back n blocks of one small or medium class, of any arenas, none of them
 * checked yet.  Reorders p[].  `caller` is named in the message about a bad one.
 */
void rcl_blocks_put(unsigned cls, void **p, size_t n, enum rcl_age age, const char *caller);

/* 1 .. n blocks of a small or medium class; 0: out of memory.  *zero: the first one is zero. */
size_t rcl_blocks_take(struct rcl_arena *a, unsigned cls, void **out, size_t n, bool *zero);

#endif
