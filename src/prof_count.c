/* SPDX-License-Identifier: MIT */
/* prof_count.c - see prof_count.h. */
#include "prof_count.h"

#include "prof_rate.h"

void rcl_counted_start(struct rcl_counted *c, int lg)
{
    *c = (struct rcl_counted){.lg = lg};
}

bool rcl_counted_one(struct rcl_counted *c, unsigned cls, uint64_t *random)
{
    while (c->left[cls] == 0 && !c->due[cls]) {
        uint64_t blocks = rcl_prof_distance(random, (unsigned)c->lg) / rcl_classes[cls].size;
        /* Further away than can be written here: after so many it is drawn anew. */
        c->due[cls] = blocks <= UINT16_MAX;
        c->left[cls] = (uint16_t)(c->due[cls] ? blocks : UINT16_MAX);
    }
    if (c->left[cls] > 0) {
        c->left[cls]--;
        return false;
    }
    c->due[cls] = false;
    return true;
}
