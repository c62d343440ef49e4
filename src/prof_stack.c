/* SPDX-License-Identifier: MIT */
/* prof_stack.c - see prof_stack.h. */
#include "prof_stack.h"

#include "os.h"

#include <string.h>

enum { BUCKETS = 1 << 14 };

/* The state of a place in the table of names. */
enum name_state { EMPTY, BEING_WRITTEN, WRITTEN };

struct name {
    uint32_t state;
    char text[RCL_PROF_THREAD_NAME];
};

/* Mapped when profiling is first switched on. */
struct stack_tables {
    struct rcl_stack *bucket[BUCKETS];
    struct name name[RCL_PROF_THREADS_MAX]; /* entry 0 is in use for what does not fit */
};

static struct {
    struct stack_tables *tables; /* NULL: there has been no stack and no name */
    struct rcl_stack *all;
    size_t count;
    unsigned lg;
    struct rcl_stacks_total total;
} stacks;

/* For samples whose stack cannot be kept.  Not in a bucket, and on the list from its first use. */
static struct {
    uint64_t words[sizeof(struct rcl_stack) / sizeof(uint64_t) + 1]; /* with one frame */
    uint32_t listed;
} other_stacks;

bool rcl_stacks_boot(void)
{
    if (stacks.tables == NULL)
        stacks.tables = rcl_meta_table(sizeof *stacks.tables, "libreclaim stacks");
    return stacks.tables != NULL;
}

static void list_stack(struct rcl_stack *s)
{
    s->older = __atomic_load_n(&stacks.all, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&stacks.all, &s->older, s, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {}
}

static RCL_COLD struct rcl_stack *the_rest(void)
{
    struct rcl_stack *s = (struct rcl_stack *)other_stacks.words;
    __atomic_store_n(&s->frame[0], RCL_FRAME_TOO_MANY, __ATOMIC_RELAXED);
    __atomic_store_n(&s->frames, 1, __ATOMIC_RELAXED); /* by whoever comes, always the same */
    if (__atomic_exchange_n(&other_stacks.listed, 1, __ATOMIC_RELAXED) == 0)
        list_stack(s);
    return s;
}

static uint64_t stack_hash(const uint64_t *frame, unsigned frames, unsigned thread)
{
    uint64_t h = thread + 1;
    for (unsigned i = 0; i < frames; i++) {
        h = (h ^ frame[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return h;
}

/* From `from` to before `end`. */
static struct rcl_stack *search(struct rcl_stack *from, const struct rcl_stack *end,
                                const struct rcl_stack *like, const uint64_t *frame)
{
    for (struct rcl_stack *s = from; s != end; s = s->next)
        if (s->hash == like->hash && s->frames == like->frames && s->thread == like->thread &&
            memcmp(s->frame, frame, like->frames * sizeof *frame) == 0)
            return s;
    return NULL;
}

struct rcl_stack *rcl_stack_find(const uint64_t *frame, unsigned frames, unsigned thread)
{
    static const uint64_t no_stack[] = {RCL_FRAME_NO_STACK};
    if (frames == 0) {
        frame = no_stack;
        frames = 1;
    }
    const struct rcl_stack like = {.hash = stack_hash(frame, frames, thread),
                                   .frames = (uint16_t)frames,
                                   .thread = (uint16_t)thread};
    struct rcl_stack **bucket = &stacks.tables->bucket[like.hash >> 40 & (BUCKETS - 1)];
    struct rcl_stack *head = __atomic_load_n(bucket, __ATOMIC_ACQUIRE);
    struct rcl_stack *found = search(head, NULL, &like, frame);
    if (likely(found != NULL))
        return found;
    size_t bytes = sizeof like + frames * sizeof *frame;
    struct rcl_stack *s = NULL;
    if (__atomic_fetch_add(&stacks.count, 1, __ATOMIC_RELAXED) < RCL_STACKS_MAX)
        s = rcl_meta_alloc(bytes);
    if (s == NULL) {
        __atomic_fetch_sub(&stacks.count, 1, __ATOMIC_RELAXED);
        return the_rest();
    }
    *s = like;
    memcpy(s->frame, frame, frames * sizeof *frame);
    s->next = head;
    while (!__atomic_compare_exchange_n(bucket, &s->next, s, false, __ATOMIC_RELEASE,
                                        __ATOMIC_ACQUIRE)) {
        /* Others have put something there since: perhaps this very stack. */
        found = search(s->next, head, &like, frame);
        if (found != NULL) {
            rcl_meta_free(s, bytes);
            __atomic_fetch_sub(&stacks.count, 1, __ATOMIC_RELAXED);
            return found;
        }
        head = s->next;
    }
    list_stack(s);
    return s;
}

/* --- sums --------------------------------------------------------------------------------- */

static void sum_add(uint64_t *field, uint64_t n)
{
    __atomic_fetch_add(field, n, __ATOMIC_RELAXED);
}

static uint64_t sum_get(const uint64_t *field)
{
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

static void sum_set(uint64_t *field, uint64_t n)
{
    __atomic_store_n(field, n, __ATOMIC_RELAXED);
}

void rcl_stack_add(struct rcl_stack *s, struct rcl_prof_weight w)
{
    sum_add(&s->live.units, w.units);
    sum_add(&s->live.bytes, w.bytes);
    sum_add(&s->all.units, w.units);
    sum_add(&s->all.bytes, w.bytes);
    sum_add(&stacks.total.live_bytes, w.bytes);
    sum_add(&stacks.total.all_bytes, w.bytes);
    sum_add(&stacks.total.live_samples, 1);
    sum_add(&stacks.total.all_samples, 1);
}

void rcl_stack_remove(struct rcl_stack *s, struct rcl_prof_weight w)
{
    sum_add(&s->live.units, 0 - w.units);
    sum_add(&s->live.bytes, 0 - w.bytes);
    sum_add(&stacks.total.live_bytes, 0 - w.bytes);
    sum_add(&stacks.total.live_samples, (uint64_t)-1);
}

struct rcl_stack *rcl_stacks_first(void)
{
    return __atomic_load_n(&stacks.all, __ATOMIC_ACQUIRE);
}

void rcl_stacks_total(struct rcl_stacks_total *t)
{
    t->live_bytes = sum_get(&stacks.total.live_bytes);
    t->all_bytes = sum_get(&stacks.total.all_bytes);
    t->peak_bytes = sum_get(&stacks.total.peak_bytes);
    t->live_samples = sum_get(&stacks.total.live_samples);
    t->all_samples = sum_get(&stacks.total.all_samples);
}

void rcl_stacks_set_lg(unsigned lg)
{
    __atomic_store_n(&stacks.lg, lg, __ATOMIC_RELAXED);
}

unsigned rcl_stacks_lg(void)
{
    return __atomic_load_n(&stacks.lg, __ATOMIC_RELAXED);
}

void rcl_stacks_snapshot(void)
{
    sum_set(&stacks.total.peak_bytes, sum_get(&stacks.total.live_bytes));
    for (struct rcl_stack *s = rcl_stacks_first(); s != NULL; s = s->older) {
        sum_set(&s->peak.units, sum_get(&s->live.units));
        sum_set(&s->peak.bytes, sum_get(&s->live.bytes));
    }
}

void rcl_stacks_clear(void)
{
    sum_set(&stacks.total.all_bytes, 0);
    sum_set(&stacks.total.all_samples, 0);
    sum_set(&stacks.total.peak_bytes, 0);
    for (struct rcl_stack *s = rcl_stacks_first(); s != NULL; s = s->older) {
        sum_set(&s->all.units, 0);
        sum_set(&s->all.bytes, 0);
        sum_set(&s->peak.units, 0);
        sum_set(&s->peak.bytes, 0);
    }
}

/* --- names of threads --------------------------------------------------------------------- */

unsigned rcl_prof_thread(void)
{
    char text[RCL_PROF_THREAD_NAME] = "";
    rcl_os_thread_name(text);
    for (unsigned i = 1; i < RCL_PROF_THREADS_MAX; i++) {
        struct name *n = &stacks.tables->name[i];
        uint32_t state = __atomic_load_n(&n->state, __ATOMIC_ACQUIRE);
        if (state == EMPTY && __atomic_compare_exchange_n(&n->state, &state, BEING_WRITTEN, false,
                                                          __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
            memcpy(n->text, text, sizeof text);
            __atomic_store_n(&n->state, WRITTEN, __ATOMIC_RELEASE);
            return i;
        }
        if (state == WRITTEN && memcmp(n->text, text, sizeof text) == 0)
            return i;
        /* One that is just being written may become the same: the name has two numbers then. */
    }
    return 0;
}

const char *rcl_prof_thread_name(unsigned thread)
{
    if (thread == 0)
        return "(other)";
    const struct stack_tables *t = stacks.tables;
    if (t == NULL)
        return NULL;
    const struct name *n = &t->name[thread];
    return __atomic_load_n(&n->state, __ATOMIC_ACQUIRE) == WRITTEN ? n->text : NULL;
}
