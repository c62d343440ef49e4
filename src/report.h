/* SPDX-License-Identifier: MIT */
/*
 * report.h - a snapshot as text: for people, as JSON, for Prometheus, for readers of glibc's
 * malloc_info.
 *
 * `opts` are the letters of jemalloc's malloc_stats_print(), NULL or "" for none; each leaves
 * something out: g what never changes, m the counters of all arenas together, d destroyed arenas
 * (in JSON), a arenas, b small classes, l larger blocks, x locks.  e and h mean things there are
 * none of here.
 */
#ifndef RCL_REPORT_H
#define RCL_REPORT_H

#include "base.h"
#include "out.h"
#include "snapshot.h"
#include "stats.h"

void rcl_report_text(const struct rcl_snapshot *s, const char *opts, struct rcl_out *o);

/* One object on one line: "jemalloc" with what jemalloc's has (ctljson.h), "libreclaim". */
void rcl_report_json(const struct rcl_snapshot *s, const char *opts, struct rcl_out *o);

/*
 * The text format, version 0.0.4; metrics are named libreclaim_*.  Each series has the labels pid
 * and program (the kernel's name of the process), so those of two processes never collide.
 */
void rcl_report_prometheus(const struct rcl_snapshot *s, struct rcl_out *o);

/* Elements and attributes as glibc's malloc_info has them, so that its readers find theirs. */
void rcl_report_xml(const struct rcl_stats *s, struct rcl_out *o);

/* Whether `letter` is among the opts. */
bool rcl_report_omits(const char *opts, char letter);

#endif
