/* SPDX-License-Identifier: MIT */
/* bin.c - see bin.h. */
#include "bin.h"

#include "account.h"
#include "die.h"
#include "meta.h"
#include "os.h"
#include "pagemap.h"
#include "release.h"
#include "sizeclass.h"
#include "slab.h"

enum {
    QUARTERS = 4,
    BIN_BATCH = 64, /* ranges per system call */
    AGE_SLICE = 64, /* slabs aged per holding of the lock */
};

void rcl_bin_init(struct rcl_bin *b, unsigned cls, struct rcl_arena *arena, struct rcl_runs *runs)
{
    *b = (struct rcl_bin){.cls = (uint8_t)cls, .arena = arena, .runs = runs};
    rcl_lock_init(&b->lock);
    for (unsigned i = 0; i < RCL_PLACES; i++)
        rcl_list_init(&b->place[i]);
    rcl_list_init(&b->queue);
    rcl_list_init(&b->aside);
}

void rcl_bad_block(const char *caller, const struct rcl_span *s, const void *p, bool in_block)
{
    size_t size = rcl_classes[s->cls].size;
    if (in_block) {
        size_t offset = (size_t)((const char *)p - s->base);
        rcl_die("%s(): invalid pointer %p: not the start of a block (%zu bytes into a block of "
                "%zu bytes at %p)",
                caller, p, offset % size, size, (const void *)((const char *)p - offset % size));
    }
    rcl_die("%s(): double free of %p: the block of %zu bytes is free already", caller, p, size);
}

/* --- lists -------------------------------------------------------------------------------- */

static unsigned place_of(const struct rcl_span *s)
{
    if (s->ready_slots > 0) {
        unsigned used = s->slots - s->free_slots;
        return RCL_PLACE_READY + (QUARTERS - 1 - used * QUARTERS / s->slots);
    }
    return s->free_slots > 0 && !s->purging ? RCL_PLACE_CLEAN : RCL_PLACE_NONE;
}

/* Put the slab on the list where it belongs now. */
static void settle(struct rcl_bin *b, struct rcl_span *s)
{
    unsigned place = place_of(s);
    if (place == s->place)
        return;
    if (s->place != RCL_PLACE_NONE)
        rcl_list_remove(&s->link);
    if (place != RCL_PLACE_NONE)
        rcl_list_push_front(&b->place[place], &s->link);
    b->open += (size_t)(place != RCL_PLACE_NONE) - (size_t)(s->place != RCL_PLACE_NONE);
    s->place = (uint8_t)place;
}

static struct rcl_span *first_at(struct rcl_bin *b, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        if (!rcl_list_empty(&b->place[i]))
            return container_of(b->place[i].next, struct rcl_span, link);
    return NULL;
}

/* Keep the queue true: linked iff something is returnable, and aside iff all of it was refused. */
static void enqueue(struct rcl_bin *b, struct rcl_span *s)
{
    bool aside = (s->returnable & ~s->refused) == 0;
    if (rcl_list_linked(&s->queue)) {
        if (s->returnable != 0 && aside == s->aside)
            return;
        rcl_list_remove(&s->queue);
    }
    if (s->returnable != 0) {
        rcl_list_push_back(aside ? &b->aside : &b->queue, &s->queue);
        s->aside = aside;
    }
}

/* So many more pages, or fewer, are refused than `before`. */
static void count_refused(const struct rcl_span *s, uint64_t before)
{
    if (unlikely(s->refused != before))
        rcl_account_add(&rcl_account.refused_pages,
                        (int64_t)rcl_popcount(s->refused) - (int64_t)rcl_popcount(before));
}

/* What was refused may be tried again.  The lock is held. */
static void slab_forget_refused(struct rcl_span *s)
{
    uint64_t before = s->refused;
    s->refused = 0;
    count_refused(s, before);
}

/*
 * A slab has become empty: is it the one that the bin keeps?  Programs that go up and down
 * around a slab's boundary, or start a thread again and again, would make it anew each time.
 * It is a keeping of pages like any other: they are returnable, and with the last it goes.
 * A bin that gives up slabs and takes none is one that a program has grown out of: its pages
 * are of more use to other classes, and the one kept goes as well.
 */
static bool keep_empty(struct rcl_bin *b, struct rcl_span *s, enum rcl_age age)
{
    if (b->spare == NULL && !b->shrinking && s->dirty != 0 && age == RCL_AGE_NEW)
        b->spare = s;
    return b->spare == s;
}

/* Tell what happened to pages and that so many blocks (negative: came back) were handed out. */
static void bin_tell(struct rcl_bin *b, struct rcl_demand_note *note, int64_t blocks)
{
    note->slab = true;
    note->handed = blocks * rcl_classes[b->cls].size;
    rcl_demand_tell(b->runs->demand, note);
}

/* --- slabs come and go -------------------------------------------------------------------- */

/* No lock is held. */
static struct rcl_span *slab_new(struct rcl_bin *b)
{
    const struct rcl_class *c = &rcl_classes[b->cls];
    struct rcl_run run;
    struct rcl_span *s = rcl_meta_alloc(rcl_span_bytes(c->slots));
    if (s == NULL)
        return NULL;
    if (!rcl_runs_take(b->runs, c->slab_pages, 1, &run)) {
        rcl_meta_free(s, rcl_span_bytes(c->slots));
        return NULL;
    }
    s->base = run.chunk->base + (run.first << rcl_page_shift());
    s->chunk = run.chunk;
    s->arena = b->arena;
    s->first = (uint16_t)run.first;
    s->pages = c->slab_pages;
    s->slots = c->slots;
    s->cls = b->cls;
    s->place = RCL_PLACE_NONE;
    rcl_slab_init(s, run.dirty[0]);
    s->untouched = run.dirty_pages + run.new_pages == run.pages;
    rcl_pagemap_set(s->base, (size_t)s->pages << rcl_page_shift(), rcl_runs_mark(b->runs, b->cls),
                    s);
    return s;
}

/* Take an empty slab out of the bin.  The lock is held. */
static void slab_detach(struct rcl_bin *b, struct rcl_span *s)
{
    if (b->spare == s)
        b->spare = NULL;
    if (s->place != RCL_PLACE_NONE) {
        rcl_list_remove(&s->link);
        s->place = RCL_PLACE_NONE;
        b->open--;
    }
    if (rcl_list_linked(&s->queue))
        rcl_list_remove(&s->queue);
    slab_forget_refused(s);
    b->slabs--;
}

/* Pages that become free with it: the returnable ones are counted as that already. */
static size_t slab_frees(const struct rcl_span *s)
{
    return rcl_popcount(s->dirty & ~s->returnable);
}

/* Put an empty slab among those to drop when the lock is no longer held. */
static void give_up(struct rcl_bin *b, struct rcl_span *s, struct rcl_list *empty,
                    struct rcl_demand_note *note)
{
    note->freed += slab_frees(s);
    slab_detach(b, s);
    rcl_list_push_back(empty, &s->link);
}

/* No lock is held, nobody else knows the slab, and what it frees has been told. */
static void slab_drop(struct rcl_bin *b, struct rcl_span *s, enum rcl_age age)
{
    rcl_pagemap_clear(s->base, (size_t)s->pages << rcl_page_shift());
    rcl_runs_give(b->runs, s->chunk, s->first, s->pages, &s->dirty, age);
    rcl_meta_free(s, rcl_span_bytes(s->slots));
}

static void slabs_drop(struct rcl_bin *b, struct rcl_list *empty, enum rcl_age age)
{
    struct rcl_list *n;
    while ((n = rcl_list_pop_front(empty)) != NULL)
        slab_drop(b, container_of(n, struct rcl_span, link), age);
}

/* --- blocks ------------------------------------------------------------------------------- */

static size_t take_from(struct rcl_bin *b, struct rcl_span *s, void **out, size_t n,
                        struct rcl_demand_note *note)
{
    size_t retaken;
    uint64_t refused = s->refused;
    n = rcl_slab_take(s, out, n, &retaken);
    count_refused(s, refused);
    b->live += n;
    b->taken += n;
    if (s == b->spare) {
        b->spare = NULL;
        b->shrinking = false;
    }
    if (retaken != 0) {
        note->taken_dirty += retaken;
        enqueue(b, s);
    }
    settle(b, s);
    return n;
}

size_t rcl_bin_take(struct rcl_bin *b, void **out, size_t n, bool *zero)
{
    size_t got = 0;
    struct rcl_demand_note note = {0};
    size_t size = rcl_classes[b->cls].size;
    bool by_page = size >= rcl_page_size();
    size_t few = rcl_max(RCL_BIN_AHEAD_BYTES / size, 1);
    *zero = false;
    rcl_lock(&b->lock);
    b->fills++;
    while (got < n) {
        struct rcl_span *s = first_at(b, RCL_PLACE_READY, RCL_PLACE_CLEAN);
        if (s != NULL) {
            got += take_from(b, s, out + got, n - got, &note);
            continue;
        }
        if (by_page && got >= few)
            break;
        s = first_at(b, RCL_PLACE_CLEAN, RCL_PLACES);
        if (s != NULL) {
            size_t clean;
            bool fresh;
            rcl_slab_activate(s, &clean, &fresh);
            note.taken_clean += clean;
            note.taken_new += s->untouched ? clean : 0;
            if (by_page) {
                /* Its neighbours may be ready too, but not on pages known to be zero. */
                if (got == 0)
                    *zero = fresh;
                got += take_from(b, s, out + got, 1, &note);
            } else {
                settle(b, s);
            }
            continue;
        }
        if (got > 0)
            break;
        rcl_unlock(&b->lock);
        s = slab_new(b);
        if (s == NULL)
            return 0; /* nothing has been taken, or the batch would have been enough */
        rcl_lock(&b->lock);
        b->slabs++;
        b->slabs_made++;
        b->shrinking = false;
        enqueue(b, s);
        settle(b, s);
    }
    rcl_unlock(&b->lock);
    bin_tell(b, &note, (int64_t)got);
    return got;
}

/* A batch on its way back, slab by slab. */
struct put {
    struct rcl_span *slab; /* to which the last block belonged */
    uint64_t touched;      /* pages of its blocks in this batch */
    enum rcl_age age;
    struct rcl_list empty;       /* slabs to give up */
    struct rcl_demand_note note; /* freed: the pages that came free */
    const void *bad;             /* the one that ends it all, and what is known of it */
    const struct rcl_span *bad_slab;
    bool in_block;
};

/* The batch has no more for this slab: queue it, move it, or give it up.  The lock is held. */
static void put_done(struct rcl_bin *b, struct put *put)
{
    struct rcl_span *s = put->slab;
    if (s == NULL)
        return;
    if (rcl_slab_empty(s) && !keep_empty(b, s, put->age)) {
        struct rcl_span *spare = b->spare;
        give_up(b, s, &put->empty, &put->note);
        if (spare != NULL && !spare->purging)
            give_up(b, spare, &put->empty, &put->note);
        b->shrinking = true;
        return;
    }
    size_t found = rcl_slab_settle(s, put->touched, put->age == RCL_AGE_OLD);
    if (found != 0) {
        put->note.freed += found;
        enqueue(b, s);
        if (put->age == RCL_AGE_OLD) {
            rcl_list_remove(&s->queue);
            rcl_list_push_front(&b->queue, &s->queue);
        }
    }
    settle(b, s);
}

/* With nothing half done and no lock held: the program may handle SIGABRT. */
__attribute__((noreturn, cold)) static void put_failed(const struct rcl_bin *b,
                                                       const struct put *put, const char *caller)
{
    if (put->bad_slab != NULL)
        rcl_bad_block(caller, put->bad_slab, put->bad, put->in_block);
    rcl_die("%s(): double free of %p: the block of %u bytes is free already", caller, put->bad,
            rcl_classes[b->cls].size);
}

size_t rcl_bin_put(struct rcl_bin *b, void **p, size_t n, enum rcl_age age, const char *caller)
{
    size_t others = 0, back = 0;
    struct put put = {.age = age};
    rcl_list_init(&put.empty);
    rcl_lock(&b->lock);
    b->flushes++;
    for (size_t i = 0, done; i < n; i += done) {
        /* Waiting in a thread cache, a block freed twice may have outlived its slab. */
        if (unlikely(rcl_block_class(p[i]) != b->cls)) {
            put.bad = p[i];
            put.bad_slab = NULL;
            break;
        }
        struct rcl_span *s = rcl_pagemap_desc(p[i]);
        if (s->arena != b->arena) {
            p[others++] = p[i];
            done = 1;
            continue;
        }
        if (s != put.slab) {
            put_done(b, &put);
            put.slab = s;
            put.touched = 0;
        }
        enum rcl_slab_error err = rcl_slab_put(s, p + i, n - i, &done, &put.touched);
        back += done;
        if (unlikely(err != RCL_SLAB_OK)) {
            put.bad = p[i + done];
            put.bad_slab = s;
            put.in_block = err == RCL_SLAB_NOT_A_BLOCK;
            if (put.touched == 0)
                put.slab = NULL; /* nothing came back, and it may have been given up before */
            break;
        }
    }
    put_done(b, &put);
    b->live -= back;
    rcl_unlock(&b->lock);
    bin_tell(b, &put.note, -(int64_t)back);
    rcl_account_unpinned(back, back * rcl_classes[b->cls].size, put.note.freed, rcl_page_size());
    if (unlikely(put.bad != NULL))
        put_failed(b, &put, caller);
    slabs_drop(b, &put.empty, age);
    return others;
}

void rcl_bin_discard(struct rcl_bin *b, struct rcl_span *s)
{
    rcl_lock(&b->lock);
    size_t blocks = (size_t)(s->slots - s->free_slots);
    rcl_assert(!s->purging && s->arena == b->arena);
    b->live -= blocks;
    struct rcl_demand_note note = {.freed = slab_frees(s)};
    slab_detach(b, s);
    rcl_unlock(&b->lock);
    bin_tell(b, &note, -(int64_t)blocks);
    slab_drop(b, s, RCL_AGE_NEW);
}

/* --- giving back pages -------------------------------------------------------------------- */

void rcl_bin_age(struct rcl_bin *b)
{
    struct rcl_list old;
    bool more = true;
    rcl_list_init(&old);
    rcl_lock(&b->lock);
    uint8_t step = ++b->step;
    while (more) {
        /* The queue goes round once: what was aged goes to the back with this step's mark. */
        for (unsigned i = 0; i < AGE_SLICE && more; i++) {
            struct rcl_list *n = b->queue.next;
            struct rcl_span *s = container_of(n, struct rcl_span, queue);
            more = n != &b->queue && s->step != step;
            if (!more)
                break;
            s->step = step;
            rcl_list_remove(n);
            rcl_slab_age(s);
            rcl_list_push_back(rcl_slab_old(s) != 0 ? &old : &b->queue, n);
        }
        /* Let others in.  Slabs on our own list can be taken off it meanwhile, like off any. */
        rcl_unlock(&b->lock);
        rcl_lock(&b->lock);
    }
    /* Those with pages to return stand in front, where purging looks. */
    while (!rcl_list_empty(&old)) {
        struct rcl_list *n = old.prev;
        rcl_list_remove(n);
        rcl_list_push_front(&b->queue, n);
    }
    rcl_unlock(&b->lock);
}

/* Pages on their way to the kernel. */
struct bin_batch {
    struct rcl_os_range range[BIN_BATCH];
    struct {
        struct rcl_span *slab;
        uint64_t pages, refused;
    } part[BIN_BATCH];
    uint8_t part_of[BIN_BATCH]; /* by range */
    size_t ranges, parts, pages;
};

/* Hold pages of one slab and add them to the batch as ranges.  The lock is held. */
static void batch_add(struct bin_batch *t, struct rcl_span *s, uint64_t pages, size_t budget)
{
    uint64_t held = 0;
    for (size_t at = rcl_bits_next_set(&pages, 0, 64);
         at < 64 && t->ranges < BIN_BATCH && t->pages < budget;) {
        size_t end = rcl_bits_next_clear(&pages, at, 64);
        t->range[t->ranges].addr = s->base + (at << rcl_page_shift());
        t->range[t->ranges].bytes = (end - at) << rcl_page_shift();
        t->part_of[t->ranges] = (uint8_t)t->parts;
        t->ranges++;
        t->pages += end - at;
        held |= rcl_bits_mask((unsigned)at, (unsigned)(end - at));
        at = rcl_bits_next_set(&pages, end, 64);
    }
    rcl_slab_hold(s, held);
    t->part[t->parts].slab = s;
    t->part[t->parts].pages = held;
    t->part[t->parts].refused = 0;
    t->parts++;
}

/* Collect from the front of the queue.  The lock is held. */
static void bin_collect(struct rcl_bin *b, enum rcl_purge_what what, size_t budget,
                        struct bin_batch *t)
{
    t->ranges = t->parts = t->pages = 0;
    struct rcl_list *n = b->queue.next;
    while (n != &b->queue && t->ranges < BIN_BATCH && t->pages < budget) {
        struct rcl_span *s = container_of(n, struct rcl_span, queue);
        n = n->next;
        if (s->purging)
            continue;
        uint64_t pages = what == RCL_PURGE_OLD ? rcl_slab_old(s) : s->returnable & ~s->refused;
        if (pages == 0)
            break; /* the old ones stand in front */
        batch_add(t, s, pages, budget);
        settle(b, s);
    }
}

/* One page of a range may be locked, and the kernel refused the range: page by page. */
static RCL_COLD void batch_purge_pages(struct bin_batch *t, size_t range)
{
    const struct rcl_os_range *o = &t->range[range];
    struct rcl_span *s = t->part[t->part_of[range]].slab;
    for (size_t at = 0; at < o->bytes; at += rcl_page_size()) {
        char *page = (char *)o->addr + at;
        if (rcl_release(page, rcl_page_size()) != 0) {
            t->part[t->part_of[range]].refused |= (uint64_t)1
                                                  << ((size_t)(page - s->base) >> rcl_page_shift());
            t->pages--;
        }
    }
}

/* The system call or calls.  No lock is held. */
static void batch_purge(struct bin_batch *t)
{
    uint64_t start = rcl_os_now_ns();
    uint64_t refused = rcl_release_many(t->range, t->ranges);
    rcl_account_count(&rcl_account.purge_refused, refused != 0);
    for (; refused != 0; refused &= refused - 1)
        batch_purge_pages(t, rcl_ctz(refused));
    rcl_account_count(&rcl_account.purge_ns, rcl_os_now_ns() - start);
    rcl_account_count(&rcl_account.purge_calls, 1);
}

/* The lock is held. */
static void bin_finish(struct rcl_bin *b, struct bin_batch *t, struct rcl_list *empty,
                       struct rcl_demand_note *note)
{
    for (size_t i = 0; i < t->parts; i++) {
        struct rcl_span *s = t->part[i].slab;
        uint64_t before = s->refused;
        rcl_slab_finish(s, t->part[i].pages, t->part[i].refused);
        count_refused(s, before);
        if (rcl_slab_empty(s) && (s != b->spare || (s->dirty & ~s->refused) == 0)) {
            give_up(b, s, empty, note);
            continue;
        }
        if (rcl_slab_old(s) == 0 && rcl_list_linked(&s->queue))
            rcl_list_remove(&s->queue); /* from the front, where the old ones stand */
        enqueue(b, s);
        settle(b, s);
    }
}

/* Everything that was refused may be tried again. */
static void bin_forget_refused(struct rcl_bin *b)
{
    rcl_lock(&b->lock);
    while (!rcl_list_empty(&b->aside)) {
        struct rcl_span *s = container_of(b->aside.next, struct rcl_span, queue);
        slab_forget_refused(s);
        enqueue(b, s);
    }
    for (struct rcl_list *n = b->queue.next; n != &b->queue; n = n->next)
        slab_forget_refused(container_of(n, struct rcl_span, queue));
    rcl_unlock(&b->lock);
}

size_t rcl_bin_purge(struct rcl_bin *b, enum rcl_purge_what what, size_t budget)
{
    size_t returned = 0;
    struct bin_batch t; /* 3 KiB; the thread with the smallest stack comes through here */
    if (what == RCL_PURGE_ALL)
        bin_forget_refused(b);
    while (returned < budget) {
        struct rcl_list empty;
        rcl_list_init(&empty);
        rcl_lock(&b->lock);
        bin_collect(b, what, budget - returned, &t);
        rcl_unlock(&b->lock);
        if (t.parts == 0)
            break;
        batch_purge(&t);
        struct rcl_demand_note note = {
            .purged = t.pages,
            .aged = what == RCL_PURGE_OLD,
            .goes_on = returned != 0,
        };
        rcl_lock(&b->lock);
        bin_finish(b, &t, &empty, &note);
        rcl_unlock(&b->lock);
        bin_tell(b, &note, 0);
        slabs_drop(b, &empty, RCL_AGE_NEW);
        returned += t.pages;
    }
    return returned;
}
