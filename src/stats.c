/* SPDX-License-Identifier: MIT */
/* stats.c - see stats.h. */
#include "stats.h"

#include "account.h"
#include "arena.h"
#include "boot.h"
#include "huge.h"
#include "meta.h"
#include "os.h"
#include "thread.h"

#include <string.h>

static void read_bins(struct rcl_stats *s, struct rcl_arena *a)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        struct rcl_bin *b = &a->bin[cls];
        struct rcl_stats_class *c = &s->cls[cls];
        rcl_lock(&b->lock);
        c->size = rcl_classes[cls].size;
        c->slabs += b->slabs;
        c->slots += b->slabs * rcl_classes[cls].slots;
        c->live += b->live;
        s->small_bytes += b->live * c->size;
        rcl_unlock(&b->lock);
    }
}

static size_t bytes_of(int64_t pages)
{
    return pages > 0 ? (size_t)pages << rcl_page_shift() : 0;
}

void rcl_stats_read(struct rcl_stats *s)
{
    struct rcl_tls *self = &rcl_tls;
    memset(s, 0, sizeof *s);
    if (!rcl_boot())
        return;
    rcl_gate_enter_patient(&self->gate);
    s->arenas = rcl_arena_count();
    for (unsigned i = 0; i < s->arenas; i++)
        read_bins(s, rcl_arena_get(i));
    struct rcl_huge_stats of_huge;
    rcl_huge_usage(&of_huge);
    s->huge_blocks = of_huge.live_blocks;
    s->huge_bytes = of_huge.live_bytes;
    rcl_threads_usage(&s->caches, &s->cached_bytes);
    size_t meta_mapped;
    rcl_meta_usage(&meta_mapped, &s->meta_bytes);
    rcl_gate_leave(&self->gate);

    s->large_blocks = (size_t)rcl_account_get(&rcl_account.large_blocks);
    s->large_bytes = bytes_of(rcl_account_get(&rcl_account.large_pages));
    s->dirty_bytes = bytes_of(rcl_account_get(&rcl_account.dirty_pages));
    s->mapped_bytes = rcl_account_read(&rcl_account.mapped_bytes);
    s->purge_calls = rcl_account_read(&rcl_account.purge_calls);
    s->purge_ns = rcl_account_read(&rcl_account.purge_ns);
    s->purged_bytes = rcl_account_read(&rcl_account.purged_pages) << rcl_page_shift();
    s->refaulted_bytes = rcl_account_read(&rcl_account.refaulted_pages) << rcl_page_shift();
}

size_t rcl_stats_live(const struct rcl_stats *s)
{
    size_t out = s->small_bytes + s->large_bytes + s->huge_bytes;
    return out - rcl_min(out, s->cached_bytes);
}

void rcl_stats_print(const struct rcl_stats *s, struct rcl_out *o)
{
    rcl_out_print(o, "libreclaim: %u arenas, %zu thread caches, page size %zu\n", s->arenas,
                  s->caches, rcl_page_size());
    rcl_out_print(o, "live      %zu bytes (small %zu, large %zu in %zu, huge %zu in %zu)\n",
                  rcl_stats_live(s), s->small_bytes, s->large_bytes, s->large_blocks, s->huge_bytes,
                  s->huge_blocks);
    rcl_out_print(o, "cached    %zu bytes in thread caches (counted in small and large)\n",
                  s->cached_bytes);
    rcl_out_print(o, "dirty     %zu bytes free and not yet returned\n", s->dirty_bytes);
    rcl_out_print(o, "metadata  %zu bytes\n", s->meta_bytes);
    rcl_out_print(o, "mapped    %zu bytes of address space\n", s->mapped_bytes);
    rcl_out_print(o, "returned  %zu bytes in %zu calls, %zu us; taken again %zu bytes\n",
                  (size_t)s->purged_bytes, (size_t)s->purge_calls, (size_t)(s->purge_ns / 1000),
                  (size_t)s->refaulted_bytes);
    rcl_out_print(o, "class  slabs  blocks  handed out\n");
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        const struct rcl_stats_class *c = &s->cls[cls];
        if (c->slabs > 0)
            rcl_out_print(o, "%zu  %zu  %zu  %zu\n", c->size, c->slabs, c->slots, c->live);
    }
}

/* The elements and attributes glibc writes, so that its readers find what they look for. */
void rcl_stats_xml(const struct rcl_stats *s, struct rcl_out *o)
{
    size_t blocks = 0, bytes = 0;
    rcl_out_print(o, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        const struct rcl_stats_class *c = &s->cls[cls];
        size_t n = c->slots - rcl_min(c->slots, c->live);
        if (n == 0)
            continue;
        rcl_out_print(o, "  <size from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n",
                      (size_t)rcl_classes[cls - 1].size + (cls != RCL_CLASS_FIRST), c->size,
                      n * c->size, n);
        blocks += n;
        bytes += n * c->size;
    }
    rcl_out_print(o, "</sizes>\n");
    size_t current = s->mapped_bytes - rcl_min(s->mapped_bytes, s->huge_bytes);
    for (int whole = 0; whole < 2; whole++) {
        rcl_out_print(o, "<total type=\"fast\" count=\"0\" size=\"0\"/>\n");
        rcl_out_print(o, "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n", blocks, bytes);
        if (whole)
            rcl_out_print(o, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n", s->huge_blocks,
                          s->huge_bytes);
        rcl_out_print(o, "<system type=\"current\" size=\"%zu\"/>\n", current);
        rcl_out_print(o, "<system type=\"max\" size=\"%zu\"/>\n", current);
        rcl_out_print(o, "<aspace type=\"total\" size=\"%zu\"/>\n", current);
        rcl_out_print(o, "<aspace type=\"mprotect\" size=\"%zu\"/>\n", current);
        if (!whole)
            rcl_out_print(o, "</heap>\n");
    }
    rcl_out_print(o, "</malloc>\n");
}
