/* SPDX-License-Identifier: MIT */
/* Tests of prof_trace.h: buffers for any number of threads, and what goes into the table. */
#include "unit.h"

#include "prof_trace.h"

TEST(buffers_come_back)
{
    struct rcl_trace *first = rcl_trace_take(), *many[40];

    assert_non_null(first);
    rcl_trace_give(first);
    assert_ptr_equal(rcl_trace_take(), first);
    for (size_t i = 0; i < array_len(many); i++) {
        many[i] = rcl_trace_take();
        assert_non_null(many[i]);
        memset(many[i], 1, sizeof *many[i]);
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(many[k], many[i]);
    }
    for (size_t i = 0; i < array_len(many); i++)
        rcl_trace_give(many[i]);
    rcl_trace_give(first);
}

static void *take_and_give(void *arg)
{
    for (unsigned i = 0; i < 20000; i++) {
        struct rcl_trace *t = rcl_trace_take();
        REQUIRE(t != NULL);
        t->natives = *(unsigned *)arg;
        t->frame[0] = i;
        REQUIRE(t->natives == *(unsigned *)arg && t->frame[0] == i);
        rcl_trace_give(t);
    }
    return NULL;
}

TEST(a_buffer_is_one_threads_at_a_time)
{
    unsigned numbers[] = {1, 2, 3, 4};

    unit_threads(4, take_and_give, numbers, sizeof numbers[0]);
}

TEST(a_stack_is_cut_to_the_depth_asked_for)
{
    struct rcl_trace *t = rcl_trace_take();

    for (unsigned depth = 1; depth <= RCL_STACK_FRAMES_MAX; depth *= 2) {
        rcl_trace_capture(t, depth);
        unsigned n = rcl_trace_resolve(t, depth);
        assert_in_range(n, 1, depth);
        for (unsigned i = 0; i < n; i++)
            assert_true(t->frame[i] != 0 && t->frame[i] < RCL_FRAME_MARK);
    }
    rcl_trace_give(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_come_back),
        cmocka_unit_test(a_buffer_is_one_threads_at_a_time),
        cmocka_unit_test(a_stack_is_cut_to_the_depth_asked_for),
    };

    rcl_os_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
