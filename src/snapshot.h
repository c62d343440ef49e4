/* SPDX-License-Identifier: MIT */
/*
 * snapshot.h - where the resident memory of the process is, at one moment.
 *
 * Every resident byte is in one part of snapshot.def, and the parts add up to the
 * resident memory that the kernel reports.  doc/statistics.md says how that is
 * known, which error remains, and what is an estimate.
 *
 * Taking one holds the gate (gate.h): slow paths wait meanwhile, hits go on.  It
 * costs 1 to 3 ms per 100 MB resident, most of it the kernel's own count.
 */
#ifndef RCL_SNAPSHOT_H
#define RCL_SNAPSHOT_H

#include "arena.h"
#include "base.h"
#include "gate.h"
#include "moment.h"
#include "sizeclass.h"
#include "span.h"
#include "stats.h"

/* The parts by number, for loops. */
enum rcl_part {
#define PART(name, label, text) RCL_PART_##name,
#include "snapshot.def"
    RCL_PARTS
};

/* A small or medium class, all arenas. */
struct rcl_snapshot_class {
    size_t size;       /* of a block */
    size_t blocks;     /* handed out, to the program or to thread caches */
    size_t cached;     /* of those: in thread caches */
    size_t resident;   /* bytes of them on resident pages */
    size_t absent;     /* bytes of them on others: not touched yet, or swapped out */
    size_t holes;      /* free bytes beside them on resident pages */
    size_t thin_holes; /* of those: on pages that are at most half in use, */
    size_t survivors;  /* by so many blocks */
    size_t dirty;      /* resident pages of slabs with nothing in use on them */
    size_t asked;      /* average request, as far as seen; 0: none seen */
};

/* One arena, as counted. */
struct rcl_snapshot_arena {
    size_t threads, small_bytes, large_bytes, chunk_bytes, free_bytes, dirty_bytes;
    uint64_t lock_waits;
};

struct rcl_snapshot {
    size_t part[RCL_PARTS]; /* bytes; their sum is `rss` */

    /* From the kernel. */
    size_t rss, anonymous; /* the latter without files and shared memory */
    size_t lazy_free, huge_pages, swap;
    bool rss_known; /* /proc could be read; else rss is what we know of ourselves */
    bool exact;     /* the kernel told page by page what is resident; else all we may have is */

    /* Beside the parts. */
    size_t untouched; /* handed out and not resident */
    size_t estimated; /* of `asked` + `rounding`: where the split is an estimate, */
    uint64_t samples; /* from so many requests */
    size_t unmatched; /* ours by our count, but not by the kernel's: taken off `asked` first */

    /* Of `dirty`: by age in decay steps, and when the next step comes; 0: none is planned. */
    size_t dirty_by_age[RCL_AGE_MAX + 1];
    uint64_t next_step_ns, step_ns; /* from now; length */
    size_t ceiling;                 /* bytes that may stay until they are due */

    struct rcl_snapshot_class cls[RCL_MEDIUM_LAST + 1]; /* entry 0 unused */
    size_t large_blocks, large_resident;                /* runs without a class */
    size_t huge_blocks, huge_resident;
    struct rcl_snapshot_arena arena[RCL_ARENAS_MAX];
    unsigned arenas;
    struct rcl_stats stats;    /* of the same moment, */
    struct rcl_moment *moment; /* and by arena */

    uint64_t when_ns; /* rcl_os_now_ns() */
    uint64_t held_ns; /* how long slow paths had to wait */
    uint64_t took_ns;
};

/*
 * NULL: out of memory, or called in a signal handler that has interrupted a slow
 * path of this thread.  `me`: the caller's pass, outside the gate.
 */
struct rcl_snapshot *rcl_snapshot_take(struct rcl_gate_pass *me);
void rcl_snapshot_free(struct rcl_snapshot *s);

/* For all parts: name as in snapshot.def, label and sentence for people. */
struct rcl_part_text {
    const char *name, *label, *text;
};
extern const struct rcl_part_text rcl_part_texts[RCL_PARTS];

#endif
