/* SPDX-License-Identifier: MIT */
/*
 * all.c - the whole library as one translation unit, in the order of src/LAYERS.
 *
 * libreclaim.a and reclaim.o are made of it: a program that links either gets
 * every replaced function or none, never a mixture with libc's.  The C++ operators
 * are an object beside it, because only C++ programs have the run time they need.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

/* Nothing can be interposed in a static link. */
#define RCL_STATIC 1

/* clang-format off */
#include "os.c"
#include "release.c"
#include "look.c"
#include "zero.c"
#include "file.c"
#include "out.c"
#include "die.c"
#include "lock.c"
#include "sizeclass.c"
#include "options.c"
#include "conf.c"
#include "decay.c"
#include "prof_rate.c"
#include "prof_pyline.c"
#include "maxindex.c"
#include "meta.c"
#include "pagemap.c"
#include "account.c"
#include "demand.c"
#include "place.c"
#include "runs.c"
#include "slab.c"
#include "bin.c"
#include "large.c"
#include "keep.c"
#include "huge.c"
#include "arena.c"
#include "gate.c"
#include "prof_count.c"
#include "tcache.c"
#include "thread.c"
#include "xcache.c"
#include "via.c"
#include "purge.c"
#include "background.c"
#include "prof_stack.c"
#include "prof_live.c"
#include "prof_cfi.c"
#include "prof_elf.c"
#include "prof_object.c"
#include "prof_eh.c"
#include "prof_unwind.c"
#include "prof_maps.c"
#include "prof_pylayout.c"
#include "prof_python.c"
#include "prof_trace.c"
#include "cgroup.c"
#include "prof_text.c"
#include "prof_dump.c"
#include "prof_when.c"
#include "prof.c"
#include "fork.c"
#include "boot.c"
#include "stats.c"
#include "moment.c"
#include "ctlstat.c"
#include "json.c"
#include "ctlread.c"
#include "ctljson.c"
#include "snapshot.c"
#include "verdict.c"
#include "report.c"
#include "monitor.c"
#include "block.c"
#include "grow.c"
#include "heap.c"
#include "control.c"
#ifndef RCL_STATIC
#include "new.c"
#endif
#include "inspect.c"
#include "ctlact.c"
#include "mallctl.c"
#include "extended.c"
#include "malloc.c"
/* clang-format on */
