/* SPDX-License-Identifier: MIT */
/* zero.c - see zero.h. */
#include "zero.h"

#include "look.h"
#include "os.h"
#include "release.h"

#include <string.h>

#define ZERO_LEAST (256 * KIB) /* below that, asking costs more than it can save */

enum {
    ZERO_BATCH = 1024, /* pages asked for at a time */
    ZERO_EVERY = 4,    /* of pages behind a used one, the one that is looked into */
};

/* The state of a page. */
enum zero_state {
    GONE,  /* not in memory: never written to, or in swap */
    BLANK, /* in memory and zero: the kernel's page of zeros, if it has only been read */
    USED,
};

/* Pages of one state. */
struct zero_part {
    char *from, *to;
    enum zero_state state;
};

/*
 * Looking into a page that is not in a cache costs as much as writing a tenth of it.  So behind
 * a used page only some are looked into: a used page hides at most three blank ones.
 */
static bool is_blank(const char *page)
{
    uint64_t first;
    memcpy(&first, page, sizeof first);
    return first == 0 && memcmp(page, page + sizeof first, rcl_page_size() - sizeof first) == 0;
}

/*
 * What is gone is dropped, not taken at its word: mincore does not tell what is in swap from what
 * was never there.  Where the kernel refuses that, as it does for locked memory that is made page
 * by page (MLOCK_ONFAULT), only writing is certain.
 */
static void clear_part(const struct zero_part *part)
{
    size_t bytes = (size_t)(part->to - part->from);
    if (bytes == 0 || part->state == BLANK)
        return;
    if (part->state == USED || rcl_release(part->from, bytes) != 0)
        memset(part->from, 0, bytes);
}

static void clear_pages(char *from, size_t pages)
{
    struct rcl_look in_core = {.pagemap = -1};
    struct zero_part part = {from, from, GONE};
    uint8_t resident[ZERO_BATCH];
    for (size_t done = 0, n; done < pages; done += n) {
        n = rcl_min(pages - done, (size_t)ZERO_BATCH);
        /* No answer (a sandbox, an emulator): it counts as gone, and is dropped. */
        bool known = rcl_look_pages(&in_core, part.to, n, resident) == 0;
        for (size_t i = 0; i < n; i++) {
            enum zero_state state = USED;
            if (!known || resident[i] == 0)
                state = GONE;
            else if ((part.state != USED || i % ZERO_EVERY == 0) && is_blank(part.to))
                state = BLANK;
            if (state != part.state) {
                clear_part(&part);
                part = (struct zero_part){part.to, part.to, state};
            }
            part.to += rcl_page_size();
        }
    }
    clear_part(&part);
}

void rcl_zero(void *addr, size_t bytes)
{
    uintptr_t at = (uintptr_t)addr, first = rcl_align_up(at, rcl_page_size());
    uintptr_t end = at + bytes, last = end & ~(uintptr_t)(rcl_page_size() - 1);
    if (bytes < ZERO_LEAST || first >= last) {
        memset(addr, 0, bytes);
        return;
    }
    memset(addr, 0, first - at);
    clear_pages((char *)addr + (first - at), (last - first) >> rcl_page_shift());
    memset((char *)addr + (last - at), 0, end - last);
}
