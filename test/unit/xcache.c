/* SPDX-License-Identifier: MIT */
/* Tests of xcache.h: who has a cache, and when it is emptied. */
#include "blocks.h"

#include "xcache.h"

static void enter(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
}

static void leave(void)
{
    rcl_gate_leave(&rcl_tls.gate);
}

static int boot(void **state)
{
    (void)state;
    rcl_opt.narenas = 1;
    rcl_opt.tcache_max = RCL_MEDIUM_MAX;
    return block_boot(1000000000) ? 0 : -1;
}

/* Blocks of a class in all explicit caches. */
static size_t held(unsigned cls)
{
    struct rcl_caches_stats stats = {0};

    rcl_xcaches_usage(&stats);
    return stats.blocks[cls];
}

static void fill(unsigned id, unsigned cls)
{
    bool zero;
    struct rcl_tcache *tc = rcl_xcache_begin(id);
    REQUIRE(tc != NULL);
    void *p = rcl_tcache_refill_from(tc, rcl_arena_get(0), cls, &zero);
    REQUIRE(p != NULL);
    if (!rcl_tcache_push(tc, cls, p))
        rcl_tcache_overflow(tc, cls, p, "free");
    rcl_xcache_end(id);
}

TEST(numbers_are_given_again)
{
    unsigned a, b, c;

    enter();
    assert_true(rcl_xcache_create(&a));
    assert_true(rcl_xcache_create(&b));
    assert_int_not_equal(a, b);
    assert_true(rcl_xcache_destroy(a));
    assert_false(rcl_xcache_destroy(a));
    assert_false(rcl_xcache_flush(a));
    assert_null(rcl_xcache_begin(a));
    assert_true(rcl_xcache_create(&c));
    assert_int_equal(c, a);
    assert_true(rcl_xcache_destroy(b));
    assert_true(rcl_xcache_destroy(c));
    assert_null(rcl_xcache_begin(UINT32_MAX));
    assert_false(rcl_xcache_flush(UINT32_MAX));
    leave();
}

TEST(one_use_at_a_time)
{
    unsigned id;

    enter();
    assert_true(rcl_xcache_create(&id));
    struct rcl_tcache *tc = rcl_xcache_begin(id);
    assert_non_null(tc);
    assert_null(rcl_xcache_begin(id));
    assert_false(rcl_xcache_flush(id));
    assert_false(rcl_xcache_destroy(id));
    rcl_xcaches_drain(true); /* leaves it alone */
    rcl_xcache_end(id);
    assert_ptr_equal(rcl_xcache_begin(id), tc);
    rcl_xcache_end(id);
    assert_true(rcl_xcache_destroy(id));
    leave();
}

TEST(flushed_blocks_are_back_in_their_bin)
{
    unsigned id, cls = rcl_class_of_small(64);
    struct rcl_bin *bin = &rcl_arena_get(0)->bin[cls];

    enter();
    size_t live = bin->live;
    assert_true(rcl_xcache_create(&id));
    fill(id, cls);
    assert_true(held(cls) > 0);
    assert_int_equal(bin->live, live + held(cls));
    assert_true(rcl_xcache_flush(id));
    assert_int_equal(held(cls), 0);
    assert_int_equal(bin->live, live);
    fill(id, cls);
    assert_true(rcl_xcache_destroy(id));
    assert_int_equal(bin->live, live);
    leave();
}

TEST(what_is_not_used_for_two_steps_is_emptied)
{
    unsigned idle, busy, cls = rcl_class_of_small(64);

    enter();
    assert_true(rcl_xcache_create(&idle));
    assert_true(rcl_xcache_create(&busy));
    fill(idle, cls);
    fill(busy, cls);
    size_t both = held(cls);
    rcl_xcaches_drain(false);
    assert_int_equal(held(cls), both);
    fill(busy, cls);
    both = held(cls);
    rcl_xcaches_drain(false);
    assert_in_range(held(cls), 1, both - 1);
    rcl_xcaches_drain(false);
    assert_int_equal(held(cls), 0);
    fill(idle, cls);
    rcl_xcaches_drain(true);
    assert_int_equal(held(cls), 0);
    assert_true(rcl_xcache_destroy(idle));
    assert_true(rcl_xcache_destroy(busy));
    leave();
}

/* A block of the class, past every cache. */
static void *take_one(unsigned cls)
{
    void *p;
    bool zero;
    REQUIRE(rcl_blocks_take(rcl_arena_get(0), cls, &p, 1, &zero) == 1);
    return p;
}

TEST(guests_share_a_cache_that_is_emptied_like_any_other)
{
    struct rcl_tls *guest = &rcl_tls;
    unsigned cls = rcl_class_of_small(64), id = rcl_xcache_of_guest(guest);
    struct rcl_bin *bin = &rcl_arena_get(0)->bin[cls];

    enter();
    size_t live = bin->live;
    void *p = take_one(cls);
    assert_true(id >= RCL_XCACHES_MAX);
    assert_false(rcl_xcache_push_guest(guest, cls, p)); /* there is none yet */
    fill(id, cls);
    size_t before = held(cls);
    assert_true(before > 0);
    assert_true(rcl_xcache_push_guest(guest, cls, p));
    assert_int_equal(held(cls), before + 1);
    assert_false(rcl_xcache_push_guest(guest, RCL_CLASS_LARGE, p)); /* not of a cached class */

    p = take_one(cls);
    assert_false(rcl_xcache_flush(id)); /* no program can name it */
    assert_false(rcl_xcache_destroy(id));
    struct rcl_tcache *tc = rcl_xcache_begin(id); /* in use: nobody waits */
    assert_non_null(tc);
    void *q = rcl_tcache_pop(tc, cls); /* or it may be full */
    assert_false(rcl_xcache_push_guest(guest, cls, p));
    rcl_xcaches_forked(); /* whoever used it is not here */
    assert_true(rcl_xcache_push_guest(guest, cls, p));
    rcl_blocks_put(cls, &q, 1, RCL_AGE_NEW, "free");

    rcl_xcaches_drain(false);
    assert_int_equal(held(cls), before + 1);
    rcl_xcaches_drain(false);
    assert_int_equal(held(cls), 0);
    assert_int_equal(bin->live, live);
    leave();
}

TEST(there_are_as_many_as_flags_can_name)
{
    unsigned id, n = 0;

    enter();
    while (rcl_xcache_create(&id)) {
        assert_int_equal(id, n);
        n++;
    }
    assert_int_equal(n, RCL_XCACHES_MAX);
    while (n > 0)
        assert_true(rcl_xcache_destroy(--n));
    assert_true(rcl_xcache_create(&id));
    assert_int_equal(id, 0);
    assert_true(rcl_xcache_destroy(id));
    leave();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_given_again),
        cmocka_unit_test(one_use_at_a_time),
        cmocka_unit_test(flushed_blocks_are_back_in_their_bin),
        cmocka_unit_test(what_is_not_used_for_two_steps_is_emptied),
        cmocka_unit_test(guests_share_a_cache_that_is_emptied_like_any_other),
        cmocka_unit_test(there_are_as_many_as_flags_can_name),
    };

    return cmocka_run_group_tests(tests, boot, NULL);
}
