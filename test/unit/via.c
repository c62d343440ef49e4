/* SPDX-License-Identifier: MIT */
/* Tests of via.h: which cache and which arena serve. */
#include "blocks.h"

#include "via.h"
#include "xcache.h"

static int boot(void **state)
{
    (void)state;
    rcl_opt.narenas = 1;
    rcl_opt.tcache_max = RCL_MEDIUM_MAX;
    return block_boot(1000000000) ? 0 : -1;
}

static struct rcl_tls *self;

static int enter(void **state)
{
    (void)state;
    self = &rcl_tls;
    rcl_gate_enter_patient(&self->gate);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    self->known = false;
    self->no_cache = false;
    rcl_thread_drop_cache(self);
    rcl_gate_leave(&self->gate);
    return 0;
}

static void *one(unsigned cls)
{
    void *p;
    bool zero;
    REQUIRE(rcl_blocks_take(rcl_arena_get(0), cls, &p, 1, &zero) == 1);
    return p;
}

static void put(unsigned cls, void *p)
{
    rcl_blocks_put(cls, &p, 1, RCL_AGE_NEW, "free");
}

TEST(as_a_rule_it_is_the_threads)
{
    struct rcl_via plain = {.cache = RCL_VIA_THREAD};
    struct rcl_tcache *tc = rcl_via_begin(self, NULL);

    assert_ptr_not_equal(tc, &rcl_tcache_none);
    assert_ptr_equal(tc, rcl_thread_own_cache(self));
    assert_ptr_equal(rcl_via_begin(self, &plain), tc);
    assert_ptr_equal(rcl_via_arena(self, tc, NULL), tc->arena);
    rcl_via_end(tc);
}

TEST(the_program_may_name_another_or_none)
{
    unsigned id;
    struct rcl_via none = {.cache = RCL_VIA_NONE};

    assert_ptr_equal(rcl_via_begin(self, &none), &rcl_tcache_none);
    rcl_via_end(&rcl_tcache_none);
    assert_true(rcl_xcache_create(&id));
    struct rcl_via named = {.cache = RCL_VIA_EXPLICIT + id};
    struct rcl_tcache *tc = rcl_via_begin(self, &named);
    assert_int_equal(tc->number, id + 1);
    /* In use until the end. */
    assert_ptr_equal(rcl_via_begin(self, &named), &rcl_tcache_none);
    rcl_via_end(tc);
    assert_ptr_equal(rcl_via_begin(self, &named), tc);
    rcl_via_end(tc);
    /* It has no arena of its own: the thread's, or the one that is named. */
    assert_ptr_equal(rcl_via_arena(self, tc, &named), rcl_thread_arena(self));
    named.arena = rcl_arena_get(0);
    assert_ptr_equal(rcl_via_arena(self, tc, &named), named.arena);
    assert_true(rcl_xcache_destroy(id));
    assert_ptr_equal(rcl_via_begin(self, &named), &rcl_tcache_none);
}

TEST(a_thread_that_has_not_allocated_frees_into_a_shared_one)
{
    unsigned cls = rcl_class_of_small(64);
    void *p = one(cls);

    assert_true(rcl_thread_is_guest(self));
    struct rcl_tcache *tc = rcl_via_begin_free(self, NULL, p);
    assert_int_equal(tc->number, rcl_xcache_of_guest(self) + 1);
    assert_null(rcl_thread_own_cache(self));
    /* Somebody else is at it: past all. */
    assert_ptr_equal(rcl_via_begin_free(self, NULL, p), &rcl_tcache_none);
    rcl_via_end(tc);

    self->no_cache = true; /* has said so */
    assert_ptr_equal(rcl_via_begin_free(self, NULL, p), &rcl_tcache_none);
    self->no_cache = false;
    /* Once it has allocated, one of its own. */
    self->known = true;
    tc = rcl_via_begin_free(self, NULL, p);
    assert_ptr_equal(tc, rcl_thread_own_cache(self));
    assert_false(rcl_via_refuses(tc, p));
    rcl_via_end(tc);
    put(cls, p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(as_a_rule_it_is_the_threads, enter, leave),
        cmocka_unit_test_setup_teardown(the_program_may_name_another_or_none, enter, leave),
        cmocka_unit_test_setup_teardown(a_thread_that_has_not_allocated_frees_into_a_shared_one,
                                        enter, leave),
    };

    return cmocka_run_group_tests(tests, boot, NULL);
}
