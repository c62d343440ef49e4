/* SPDX-License-Identifier: MIT */
/* huge.c - see huge.h. */
#include "huge.h"

#include "account.h"
#include "demand.h"
#include "die.h"
#include "keep.h"
#include "lock.h"
#include "meta.h"
#include "options.h"
#include "os.h"
#include "pagemap.h"
#include "release.h"
#include "sizeclass.h"

#include <string.h>

enum { PART_SHARE = 2 }; /* a block that grows gets a kept one's front, of half at most */
#define THP_BYTES (2 * MIB)
#define COPY_MAX (4 * MIB) /* of a block that moves to a kept one; a larger one moves by mremap */

static struct {
    struct rcl_lock lock;
    struct rcl_list live;
    struct rcl_keep kept;
    struct rcl_huge_stats stats;
    struct rcl_demand demand;
    unsigned thp;
    bool thp_anyway;   /* huge pages are there for all, by the system's setting or by ours */
    uint32_t kin;      /* of what is mapped now: changed by a fork alone */
    uint32_t last_kin; /* what was given to a mapping that has moved, or to a child */
} huge;

/* Whether the system backs memory with huge pages where nobody asks for them. */
static bool system_uses_thp(void)
{
    char text[64];
    long n = rcl_os_read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    /* Where it cannot be read, leave things alone: a huge page lost is lost for long. */
    return strstr(text, "[madvise]") == NULL && strstr(text, "[never]") == NULL;
}

void rcl_huge_init(uint64_t window_ns, unsigned thp)
{
    huge.thp = thp;
    /* Now, not when it is first needed: by then the program may be shut in a sandbox. */
    huge.thp_anyway = thp == RCL_THP_ALWAYS || system_uses_thp();
    rcl_list_init(&huge.live);
    rcl_keep_init(&huge.kept);
    rcl_demand_init(&huge.demand, window_ns);
}

void rcl_huge_forked(void)
{
    huge.kin = ++huge.last_kin;
}

void rcl_huge_set_window(uint64_t window_ns)
{
    rcl_demand_set_window(&huge.demand, window_ns);
}

static size_t pages_of(size_t bytes)
{
    return bytes >> rcl_page_shift();
}

static void tell(struct rcl_demand_note note)
{
    rcl_demand_tell(&huge.demand, &note);
}

/* --- the two lists; the lock is held in these --------------------------------------------- */

static void count_taken(const struct rcl_huge *h)
{
    if (h->group == NULL)
        return;
    rcl_account_count(&h->group->kind[rcl_extent_of(h->bytes)].taken, 1);
    rcl_account_count(&h->group->bytes, h->bytes);
}

static void count_given(const struct rcl_huge *h)
{
    if (h->group == NULL)
        return;
    rcl_account_count(&h->group->kind[rcl_extent_of(h->bytes)].given, 1);
    rcl_account_count(&h->group->bytes, -(uint64_t)h->bytes);
}

static void enter_live(struct rcl_huge *h)
{
    h->kept = false;
    count_taken(h);
    rcl_list_push_back(&huge.live, &h->link);
    huge.stats.live_blocks++;
    huge.stats.live_bytes += h->bytes;
}

static void leave_live(struct rcl_huge *h)
{
    count_given(h);
    rcl_list_remove(&h->link);
    huge.stats.live_blocks--;
    huge.stats.live_bytes -= h->bytes;
}

/* A live block has other pages now. */
static void change_live(struct rcl_huge *h, char *base, size_t bytes)
{
    bool other = rcl_extent_of(bytes) != rcl_extent_of(h->bytes);
    size_t more = bytes - h->bytes; /* modulo 2^64 */
    if (other)
        count_given(h);
    else if (h->group != NULL)
        rcl_account_count(&h->group->bytes, more);
    h->base = base;
    h->bytes = bytes;
    if (other)
        count_taken(h);
    if (!h->unlisted)
        huge.stats.live_bytes += more;
}

/* The largest kept block, of which so many bytes are a part; or NULL. */
static struct rcl_huge *kept_to_grow_in(size_t part)
{
    struct rcl_huge *h = rcl_keep_largest(&huge.kept);
    return h != NULL && h->bytes / PART_SHARE >= part ? h : NULL;
}

/* The lock is not held. */
static void free_descriptors(struct rcl_list *gone)
{
    struct rcl_list *n;
    while ((n = rcl_list_pop_front(gone)) != NULL)
        rcl_meta_free(container_of(n, struct rcl_huge, link), sizeof(struct rcl_huge));
}

/* --- taking ------------------------------------------------------------------------------- */

/* A kept block or its front, for a block that grows where the rest is long; or NULL. */
static struct rcl_huge *take_kept(struct rcl_huge_group *group, size_t bytes, size_t align,
                                  size_t asked, bool grows)
{
    struct rcl_huge *fresh = rcl_meta_alloc(sizeof *fresh); /* for the front */
    rcl_lock(&huge.lock);
    struct rcl_huge *h = grows ? kept_to_grow_in(bytes)
                               : rcl_keep_smallest(&huge.kept, bytes, align);
    if (h != NULL && h->bytes == bytes) {
        rcl_keep_remove(&huge.kept, h);
    } else if (h != NULL && fresh != NULL) {
        *fresh = (struct rcl_huge){
            .base = rcl_keep_cut(&huge.kept, h, bytes), .bytes = bytes, .kin = h->kin};
        h = fresh;
        fresh = NULL;
    } else {
        h = NULL;
    }
    if (h != NULL) {
        h->group = group;
        h->asked = asked;
        huge.stats.taken++;
        enter_live(h);
    }
    rcl_unlock(&huge.lock);
    if (fresh != NULL)
        rcl_meta_free(fresh, sizeof *fresh);
    return h;
}

/*
 * The next user of the block shall find it like a fresh one, though the last may have asked for
 * huge pages, and the kernel has no way to take that back.  Where a fresh one has huge pages
 * anyway it makes no difference; where it has none, forbidding them makes none, and who wants
 * them may ask again.  By default a fresh one is advised so too, as short ones are: what is
 * advised alike can be one mapping to the kernel.
 */
static void forget_advice(const struct rcl_huge *h)
{
    if (!huge.thp_anyway)
        rcl_os_no_hugepage(h->base, h->bytes);
}

/* What the option asks of the kernel; left alone, it is the system's and the program's. */
static void advise_huge(const struct rcl_huge *h)
{
    if (h->bytes < THP_BYTES)
        return;
    if (huge.thp == RCL_THP_ALWAYS)
        rcl_os_hugepage(h->base, h->bytes);
    else if (huge.thp == RCL_THP_NEVER)
        rcl_os_no_hugepage(h->base, h->bytes);
}

void *rcl_huge_take_to_grow(struct rcl_huge_group *group, size_t bytes)
{
    size_t asked = bytes;
    bytes = rcl_align_up(bytes, rcl_page_size());
    struct rcl_huge *h = take_kept(group, bytes, 1, asked, true);
    if (h == NULL)
        return NULL;
    tell((struct rcl_demand_note){.taken_dirty = pages_of(bytes)});
    rcl_pagemap_set(h->base, 1, RCL_CLASS_HUGE, h);
    return h->base;
}

void *rcl_huge_take_in(struct rcl_huge_group *group, size_t bytes, size_t align, bool *zero)
{
    size_t page = rcl_page_size(), asked = bytes;
    bytes = rcl_align_up(bytes, page);
    align = rcl_max(align, page);
    struct rcl_huge *h = take_kept(group, bytes, align, asked, false);
    *zero = h == NULL;
    if (h != NULL) {
        tell((struct rcl_demand_note){.taken_dirty = pages_of(h->bytes)});
    } else {
        h = rcl_meta_alloc(sizeof *h);
        if (h == NULL)
            return NULL;
        h->base = rcl_os_map_aligned(bytes, align);
        if (h->base == NULL || !rcl_pagemap_cover(h->base, bytes)) {
            if (h->base != NULL)
                rcl_os_unmap(h->base, bytes);
            rcl_meta_free(h, sizeof *h);
            return NULL;
        }
        *h = (struct rcl_huge){
            .base = h->base, .bytes = bytes, .group = group, .asked = asked, .kin = huge.kin};
        if (huge.thp == RCL_THP_AUTO)
            forget_advice(h);
        rcl_account_count(&rcl_account.mapped_bytes, bytes);
        rcl_lock(&huge.lock);
        huge.stats.taken++;
        enter_live(h);
        rcl_unlock(&huge.lock);
        tell((struct rcl_demand_note){.taken_clean = pages_of(bytes)});
    }
    advise_huge(h);
    rcl_pagemap_set(h->base, 1, RCL_CLASS_HUGE, h);
    return h->base;
}

void *rcl_huge_take_unlisted(size_t bytes, size_t align)
{
    size_t page = rcl_page_size();
    bytes = rcl_max(rcl_align_up(bytes, page), page);
    struct rcl_huge *h = rcl_os_map(page);
    if (h == NULL)
        return NULL;
    h->base = rcl_os_map_aligned(bytes, rcl_max(align, page));
    h->bytes = bytes;
    h->asked = bytes;
    h->group = NULL;
    h->unlisted = true;
    if (h->base == NULL || !rcl_pagemap_cover(h->base, bytes)) {
        if (h->base != NULL)
            rcl_os_unmap(h->base, bytes);
        rcl_os_unmap(h, page);
        return NULL;
    }
    rcl_pagemap_set(h->base, 1, RCL_CLASS_HUGE, h);
    return h->base;
}

/* --- giving back -------------------------------------------------------------------------- */

/* On no list any more; the pages are counted as dirty. */
static void discard(char *base, size_t bytes, bool aged)
{
    uint64_t start = rcl_os_now_ns();
    /* munmap can fail when it would split a mapping and there are too many: then only purge. */
    if (rcl_os_return(base, bytes) != 0)
        rcl_release(base, bytes);
    rcl_account_count(&rcl_account.purge_ns, rcl_os_now_ns() - start);
    rcl_account_count(&rcl_account.purge_calls, 1);
    rcl_account_count(&rcl_account.mapped_bytes, -(uint64_t)bytes);
    tell((struct rcl_demand_note){.purged = pages_of(bytes), .aged = aged});
}

static void discard_block(struct rcl_huge *h)
{
    discard(h->base, h->bytes, false);
    rcl_meta_free(h, sizeof *h);
}

/* May so many more pages stay?  What is waiting to be scanned is not counted: it may be nothing. */
static bool room_for(size_t pages)
{
    int64_t dirty = rcl_account_get(&rcl_account.dirty_pages);
    return dirty + (int64_t)pages <= (int64_t)rcl_demand_ceiling();
}

void rcl_huge_give(struct rcl_huge *h)
{
    size_t pages = pages_of(h->bytes);
    rcl_pagemap_clear(h->base, 1);
    if (h->unlisted) {
        rcl_os_return(h->base, h->bytes);
        rcl_os_unmap(h, rcl_page_size());
        return;
    }
    bool keep = room_for(pages);
    if (keep)
        forget_advice(h);
    tell((struct rcl_demand_note){.freed = pages});
    struct rcl_list gone;
    rcl_list_init(&gone);
    rcl_lock(&huge.lock);
    leave_live(h);
    if (keep)
        rcl_keep_put(&huge.kept, h, &gone);
    rcl_unlock(&huge.lock);
    free_descriptors(&gone);
    if (!keep) {
        rcl_account_count(&rcl_account.purge_runs, 1);
        discard_block(h);
    }
}

void rcl_huge_discard(const struct rcl_huge_group *group)
{
    struct rcl_list gone, *next, *n;
    rcl_list_init(&gone);
    rcl_lock(&huge.lock);
    for (n = huge.live.next; n != &huge.live; n = next) {
        struct rcl_huge *h = container_of(n, struct rcl_huge, link);
        next = n->next;
        if (h->group != group)
            continue;
        leave_live(h);
        rcl_list_push_back(&gone, n);
    }
    rcl_unlock(&huge.lock);
    while ((n = rcl_list_pop_front(&gone)) != NULL) {
        struct rcl_huge *h = container_of(n, struct rcl_huge, link);
        rcl_pagemap_clear(h->base, 1);
        tell((struct rcl_demand_note){.freed = pages_of(h->bytes)});
        discard_block(h);
    }
}

static void *resize_mapping(struct rcl_huge *h, size_t bytes, bool may_move)
{
    size_t old = h->bytes, asked = bytes;
    bytes = rcl_align_up(bytes, rcl_page_size());
    if (bytes == old) {
        rcl_huge_note_asked(h, asked);
        return h->base;
    }
    /* Once moved, the old address may be another thread's in the same instant. */
    rcl_pagemap_clear(h->base, 1);
    char *base = may_move ? rcl_os_remap(h->base, old, bytes)
                          : rcl_os_remap_in_place(h->base, old, bytes);
    if (base == NULL) {
        rcl_pagemap_set(h->base, 1, RCL_CLASS_HUGE, h);
        return NULL;
    }
    if (!rcl_pagemap_cover(base, bytes)) {
        bool back = base == h->base ? rcl_os_remap_in_place(base, bytes, old) != NULL
                                    : rcl_os_remap_to(base, bytes, old, h->base) == 0;
        if (!back)
            rcl_die("realloc(): out of memory for the page map, and %p cannot be moved back",
                    (void *)h->base);
        rcl_pagemap_set(h->base, 1, RCL_CLASS_HUGE, h);
        return NULL;
    }
    rcl_lock(&huge.lock);
    if (base != h->base)
        h->kin = ++huge.last_kin;
    change_live(h, base, bytes);
    rcl_unlock(&huge.lock);
    rcl_huge_note_asked(h, asked);
    if (bytes > old)
        advise_huge(h);
    rcl_pagemap_set(base, 1, RCL_CLASS_HUGE, h);
    if (h->unlisted)
        return base;
    rcl_account_count(&rcl_account.mapped_bytes, bytes - old);
    if (bytes > old)
        tell((struct rcl_demand_note){.taken_clean = pages_of(bytes - old)});
    else
        tell((struct rcl_demand_note){.freed = pages_of(old - bytes),
                                      .purged = pages_of(old - bytes)});
    return base;
}

void *rcl_huge_resize(struct rcl_huge *h, size_t bytes)
{
    return resize_mapping(h, bytes, true);
}

bool rcl_huge_resize_in_place(struct rcl_huge *h, size_t bytes)
{
    return resize_mapping(h, bytes, false) != NULL;
}

/* --- growing over kept blocks ------------------------------------------------------------- */

bool rcl_huge_extend(struct rcl_huge *h, size_t least, size_t most)
{
    least = rcl_align_up(least, rcl_page_size());
    most = rcl_align_up(most, rcl_page_size());
    size_t more = 0;
    bool all = false;
    rcl_lock(&huge.lock);
    struct rcl_huge *kept = h->unlisted ? NULL : rcl_keep_at(&huge.kept, h->base + h->bytes);
    if (kept != NULL && kept->kin == h->kin && kept->bytes >= least - h->bytes) {
        more = rcl_min(kept->bytes, most - h->bytes);
        all = more == kept->bytes;
        if (all)
            rcl_keep_remove(&huge.kept, kept);
        else
            rcl_keep_cut(&huge.kept, kept, more);
        change_live(h, h->base, h->bytes + more);
    }
    rcl_unlock(&huge.lock);
    if (more == 0)
        return false;
    if (all)
        rcl_meta_free(kept, sizeof *kept);
    tell((struct rcl_demand_note){.taken_dirty = pages_of(more)});
    return true;
}

bool rcl_huge_move_to_kept(struct rcl_huge *h, size_t bytes)
{
    bytes = rcl_align_up(bytes, rcl_page_size());
    struct rcl_huge *old = NULL;
    if (!h->unlisted && h->bytes <= COPY_MAX)
        old = rcl_meta_alloc(sizeof *old);
    if (old == NULL)
        return false;
    rcl_lock(&huge.lock);
    struct rcl_huge *kept = kept_to_grow_in(bytes);
    char *to = kept != NULL ? rcl_keep_cut(&huge.kept, kept, bytes) : NULL;
    uint32_t kin = kept != NULL ? kept->kin : 0;
    rcl_unlock(&huge.lock);
    if (to == NULL) {
        rcl_meta_free(old, sizeof *old);
        return false;
    }
    struct rcl_list gone;
    rcl_list_init(&gone);
    size_t freed = h->bytes;
    memcpy(to, h->base, freed);
    *old = (struct rcl_huge){.base = h->base, .bytes = h->bytes, .kin = h->kin};
    forget_advice(old);
    rcl_pagemap_clear(h->base, 1);
    tell((struct rcl_demand_note){.taken_dirty = pages_of(bytes), .freed = pages_of(freed)});
    rcl_lock(&huge.lock);
    h->kin = kin;
    change_live(h, to, bytes);
    rcl_keep_put(&huge.kept, old, &gone);
    rcl_unlock(&huge.lock);
    free_descriptors(&gone);
    rcl_pagemap_set(to, 1, RCL_CLASS_HUGE, h);
    return true;
}

void rcl_huge_age(void)
{
    rcl_lock(&huge.lock);
    rcl_keep_age(&huge.kept, RCL_AGE_MAX);
    rcl_unlock(&huge.lock);
    rcl_huge_tick();
}

void rcl_huge_tick(void)
{
    rcl_demand_tick(&huge.demand);
}

size_t rcl_huge_purge(enum rcl_purge_what what, size_t budget)
{
    size_t returned = 0;
    while (returned < budget) {
        char *base = NULL;
        size_t bytes = 0, most = budget - returned;
        rcl_lock(&huge.lock);
        struct rcl_huge *h = rcl_keep_oldest(&huge.kept, what == RCL_PURGE_OLD ? RCL_AGE_MAX : 0);
        if (h != NULL && pages_of(h->bytes) > most) {
            bytes = most << rcl_page_shift();
            base = rcl_keep_cut(&huge.kept, h, bytes);
            h = NULL;
        } else if (h != NULL) {
            rcl_keep_remove(&huge.kept, h);
            base = h->base;
            bytes = h->bytes;
        }
        rcl_unlock(&huge.lock);
        if (bytes == 0)
            break;
        returned += pages_of(bytes);
        discard(base, bytes, what == RCL_PURGE_OLD);
        if (h != NULL)
            rcl_meta_free(h, sizeof *h);
    }
    return returned;
}

const struct rcl_huge *rcl_huge_around(const void *p)
{
    const struct rcl_huge *found = NULL;
    rcl_lock(&huge.lock);
    for (struct rcl_list *n = huge.live.next; n != &huge.live && found == NULL; n = n->next) {
        struct rcl_huge *h = container_of(n, struct rcl_huge, link);
        if ((uintptr_t)p - (uintptr_t)h->base < h->bytes)
            found = h;
    }
    rcl_unlock(&huge.lock);
    return found;
}

void rcl_huge_usage(struct rcl_huge_stats *out)
{
    rcl_lock(&huge.lock);
    *out = huge.stats;
    out->kept_blocks = huge.kept.blocks;
    out->kept_bytes = huge.kept.bytes;
    rcl_unlock(&huge.lock);
    out->lock_waits = __atomic_load_n(&huge.lock.waits, __ATOMIC_RELAXED);
}

void rcl_huge_each(void (*fn)(void *arg, const struct rcl_huge *h), void *arg)
{
    struct rcl_list *lists[] = {&huge.live, &huge.kept.list};
    for (unsigned i = 0; i < array_len(lists); i++)
        for (struct rcl_list *n = lists[i]->next; n != lists[i]; n = n->next)
            fn(arg, container_of(n, struct rcl_huge, link));
}
