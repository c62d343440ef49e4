/* SPDX-License-Identifier: MIT */
/* Tests of huge.h: mappings of their own, kept within the ceiling and for a window. */
#include "unit.h"

#include "account.h"
#include "huge.h"
#include "meta.h"
#include "options.h"
#include "pagemap.h"
#include "sizeclass.h"

#define LONG_NS UINT64_C(3600000000000)

/* How many bytes of free memory may stay; 0: not even what has shown that it is wanted. */
static void allow(size_t bytes)
{
    rcl_opt.dirty_min = (int64_t)bytes;
    rcl_opt.dirty_share = 0;
    rcl_opt.dirty_decay_ms = bytes != 0 ? 1000 : 0;
}

static void start(size_t allowed)
{
    memset(&rcl_account, 0, sizeof rcl_account);
    allow(allowed);
    rcl_huge_init(LONG_NS, 0);
}

static size_t pages(size_t bytes)
{
    return (bytes + rcl_page_size() - 1) / rcl_page_size();
}

static struct rcl_huge_stats usage(void)
{
    struct rcl_huge_stats stats;

    rcl_huge_usage(&stats);
    return stats;
}

/* The counts of everybody who counts agree with each other. */
static void assert_counts(size_t live_blocks, size_t live_bytes, size_t kept_blocks,
                          size_t kept_bytes)
{
    struct rcl_huge_stats s = usage();

    assert_int_equal(s.live_blocks, live_blocks);
    assert_int_equal(s.live_bytes, live_bytes);
    assert_int_equal(s.kept_blocks, kept_blocks);
    assert_int_equal(s.kept_bytes, kept_bytes);
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), pages(live_bytes));
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), pages(kept_bytes));
    assert_int_equal(rcl_account_read(&rcl_account.mapped_bytes), live_bytes + kept_bytes);
}

static void finish(void)
{
    rcl_huge_purge(RCL_PURGE_ANY, SIZE_MAX);
    assert_counts(0, 0, 0, 0);
}

static struct rcl_huge *desc(const void *p)
{
    assert_int_equal(rcl_pagemap_class(p), RCL_CLASS_HUGE);
    return rcl_pagemap_desc(p);
}

static char *take(size_t bytes, size_t align)
{
    bool zero;
    char *p = rcl_huge_take_in(NULL, bytes, align, &zero);

    assert_non_null(p);
    assert_int_equal((uintptr_t)p % align, 0);
    if (zero)
        assert_true(unit_zero(p, rcl_min(bytes, 64 * KIB)) && p[bytes - 1] == 0);
    return p;
}

/* --- taking and giving ------------------------------------------------------------------------ */

/* The same with walls on both sides: what is kept of it joins nothing. */
static char *take_apart(size_t bytes)
{
    size_t page = rcl_page_size();
    char *p = take(bytes, 1), *sides[] = {p - page, p + pages(bytes) * page};

    for (size_t i = 0; i < array_len(sides); i++)
        mmap(sides[i], page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return p;
}

TEST(a_block_is_a_mapping)
{
    static const size_t sizes[] = {1, 4096, MIB + 1, 2 * MIB, 5 * MIB + 12345, 40 * MIB};

    start(0);
    for (size_t i = 0; i < array_len(sizes); i++) {
        size_t bytes = pages(sizes[i]) * rcl_page_size();
        char *p = take(sizes[i], 1);
        struct rcl_huge *h = desc(p);

        assert_int_equal((uintptr_t)p % rcl_page_size(), 0);
        assert_ptr_equal(h->base, p);
        assert_int_equal(h->bytes, bytes);
        assert_false(h->unlisted);
        assert_counts(1, bytes, 0, 0);
        /* The page map knows its start and nothing else. */
        for (size_t at = RCL_GRANULE; at < bytes; at += RCL_GRANULE)
            assert_int_equal(rcl_pagemap_class(p + at), RCL_CLASS_NONE);
        /* All of it can be used. */
        p[0] = p[bytes - 1] = 1;
        unit_stamp(p, rcl_min(bytes, 64 * KIB), i);
        /* Nothing may stay: it goes at once. */
        rcl_huge_give(h);
        assert_int_equal(rcl_pagemap_class(p), RCL_CLASS_NONE);
        assert_int_equal(unit_resident(p, bytes), SIZE_MAX);
        assert_counts(0, 0, 0, 0);
    }
    finish();
}

TEST(any_alignment)
{
    start(0);
    for (size_t align = 1; align <= 256 * MIB; align *= 4)
        for (size_t bytes = 1; bytes <= 4 * MIB; bytes = bytes * 50 + 7)
            rcl_huge_give(desc(take(bytes, align)));
    finish();
}

TEST(the_block_around_an_address)
{
    start(0);
    char *p = take(3 * MIB, 1), *q = take(2 * MIB, 1);

    assert_ptr_equal(rcl_huge_around(p), desc(p));
    assert_ptr_equal(rcl_huge_around(p + 3 * MIB - 1), desc(p));
    assert_ptr_equal(rcl_huge_around(q + MIB), desc(q));
    assert_null(rcl_huge_around(NULL));
    assert_null(rcl_huge_around(&p));
    assert_true(rcl_huge_around(p + 3 * MIB) != desc(p));
    rcl_huge_give(desc(p));
    assert_null(rcl_huge_around(p + MIB));
    rcl_huge_give(desc(q));
    finish();
}

/* --- keeping ------------------------------------------------------------------------------ */

TEST(a_freed_block_is_kept_and_used_again)
{
    start(64 * MIB);
    char *p = take(8 * MIB, 1);

    memset(p, 1, 8 * MIB);
    rcl_huge_give(desc(p));
    assert_int_equal(rcl_pagemap_class(p), RCL_CLASS_NONE);
    assert_null(rcl_huge_around(p));
    assert_counts(0, 0, 1, 8 * MIB);
    assert_int_equal(unit_resident(p, 8 * MIB), 8 * MIB);

    bool zero = true;
    char *q = rcl_huge_take_in(NULL, 8 * MIB, 1, &zero);
    assert_ptr_equal(q, p);
    assert_false(zero);
    assert_ptr_equal(desc(q)->base, q);
    assert_counts(1, 8 * MIB, 0, 0);
    /* Taken back: the program wants it. */
    assert_int_equal(rcl_account_get(&rcl_account.demand_pages), pages(8 * MIB));
    rcl_huge_give(desc(q));
    finish();
    assert_int_equal(unit_resident(p, 8 * MIB), SIZE_MAX);
}

TEST(a_kept_block_serves_what_fits_or_its_front_does)
{
    static const struct {
        size_t bytes;
        bool fits;
        size_t rest;
    } requests[] = {
        {8 * MIB + 1, false, 8 * MIB},
        {8 * MIB, true, 0},
        {8 * MIB - 1, true, 0},
        {7 * MIB, true, MIB},
        {7 * MIB - 128 * KIB, true, MIB + 128 * KIB},
        {4 * MIB, true, 4 * MIB},
        {MIB + 64 * KIB, true, 7 * MIB - 64 * KIB},
    };

    for (size_t i = 0; i < array_len(requests); i++) {
        start(64 * MIB);
        char *p = take_apart(8 * MIB);
        rcl_huge_give(desc(p));
        char *q = take_apart(requests[i].bytes);
        assert_int_equal(q == p, requests[i].fits);
        assert_int_equal(usage().kept_bytes, requests[i].rest);
        if (requests[i].fits)
            assert_int_equal(desc(q)->bytes, 8 * MIB - requests[i].rest);
        /* And they are one again. */
        rcl_huge_give(desc(q));
        assert_int_equal(usage().kept_blocks, requests[i].fits ? 1 : 2);
        finish();
    }
}

TEST(what_is_kept_side_by_side_serves_as_one)
{
    bool zero;

    start(256 * MIB);
    char *p = take_apart(24 * MIB), *front, *end;
    rcl_huge_give(desc(p));
    front = take(8 * MIB, 1);
    char *middle = take(8 * MIB, 1);
    end = take(8 * MIB, 1);
    assert_true(front == p && middle == p + 8 * MIB && end == p + 16 * MIB);
    rcl_huge_give(desc(front));
    rcl_huge_give(desc(end));
    assert_counts(1, 8 * MIB, 2, 16 * MIB);
    rcl_huge_give(desc(middle));
    assert_counts(0, 0, 1, 24 * MIB);
    char *q = rcl_huge_take_in(NULL, 24 * MIB, 1, &zero);
    assert_ptr_equal(q, p);
    assert_false(zero);
    rcl_huge_give(desc(q));
    finish();
    assert_int_equal(unit_resident(p, 24 * MIB), SIZE_MAX);
}

/* They are one to the kernel as well: mremap lengthens no two mappings. */
TEST(what_came_by_several_calls_can_grow_as_one)
{
    bool zero;

    start(256 * MIB);
    for (int round = 0; round < 20; round++) {
        char *a = take(3 * MIB, 1), *b = take(5 * MIB + MIB / 2, 1);
        memset(a, 1, 3 * MIB);
        memset(b, 2, 5 * MIB + MIB / 2);
        rcl_huge_give(desc(a));
        rcl_huge_give(desc(b));
        if (usage().kept_blocks == 1) {
            char *p = rcl_huge_take_in(NULL, 8 * MIB + MIB / 2, 1, &zero);
            assert_false(zero);
            memcpy(p, &round, sizeof round);
            p = rcl_huge_resize(desc(p), 40 * MIB);
            assert_non_null(p);
            assert_memory_equal(p, &round, sizeof round);
            rcl_huge_give(desc(p));
        }
        rcl_huge_purge(RCL_PURGE_ANY, SIZE_MAX);
    }
    finish();
}

TEST(what_a_child_maps_is_no_kin_of_what_it_inherits)
{
    start(64 * MIB);
    char *p = take_apart(16 * MIB);
    rcl_huge_give(desc(p));
    char *front = take(8 * MIB, 1), *rest = take(8 * MIB, 1);
    assert_true(front == p && rest == p + 8 * MIB);
    rcl_huge_give(desc(front));
    rcl_huge_forked();
    rcl_huge_purge(RCL_PURGE_ANY, SIZE_MAX);
    front = take(8 * MIB, 1); /* the same place, if the kernel is as usual */
    rcl_huge_give(desc(rest));
    rcl_huge_give(desc(front));
    assert_counts(0, 0, 2, 16 * MIB);
    finish();
}

TEST(the_smallest_that_fits_is_taken)
{
    static const size_t sizes[] = {8 * MIB + 512 * KIB, 8 * MIB, 8 * MIB + 256 * KIB, 20 * MIB};
    char *p[array_len(sizes)];

    start(256 * MIB);
    for (size_t i = 0; i < array_len(sizes); i++)
        p[i] = take_apart(sizes[i]);
    for (size_t i = 0; i < array_len(sizes); i++)
        rcl_huge_give(desc(p[i]));
    /* The front of each in turn: what is left of one is too short for the next. */
    static const size_t expected[] = {1, 2, 0};
    char *q[3];
    for (size_t i = 0; i < 3; i++) {
        q[i] = take(8 * MIB - 100 * KIB, 1);
        assert_ptr_equal(q[i], p[expected[i]]);
    }
    size_t each = pages(8 * MIB - 100 * KIB) * rcl_page_size();
    assert_counts(3, 3 * each, 4, 44 * MIB + 768 * KIB - 3 * each);
    for (size_t i = 0; i < 3; i++)
        rcl_huge_give(desc(q[i]));
    finish();
}

TEST(a_kept_block_is_not_used_where_its_alignment_does_not_fit)
{
    start(256 * MIB);
    char *p = take_apart(4 * MIB), *q;
    size_t align = (size_t)1 << __builtin_ctzll((uintptr_t)p);

    rcl_huge_give(desc(p));
    q = take(4 * MIB, align * 2); /* take() checks the alignment */
    assert_ptr_not_equal(q, p);
    rcl_huge_give(desc(q));
    rcl_huge_purge(RCL_PURGE_ANY, SIZE_MAX);
    finish();
}

TEST(above_the_ceiling_a_block_goes_at_once)
{
    char *p[4];

    start(20 * MIB);
    for (size_t i = 0; i < 4; i++)
        p[i] = take_apart(8 * MIB);
    for (size_t i = 0; i < 4; i++)
        rcl_huge_give(desc(p[i]));
    /* Two have room; other free memory counts as well. */
    assert_counts(0, 0, 2, 16 * MIB);
    char *q = take_apart(10 * MIB);
    rcl_account_add(&rcl_account.dirty_pages, (int64_t)pages(3 * MIB));
    rcl_huge_give(desc(q));
    assert_int_equal(usage().kept_bytes, 16 * MIB);
    rcl_account_add(&rcl_account.dirty_pages, -(int64_t)pages(3 * MIB));
    finish();
}

/* What the system does where nobody asks for huge pages; -1: not to be seen. */
static int system_setting(void)
{
    char text[64] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && read(fd, text, sizeof text - 1) < 0)
        text[0] = '\0';
    if (fd >= 0)
        close(fd);
    return strstr(text, "[always]") != NULL ? 1 : strchr(text, '[') != NULL ? 0 : -1;
}

TEST(a_kept_block_is_like_a_fresh_one_as_to_huge_pages)
{
    start(64 * MIB);
    char *sample = take(2 * MIB, 1), *p = take(8 * MIB, 1);

    rcl_os_no_hugepage(sample, 2 * MIB);
    bool seen = unit_no_huge_pages(sample);
    rcl_os_hugepage(p, 8 * MIB);
    bool taken = !unit_no_huge_pages(p);
    rcl_huge_give(desc(p));
    /* Where the system gives huge pages to everybody, this block goes on having them. */
    bool none = unit_no_huge_pages(p), expected = system_setting() == 0;
    rcl_huge_give(desc(sample));
    finish();
    if (!seen)
        skip();
    assert_true(taken);
    assert_int_equal(none, expected);
}

TEST(what_is_kept_goes_after_a_window)
{
    start(64 * MIB);
    char *p = take_apart(2 * MIB), *q = take_apart(3 * MIB);

    rcl_huge_give(desc(p));
    rcl_huge_age();
    rcl_huge_give(desc(q));
    for (unsigned step = 1; step < RCL_AGE_MAX; step++) {
        assert_int_equal(rcl_huge_purge(RCL_PURGE_OLD, SIZE_MAX), 0);
        rcl_huge_age();
    }
    /* The first is old, the second is one step younger. */
    assert_int_equal(rcl_huge_purge(RCL_PURGE_OLD, SIZE_MAX), pages(2 * MIB));
    assert_counts(0, 0, 1, 3 * MIB);
    rcl_huge_age();
    assert_int_equal(rcl_huge_purge(RCL_PURGE_OLD, SIZE_MAX), pages(3 * MIB));
    assert_counts(0, 0, 0, 0);
    /* For ever is not longer. */
    p = take(2 * MIB, 1);
    rcl_huge_give(desc(p));
    for (int i = 0; i < 1000; i++)
        rcl_huge_age();
    assert_int_equal(rcl_huge_purge(RCL_PURGE_OLD, SIZE_MAX), pages(2 * MIB));
    finish();
}

TEST(the_oldest_go_first_and_the_budget_is_kept)
{
    size_t page = rcl_page_size();
    char *p[5];

    start(64 * MIB);
    for (size_t i = 0; i < 5; i++)
        p[i] = take_apart(2 * MIB);
    for (size_t i = 0; i < 5; i++)
        rcl_huge_give(desc(p[i]));
    assert_int_equal(rcl_huge_purge(RCL_PURGE_ANY, 1), 1);
    assert_int_equal(unit_resident(p[0], page), SIZE_MAX);
    assert_int_not_equal(unit_resident(p[0] + page, 2 * MIB - page), SIZE_MAX);
    assert_counts(0, 0, 5, 10 * MIB - page);
    assert_int_equal(rcl_huge_purge(RCL_PURGE_ANY, pages(2 * MIB)), pages(2 * MIB));
    assert_int_equal(unit_resident(p[0], 2 * MIB), SIZE_MAX);
    assert_int_equal(unit_resident(p[1], page), SIZE_MAX);
    assert_int_not_equal(unit_resident(p[2], 2 * MIB), SIZE_MAX);
    assert_counts(0, 0, 4, 8 * MIB - page);
    assert_int_equal(rcl_huge_purge(RCL_PURGE_ANY, 0), 0);
    finish();
}

/* --- resizing ----------------------------------------------------------------------------- */

static void fill(char *p, size_t from, size_t to)
{
    for (size_t at = from; at < to; at += rcl_page_size())
        memcpy(p + at, &at, sizeof at);
}

static void assert_filled(const char *p, size_t to)
{
    for (size_t at = 0; at < to; at += rcl_page_size())
        assert_memory_equal(p + at, &at, sizeof at);
}

TEST(resizing_keeps_the_content)
{
    static const size_t sizes[] = {3, 4, 40, 41, 17, 100, 2, 1, 64};
    struct rcl_huge *h;
    size_t now = 2 * MIB;

    start(0);
    char *p = take(now, 1);
    fill(p, 0, now);
    h = desc(p);
    for (size_t i = 0; i < array_len(sizes); i++) {
        size_t bytes = sizes[i] * MIB + (sizes[i] == 1 ? 4096 : 0), whole;
        char *q = rcl_huge_resize(h, bytes);

        assert_non_null(q);
        whole = pages(bytes) * rcl_page_size();
        assert_ptr_equal(desc(q), h);
        assert_ptr_equal(h->base, q);
        assert_int_equal(h->bytes, whole);
        if (q != p)
            assert_int_equal(rcl_pagemap_class(p), RCL_CLASS_NONE);
        assert_filled(q, rcl_min(now, whole));
        if (whole > now) {
            assert_true(unit_zero(q + now, rcl_min(whole - now, 64 * KIB)));
            fill(q, now, whole);
        }
        assert_counts(1, whole, 0, 0);
        p = q;
        now = whole;
    }
    assert_ptr_equal(rcl_huge_resize(h, now), p);
    rcl_huge_give(h);
    finish();
}

TEST(a_refused_resize_changes_nothing)
{
    start(0);
    char *p = take(2 * MIB, 1);
    struct rcl_huge *h = desc(p), before = *h;

    fill(p, 0, 2 * MIB);
    assert_null(rcl_huge_resize(h, (size_t)1 << 60));
    assert_memory_equal(h, &before, sizeof before);
    assert_ptr_equal(desc(p), h);
    assert_filled(p, 2 * MIB);
    assert_counts(1, 2 * MIB, 0, 0);
    rcl_huge_give(h);
    finish();
}

/* --- unlisted blocks ---------------------------------------------------------------------- */

/* --- growing over kept blocks ---------------------------------------------------------------- */

/* One kept block of so many bytes, all of it resident. */
static char *keep(size_t bytes)
{
    char *p = take(bytes, 1);

    memset(p, 1, bytes);
    rcl_huge_give(desc(p));
    return p;
}

TEST(a_growing_block_takes_the_front_of_a_kept_one_and_goes_on_over_it)
{
    size_t page = rcl_page_size();

    start(64 * MIB);
    char *kept = keep(16 * MIB);
    assert_null(rcl_huge_take_to_grow(NULL, 8 * MIB + page));
    assert_counts(0, 0, 1, 16 * MIB);

    char *p = rcl_huge_take_to_grow(NULL, 2 * MIB);
    assert_ptr_equal(p, kept);
    struct rcl_huge *h = desc(p);
    fill(p, 0, 2 * MIB);
    assert_counts(1, 2 * MIB, 1, 14 * MIB);

    /* What is needed, or more where there is more. */
    assert_true(rcl_huge_extend(h, 2 * MIB + 1, 2 * MIB + 1));
    assert_int_equal(h->bytes, 2 * MIB + page);
    assert_true(rcl_huge_extend(h, 3 * MIB, 4 * MIB));
    assert_counts(1, 4 * MIB, 1, 12 * MIB);
    assert_false(rcl_huge_extend(h, 16 * MIB + 1, 17 * MIB));
    assert_counts(1, 4 * MIB, 1, 12 * MIB);
    assert_true(rcl_huge_extend(h, 16 * MIB, 17 * MIB));
    assert_counts(1, 16 * MIB, 0, 0);
    assert_false(rcl_huge_extend(h, 16 * MIB + 1, 17 * MIB));

    assert_ptr_equal(h->base, kept);
    assert_filled(h->base, 2 * MIB);
    assert_int_equal(unit_resident(h->base, h->bytes), 16 * MIB);
    rcl_huge_give(h);
    finish();
}

TEST(a_block_moves_to_a_kept_one_where_it_can_grow)
{
    start(64 * MIB);
    char *p = take_apart(2 * MIB);
    struct rcl_huge *h = desc(p);
    fill(p, 0, 2 * MIB);
    char *small = take_apart(8 * MIB), *large = take_apart(20 * MIB);
    rcl_huge_give(desc(small));
    assert_false(rcl_huge_move_to_kept(h, 4 * MIB + 1));
    assert_ptr_equal(h->base, p);
    assert_counts(2, 22 * MIB, 1, 8 * MIB);

    /* The largest: it is growing. */
    rcl_huge_give(desc(large));
    assert_true(rcl_huge_move_to_kept(h, 4 * MIB));
    assert_ptr_equal(h->base, large);
    assert_ptr_equal(desc(large), h);
    assert_int_equal(rcl_pagemap_class(p), RCL_CLASS_NONE);
    assert_filled(h->base, 2 * MIB);
    assert_counts(1, 4 * MIB, 3, 26 * MIB);
    assert_true(rcl_huge_extend(h, 20 * MIB, 20 * MIB));
    assert_counts(1, 20 * MIB, 2, 10 * MIB);

    /* Where the copy would be long, the pages are moved instead. */
    rcl_huge_purge(RCL_PURGE_ANY, SIZE_MAX);
    keep(60 * MIB);
    assert_counts(1, 20 * MIB, 1, 60 * MIB);
    assert_false(rcl_huge_move_to_kept(h, 21 * MIB));
    rcl_huge_give(h);
    finish();
}

TEST(what_is_left_of_a_kept_block_keeps_its_age)
{
    start(64 * MIB);
    keep(16 * MIB);
    for (unsigned i = 0; i < RCL_AGE_MAX; i++)
        rcl_huge_age();
    struct rcl_huge *h = desc(rcl_huge_take_to_grow(NULL, 2 * MIB));
    assert_int_equal(rcl_huge_purge(RCL_PURGE_OLD, SIZE_MAX), pages(14 * MIB));
    assert_counts(1, 2 * MIB, 0, 0);
    assert_false(rcl_huge_extend(h, 3 * MIB, 3 * MIB));
    memset(h->base, 2, h->bytes);
    rcl_huge_give(h);
    finish();
}

TEST(an_unlisted_block_is_in_no_count)
{
    static const size_t sizes[] = {0, 1, 100, 4096, 100000, 3 * MIB};

    start(64 * MIB);
    for (size_t i = 0; i < array_len(sizes); i++) {
        for (size_t align = 1; align <= 8 * MIB; align *= 64) {
            char *p = rcl_huge_take_unlisted(sizes[i], align);

            assert_non_null(p);
            assert_int_equal((uintptr_t)p % align, 0);
            struct rcl_huge *h = desc(p);
            assert_ptr_equal(h->base, p);
            assert_true(h->bytes >= rcl_max(sizes[i], 1));
            assert_true(h->unlisted);
            assert_true(unit_zero(p, h->bytes));
            memset(p, 1, h->bytes);
            assert_counts(0, 0, 0, 0);
            assert_null(rcl_huge_around(p));
            size_t bytes = h->bytes;
            rcl_huge_give(h);
            assert_int_equal(rcl_pagemap_class(p), RCL_CLASS_NONE);
            assert_int_equal(unit_resident(p, bytes), SIZE_MAX);
            assert_counts(0, 0, 0, 0);
        }
    }
    finish();
}

TEST(an_unlisted_block_can_be_resized)
{
    start(64 * MIB);
    char *p = rcl_huge_take_unlisted(2 * MIB, 1);
    assert_non_null(p);
    struct rcl_huge *h = desc(p);
    fill(p, 0, 2 * MIB);
    char *q = rcl_huge_resize(h, 20 * MIB);
    assert_non_null(q);
    assert_filled(q, 2 * MIB);
    assert_ptr_equal(desc(q), h);
    assert_counts(0, 0, 0, 0);
    rcl_huge_give(h);
    finish();
}

/* --- out of memory ------------------------------------------------------------------------ */

static void use_all_memory(void *arg)
{
    bool zero;
    size_t mapped, before, live;
    char *block[64];
    size_t n = 0;

    (void)arg;
    rcl_huge_give(rcl_pagemap_desc(rcl_huge_take_in(NULL, MIB, 1, &zero)));
    unit_cover_holes();
    unit_limit_memory(16 * MIB);
    REQUIRE(rcl_huge_take_in(NULL, 32 * MIB, 1, &zero) == NULL);
    REQUIRE(rcl_huge_take_unlisted(32 * MIB, 1) == NULL);
    while (n < 64 && (block[n] = rcl_huge_take_in(NULL, 2 * MIB, 1, &zero)) != NULL)
        n++;
    REQUIRE(n >= 6 && n <= 8);
    rcl_meta_usage(&mapped, &before);
    REQUIRE(rcl_huge_take_in(NULL, 2 * MIB, 1, &zero) == NULL);
    REQUIRE(rcl_huge_resize(rcl_pagemap_desc(block[0]), 16 * MIB) == NULL);
    REQUIRE(rcl_pagemap_class(block[0]) == RCL_CLASS_HUGE);
    rcl_meta_usage(&mapped, &live);
    REQUIRE(live == before && usage().live_blocks == n);
    /* Shrinking is always possible. */
    REQUIRE(rcl_huge_resize(rcl_pagemap_desc(block[0]), MIB + 1) != NULL);
}

TEST(out_of_memory_is_null)
{
    start(0);
    unit_child_passes(use_all_memory, NULL);
}

/* --- threads ------------------------------------------------------------------------------ */

enum { THREADS = 4, ROUNDS = 400, OWN = 6 };

static void *work(void *arg)
{
    struct {
        char *p;
        size_t bytes;
        uint64_t mark;
    } own[OWN] = {{NULL, 0, 0}};
    struct unit_random random = {(uintptr_t)arg};
    bool zero;

    for (int i = 0; i < ROUNDS; i++) {
        size_t k = unit_below(&random, OWN), bytes = MIB + unit_below(&random, 3 * MIB);
        if (own[k].p == NULL) {
            own[k].p = rcl_huge_take_in(NULL, bytes, 1, &zero);
            REQUIRE(own[k].p != NULL);
            REQUIRE(!zero || (own[k].p[0] == 0 && own[k].p[bytes - 1] == 0));
        } else {
            struct rcl_huge *h = rcl_pagemap_desc(own[k].p);
            REQUIRE(rcl_pagemap_class(own[k].p) == RCL_CLASS_HUGE && h->base == own[k].p);
            REQUIRE(memcmp(own[k].p, &own[k].mark, 8) == 0);
            if (i % 4 != 0) {
                rcl_huge_give(h);
                own[k].p = NULL;
                continue;
            }
            /* NULL: to the kernel it is several mappings, side by side, and stays as it is. */
            char *moved = rcl_huge_resize(h, bytes);
            REQUIRE(memcmp(h->base, &own[k].mark, 8) == 0);
            if (moved == NULL)
                continue;
            REQUIRE(moved == h->base);
            own[k].p = moved;
        }
        own[k].bytes = bytes;
        own[k].mark = unit_next(&random);
        memcpy(own[k].p, &own[k].mark, 8);
        own[k].p[bytes - 1] = 1;
        if (i % 32 == 0)
            rcl_huge_age();
        if (i % 64 == 0)
            rcl_huge_purge(i % 128 == 0 ? RCL_PURGE_ANY : RCL_PURGE_OLD, 1000);
        rcl_huge_around(arg);
    }
    for (size_t k = 0; k < OWN; k++)
        if (own[k].p != NULL)
            rcl_huge_give(rcl_pagemap_desc(own[k].p));
    return NULL;
}

TEST(several_threads)
{
    char args[THREADS];

    start(16 * MIB);
    unit_threads(THREADS, work, args, 1);
    assert_int_equal(usage().live_blocks, 0);
    assert_int_equal(usage().live_bytes, 0);
    finish();
}

static int set_up(void **state)
{
    (void)state;
    rcl_os_init();
    return 0;
}

/* --- of an explicit arena, and in place ---------------------------------------------------- */

static struct rcl_huge_group some_group;

TEST(blocks_of_an_arena_go_together)
{
    bool zero;
    void *p[6];

    start(64 * MIB);
    for (int i = 0; i < 6; i++) {
        p[i] = rcl_huge_take_in(i % 2 ? &some_group : NULL, 2 * MIB, 1, &zero);
        assert_non_null(p[i]);
        memset(p[i], i, 2 * MIB);
    }
    rcl_huge_discard(&some_group);
    assert_counts(3, 6 * MIB, 0, 0); /* at once, though they could stay */
    for (int i = 0; i < 6; i++) {
        assert_int_equal(rcl_pagemap_class(p[i]), i % 2 ? RCL_CLASS_NONE : RCL_CLASS_HUGE);
        if (i % 2 == 0)
            rcl_huge_give(rcl_pagemap_desc(p[i]));
    }
    /* One kept for reuse belongs to who takes it. */
    void *q = rcl_huge_take_in(&some_group, 2 * MIB, 1, &zero);
    rcl_huge_discard(&some_group);
    assert_int_equal(rcl_pagemap_class(q), RCL_CLASS_NONE);
    finish();
}

static int64_t counted(size_t bytes)
{
    unsigned i = rcl_extent_of(bytes);
    return (int64_t)(some_group.kind[i].taken - some_group.kind[i].given);
}

TEST(a_group_counts_its_own)
{
    bool zero;

    start(64 * MIB);
    memset(&some_group, 0, sizeof some_group);
    void *other = rcl_huge_take_in(NULL, 3 * MIB, 1, &zero);
    struct rcl_huge *h = rcl_pagemap_desc(rcl_huge_take_in(&some_group, 3 * MIB, 1, &zero));
    assert_int_equal(counted(3 * MIB), 1);
    assert_int_equal(some_group.bytes, 3 * MIB);
    /* One extent, then another. */
    assert_non_null(rcl_huge_resize(h, 3 * MIB - rcl_page_size()));
    assert_int_equal(counted(3 * MIB), 1);
    assert_int_equal(some_group.bytes, 3 * MIB - rcl_page_size());
    assert_non_null(rcl_huge_resize(h, 8 * MIB));
    assert_int_equal(counted(3 * MIB), 0);
    assert_int_equal(counted(8 * MIB), 1);
    assert_int_equal(some_group.bytes, 8 * MIB);
    rcl_huge_give(h);
    assert_int_equal(counted(8 * MIB), 0);
    assert_int_equal(some_group.bytes, 0);
    /* Kept, and taken by nobody's. */
    void *again = rcl_huge_take_in(NULL, 8 * MIB, 1, &zero);
    assert_int_equal(counted(8 * MIB), 0);
    rcl_huge_give(rcl_pagemap_desc(again));
    rcl_huge_give(rcl_pagemap_desc(other));
    finish();
}

TEST(in_place_means_in_place)
{
    bool zero;

    start(0);
    char *p = rcl_huge_take_in(NULL, 8 * MIB, 1, &zero);
    struct rcl_huge *h = rcl_pagemap_desc(p);
    memset(p, 7, 8 * MIB);
    assert_true(rcl_huge_resize_in_place(h, 4 * MIB));
    assert_ptr_equal(h->base, p);
    assert_counts(1, 4 * MIB, 0, 0);
    /* What is in the way decides; whatever the answer is, it is true. */
    char *wall = mmap(p + 4 * MIB, rcl_page_size(), PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_ptr_equal(wall, p + 4 * MIB);
    assert_false(rcl_huge_resize_in_place(h, 8 * MIB));
    assert_ptr_equal(h->base, p);
    assert_int_equal(rcl_pagemap_class(p), RCL_CLASS_HUGE);
    assert_counts(1, 4 * MIB, 0, 0);
    assert_int_equal(munmap(wall, rcl_page_size()), 0);
    assert_true(rcl_huge_resize_in_place(h, 8 * MIB));
    assert_counts(1, 8 * MIB, 0, 0);
    assert_true(p[0] == 7 && p[4 * MIB - 1] == 7 && unit_zero(p + 4 * MIB, 4 * MIB));
    rcl_huge_give(h);
    finish();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_a_mapping),
        cmocka_unit_test(any_alignment),
        cmocka_unit_test(the_block_around_an_address),
        cmocka_unit_test(a_freed_block_is_kept_and_used_again),
        cmocka_unit_test(a_kept_block_serves_what_fits_or_its_front_does),
        cmocka_unit_test(what_is_kept_side_by_side_serves_as_one),
        cmocka_unit_test(what_came_by_several_calls_can_grow_as_one),
        cmocka_unit_test(what_a_child_maps_is_no_kin_of_what_it_inherits),
        cmocka_unit_test(the_smallest_that_fits_is_taken),
        cmocka_unit_test(a_kept_block_is_not_used_where_its_alignment_does_not_fit),
        cmocka_unit_test(above_the_ceiling_a_block_goes_at_once),
        cmocka_unit_test(a_kept_block_is_like_a_fresh_one_as_to_huge_pages),
        cmocka_unit_test(what_is_kept_goes_after_a_window),
        cmocka_unit_test(the_oldest_go_first_and_the_budget_is_kept),
        cmocka_unit_test(resizing_keeps_the_content),
        cmocka_unit_test(a_refused_resize_changes_nothing),
        cmocka_unit_test(an_unlisted_block_is_in_no_count),
        cmocka_unit_test(an_unlisted_block_can_be_resized),
        cmocka_unit_test(a_growing_block_takes_the_front_of_a_kept_one_and_goes_on_over_it),
        cmocka_unit_test(a_block_moves_to_a_kept_one_where_it_can_grow),
        cmocka_unit_test(what_is_left_of_a_kept_block_keeps_its_age),
        cmocka_unit_test(out_of_memory_is_null),
        cmocka_unit_test(several_threads),
        cmocka_unit_test(blocks_of_an_arena_go_together),
        cmocka_unit_test(a_group_counts_its_own),
        cmocka_unit_test(in_place_means_in_place),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
