/* SPDX-License-Identifier: MIT */
/* Tests of grow.h: room for growth, where it is taken and where it is not. */
#include "unit.h"

#include "account.h"
#include "grow.h"
#include "large.h"
#include "pagemap.h"
#include "sizeclass.h"

#define LONG_NS UINT64_C(3600000000000)

static struct rcl_demand demand;
static struct rcl_runs runs;
static char arena; /* only its address matters */

static void start(void)
{
    memset(&rcl_account, 0, sizeof rcl_account);
    rcl_demand_init(&demand, LONG_NS);
    rcl_runs_init(&runs, &demand, 0);
    rcl_huge_init(LONG_NS, 0);
}

TEST(room_is_an_eighth_and_does_not_change_the_kind)
{
    assert_int_equal(rcl_grow_room(400 * KIB), 450 * KIB);
    assert_int_equal(rcl_grow_room(800 * KIB), 864 * KIB); /* of a run not more than that */
    assert_int_equal(rcl_grow_room(1000 * KIB), RCL_LARGE_MAX);
    assert_int_equal(rcl_grow_room(80 * MIB), 90 * MIB);
    assert_int_equal(rcl_grow_room(RCL_LARGE_MAX), RCL_LARGE_MAX);
    assert_true(rcl_grow_room(RCL_LARGE_MAX + 1) > RCL_LARGE_MAX + 1);
}

TEST(a_huge_block_grows_in_few_moves)
{
    bool zero;
    unsigned changes = 0;

    start();
    char *p = rcl_huge_take_in(NULL, 2 * MIB, 1, &zero);
    struct rcl_huge *h = rcl_pagemap_desc(p);
    p[0] = 7;
    size_t had = h->bytes;
    for (size_t size = 2 * MIB; size <= 64 * MIB; size += 64 * KIB) {
        p = rcl_grow_huge(h, size);
        assert_non_null(p);
        assert_true(h->bytes >= size);
        assert_int_equal(h->asked, size);
        changes += h->bytes != had;
        had = h->bytes;
        p[size - 1] = 8;
    }
    /* log(32) / log(9 / 8) = 29.4; 992 steps. */
    assert_in_range(changes, 2, 31);
    assert_int_equal(p[0], 7);
    /* The room is not touched. */
    size_t resident = unit_resident(h->base, h->bytes);
    assert_in_range(resident, 1, 992 * 2 * rcl_page_size() + 4 * MIB);
    rcl_huge_give(h);
    rcl_huge_purge(RCL_PURGE_ANY, SIZE_MAX);
}

TEST(shrinking_a_huge_block_is_exact)
{
    bool zero;

    start();
    char *p = rcl_huge_take_in(NULL, 4 * MIB, 1, &zero);
    struct rcl_huge *h = rcl_pagemap_desc(p);
    p = rcl_grow_huge(h, 8 * MIB);
    assert_int_equal(h->bytes, 9 * MIB);
    /* Within the room it grows as it stands; anything else is left to others. */
    assert_false(rcl_grow_within(h, 8 * MIB - 1));
    assert_false(rcl_grow_within(h, 9 * MIB + 1));
    assert_int_equal(h->asked, 8 * MIB);
    assert_true(rcl_grow_within(h, 9 * MIB));
    assert_int_equal(h->asked, 9 * MIB);
    memset(p, 1, 8 * MIB);
    p = rcl_grow_huge(h, 8 * MIB - 256 * KIB);
    assert_int_equal(h->bytes, 8 * MIB - 256 * KIB);
    assert_int_equal(h->asked, h->bytes);
    assert_int_equal(unit_resident(h->base, h->bytes), h->bytes);
    rcl_huge_give(h);
    rcl_huge_purge(RCL_PURGE_ANY, SIZE_MAX);
}

TEST(where_there_is_no_room_the_size_is_exact)
{
    struct rcl_run run, behind;
    size_t page = rcl_page_size(), size = RCL_MEDIUM_MAX + page;

    start();
    /* One page behind it is free, and then there is another block: cut out of a longer one. */
    char *p = rcl_large_take(&runs, (struct rcl_arena *)&arena, size + 2 * page, 1, RCL_CLASS_LARGE,
                             &run);
    struct rcl_span *s = rcl_pagemap_desc(p);
    assert_true(rcl_large_resize(s, size, RCL_CLASS_LARGE));
    char *gap = rcl_large_take(&runs, (struct rcl_arena *)&arena, page, 1, RCL_CLASS_LARGE,
                               &behind);
    char *q = rcl_large_take(&runs, (struct rcl_arena *)&arena, page, 1, RCL_CLASS_LARGE, &behind);
    assert_ptr_equal(gap, p + size);
    assert_ptr_equal(q, gap + page);
    rcl_large_give(rcl_pagemap_desc(gap), RCL_AGE_NEW);
    assert_true(rcl_grow_large(s, size + 1));
    assert_int_equal(rcl_large_bytes(s), size + page);
    assert_int_equal(rcl_large_asked(s), size + 1);
    assert_false(rcl_grow_large(s, size + page + 1));
    assert_int_equal(rcl_large_asked(s), size + 1);
    /* With the neighbour gone there is. */
    rcl_large_give(rcl_pagemap_desc(q), RCL_AGE_NEW);
    size_t with_room = rcl_align_up(rcl_grow_room(size + page + 1), page);
    assert_true(rcl_grow_large(s, size + page + 1));
    assert_int_equal(rcl_large_bytes(s), with_room);
    assert_int_equal(rcl_large_asked(s), size + page + 1);
    assert_true(rcl_grow_large(s, with_room));
    assert_int_equal(rcl_large_bytes(s), with_room);
    assert_true(rcl_grow_large(s, size));
    assert_int_equal(rcl_large_bytes(s), size);
    rcl_large_give(s, RCL_AGE_NEW);
    assert_int_equal(runs.large.pages, 0);
}

static int set_up(void **state)
{
    (void)state;
    rcl_os_init();
    rcl_sizeclass_init(rcl_page_size());
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_is_an_eighth_and_does_not_change_the_kind),
        cmocka_unit_test(a_huge_block_grows_in_few_moves),
        cmocka_unit_test(shrinking_a_huge_block_is_exact),
        cmocka_unit_test(where_there_is_no_room_the_size_is_exact),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
