/* SPDX-License-Identifier: MIT */
/*
 * Tests of pagemap.h.  The map does not touch the memory it describes, so most
 * addresses here are invented, one leaf of the map for each test.
 */
#include "unit.h"

#include "pagemap.h"

#define LEAF_BYTES ((uintptr_t)1 << RCL_LEAF_SHIFT)
#define USER_END ((uintptr_t)1 << RCL_ADDRESS_BITS)

static void *address(uintptr_t a)
{
    return (void *)a;
}

/* Any pointer will do as a descriptor. */
static char descriptors[64];

static void assert_entry(uintptr_t a, unsigned cls, const void *desc)
{
    assert_int_equal(rcl_pagemap_class(address(a)), cls);
    if (cls != RCL_CLASS_NONE)
        assert_ptr_equal(rcl_pagemap_desc(address(a)), desc);
}

TEST(no_address_has_a_class_at_first)
{
    int local;
    uintptr_t always[] = {0,
                          1,
                          8,
                          16,
                          RCL_GRANULE,
                          (uintptr_t)&local,
                          (uintptr_t)descriptors,
                          (uintptr_t)assert_entry,
                          USER_END - 1,
                          UINTPTR_MAX,
                          UINTPTR_MAX - 4095};

    for (size_t i = 0; i < array_len(always); i++)
        assert_int_equal(rcl_pagemap_class(address(always[i])), RCL_CLASS_NONE);
    for (unsigned shift = 0; shift < 64; shift++) {
        uintptr_t power = (uintptr_t)1 << shift;

        assert_int_equal(rcl_pagemap_class(address(power)), RCL_CLASS_NONE);
        assert_int_equal(rcl_pagemap_class(address(power - 1)), RCL_CLASS_NONE);
        assert_int_equal(rcl_pagemap_class(address(~power)), RCL_CLASS_NONE);
        assert_int_equal(rcl_pagemap_class(address(0 - power)), RCL_CLASS_NONE);
    }
}

TEST(an_address_with_wrong_high_bits_is_not_its_neighbour)
{
    uintptr_t a = 7 * LEAF_BYTES + 5 * RCL_GRANULE;

    assert_true(rcl_pagemap_cover(address(a), RCL_GRANULE));
    rcl_pagemap_set(address(a), RCL_GRANULE, 9, descriptors);
    assert_entry(a, 9, descriptors);
    /* The same low bits: kernel addresses, non-canonical ones, tagged pointers. */
    for (unsigned bit = RCL_ADDRESS_BITS; bit < 64; bit++) {
        uintptr_t high = a | (uintptr_t)1 << bit;

        assert_int_equal(rcl_pagemap_class(address(high)), RCL_CLASS_NONE);
        assert_int_equal(rcl_pagemap_class(address(high | ~(uintptr_t)0 << bit)), RCL_CLASS_NONE);
    }
    rcl_pagemap_clear(address(a), RCL_GRANULE);
}

TEST(an_entry_is_a_granule)
{
    uintptr_t a = 11 * LEAF_BYTES + 3 * RCL_GRANULE;

    assert_true(rcl_pagemap_cover(address(a), 1));
    rcl_pagemap_set(address(a), 1, 5, descriptors);
    assert_entry(a - 1, RCL_CLASS_NONE, NULL);
    for (size_t i = 0; i < RCL_GRANULE; i += 8)
        assert_entry(a + i, 5, descriptors);
    assert_entry(a + RCL_GRANULE - 1, 5, descriptors);
    assert_entry(a + RCL_GRANULE, RCL_CLASS_NONE, NULL);

    /* A byte beyond a granule is one more granule. */
    rcl_pagemap_set(address(a), RCL_GRANULE + 1, 6, descriptors + 1);
    assert_entry(a + RCL_GRANULE, 6, descriptors + 1);
    assert_entry(a + 2 * RCL_GRANULE, RCL_CLASS_NONE, NULL);

    rcl_pagemap_clear(address(a), RCL_GRANULE + 1);
    assert_entry(a, RCL_CLASS_NONE, NULL);
    assert_entry(a + RCL_GRANULE, RCL_CLASS_NONE, NULL);
    /* The owner of a granule may still ask what it described. */
    assert_ptr_equal(rcl_pagemap_desc(address(a)), descriptors + 1);
}

TEST(every_class_byte)
{
    uintptr_t a = 13 * LEAF_BYTES;

    assert_true(rcl_pagemap_cover(address(a), 256 * RCL_GRANULE));
    for (unsigned cls = 0; cls <= UINT8_MAX; cls++)
        rcl_pagemap_set(address(a + cls * RCL_GRANULE), 1, cls, descriptors + cls % 64);
    for (unsigned cls = 0; cls <= UINT8_MAX; cls++)
        assert_entry(a + cls * RCL_GRANULE, cls, descriptors + cls % 64);
}

TEST(ranges_across_leaves)
{
    struct unit_random random = unit_random_start();

    for (int round = 0; round < 50; round++) {
        /* From somewhere before a border to somewhere behind it, at times over a whole leaf. */
        uintptr_t border = (uintptr_t)(20 + 4 * (round % 10)) * LEAF_BYTES;
        size_t before = 1 + unit_below(&random, 300), behind = 1 + unit_below(&random, 300);
        uintptr_t from = border - before * RCL_GRANULE, to = border + behind * RCL_GRANULE;

        if (round % 10 == 0)
            to += LEAF_BYTES;
        assert_true(rcl_pagemap_cover(address(from), to - from));
        rcl_pagemap_set(address(from), to - from, 3, &descriptors[round % 64]);
        assert_entry(from - 1, RCL_CLASS_NONE, NULL);
        for (uintptr_t a = from; a < to; a += RCL_GRANULE)
            assert_entry(a, 3, &descriptors[round % 64]);
        assert_entry(to, RCL_CLASS_NONE, NULL);
        rcl_pagemap_clear(address(from), to - from);
        for (uintptr_t a = from; a < to; a += RCL_GRANULE)
            assert_entry(a, RCL_CLASS_NONE, NULL);
    }
}

TEST(the_last_granule_of_user_space)
{
    uintptr_t last = USER_END - RCL_GRANULE;

    assert_true(rcl_pagemap_cover(address(last), RCL_GRANULE));
    rcl_pagemap_set(address(last), RCL_GRANULE, 8, descriptors);
    assert_entry(USER_END - 1, 8, descriptors);
    assert_int_equal(rcl_pagemap_class(address(USER_END)), RCL_CLASS_NONE);
    rcl_pagemap_clear(address(last), RCL_GRANULE);
}

TEST(beyond_user_space_nothing_is_covered)
{
    assert_false(rcl_pagemap_cover(address(USER_END), RCL_GRANULE));
    assert_false(rcl_pagemap_cover(address(USER_END - RCL_GRANULE), 2 * RCL_GRANULE));
    assert_false(rcl_pagemap_cover(address((uintptr_t)1 << 60), RCL_GRANULE));
}

TEST(covering_again_changes_nothing)
{
    uintptr_t a = 70 * LEAF_BYTES;

    assert_true(rcl_pagemap_cover(address(a), LEAF_BYTES));
    rcl_pagemap_set(address(a), 1, 4, descriptors);
    size_t before = unit_address_space();
    for (int i = 0; i < 100; i++)
        assert_true(rcl_pagemap_cover(address(a), LEAF_BYTES));
    assert_int_equal(unit_address_space(), before);
    assert_entry(a, 4, descriptors);
    rcl_pagemap_clear(address(a), 1);
}

/* --- forgetting ------------------------------------------------------------------------------ */

TEST(forgetting_returns_what_described_the_range_and_nothing_else)
{
    uintptr_t border = 81 * LEAF_BYTES, from = border - 64 * MIB, to = border + 64 * MIB;
    uintptr_t gone_from = border - 20 * MIB - 3 * RCL_GRANULE, gone_to = border + 30 * MIB;
    size_t resident = 0, whole = rcl_page_size() / sizeof(void *) * RCL_GRANULE;

    assert_true(rcl_pagemap_cover(address(from), to - from));
    rcl_pagemap_set(address(from), to - from, 2, descriptors);
    rcl_pagemap_clear(address(gone_from), gone_to - gone_from);
    rcl_pagemap_forget(address(gone_from), gone_to - gone_from);
    for (uintptr_t a = from; a < to; a += RCL_GRANULE) {
        bool gone = a >= gone_from && a < gone_to;
        assert_entry(a, gone ? RCL_CLASS_NONE : 2, descriptors);
    }
    /* All but the pages at the ends is resident no more. */
    struct rcl_leaf *leaf[] = {rcl_pagemap_root[80], rcl_pagemap_root[81]};
    uintptr_t desc = rcl_align_down((uintptr_t)leaf[0]->desc, unit_kernel_page());
    resident += unit_resident((void *)desc, sizeof leaf[0]->desc);
    desc = rcl_align_down((uintptr_t)leaf[1]->desc, unit_kernel_page());
    resident += unit_resident((void *)desc, sizeof leaf[1]->desc);
    size_t left = (to - from) - (gone_to - gone_from);
    assert_true(resident <= (left + 4 * whole) / RCL_GRANULE * sizeof(void *));

    /* A small range shares its pages of the map with others: nothing happens to those. */
    rcl_pagemap_forget(address(from + MIB), RCL_GRANULE);
    for (uintptr_t a = from; a < from + 2 * MIB; a += RCL_GRANULE)
        assert_entry(a, 2, descriptors);
}

static void trim_all(void)
{
    struct rcl_leaf *leaf = NULL;

    do {
        leaf = rcl_pagemap_trim(leaf);
    } while (leaf != NULL);
}

static size_t resident_of(uintptr_t a)
{
    struct rcl_leaf *leaf = rcl_pagemap_root[a >> RCL_LEAF_SHIFT];
    uintptr_t from = rcl_align_down((uintptr_t)leaf, unit_kernel_page());

    return unit_resident((void *)from, sizeof *leaf);
}

TEST(what_says_nothing_is_returned_and_nothing_else)
{
    uintptr_t a = 84 * LEAF_BYTES;
    enum { STEP = 2 * MIB };

    /* A block each 2 MiB: a page of descriptors each, and each page of class bytes. */
    assert_true(rcl_pagemap_cover(address(a), 2 * LEAF_BYTES));
    for (uintptr_t at = a; at < a + 2 * LEAF_BYTES; at += STEP)
        rcl_pagemap_set(address(at), 1, 3, descriptors);
    size_t full = resident_of(a);
    assert_true(full >= (LEAF_BYTES / STEP) * unit_kernel_page());
    trim_all();
    assert_int_equal(resident_of(a), full); /* each says something */
    /* All go but one, and that one is still known. */
    uintptr_t left = a + 77 * STEP;
    for (uintptr_t at = a; at < a + 2 * LEAF_BYTES; at += STEP)
        if (at != left)
            rcl_pagemap_clear(address(at), 1);
    trim_all();
    assert_in_range(resident_of(a), 1, 4 * rcl_page_size());
    assert_true(resident_of(a + LEAF_BYTES) <= rcl_page_size());
    for (uintptr_t at = a; at < a + 2 * LEAF_BYTES; at += STEP)
        assert_entry(at, at == left ? 3 : RCL_CLASS_NONE, descriptors);
    /* And can be used again. */
    rcl_pagemap_set(address(a + STEP), STEP, 4, descriptors + 1);
    trim_all();
    for (uintptr_t at = a + STEP; at < a + 2 * (uintptr_t)STEP; at += RCL_GRANULE)
        assert_entry(at, 4, descriptors + 1);
    assert_entry(left, 3, descriptors);
}

/* --- out of memory ------------------------------------------------------------------------ */

static void cover_without_memory(void *arg)
{
    uintptr_t a = 90 * LEAF_BYTES;

    (void)arg;
    unit_limit_memory(64 * KIB);
    REQUIRE(!rcl_pagemap_cover(address(a), RCL_GRANULE));
    REQUIRE(!rcl_pagemap_cover(address(a), 3 * LEAF_BYTES));
    REQUIRE(rcl_pagemap_class(address(a)) == RCL_CLASS_NONE);
    unit_unlimit_memory();
    REQUIRE(rcl_pagemap_cover(address(a), 3 * LEAF_BYTES));
    rcl_pagemap_set(address(a), 3 * LEAF_BYTES, 1, descriptors);
    REQUIRE(rcl_pagemap_class(address(a + 3 * LEAF_BYTES - 1)) == 1);
}

TEST(out_of_memory_is_false)
{
    unit_child_passes(cover_without_memory, NULL);
}

/* --- threads ------------------------------------------------------------------------------ */

enum { THREADS = 4, LEAVES = 30 };

static uint32_t at_the_start;

/* All cover the same leaves at the same time and write entries of their own. */
static void *cover_and_set(void *arg)
{
    size_t me = (size_t)((char *)arg - descriptors);

    __atomic_fetch_add(&at_the_start, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&at_the_start, __ATOMIC_SEQ_CST) < THREADS)
        rcl_os_yield();
    for (size_t i = 0; i < LEAVES; i++) {
        uintptr_t a = (100 + i) * LEAF_BYTES + me * RCL_GRANULE;
        REQUIRE(rcl_pagemap_cover(address(a), RCL_GRANULE));
        rcl_pagemap_set(address(a), RCL_GRANULE, (unsigned)me + 1, arg);
    }
    return NULL;
}

TEST(several_threads_get_the_same_leaf)
{
    unit_threads(THREADS, cover_and_set, descriptors, 1);
    for (size_t i = 0; i < LEAVES; i++)
        for (size_t me = 0; me < THREADS; me++)
            assert_entry((100 + i) * LEAF_BYTES + me * RCL_GRANULE, (unsigned)me + 1,
                         descriptors + me);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_address_has_a_class_at_first), /* must be the first */
        cmocka_unit_test(an_address_with_wrong_high_bits_is_not_its_neighbour),
        cmocka_unit_test(an_entry_is_a_granule),
        cmocka_unit_test(every_class_byte),
        cmocka_unit_test(ranges_across_leaves),
        cmocka_unit_test(the_last_granule_of_user_space),
        cmocka_unit_test(beyond_user_space_nothing_is_covered),
        cmocka_unit_test(covering_again_changes_nothing),
        cmocka_unit_test(forgetting_returns_what_described_the_range_and_nothing_else),
        cmocka_unit_test(what_says_nothing_is_returned_and_nothing_else),
        cmocka_unit_test(out_of_memory_is_false),
        cmocka_unit_test(several_threads_get_the_same_leaf),
    };

    rcl_os_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
