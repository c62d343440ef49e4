/* SPDX-License-Identifier: MIT */
/* Tests of stats.h: after known allocations the numbers are known. */
#include "unit.h"

#include "account.h"
#include "boot.h"
#include "heap.h"
#include "options.h"
#include "purge.h"
#include "stats.h"
#include "thread.h"

static int set_up(void **state)
{
    (void)state;
    rcl_opt.background_thread = 0;
    rcl_opt.tcache = 1;
    rcl_opt.dirty_min = (int64_t)1 << 40;
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_purge_all(&rcl_tls);
    rcl_gate_leave(&rcl_tls.gate);
    return 0;
}

static size_t pages(size_t bytes)
{
    return rcl_align_up(bytes, rcl_page_size());
}

static void check(const struct rcl_stats *s)
{
    size_t small = 0;

    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        const struct rcl_stats_class *c = &s->heap.cls[cls];
        assert_int_equal(c->size, rcl_classes[cls].size);
        assert_int_equal(c->slots, c->slabs * rcl_classes[cls].slots);
        assert_in_range(c->live, 0, c->slots);
        small += c->live * c->size;
    }
    assert_int_equal(s->heap.small_bytes, small);
    assert_in_range(s->arenas, 1, 256);
    assert_true(s->cached_bytes <= s->heap.small_bytes + s->heap.large_bytes);
    assert_int_equal(rcl_stats_live(s),
                     s->heap.small_bytes + s->heap.large_bytes + s->huge_bytes - s->cached_bytes);
}

TEST(an_empty_heap)
{
    struct rcl_stats s;

    memset(&s, 0xff, sizeof s);
    rcl_stats_read(&s);
    check(&s);
    assert_int_equal(rcl_stats_live(&s), 0);
    assert_int_equal(s.heap.small_bytes + s.heap.large_blocks + s.heap.large_bytes, 0);
    assert_int_equal(s.huge_blocks + s.huge_bytes, 0);
    assert_int_equal(s.cached_bytes + s.caches, 0);
    assert_int_equal(s.dirty_bytes, 0);
    assert_int_equal(s.mapped_bytes, 0);
}

/* What was asked for in each kind is what is added to the figures of that kind. */
static void every_kind(bool cached)
{
    static const struct {
        size_t size, count;
    } row[] = {{1, 5},      {100, 10},   {1000, 7},    {30000, 3},   {40000, 3},
               {200000, 2}, {300000, 2}, {1000000, 1}, {2000000, 2}, {5000000, 1}};
    void *block[64];
    size_t n = 0, small = 0, large = 0, large_n = 0, huge = 0, huge_n = 0;
    struct rcl_stats before, after;

    rcl_opt.tcache = cached;
    rcl_stats_read(&before);
    for (size_t i = 0; i < array_len(row); i++) {
        for (size_t j = 0; j < row[i].count; j++) {
            block[n] = rcl_heap_alloc(row[i].size);
            size_t bytes = rcl_heap_usable(block[n], "x");
            memset(block[n], 1, bytes);
            n++;
            if (row[i].size <= RCL_SMALL_MAX)
                small += bytes;
            else if (row[i].size <= RCL_LARGE_MAX)
                large += pages(bytes), large_n++;
            else
                huge += bytes, huge_n++;
        }
    }
    rcl_stats_read(&after);
    check(&after);
    assert_int_equal(after.huge_blocks - before.huge_blocks, huge_n);
    assert_int_equal(after.huge_bytes - before.huge_bytes, huge);
    assert_int_equal(after.heap.large_blocks - before.heap.large_blocks, large_n);
    assert_int_equal(after.heap.large_bytes - before.heap.large_bytes, large);
    /* Caches hold blocks of small classes beside those. */
    assert_int_equal(after.heap.small_bytes - after.cached_bytes, small);
    assert_int_equal(rcl_stats_live(&after), small + large + huge);
    assert_true(after.mapped_bytes >= small + large + huge);
    assert_true(after.meta_bytes > 0);
    if (!cached)
        assert_int_equal(after.cached_bytes, 0);

    size_t held = after.mapped_bytes;
    while (n > 0)
        rcl_heap_free(block[--n], "free");
    rcl_stats_read(&after);
    check(&after);
    assert_int_equal(rcl_stats_live(&after), 0);
    assert_int_equal(after.huge_blocks, 0);
    assert_in_range(after.mapped_bytes, 1, held);
    assert_true(after.dirty_bytes >= 9000000); /* the huge ones are kept */
    if (cached)
        assert_true(after.cached_bytes > 0 && after.caches == 1);
    else
        assert_int_equal(after.dirty_bytes >> rcl_page_shift(), rcl_account.dirty_pages);
}

TEST(the_numbers_add_up)
{
    every_kind(true);
}

TEST(the_numbers_add_up_without_caches)
{
    every_kind(false);
}

TEST(each_class_counts_its_own)
{
    rcl_opt.tcache = 0;
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls += 5) {
        void *p = rcl_heap_alloc(rcl_classes[cls].size), *q = rcl_heap_alloc(rcl_classes[cls].size);
        struct rcl_stats s;

        rcl_stats_read(&s);
        for (unsigned other = RCL_CLASS_FIRST; other <= RCL_SMALL_LAST; other++) {
            assert_int_equal(s.heap.cls[other].live, other == cls ? 2 : 0);
            if (other == cls)
                assert_in_range(s.heap.cls[other].slabs, 1, 2);
            else
                assert_in_range(s.heap.cls[other].slabs, 0, 1); /* an empty one may be kept */
        }
        assert_int_equal(rcl_stats_live(&s), 2 * rcl_classes[cls].size);
        rcl_heap_free(p, "free");
        rcl_heap_free(q, "free");
    }
}

TEST(what_was_returned_and_taken_again_is_counted)
{
    struct rcl_stats before, after;

    rcl_opt.tcache = 0;
    rcl_stats_read(&before);
    for (int i = 0; i < 2; i++) {
        char *p = rcl_heap_alloc(500000);
        memset(p, 1, 500000);
        rcl_heap_free(p, "free");
        rcl_gate_enter_patient(&rcl_tls.gate);
        rcl_purge_all(&rcl_tls);
        rcl_gate_leave(&rcl_tls.gate);
    }
    rcl_stats_read(&after);
    assert_int_equal(after.purged_bytes - before.purged_bytes, 2 * pages(500000));
    assert_true(after.purge_calls > before.purge_calls);
    assert_true(after.refaulted_bytes - before.refaulted_bytes >= pages(500000));
}

TEST(live_is_never_below_zero)
{
    /* Counters are read one after the other: caches may seem to hold more than there is. */
    struct rcl_stats s = {.heap.small_bytes = 100, .cached_bytes = 200};

    assert_int_equal(rcl_stats_live(&s), 0);
}

/* --- while others are at work ------------------------------------------------------------ */

static void *work(void *arg)
{
    struct unit_random random = {(uintptr_t)arg};

    for (int i = 0; i < 20000; i++) {
        void *p = rcl_heap_alloc(unit_below(&random, (size_t)64 << unit_below(&random, 14)));
        REQUIRE(p != NULL);
        rcl_heap_free(p, "free");
    }
    return NULL;
}

static uint32_t stop;

static void *read_often(void *arg)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct rcl_stats s;
        rcl_stats_read(&s);
        for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
            REQUIRE(s.heap.cls[cls].live <= s.heap.cls[cls].slots);
        REQUIRE(s.arenas >= 1);
    }
    return arg;
}

TEST(reading_while_others_are_at_work)
{
    pthread_t reader;
    char args[3];
    struct rcl_stats s;

    assert_int_equal(pthread_create(&reader, NULL, read_often, NULL), 0);
    unit_threads(3, work, args, 1);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(reader, NULL);
    rcl_stats_read(&s);
    check(&s);
    assert_int_equal(rcl_stats_live(&s), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_heap, set_up),
        cmocka_unit_test_setup(the_numbers_add_up, set_up),
        cmocka_unit_test_setup(the_numbers_add_up_without_caches, set_up),
        cmocka_unit_test_setup(each_class_counts_its_own, set_up),
        cmocka_unit_test_setup(what_was_returned_and_taken_again_is_counted, set_up),
        cmocka_unit_test(live_is_never_below_zero),
        cmocka_unit_test_setup(reading_while_others_are_at_work, set_up),
    };

    if (!rcl_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
