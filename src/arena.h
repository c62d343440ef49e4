/* SPDX-License-Identifier: MIT */
/*
 * arena.h - one set of bins over one set of page runs; threads share arenas.
 *
 * Automatic arenas: there is one while there is one thread, then as many as the
 * processors the process may really use (or the option narenas), made as threads
 * come.  Explicit ones are made by the program (doc/control.md); their blocks stay
 * out of caches that mix arenas, so that all of them can be given up at once.
 * Blocks always go back to the arena they came from, whoever frees them.
 *
 * An arena has a place, in the order in which arenas were made, and an index, by
 * which programs call it: automatic ones from 0, explicit ones behind the most
 * automatic ones there may be.  Once made, an arena stays: a destroyed one is
 * empty, and the next to be created.
 */
#ifndef RCL_ARENA_H
#define RCL_ARENA_H

#include "base.h"
#include "bin.h"
#include "demand.h"
#include "huge.h"
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

enum { RCL_ARENA_INDEXES = 4095 }; /* what a flag of mallocx can name */

struct rcl_arena {
    unsigned index;
    bool is_explicit;
    bool destroyed; /* explicit: none of its index, for now; lock of the registry */
    uint32_t bound; /* threads that have asked for it; relaxed */
    uint64_t born_ns;
    bool own_decay; /* decay_ms was set for this one; relaxed, like the next two */
    int64_t decay_ms;
    uint64_t unaged_ns;  /* since it was aged; purge.c */
    unsigned next_purge; /* bin at which the next purge begins; relaxed */
    uint32_t threads;    /* caches that are filled from here; relaxed */
    struct rcl_demand demand;
    struct rcl_runs runs;
    struct rcl_huge_group huge;
    struct rcl_asked asked[RCL_MEDIUM_LAST + 1]; /* by class */
    struct rcl_bin bin[RCL_SMALL_LAST + 1];      /* by class; entry 0 unused */
};

/* How long what the program takes back is remembered, by the options. */
uint64_t rcl_arena_window_ns(void);

/*
 * dirty_decay_ms of one arena: the option's, or what was set for arenas to come when it was
 * made, or what was set for it.  own: false as long as nothing was ever set.
 */
int64_t rcl_arena_decay_ms(const struct rcl_arena *a);
void rcl_arena_set_decay_ms(struct rcl_arena *a, int64_t ms);
bool rcl_arena_own_decay(void);

/* Of arenas to come. */
int64_t rcl_arena_next_decay_ms(void);
void rcl_arena_set_next_decay_ms(int64_t ms);

/* Once, at boot; options are known. False: out of memory. */
bool rcl_arena_boot(void);

/*
 * The arena for a new thread cache: the one with the fewest, so that a thread
 * that follows another inherits its memory; of several the one in `prefer`
 * (may be NULL), where the thread's blocks are.  Never NULL after boot.
 */
struct rcl_arena *rcl_arena_assign(struct rcl_arena *prefer);
void rcl_arena_release(struct rcl_arena *a);

/* Arenas made so far, of any kind, destroyed ones included: place 0 .. count - 1. */
unsigned rcl_arena_count(void);
struct rcl_arena *rcl_arena_get(unsigned place);

/*
 * By index.  make: an automatic arena that has not been needed yet is made.
 * NULL: there is none, or no memory for it.
 */
struct rcl_arena *rcl_arena_find(unsigned index, bool make);

/* One more than the highest index in use or reserved for automatic arenas. */
unsigned rcl_arena_indexes(void);

/* A new explicit arena, or NULL: out of memory or of indexes. */
struct rcl_arena *rcl_arena_create(void);

/* An explicit arena without blocks is none any more. */
void rcl_arena_retire(struct rcl_arena *a);

/*
 * Give up blocks of an explicit arena with all that is in them: some hundred
 * slabs or runs per call.  False: nothing is left (but huge blocks, see huge.h).
 * *chunk: 0 at first, then as it was.  While the gate is held.
 */
bool rcl_arena_discard(struct rcl_arena *a, size_t *chunk);

/* The most automatic ones there may be. */
unsigned rcl_arena_limit(void);

/*
 * Give back n blocks of one small or medium class, of any arenas, none of them
 * checked yet.  Reorders p[].  `caller` is named in the message about a bad one.
 */
void rcl_blocks_put(unsigned cls, void **p, size_t n, enum rcl_age age, const char *caller);

/* 1 .. n blocks of a small or medium class; 0: out of memory.  *zero: the first one is zero. */
size_t rcl_blocks_take(struct rcl_arena *a, unsigned cls, void **out, size_t n, bool *zero);

#endif
