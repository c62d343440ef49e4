/* SPDX-License-Identifier: MIT */
/*
 * Tests of snapshot.h: the parts add up to what the kernel says, and what a test has
 * done stands in the part where it belongs.
 */
#include "unit.h"

#include "account.h"
#include "heap.h"
#include "look.h"
#include "options.h"
#include "purge.h"
#include "snapshot.h"
#include "thread.h"

/* Growth of the process beside what is under test: cmocka's memory, pages of the stack. */
#define SLACK (512 * KIB)

static struct rcl_snapshot *take(void)
{
    struct rcl_snapshot *s = rcl_snapshot_take(&rcl_tls.gate);
    size_t sum = 0;

    assert_non_null(s);
    for (unsigned i = 0; i < RCL_PARTS; i++)
        sum += s->part[i];
    assert_int_equal(sum, s->rss);
    return s;
}

/* How much a part has grown from one snapshot to another, at least 0. */
static void assert_grown(const struct rcl_snapshot *from, const struct rcl_snapshot *to,
                         enum rcl_part part, size_t least, size_t slack)
{
    size_t grown = to->part[part] - rcl_min(to->part[part], from->part[part]);

    if (grown + slack < least || grown > least + slack)
        print_message("%s: %zu to %zu\n", rcl_part_texts[part].name, from->part[part],
                      to->part[part]);
    assert_true(grown + slack >= least && grown <= least + slack);
}

static void assert_not_ours_is_steady(const struct rcl_snapshot *from,
                                      const struct rcl_snapshot *to)
{
    if (UNIT_TSAN || unit_emulated())
        return; /* a shadow of all that is touched; the code translated so far */
    assert_grown(from, to, RCL_PART_other, 0, SLACK);
    assert_grown(from, to, RCL_PART_files, 0, 4 * SLACK); /* code that runs for the first time */
}

static int set_up(void **state)
{
    (void)state;
    rcl_opt.background_thread = 0;
    rcl_opt.dirty_min = (int64_t)1 << 40;
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_purge_all(&rcl_tls);
    rcl_gate_leave(&rcl_tls.gate);
    rcl_snapshot_free(take()); /* the code of the test itself */
    return 0;
}

TEST(blocks_of_every_kind)
{
    static const size_t sizes[] = {24, 100, 1000, 5000, 30000, 40000, 200000, 700000, 3000000};

    for (size_t i = 0; i < array_len(sizes); i++) {
        size_t size = sizes[i], n = 20 * MIB / size;
        void **block = mmap(NULL, n * sizeof *block, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        struct rcl_snapshot *before = take(), *after;

        for (size_t k = 0; k < n; k++) {
            block[k] = rcl_heap_alloc(size);
            memset(block[k], 1, size);
        }
        after = take();
        /* Every request of the class had this size, so even the estimate is right. */
        assert_grown(before, after, RCL_PART_asked, n * size, n * size / 50 + SLACK);
        assert_not_ours_is_steady(before, after);
        rcl_snapshot_free(before);

        /* Every second one goes: holes or dirty pages, and no byte is lost. */
        for (size_t k = 0; k < n; k += 2) {
            rcl_heap_free(block[k], "free");
            block[k] = NULL;
        }
        before = take();
        size_t free = before->part[RCL_PART_holes] + before->part[RCL_PART_dirty] +
                      before->part[RCL_PART_cached];
        assert_true(free >= n * size / 2 - SLACK);
        assert_not_ours_is_steady(after, before);
        rcl_snapshot_free(after);
        rcl_snapshot_free(before);
        for (size_t k = 1; k < n; k += 2)
            rcl_heap_free(block[k], "free");
        munmap(block, n * sizeof *block);
        set_up(NULL);
    }
}

TEST(memory_of_others_is_not_ours)
{
    size_t bytes = 30 * MIB;
    if (UNIT_TSAN)
        skip();
    struct rcl_snapshot *before = take();
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    memset(p, 1, bytes);
    struct rcl_snapshot *after = take();
    assert_grown(before, after, RCL_PART_other, bytes, SLACK);
    assert_grown(before, after, RCL_PART_asked, 0, SLACK);
    munmap(p, bytes);
    rcl_snapshot_free(before);
    rcl_snapshot_free(after);
}

TEST(what_is_not_touched_is_not_resident)
{
    struct rcl_snapshot *before = take();
    void *huge = rcl_heap_alloc(64 * MIB), *large = rcl_heap_alloc(MIB);
    struct rcl_snapshot *after = take();

    assert_grown(before, after, RCL_PART_asked, 0, SLACK);
    assert_true(after->untouched - before->untouched >= 64 * MIB);
    rcl_snapshot_free(before);
    rcl_snapshot_free(after);
    rcl_heap_free(huge, "free");
    rcl_heap_free(large, "free");
}

TEST(room_for_growth_is_rounding)
{
    size_t size = 400 * KIB;
    struct rcl_snapshot *before = take();
    /* Over pages that are resident, so that the room behind it is. */
    void *first = rcl_heap_alloc(RCL_LARGE_MAX);
    memset(first, 1, RCL_LARGE_MAX);
    char *p = rcl_heap_realloc(first, size - rcl_page_size());
    p = rcl_heap_realloc(p, size);
    memset(p, 1, size);
    size_t room = rcl_heap_usable(p, "test") - size;
    struct rcl_snapshot *after = take();

    assert_grown(before, after, RCL_PART_asked, size, 8 * KIB);
    assert_grown(before, after, RCL_PART_rounding, room, 8 * KIB);
    rcl_snapshot_free(before);
    rcl_snapshot_free(after);
    rcl_heap_free(p, "free");
}

/* Read, never written: the kernel shows the same page of zeros everywhere. */
TEST(pages_of_zeros_are_not_resident)
{
    size_t bytes = 32 * MIB;
    struct rcl_snapshot *before = take();
    volatile char *p = rcl_heap_alloc_zero(bytes);
    char sum = 0;

    for (size_t i = 0; i < bytes; i += 4096)
        sum = (char)(sum + p[i]);
    assert_int_equal(sum, 0);
    struct rcl_snapshot *after = take();
    if (after->rss > before->rss + bytes / 2)
        skip(); /* huge pages, or a kernel that shows others */
    /* Known page by page; on an older kernel by the sum, as far as that goes. */
    struct rcl_look look;
    rcl_look_begin(&look);
    uint8_t resident;
    rcl_look_pages(&look, (const char *)p, 1, &resident);
    if (resident == 0)
        assert_grown(before, after, RCL_PART_asked, 0, SLACK);
    rcl_look_end(&look);
    rcl_snapshot_free(before);
    rcl_snapshot_free(after);
    rcl_heap_free((void *)p, "free");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(blocks_of_every_kind, set_up),
        cmocka_unit_test_setup(memory_of_others_is_not_ours, set_up),
        cmocka_unit_test_setup(what_is_not_touched_is_not_resident, set_up),
        cmocka_unit_test_setup(room_for_growth_is_rounding, set_up),
        cmocka_unit_test_setup(pages_of_zeros_are_not_resident, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
