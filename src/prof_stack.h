/* SPDX-License-Identifier: MIT */
/*
 * prof_stack.h - the distinct stacks of sampled allocations, and their sums.
 *
 * A stack is its frames and the name of the thread.  Stacks are added and never
 * removed, by one compare-and-swap each: so finding, counting and listing need no
 * lock, and a dump can read them from a signal handler.
 *
 *   bucket[hash] -> stack -> stack          newest first
 *   all          -> stack -> stack -> ...   newest first
 *
 * All sums are of weights (prof_rate.h) and change with relaxed atomics: a reader
 * sees each of them true, and all together true when the process is quiet.
 */
#ifndef RCL_PROF_STACK_H
#define RCL_PROF_STACK_H

#include "base.h"
#include "meta.h"
#include "prof_rate.h"

/*
 * A frame is a return address, or the place of one in an object that may be unloaded
 * (prof_object.h); or it has the top bit set and is no address of code: the number of a place
 * in Python code (prof_python.h), or one of these two.
 */
#define RCL_FRAME_MARK ((uint64_t)1 << 63)
#define RCL_FRAME_NO_STACK RCL_FRAME_MARK
#define RCL_FRAME_TOO_MANY (RCL_FRAME_MARK | 1)
enum { RCL_FRAME_FIRST = 2 }; /* the lowest other number */

struct rcl_stack {
    struct rcl_stack *next;  /* in the bucket */
    struct rcl_stack *older; /* of all */
    uint64_t hash;
    uint16_t frames;
    uint16_t thread; /* rcl_prof_thread() */
    struct rcl_prof_weight live, all, peak;
    uint64_t frame[]; /* leaf first */
};

enum {
    RCL_STACK_FRAMES_MAX = (int)((RCL_META_MAX - offsetof(struct rcl_stack, frame)) /
                                 sizeof(uint64_t)),
    RCL_PROF_THREADS_MAX = 256,
    RCL_PROF_THREAD_NAME = 16, /* with its NUL: the kernel's limit */
};
#ifndef RCL_STACKS_MAX
#define RCL_STACKS_MAX ((size_t)1 << 17)
#endif

/* Map what all this needs, for good; false: no memory.  Before the first stack; idempotent. */
bool rcl_stacks_boot(void);

/* Inside the gate.  When there is no room any more, a stack that stands for all such. */
struct rcl_stack *rcl_stack_find(const uint64_t *frame, unsigned frames, unsigned thread);

/* A sample of this weight has been taken, or is gone. */
void rcl_stack_add(struct rcl_stack *s, struct rcl_prof_weight w);
void rcl_stack_remove(struct rcl_stack *s, struct rcl_prof_weight w);

/* The newest, or NULL; the others by ->older. */
struct rcl_stack *rcl_stacks_first(void);

/* Sums over all stacks. */
struct rcl_stacks_total {
    uint64_t live_bytes, all_bytes, peak_bytes;
    uint64_t live_samples, all_samples;
};
void rcl_stacks_total(struct rcl_stacks_total *t);

/* The rate at which what is in the table was sampled (prof_rate.h). */
void rcl_stacks_set_lg(unsigned lg);
unsigned rcl_stacks_lg(void);

/* The live sums become the peak. */
void rcl_stacks_snapshot(void);

/* No sample is left: cumulative sums and peak begin at 0 again. */
void rcl_stacks_clear(void);

/* A number for the caller's name; 0: there are too many names. */
unsigned rcl_prof_thread(void);
const char *rcl_prof_thread_name(unsigned thread); /* NULL: the number is not in use */

#endif
