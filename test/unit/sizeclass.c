/* SPDX-License-Identifier: MIT */
/*
 * Tests of sizeclass.h.  The tables depend on the page size alone, so each test makes
 * them for every page size there is.
 */
#include "unit.h"

#include "sizeclass.h"

static const size_t page_sizes[] = {4 * KIB, 16 * KIB, 64 * KIB};

/* Run `check` with the tables of each page size. */
static void for_each_page_size(void (*check)(size_t page))
{
    for (size_t i = 0; i < array_len(page_sizes); i++) {
        rcl_sizeclass_init(page_sizes[i]);
        check(page_sizes[i]);
    }
    rcl_sizeclass_init(rcl_page_size());
}

/* The first class from `from` on whose blocks hold `size` bytes. */
static unsigned first_that_holds(size_t size, unsigned from, unsigned last)
{
    unsigned cls = from;

    while (cls <= last && rcl_classes[cls].size < size)
        cls++;
    return cls;
}

TEST(before_init_every_size_has_no_class)
{
    for (size_t size = 0; size <= RCL_SMALL_MAX; size++)
        assert_int_equal(rcl_class_of_small(size), RCL_CLASS_NONE);
    for (size_t size = RCL_SMALL_MAX + 1; size <= RCL_MEDIUM_MAX; size += 1024)
        assert_int_equal(rcl_class_of_medium(size), RCL_CLASS_NONE);
}

static void check_sizes(size_t page)
{
    (void)page;
    assert_int_equal(rcl_classes[RCL_CLASS_FIRST].size, RCL_MIN_ALIGN);
    assert_int_equal(rcl_classes[RCL_SMALL_LAST].size, RCL_SMALL_MAX);
    assert_int_equal(rcl_classes[RCL_MEDIUM_LAST].size, RCL_MEDIUM_MAX);
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        size_t size = rcl_classes[cls].size;

        assert_int_equal(size % RCL_MIN_ALIGN, 0);
        if (cls > RCL_CLASS_FIRST)
            assert_true(size > rcl_classes[cls - 1].size);
        if (cls > RCL_SMALL_LAST)
            assert_int_equal(size % RCL_GRANULE, 0);
    }
    /* Every 16 bytes to 512. */
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LINEAR; cls++)
        assert_int_equal(rcl_classes[cls].size, cls * 16);
    /* The class number is a byte of the page map. */
    assert_true(RCL_CLASS_HUGE <= UINT8_MAX);
}

TEST(sizes_rise)
{
    for_each_page_size(check_sizes);
}

static void check_mapping(size_t page)
{
    unsigned cls = RCL_CLASS_FIRST;

    (void)page;
    for (size_t size = 0; size <= RCL_SMALL_MAX; size++) {
        cls = first_that_holds(size, cls, RCL_SMALL_LAST);
        assert_int_equal(rcl_class_of_small(size), cls);
    }
    assert_int_equal(cls, RCL_SMALL_LAST);
    cls++;
    for (size_t size = RCL_SMALL_MAX + 1; size <= RCL_MEDIUM_MAX; size++) {
        cls = first_that_holds(size, cls, RCL_MEDIUM_LAST);
        assert_int_equal(rcl_class_of_medium(size), cls);
    }
    assert_int_equal(cls, RCL_MEDIUM_LAST);
}

TEST(every_size_is_in_the_smallest_class_that_holds_it)
{
    for_each_page_size(check_mapping);
}

static void check_rounding(size_t page)
{
    (void)page;
    for (unsigned cls = RCL_CLASS_FIRST + 1; cls <= RCL_MEDIUM_LAST; cls++) {
        size_t size = rcl_classes[cls].size;
        size_t smallest = rcl_classes[cls - 1].size + 1; /* request served by this class */
        size_t rounding = size - smallest;

        if (size <= 512)
            assert_true(rounding < 16);
        else if (cls <= RCL_SMALL_LAST)
            assert_true(rounding * 17 <= size);
        else
            assert_true(rounding * 9 <= size);
    }
}

TEST(rounding_is_bounded)
{
    for_each_page_size(check_rounding);
}

static void check_slabs(size_t page)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        const struct rcl_class *c = &rcl_classes[cls];
        size_t bytes = c->slab_pages * page, used = (size_t)c->slots * c->size;

        assert_in_range(c->slab_pages, 1, RCL_SLAB_PAGES_MAX);
        assert_true(bytes <= rcl_max(RCL_SLAB_BYTES_MAX, page));
        assert_true(c->slots >= 1);
        assert_true(used <= bytes);
        /* No page without a block, and none that could hold another one. */
        assert_true(bytes - used < page);
        assert_true(bytes - used < c->size);
        /* 1/128 behind the last block at most, where a slab has pages to choose from. */
        if (page == page_sizes[0])
            assert_true((bytes - used) * 128 <= bytes);
    }
    for (unsigned cls = RCL_SMALL_LAST + 1; cls <= RCL_MEDIUM_LAST; cls++) {
        const struct rcl_class *c = &rcl_classes[cls];

        assert_int_equal(c->slots, 1);
        assert_int_equal(c->slab_pages, (c->size + page - 1) / page);
    }
}

TEST(slabs_hold_their_blocks)
{
    for_each_page_size(check_slabs);
}

static void check_reciprocals(size_t page)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        const struct rcl_class *c = &rcl_classes[cls];

        for (size_t slot = 0; slot < c->slots; slot++) {
            size_t offset = slot * c->size;
            assert_int_equal((offset * c->reciprocal) >> 32, slot);
            /* Any other offset fails when it is multiplied back. */
            static const size_t away[] = {1, 8, 15, 16};
            for (size_t i = 0; i < array_len(away); i++) {
                size_t wrong = offset + away[i];
                if (wrong % c->size != 0 && wrong < c->slab_pages * page)
                    assert_int_not_equal(((wrong * c->reciprocal) >> 32) * c->size, wrong);
            }
        }
    }
}

TEST(slot_numbers_are_exact)
{
    for_each_page_size(check_reciprocals);
}

static void check_caches(size_t page)
{
    (void)page;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        const struct rcl_class *c = &rcl_classes[cls];

        assert_true(c->cache_min >= 1);
        assert_true(c->cache_min <= c->cache_max);
        assert_true(c->cache_max >= 2);
        assert_true((size_t)c->cache_max * c->size <=
                    (c->size < RCL_TCACHE_LARGER ? 640 * KIB : 2 * MIB));
    }
}

TEST(cache_limits)
{
    for_each_page_size(check_caches);
}

TEST(kinds_of_classes)
{
    for (unsigned cls = 0; cls <= UINT8_MAX; cls++) {
        assert_int_equal(rcl_class_is_small(cls), cls >= 1 && cls <= RCL_SMALL_LAST);
        assert_int_equal(rcl_class_is_cached(cls), cls >= 1 && cls <= RCL_MEDIUM_LAST);
    }
}

static void check_alignment(size_t page)
{
    (void)page;
    for (size_t align = 1; align <= 4 * RCL_GRANULE; align *= 2) {
        for (size_t size = 0; size <= RCL_SMALL_MAX + 64; size += size < 600 ? 1 : 37) {
            unsigned found = rcl_class_of_aligned(size, align), expected = RCL_CLASS_NONE;

            for (unsigned cls = RCL_CLASS_FIRST;
                 cls <= RCL_SMALL_LAST && expected == RCL_CLASS_NONE; cls++)
                if (rcl_classes[cls].size >= size && rcl_classes[cls].size % align == 0)
                    expected = cls;
            if (align > RCL_GRANULE || size == 0)
                expected = RCL_CLASS_NONE;
            assert_int_equal(found, expected);
        }
    }
    for (size_t align = RCL_GRANULE * 2; align != 0; align *= 2)
        assert_int_equal(rcl_class_of_aligned(16, align), RCL_CLASS_NONE);
    assert_int_equal(rcl_class_of_aligned(SIZE_MAX, 64), RCL_CLASS_NONE);
}

TEST(aligned_requests)
{
    for_each_page_size(check_alignment);
}

static void check_extents(size_t page)
{
    size_t last = 0;

    for (unsigned i = 0; i < RCL_EXTENTS; i++) {
        size_t size = rcl_extent_size(i);

        assert_true(size > last);
        assert_int_equal(size % RCL_GRANULE, 0);
        if (size > RCL_MEDIUM_MAX)
            assert_int_equal(size % rcl_min(page, 64 * KIB), 0);
        assert_int_equal(rcl_extent_of(size), i);
        assert_int_equal(rcl_extent_of(size - 1), i);
        if (i + 1 < RCL_EXTENTS)
            assert_int_equal(rcl_extent_of(size + 1), i + 1);
        last = size;
    }
    assert_int_equal(last, (size_t)1 << RCL_EXTENT_LG_LAST);
    assert_int_equal(rcl_extent_of(1), 0);
    assert_int_equal(rcl_extent_of(SIZE_MAX), RCL_EXTENTS - 1);
    assert_int_equal(rcl_extent_size(RCL_EXTENTS_MEDIUM - 1), RCL_MEDIUM_MAX);
    assert_int_equal(rcl_extent_size(RCL_EXTENTS_RUN - 1), RCL_LARGE_MAX);
}

TEST(extents_rise_and_hold_every_size)
{
    for_each_page_size(check_extents);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_init_every_size_has_no_class), /* must be the first */
        cmocka_unit_test(sizes_rise),
        cmocka_unit_test(every_size_is_in_the_smallest_class_that_holds_it),
        cmocka_unit_test(rounding_is_bounded),
        cmocka_unit_test(slabs_hold_their_blocks),
        cmocka_unit_test(slot_numbers_are_exact),
        cmocka_unit_test(cache_limits),
        cmocka_unit_test(kinds_of_classes),
        cmocka_unit_test(aligned_requests),
        cmocka_unit_test(extents_rise_and_hold_every_size),
    };

    rcl_os_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
