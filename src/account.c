/* SPDX-License-Identifier: MIT */
/* account.c - see account.h. */
#include "account.h"

struct rcl_account rcl_account = {.pinned_each = RCL_PINNED_ONE};

/*
 * With m blocks handed out on a used page, geometrically distributed from 1 on, of which a part c
 * are cached, a part c / (m - (m - 1) c) of the pages has nothing but cached ones: the sum of c^k
 * over the probabilities of k.  Divided by the cached blocks on a page, c m.
 */
void rcl_account_spread(size_t page)
{
    double cached = (double)rcl_account_get(&rcl_account.cached_small_bytes);
    double blocks = (double)rcl_account_get(&rcl_account.cached_small_blocks);
    double slabs = (double)rcl_account_get(&rcl_account.slab_pages) * (double)page;
    double handed = slabs - (double)rcl_account_get(&rcl_account.hole_bytes);
    double each = 0;
    if (handed < cached || slabs < handed)
        return; /* a batch is half counted: what was known stays */
    if (blocks > 0 && cached > 0) {
        double size = cached / blocks, c = cached / handed;
        double m = handed / slabs * (double)page / size, mixed = m - (m - 1) * c;
        each = 1 / (m * (mixed > 1 ? mixed : 1)) - size / (double)page;
    }
    uint32_t now = each <= 0 ? 0 : each >= 1 ? RCL_PINNED_ONE : (uint32_t)(each * RCL_PINNED_ONE);
    if (now != __atomic_load_n(&rcl_account.pinned_spread, __ATOMIC_RELAXED))
        __atomic_store_n(&rcl_account.pinned_spread, now, __ATOMIC_RELAXED);
}
