/* SPDX-License-Identifier: MIT */
/* prof_count.c - see prof_count.h. */
#include "prof_count.h"

#include "meta.h"
#include "prof_rate.h"

#include <string.h>

struct rcl_counted *rcl_counted_new(unsigned lg)
{
    struct rcl_counted *c = rcl_meta_alloc(sizeof *c);
    if (c == NULL)
        return NULL;
    memset(c, 0, sizeof *c);
    c->lg = lg;
    return c;
}

void rcl_counted_delete(struct rcl_counted *c)
{
    rcl_meta_free(c, sizeof *c);
}

bool rcl_counted_one(struct rcl_counted *c, unsigned cls, uint64_t *random)
{
    while (c->left[cls] == 0 && !c->due[cls]) {
        uint64_t blocks = rcl_prof_distance(random, c->lg) / rcl_classes[cls].size;
        /* Further away than can be written here: after so many it is drawn anew. */
        c->due[cls] = blocks <= UINT32_MAX;
        c->left[cls] = (uint32_t)(c->due[cls] ? blocks : UINT32_MAX);
    }
    if (c->left[cls] > 0) {
        c->left[cls]--;
        return false;
    }
    c->due[cls] = false;
    return true;
}
