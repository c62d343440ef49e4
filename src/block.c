/* SPDX-License-Identifier: MIT */
/* block.c - see block.h. */
#include "block.h"

#include "bin.h"
#include "boot.h"
#include "die.h"
#include "pagemap.h"
#include "sizeclass.h"
#include "slab.h"

void rcl_not_a_block(const void *p, const char *caller)
{
    /* Look for what it might have meant; the program ends, so time is no matter. */
    const struct rcl_huge *h = rcl_boot() ? rcl_huge_around(p) : NULL;
    if (h != NULL)
        rcl_die("%s(): invalid pointer %p: not the start of a block (%zu bytes into a block of %zu "
                "bytes at %p)",
                caller, p, (size_t)((const char *)p - h->base), h->bytes, (const void *)h->base);
    for (size_t back = 1; back <= RCL_LARGE_MAX / RCL_GRANULE; back++) {
        const char *q = (const char *)rcl_align_down((uintptr_t)p, RCL_GRANULE);
        if ((uintptr_t)q < back * RCL_GRANULE)
            break;
        q -= back * RCL_GRANULE;
        unsigned cls = rcl_block_class(q);
        if (cls == RCL_CLASS_NONE)
            continue;
        if (cls > RCL_SMALL_LAST && cls <= RCL_CLASS_LARGE) {
            const struct rcl_span *s = rcl_pagemap_desc(q);
            if ((size_t)((const char *)p - s->base) < rcl_large_bytes(s))
                rcl_die("%s(): invalid pointer %p: not the start of a block (%zu bytes into a "
                        "block of %zu bytes at %p)",
                        caller, p, (size_t)((const char *)p - s->base), rcl_large_bytes(s),
                        (const void *)s->base);
        }
        break;
    }
    rcl_die("%s(): invalid pointer %p: no block of this allocator starts there (it was never "
            "allocated here, or has been freed already)",
            caller, p);
}

struct rcl_span *rcl_block_run(const void *p, const char *caller)
{
    struct rcl_span *s = rcl_pagemap_desc(p);
    if (unlikely(p != s->base))
        rcl_die("%s(): invalid pointer %p: not the start of a block (%zu bytes into a block of %zu "
                "bytes at %p)",
                caller, p, (size_t)((char *)p - s->base), rcl_large_bytes(s), (void *)s->base);
    return s;
}

struct rcl_huge *rcl_block_huge(const void *p, const char *caller)
{
    struct rcl_huge *h = rcl_pagemap_desc(p);
    if (unlikely(p != h->base))
        rcl_not_a_block(p, caller);
    return h;
}

void rcl_block_check(const void *p, unsigned cls, const char *caller)
{
    if (unlikely(!rcl_class_is_small(cls))) {
        rcl_block_run(p, caller);
        return;
    }
    const struct rcl_span *s = rcl_pagemap_desc(p);
    enum rcl_slab_error err = rcl_slab_check(s, p);
    if (unlikely(err != RCL_SLAB_OK))
        rcl_bad_block(caller, s, p, err == RCL_SLAB_NOT_A_BLOCK);
}

size_t rcl_block_usable(const void *p, const char *caller)
{
    unsigned cls = rcl_block_class(p);
    if (likely(rcl_class_is_cached(cls))) {
        rcl_block_check(p, cls, caller);
        return rcl_classes[cls].size;
    }
    if (cls == RCL_CLASS_LARGE)
        return rcl_large_bytes(rcl_block_run(p, caller));
    if (cls == RCL_CLASS_HUGE)
        return rcl_block_huge(p, caller)->bytes;
    rcl_not_a_block(p, caller);
}

size_t rcl_block_bytes(const void *p)
{
    unsigned cls = rcl_block_class(p);
    if (likely(rcl_class_is_cached(cls)))
        return rcl_classes[cls].size;
    return cls == RCL_CLASS_LARGE ? rcl_large_bytes(rcl_pagemap_desc(p))
                                  : ((const struct rcl_huge *)rcl_pagemap_desc(p))->bytes;
}

unsigned rcl_block_class_for(size_t size, size_t align)
{
    if (align > RCL_MIN_ALIGN) {
        unsigned cls = rcl_class_of_aligned(rcl_max(size, 1), align);
        if (cls != RCL_CLASS_NONE)
            return cls;
        /* A medium block starts on a page. */
        if (align > rcl_page_size() || size <= RCL_SMALL_MAX)
            return size <= RCL_LARGE_MAX && align <= RCL_LARGE_MAX ? RCL_CLASS_LARGE
                                                                   : RCL_CLASS_HUGE;
    }
    if (size <= RCL_SMALL_MAX)
        return rcl_class_of_small(size);
    if (size <= RCL_MEDIUM_MAX)
        return rcl_class_of_medium(size);
    return size <= RCL_LARGE_MAX ? RCL_CLASS_LARGE : RCL_CLASS_HUGE;
}
