/* SPDX-License-Identifier: MIT */
/* prof_trace.c - see prof_trace.h. */
#include "prof_trace.h"

#include "os.h"

enum { KEPT = 16 };

static struct rcl_trace *kept[KEPT];

static size_t trace_bytes(void)
{
    return rcl_align_up(sizeof(struct rcl_trace), rcl_page_size());
}

struct rcl_trace *rcl_trace_take(void)
{
    for (unsigned i = 0; i < KEPT; i++) {
        if (__atomic_load_n(&kept[i], __ATOMIC_RELAXED) == NULL)
            continue;
        struct rcl_trace *t = __atomic_exchange_n(&kept[i], NULL, __ATOMIC_ACQUIRE);
        if (t != NULL)
            return t;
    }
    struct rcl_trace *t = rcl_os_map(trace_bytes());
    if (t != NULL)
        rcl_os_name(t, trace_bytes(), "libreclaim stacks");
    return t;
}

void rcl_trace_give(struct rcl_trace *t)
{
    for (unsigned i = 0; i < KEPT; i++) {
        struct rcl_trace *none = NULL;
        if (__atomic_compare_exchange_n(&kept[i], &none, t, false, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
            return;
    }
    rcl_os_unmap(t, trace_bytes());
}

RCL_OWN void rcl_trace_capture(struct rcl_trace *t, unsigned depth)
{
    t->natives = rcl_unwind(t->native, depth);
}

unsigned rcl_trace_resolve(struct rcl_trace *t, unsigned depth)
{
    unsigned n = 0;
    for (unsigned i = 0; i < t->natives && n < depth; i++)
        t->frame[n++] = t->native[i].pc;
    return n;
}
