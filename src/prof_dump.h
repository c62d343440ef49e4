/* SPDX-License-Identifier: MIT */
/*
 * prof_dump.h - a heap profile as a file: its name, and whole or not at all.
 *
 * A dump takes no lock, allocates nothing and blocks signals: it can be made at any
 * point, by a signal handler too.  One at a time; a second one fails, but those of a process
 * that ends wait for it.  What goes
 * wrong gives one line on stderr, and the program goes on.  Where nobody has asked for the
 * dump, so that it is tried again and again, the same refusal is said once until one succeeds.
 */
#ifndef RCL_PROF_DUMP_H
#define RCL_PROF_DUMP_H

#include "base.h"

/* Why, as it stands in the name of the file. */
enum rcl_prof_reason {
    RCL_PROF_MANUAL,
    RCL_PROF_FINAL,
    RCL_PROF_PEAK, /* at the end too: the highest there was */
    RCL_PROF_SIGNAL,
    /* From here on the library decides, and keeps prof_keep of them only. */
    RCL_PROF_INTERVAL,
    RCL_PROF_GDUMP,
    RCL_PROF_GROW,
    RCL_PROF_AT,
    RCL_PROF_FAILURE,
};

/*
 * Write the profile (of the peak, with that reason) to `path`, or, if NULL, to a name made
 * of prefix, program, process id, time, live bytes and reason.  errno; EBUSY: another
 * dump is being written.
 */
int rcl_prof_dump(const char *path, enum rcl_prof_reason why);

/* Map what dumps need, for good, so that they are possible when memory is short; false: there is
 * none now.  Idempotent. */
bool rcl_prof_dump_boot(void);

/* Where the last dump of this process went; "": nowhere. */
const char *rcl_prof_last_dump(void);

/*
 * What names begin with: it may have a folder.  One that is not absolute begins in the folder that
 * is the current one now (the option's: when the first dump is prepared).  ENAMETOOLONG; EBUSY: the
 * process ends.
 */
int rcl_prof_set_prefix(const char *prefix);
const char *rcl_prof_prefix(void);

/*
 * The process ends by the calling thread: a dump that another thread is writing is waited for (5 s
 * at most), and from here on none but the calling thread writes one.  Idempotent.
 */
void rcl_prof_dump_end(void);

/*
 * In a forked child: what another thread was writing is the parent's business; and dumps say who
 * that is, and how many bytes of samples it had at the fork (0: no word of it).
 */
void rcl_prof_dump_forked(int parent, uint64_t inherited);

/* Nothing that was inherited is left. */
void rcl_prof_dump_reset(void);

#endif
