/* SPDX-License-Identifier: MIT */
/*
 * ctljson.h - the object "jemalloc" of the JSON report: what jemalloc's malloc_stats_print
 * writes there, under its names, from the same table as mallctl (ctlread.def, options.def).
 *
 *   version, config, opt, arenas (with bin[] and lextent[]), prof
 *   stats
 *   "stats.arenas": "merged", "destroyed" where some are, and each arena by its index
 *
 * Letters of opts leave out, as jemalloc's do: g what never changes (the first line), m merged,
 * d destroyed, a each arena, b bins, l lextents, x mutexes.
 */
#ifndef RCL_CTLJSON_H
#define RCL_CTLJSON_H

#include "base.h"
#include "moment.h"
#include "out.h"

/* `{...}`.  Nothing thread-local and no libc is used: our own threads call it, too. */
void rcl_ctljson(const struct rcl_moment *m, const char *opts, struct rcl_out *o);

#endif
