/* SPDX-License-Identifier: MIT */
/* Tests of prof_stack.h: one entry per distinct stack, by any number of threads at once. */
#include "unit.h"

#include "prof_stack.h"

enum { DISTINCT = 3000, THREADS = 4 };

static void frames_of(size_t number, uint64_t *frame, unsigned frames)
{
    for (unsigned i = 0; i < frames; i++)
        frame[i] = 0x400000 + number * 1000 + i;
}

static struct rcl_stack *find(size_t number, unsigned frames)
{
    uint64_t frame[RCL_STACK_FRAMES_MAX];

    frames_of(number, frame, frames);
    return rcl_stack_find(frame, frames, 1);
}

static size_t listed(void)
{
    size_t n = 0;

    for (struct rcl_stack *s = rcl_stacks_first(); s != NULL; s = s->older)
        n++;
    return n;
}

TEST(a_stack_is_found_again_and_differs_from_others)
{
    uint64_t frame[] = {0x1000, 0x2000, 0x3000};
    struct rcl_stack *s = rcl_stack_find(frame, 3, 1);

    assert_non_null(s);
    assert_ptr_equal(rcl_stack_find(frame, 3, 1), s);
    assert_ptr_not_equal(rcl_stack_find(frame, 2, 1), s);
    assert_ptr_not_equal(rcl_stack_find(frame, 3, 2), s);
    assert_int_equal(s->frames, 3);
    assert_memory_equal(s->frame, frame, sizeof frame);
    frame[2]++;
    assert_ptr_not_equal(rcl_stack_find(frame, 3, 1), s);
    assert_int_equal(listed(), 4);
}

TEST(no_frames_at_all_is_a_stack_too)
{
    struct rcl_stack *s = rcl_stack_find(NULL, 0, 1);

    assert_int_equal(s->frames, 1);
    assert_int_equal(s->frame[0], RCL_FRAME_NO_STACK);
    assert_ptr_equal(rcl_stack_find(NULL, 0, 1), s);
}

TEST(the_deepest_stack_fits)
{
    struct rcl_stack *s = find(1, RCL_STACK_FRAMES_MAX);

    assert_int_equal(s->frames, RCL_STACK_FRAMES_MAX);
    assert_ptr_equal(find(1, RCL_STACK_FRAMES_MAX), s);
    assert_ptr_not_equal(find(1, RCL_STACK_FRAMES_MAX - 1), s);
}

TEST(sums_go_up_and_down)
{
    const struct rcl_prof_weight w = {.units = 5, .bytes = 700};
    struct rcl_stacks_total before, after;
    struct rcl_stack *s = find(2, 3);

    rcl_stacks_total(&before);
    rcl_stack_add(s, w);
    rcl_stack_add(s, w);
    rcl_stacks_snapshot();
    rcl_stack_remove(s, w);
    rcl_stacks_total(&after);
    assert_int_equal(after.live_bytes - before.live_bytes, 700);
    assert_int_equal(after.all_bytes - before.all_bytes, 1400);
    assert_int_equal(after.live_samples - before.live_samples, 1);
    assert_int_equal(after.peak_bytes, before.live_bytes + 1400);
    assert_int_equal(s->live.units, 5);
    assert_int_equal(s->all.units, 10);
    assert_int_equal(s->peak.bytes, 1400);
    rcl_stack_remove(s, w);
    rcl_stacks_clear();
    rcl_stacks_total(&after);
    assert_int_equal(after.all_bytes + after.peak_bytes + after.all_samples, 0);
    assert_int_equal(s->all.bytes + s->peak.bytes + s->live.bytes, 0);
}

static void *find_all(void *arg)
{
    struct rcl_stack **found = arg;

    for (size_t i = 0; i < DISTINCT; i++) {
        found[i] = find(10 + i, 1 + (unsigned)(i % 40));
        rcl_stack_add(found[i], (struct rcl_prof_weight){1, 16});
    }
    return NULL;
}

TEST(threads_that_add_the_same_stacks_get_the_same_entries)
{
    static struct rcl_stack *found[THREADS][DISTINCT];
    size_t before = listed();

    unit_threads(THREADS, find_all, found, sizeof found[0]);
    for (size_t i = 0; i < DISTINCT; i++) {
        for (unsigned t = 1; t < THREADS; t++)
            assert_ptr_equal(found[t][i], found[0][i]);
        assert_int_equal(found[0][i]->live.units, THREADS);
    }
    assert_int_equal(listed(), before + DISTINCT);
}

static void *take_name(void *arg)
{
    unsigned *number = arg;
    char name[RCL_PROF_THREAD_NAME] = "unit-";

    name[5] = (char)('a' + number[1]);
    prctl(PR_SET_NAME, name);
    number[0] = rcl_prof_thread();
    REQUIRE(rcl_prof_thread() == number[0]);
    REQUIRE(strcmp(rcl_prof_thread_name(number[0]), name) == 0);
    return NULL;
}

TEST(threads_are_known_by_name)
{
    unsigned number[THREADS][2];

    for (unsigned i = 0; i < THREADS; i++)
        number[i][1] = i;
    unit_threads(THREADS, take_name, number, sizeof number[0]);
    for (unsigned i = 1; i < THREADS; i++)
        assert_int_not_equal(number[i][0], number[0][0]);
    assert_non_null(rcl_prof_thread_name(0));
}

/* The last test: afterwards there is no room. */
TEST(when_there_are_too_many_one_entry_stands_for_the_rest)
{
    for (size_t i = listed(); i < RCL_STACKS_MAX; i++)
        find(100000 + i, 1);
    assert_int_equal(listed(), RCL_STACKS_MAX);
    struct rcl_stack *s = find(1, 2);
    assert_int_equal(s->frames, 1);
    assert_int_equal(s->frame[0], RCL_FRAME_TOO_MANY);
    assert_ptr_equal(find(1, 3), s);
    assert_int_equal(listed(), RCL_STACKS_MAX + 1);
}

/* Ten thousand names are one that does not fit. */
TEST(when_there_are_too_many_names_the_rest_has_none)
{
    char old[RCL_PROF_THREAD_NAME], name[RCL_PROF_THREAD_NAME];

    prctl(PR_GET_NAME, old);
    for (unsigned i = 0; i < RCL_PROF_THREADS_MAX; i++) {
        snprintf(name, sizeof name, "many-%u", i);
        prctl(PR_SET_NAME, name);
        rcl_prof_thread();
    }
    assert_int_equal(rcl_prof_thread(), 0);
    prctl(PR_SET_NAME, old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stack_is_found_again_and_differs_from_others),
        cmocka_unit_test(no_frames_at_all_is_a_stack_too),
        cmocka_unit_test(the_deepest_stack_fits),
        cmocka_unit_test(sums_go_up_and_down),
        cmocka_unit_test(threads_that_add_the_same_stacks_get_the_same_entries),
        cmocka_unit_test(threads_are_known_by_name),
        cmocka_unit_test(when_there_are_too_many_one_entry_stands_for_the_rest),
        cmocka_unit_test(when_there_are_too_many_names_the_rest_has_none),
    };

    rcl_os_init();
    if (!rcl_stacks_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
