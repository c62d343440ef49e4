/* SPDX-License-Identifier: MIT */
/* report.h - a snapshot as text, for people and for programs. */
#ifndef RCL_REPORT_H
#define RCL_REPORT_H

#include "base.h"
#include "out.h"
#include "snapshot.h"
#include "stats.h"

/* For people; NULL: that there is none. */
void rcl_report_text(const struct rcl_snapshot *s, struct rcl_out *o);

/* Elements and attributes as glibc's malloc_info has them, so that its readers find theirs. */
void rcl_report_xml(const struct rcl_stats *s, struct rcl_out *o);

#endif
