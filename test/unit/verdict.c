/* SPDX-License-Identifier: MIT */
/* Tests of verdict.h: made-up snapshots and the sentence each must get. */
#include "unit.h"

#include "verdict.h"

static struct rcl_snapshot s;

static int set_up(void **state)
{
    (void)state;
    memset(&s, 0, sizeof s);
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        s.cls[cls].size = cls * 16;
    s.part[RCL_PART_asked] = 100 * MIB;
    s.part[RCL_PART_files] = 20 * MIB;
    s.step_ns = 250000000;
    return 0;
}

static const char *sentence(void)
{
    static char text[256];
    struct rcl_out o = {.buf = text, .size = sizeof text - 1};

    s.rss = 0;
    for (unsigned i = 0; i < RCL_PARTS; i++)
        s.rss += s.part[i];
    rcl_verdict_print(&s, &o);
    text[o.used] = '\0';
    return text;
}

TEST(nothing_is_worth_a_word)
{
    assert_string_equal(sentence(),
                        "in use: 100 MB are what the program holds, of 120 MB resident");
    assert_int_equal(rcl_verdict(&s), RCL_CAUSE_NONE);
    /* Less than a sixteenth. */
    s.part[RCL_PART_dirty] = 7 * MIB;
    sentence();
    assert_int_equal(rcl_verdict(&s), RCL_CAUSE_NONE);
    s.part[RCL_PART_dirty] = 9 * MIB;
    sentence();
    assert_int_equal(rcl_verdict(&s), RCL_CAUSE_PENDING);
    /* Files from a quarter on, */
    s.part[RCL_PART_dirty] = 0;
    s.part[RCL_PART_files] = 33 * MIB;
    sentence();
    assert_int_equal(rcl_verdict(&s), RCL_CAUSE_NONE);
    s.part[RCL_PART_files] = 34 * MIB;
    assert_string_equal(sentence(), "not malloc: 34 MB in mapped files and shared memory");
    /* In a small process, less than a megabyte. */
    memset(s.part, 0, sizeof s.part);
    s.part[RCL_PART_files] = 2 * MIB;
    s.part[RCL_PART_dirty] = MIB - 1;
    assert_non_null(strstr(sentence(), "in use: 0.0 MB"));
}

TEST(decay_pending_says_when)
{
    s.part[RCL_PART_dirty] = 40 * MIB;
    s.dirty_by_age[1] = 40 * MIB;
    s.next_step_ns = 100000000;
    assert_string_equal(sentence(), "decay pending: 40 MB due in 0.4 s");
    s.dirty_by_age[0] = 1; /* the youngest counts */
    assert_string_equal(sentence(), "decay pending: 40 MB due in 0.6 s");
    s.dirty_by_age[0] = s.dirty_by_age[1] = 0;
    s.dirty_by_age[3] = 40 * MIB;
    assert_string_equal(sentence(), "decay pending: 40 MB due in 0.1 s");
    s.next_step_ns = 20000000000;
    s.step_ns = 25000000000;
    assert_string_equal(sentence(), "decay pending: 40 MB due in 20 s");
}

TEST(decay_pending_without_a_helper_or_by_time)
{
    s.part[RCL_PART_dirty] = 40 * MIB;
    assert_non_null(strstr(sentence(), "40 MB of freed pages, which go with the next frees"));
    s.step_ns = 0;
    assert_non_null(strstr(sentence(), "do not go by time (dirty_decay_ms)"));
}

TEST(fragmentation_names_survivors_and_the_class)
{
    s.part[RCL_PART_holes] = 40 * MIB;
    s.cls[40].holes = s.cls[40].thin_holes = 30 * MIB;
    s.cls[40].survivors = 4000;
    s.cls[7].holes = 10 * MIB;
    s.cls[7].thin_holes = MIB;
    s.cls[7].survivors = 12;
    assert_string_equal(sentence(),
                        "fragmentation: 31 MB pinned by 4,012 survivors, most in class 640");
    s.cls[40].thin_holes = 10 * MIB;
    assert_string_equal(sentence(),
                        "fragmentation: 40 MB free between blocks in use, most in class 640");
}

TEST(the_largest_part_is_named)
{
    static const struct {
        enum rcl_part part;
        const char *begins;
    } row[] = {
        {RCL_PART_rounding, "rounding: 50 MB beyond what was asked for"},
        {RCL_PART_metadata, "metadata: 51 MB of the allocator's own"},
        {RCL_PART_cached, "thread caches: 52 MB in the caches of 500 threads"},
        {RCL_PART_other, "not malloc: 53 MB in other anonymous mappings"},
        {RCL_PART_dirty, "decay pending: 54 MB"},
        {RCL_PART_holes, "fragmentation: 55 MB"},
    };

    s.stats.caches = 500;
    for (size_t i = 0; i < array_len(row); i++) {
        s.part[row[i].part] = (50 + i) * MIB;
        assert_memory_equal(sentence(), row[i].begins, strlen(row[i].begins));
    }
}

TEST(numbers)
{
    static const struct {
        uint64_t n;
        const char *text;
    } grouped[] = {{0, "0"},
                   {999, "999"},
                   {1000, "1,000"},
                   {1234567, "1,234,567"},
                   {100000, "100,000"},
                   {UINT64_MAX, "18,446,744,073,709,551,615"}},
      megabytes[] = {{0, "0.0 MB"},
                     {MIB / 2, "0.5 MB"},
                     {10 * MIB - 1, "10 MB"},
                     {9 * MIB, "9.0 MB"},
                     {1500 * MIB, "1,500 MB"}};
    char text[64];

    for (size_t i = 0; i < array_len(grouped); i++) {
        struct rcl_out o = {.buf = text, .size = sizeof text - 1};
        rcl_verdict_grouped(grouped[i].n, &o);
        text[o.used] = '\0';
        assert_string_equal(text, grouped[i].text);
    }
    for (size_t i = 0; i < array_len(megabytes); i++) {
        struct rcl_out o = {.buf = text, .size = sizeof text - 1};
        rcl_verdict_megabytes(megabytes[i].n, &o);
        text[o.used] = '\0';
        assert_string_equal(text, megabytes[i].text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_is_worth_a_word, set_up),
        cmocka_unit_test_setup(decay_pending_says_when, set_up),
        cmocka_unit_test_setup(decay_pending_without_a_helper_or_by_time, set_up),
        cmocka_unit_test_setup(fragmentation_names_survivors_and_the_class, set_up),
        cmocka_unit_test_setup(the_largest_part_is_named, set_up),
        cmocka_unit_test(numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
