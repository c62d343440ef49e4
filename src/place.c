/* SPDX-License-Identifier: MIT */
/* place.c - see place.h. */
#include "place.h"

#include "os.h"

size_t rcl_place_first(const struct rcl_chunk *c, const uint64_t *map, size_t pages,
                       size_t align_pages, size_t *longest)
{
    size_t base_page = (uintptr_t)c->base >> rcl_page_shift();
    *longest = 0;
    for (size_t at = rcl_bits_next_set(map, 0, c->pages); at < c->pages;) {
        size_t end = rcl_bits_next_clear(map, at, c->pages);
        size_t start = rcl_align_up(base_page + at, align_pages) - base_page;
        if (start + pages <= end)
            return start;
        *longest = rcl_max(*longest, end - at);
        at = rcl_bits_next_set(map, end, c->pages);
    }
    return c->pages;
}

size_t rcl_place_mostly(const struct rcl_chunk *c, size_t pages, size_t *dirty_pages,
                        size_t *longest)
{
    size_t best = c->pages;
    *dirty_pages = *longest = 0;
    for (size_t at = rcl_bits_next_set(c->dirty, 0, c->pages); at < c->pages;) {
        size_t end = rcl_bits_next_clear(c->dirty, at, c->pages);
        if (end - at >= pages / 2) {
            size_t first = at - rcl_bits_run_before(c->free, at);
            size_t last = rcl_bits_next_clear(c->free, end, c->pages);
            if (last - first >= pages) {
                size_t start = rcl_min(at, last - pages);
                size_t n = rcl_bits_count_range(c->dirty, start, pages);
                if (n > *dirty_pages) {
                    *dirty_pages = n;
                    best = start;
                }
            }
        }
        *longest = rcl_max(*longest, end - at);
        at = rcl_bits_next_set(c->dirty, end, c->pages);
    }
    return best;
}
