/* SPDX-License-Identifier: MIT */
/* prof_trace.c - see prof_trace.h. */
#include "prof_trace.h"

#include "os.h"
#include "prof_object.h"

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
    t->pythons = rcl_python_walk(t->python, depth, &t->room);
}

/* --- one list out of two ------------------------------------------------------------------ */

/* The list as it grows. */
struct result {
    uint64_t *frame;
    unsigned n, depth;
};

static void put_frame(struct result *r, uint64_t frame)
{
    if (frame != 0 && r->n < r->depth)
        r->frame[r->n++] = frame;
}

/* Where it lies in its object: something else may come to lie at its address. */
static void put_native(struct result *r, const struct rcl_frame *f)
{
    put_frame(r, rcl_object_frame(f->object, f->pc));
}

/* Python frames from `first` on, to the one that ends its loop, or to the last; the next one. */
static unsigned put_loop(struct result *r, struct rcl_trace *t, unsigned first, bool all)
{
    for (unsigned i = first; i < t->pythons; i++) {
        put_frame(r, rcl_python_number(&t->python[i], &t->room));
        if (!all && t->python[i].anchor != 0)
            return i + 1;
    }
    return t->pythons;
}

/* Where on the C stack the loop is that runs Python frame `first`; 0: not known. */
static uintptr_t anchor_of(const struct rcl_trace *t, unsigned first)
{
    for (unsigned i = first; i < t->pythons; i++)
        if (t->python[i].anchor != 0)
            return t->python[i].anchor;
    return 0;
}

static bool holds(const struct rcl_frame *f, uintptr_t anchor)
{
    return anchor != 0 && anchor - f->low < f->high - f->low;
}

/* Has the native walk come to the innermost loop? */
static bool meets(const struct rcl_trace *t)
{
    uintptr_t anchor = anchor_of(t, 0);
    for (unsigned i = 0; i < t->natives; i++)
        if (holds(&t->native[i], anchor))
            return true;
    return false;
}

/* The loop's frame is replaced by those it runs; from there on the interpreter's are left out. */
static void weave(struct result *r, struct rcl_trace *t)
{
    unsigned next = 0;
    for (unsigned i = 0; i < t->natives; i++) {
        const struct rcl_frame *f = &t->native[i];
        bool loop = false;
        while (next < t->pythons && holds(f, anchor_of(t, next))) {
            next = put_loop(r, t, next, false);
            loop = true;
        }
        if (!loop && (next == 0 || !rcl_python_owns(f->pc)))
            put_native(r, f);
    }
    put_loop(r, t, next, true);
}

static void append_python(struct result *r, struct rcl_trace *t)
{
    for (unsigned i = 0; i < t->natives; i++) {
        put_native(r, &t->native[i]);
        if (rcl_python_owns(t->native[i].pc))
            break;
    }
    put_loop(r, t, 0, true);
}

unsigned rcl_trace_resolve(struct rcl_trace *t, unsigned depth)
{
    struct result r = {.frame = t->frame, .depth = depth};
    if (t->pythons == 0) {
        for (unsigned i = 0; i < t->natives; i++)
            put_native(&r, &t->native[i]);
    } else if (meets(t)) {
        weave(&r, t);
    } else {
        append_python(&r, t);
    }
    return r.n;
}
