/* SPDX-License-Identifier: MIT */
/*
 * Tests of purge.h.  Each runs in a child, so that it begins with an empty heap and with
 * no demand (decay.h); blocks come from and go to heap.h, past the caches where a test
 * does not say otherwise, and without the helper thread.
 */
#include "unit.h"

#include "account.h"
#include "arena.h"
#include "boot.h"
#include "decay.h"
#include "heap.h"
#include "huge.h"
#include "options.h"
#include "purge.h"
#include "thread.h"

enum { BLOCKS_MAX = 300000, OLD_AT_STEP = 3 };

static char *block[BLOCKS_MAX];
static size_t sizes[BLOCKS_MAX];

/* One small, one of several pages, one medium, one large. */
static const size_t kinds[] = {64, 3000, 20000, 40000, 200000, 600000};

static int set_up(void **state)
{
    (void)state;
    rcl_opt.background_thread = 0;
    rcl_opt.tcache = 0;
    rcl_opt.dirty_min = (int64_t)1 << 40;
    rcl_opt.dirty_share = 0;
    rcl_opt.dirty_decay_ms = 1000;
    return 0;
}

static size_t dirty_bytes(void)
{
    REQUIRE(rcl_purge_dirty() >= 0);
    return (size_t)rcl_purge_dirty() << rcl_page_shift();
}

static size_t purged_bytes(void)
{
    return (size_t)rcl_account_read(&rcl_account.purged_pages) << rcl_page_shift();
}

static size_t ceiling_bytes(void)
{
    return rcl_demand_ceiling() << rcl_page_shift();
}

static void excess(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_purge_excess(&rcl_tls);
    rcl_gate_leave(&rcl_tls.gate);
}

static void purge_step(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_purge_step(&rcl_tls);
    rcl_gate_leave(&rcl_tls.gate);
}

static size_t purge_old(size_t budget)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    size_t pages = rcl_purge_old(budget);
    rcl_gate_leave(&rcl_tls.gate);
    return pages;
}

static size_t purge_all(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    size_t bytes = rcl_purge_all(&rcl_tls);
    rcl_gate_leave(&rcl_tls.gate);
    return bytes;
}

static void purge_before_fork(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_purge_before_fork(&rcl_tls);
    rcl_gate_leave(&rcl_tls.gate);
}

/* Blocks of one size, about `bytes` of them, every byte written. */
static size_t take(size_t size, size_t bytes)
{
    size_t n = rcl_min(bytes / size, BLOCKS_MAX);

    for (size_t i = 0; i < n; i++) {
        block[i] = rcl_heap_alloc(size);
        REQUIRE(block[i] != NULL);
        sizes[i] = size;
        memset(block[i], (int)(i | 1), size);
    }
    return n;
}

static void give(size_t i)
{
    rcl_heap_free(block[i], "free");
    block[i] = NULL;
}

static void give_all(size_t n)
{
    for (size_t i = 0; i < n; i++)
        give(i);
}

static bool intact(size_t i)
{
    char byte = (char)(i | 1);

    return block[i][0] == byte && memcmp(block[i], block[i] + 1, sizes[i] - 1) == 0;
}

/* Whole pages of a block that is gone: resident bytes; 0 also when they are not mapped. */
static size_t resident(const char *p, size_t size)
{
    uintptr_t page = unit_kernel_page(), first = rcl_align_up((uintptr_t)p, page);
    uintptr_t last = rcl_align_down((uintptr_t)p + size, page);
    size_t bytes = first < last ? unit_resident((char *)first, last - first) : 0;

    return bytes == SIZE_MAX ? 0 : bytes;
}

/* --- amount ------------------------------------------------------------------------------ */

static void below_the_ceiling(void *size)
{
    size_t n = take(*(const size_t *)size, 4 * MIB);

    rcl_opt.dirty_min = (int64_t)(8 * MIB);
    REQUIRE(dirty_bytes() == 0);
    give_all(n);
    REQUIRE(dirty_bytes() >= 3 * MIB && dirty_bytes() <= 8 * MIB);
    for (int i = 0; i < 100; i++)
        excess();
    REQUIRE(purged_bytes() == 0 && rcl_account_read(&rcl_account.purge_calls) == 0);
}

TEST(nothing_goes_back_below_the_ceiling)
{
    for (size_t i = 0; i < array_len(kinds); i++)
        unit_child_passes(below_the_ceiling, (void *)&kinds[i]);
}

static void above_the_ceiling(void *size)
{
    size_t ceiling = 2 * MIB, least = SIZE_MAX, slack = 2 * rcl_page_size();
    size_t one = *(const size_t *)size, n = take(one, 16 * MIB);

    rcl_opt.dirty_min = (int64_t)ceiling;
    REQUIRE(ceiling_bytes() == ceiling);
    for (size_t i = 0; i < n; i++) {
        size_t purged = purged_bytes(), before = dirty_bytes();
        give(i);
        REQUIRE(ceiling_bytes() == ceiling); /* a first burst is no demand */
        REQUIRE(dirty_bytes() <= ceiling);
        if (purged_bytes() > purged) {
            REQUIRE(before + one + slack >= ceiling); /* not before */
            least = rcl_min(least, dirty_bytes());
        }
    }
    /* Somewhat below, so that not every free has to do it. */
    REQUIRE(least <= ceiling - ceiling / 8);
    REQUIRE(least >= ceiling / 2);
    size_t calls = (size_t)rcl_account_read(&rcl_account.purge_calls);
    REQUIRE(calls > 0 && (n < 1000 || calls < n / 2));
    REQUIRE(purged_bytes() + dirty_bytes() >= n * one - n * one / 8);
}

TEST(what_is_above_the_ceiling_goes_back_while_it_is_freed)
{
    for (size_t i = 0; i < array_len(kinds); i++)
        unit_child_passes(above_the_ceiling, (void *)&kinds[i]);
}

static void ceiling_lowered(void *arg)
{
    size_t n = take(600000, 16 * MIB), budget = 256 * rcl_page_size(), calls = 0;

    (void)arg;
    give_all(n);
    size_t dirty = dirty_bytes();
    REQUIRE(dirty >= 15 * MIB);
    rcl_opt.dirty_min = (int64_t)MIB;
    /* So much work per call and not more. */
    while (dirty_bytes() > MIB) {
        excess();
        REQUIRE(dirty_bytes() < dirty);
        REQUIRE(dirty - dirty_bytes() <= 2 * budget);
        dirty = dirty_bytes();
        calls++;
    }
    REQUIRE(calls >= 15 * MIB / (2 * budget));
    size_t purged = purged_bytes();
    excess();
    REQUIRE(purged_bytes() == purged);
}

TEST(a_call_does_a_limited_amount_of_work)
{
    unit_child_passes(ceiling_lowered, NULL);
}

static void caches_count(void *arg)
{
    size_t n = take(600000, 4 * MIB);

    (void)arg;
    give_all(n);
    size_t dirty = dirty_bytes();
    rcl_opt.dirty_min = (int64_t)(dirty + MIB);
    excess();
    REQUIRE(dirty_bytes() == dirty);
    rcl_account_add(&rcl_account.cache_bytes, (int64_t)(2 * MIB)); /* as if caches held that */
    excess();
    REQUIRE(dirty_bytes() <= dirty - MIB + 256 * rcl_page_size());
    REQUIRE(dirty_bytes() < dirty);
}

TEST(what_caches_may_hold_counts_against_the_ceiling)
{
    unit_child_passes(caches_count, NULL);
}

static void nothing_stays(void *arg)
{
    (void)arg;
    rcl_opt.dirty_decay_ms = 0;
    for (size_t k = 0; k < array_len(kinds); k++) {
        size_t n = take(kinds[k], 2 * MIB);
        for (size_t i = 0; i < n; i++) {
            give(i);
            REQUIRE(dirty_bytes() == 0);
        }
    }
}

TEST(with_no_decay_time_everything_goes_back_at_once)
{
    unit_child_passes(nothing_stays, NULL);
}

/* --- nothing that lives ------------------------------------------------------------------ */

static void live_blocks(void *arg)
{
    enum { N = 3000 };
    struct unit_random random = {*(const uint64_t *)arg};

    rcl_opt.dirty_min = 0;
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < N; i++) {
            if (block[i] != NULL)
                continue;
            sizes[i] = 1 + unit_below(&random, (size_t)16 << unit_below(&random, 12));
            block[i] = rcl_heap_alloc(sizes[i]);
            REQUIRE(block[i] != NULL);
            memset(block[i], (int)(i | 1), sizes[i]);
        }
        for (size_t i = 0; i < N; i++) {
            if (unit_below(&random, 2) == 0) {
                REQUIRE(intact(i));
                give(i);
            }
        }
        if (round == 1)
            purge_all();
        if (round == 2)
            purge_before_fork();
        for (int i = 0; i < 4; i++) {
            purge_step();
            purge_old(SIZE_MAX);
        }
        for (size_t i = 0; i < N; i++)
            REQUIRE(block[i] == NULL || intact(i));
    }
    for (size_t i = 0; i < N; i++)
        rcl_heap_free(block[i], "free");
    purge_all();
    REQUIRE(rcl_account_get(&rcl_account.used_pages) == 0);
    REQUIRE(dirty_bytes() == 0);
}

TEST(nothing_live_is_touched)
{
    struct unit_random random = unit_random_start();

    unit_child_passes(live_blocks, &random.state);
}

/* --- memory the kernel will not take ----------------------------------------------------- */

static void lock_memory(void *p, size_t bytes)
{
    uintptr_t page = rcl_page_size(), first = rcl_align_down((uintptr_t)p, page);

    if (mlock((void *)first, rcl_align_up((uintptr_t)p + bytes, page) - first) != 0)
        _exit(UNIT_CHILD_SKIPS);
}

static void locked(void *arg)
{
    size_t size = *(const size_t *)arg;
    char *p = rcl_heap_alloc(size);

    memset(p, 0x77, size);
    lock_memory(p, rcl_heap_usable(p, "x"));
    rcl_opt.dirty_min = 0;
    uint64_t start = rcl_os_now_ns();
    rcl_heap_free(p, "free");
    REQUIRE(rcl_account_read(&rcl_account.purge_refused) >= 1);
    for (int i = 0; i < 200; i++)
        excess();
    /* Not asked again and again: one more in each pause of 100 ms. */
    uint64_t tenths = (rcl_os_now_ns() - start) / 100000000u;
    REQUIRE(rcl_account_read(&rcl_account.purge_refused) <= 2 + 2 * tenths);
    /* It is counted still, and nobody takes it for zero. */
    REQUIRE(dirty_bytes() > 0);
    REQUIRE(((volatile char *)p)[size / 2] == 0x77);
    purge_before_fork();
    for (int i = 0; i < 2 * OLD_AT_STEP; i++) {
        purge_step();
        purge_old(SIZE_MAX);
    }
    char *page = (char *)rcl_align_down((uintptr_t)p + size / 2, unit_kernel_page());
    REQUIRE(unit_resident(page, unit_kernel_page()) == unit_kernel_page());
    purge_all();
    if (unit_resident(page, unit_kernel_page()) == SIZE_MAX)
        return; /* nothing else was on its chunk: that is no more, and so is the lock */
    REQUIRE(dirty_bytes() > 0);
    REQUIRE(((volatile char *)p)[size / 2] == 0x77);
    char *again = rcl_heap_alloc_zero(size);
    REQUIRE(again == p && unit_zero(again, size));
    memset(again, 0x55, size);
    rcl_heap_free(again, "free");
    munlockall();
    purge_all();
    REQUIRE(dirty_bytes() == 0);
    size_t resident_now = unit_resident(page, unit_kernel_page());
    REQUIRE(resident_now == 0 || resident_now == SIZE_MAX);
}

TEST(memory_that_is_locked_stays_and_nobody_insists)
{
    static const size_t size[] = {20480, 40000, 300000};

    for (size_t i = 0; i < array_len(size); i++)
        unit_child_passes(locked, (void *)&size[i]);
}

/* --- time -------------------------------------------------------------------------------- */

static void after_the_window(void *arg)
{
    size_t size = *(const size_t *)arg, n = take(size, 4 * MIB);
    char *first = block[0];

    give_all(n);
    size_t dirty = dirty_bytes();
    REQUIRE(dirty >= 3 * MIB);
    REQUIRE(purge_old(SIZE_MAX) == 0);
    for (int i = 1; i < OLD_AT_STEP; i++) {
        purge_step();
        REQUIRE(purge_old(SIZE_MAX) == 0);
        REQUIRE(dirty_bytes() == dirty);
    }
    REQUIRE(resident(first, size) > 0 || size < rcl_page_size());
    purge_step();
    REQUIRE(purge_old(SIZE_MAX) << rcl_page_shift() >= dirty);
    REQUIRE(dirty_bytes() == 0);
    REQUIRE(resident(first, size) == 0);
    REQUIRE(purge_old(SIZE_MAX) == 0);
}

TEST(pages_go_back_when_their_window_is_over)
{
    static const size_t huge = 4 * MIB;

    for (size_t i = 0; i < array_len(kinds); i++)
        unit_child_passes(after_the_window, (void *)&kinds[i]);
    unit_child_passes(after_the_window, (void *)&huge);
}

/* One block in use pins its page and no other. */
static void around_a_survivor(void *arg)
{
    size_t size = *(const size_t *)arg, n = take(size, 2 * MIB), kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (i % 100 == 50)
            kept++;
        else
            give(i);
    }
    for (int i = 0; i < OLD_AT_STEP; i++) {
        purge_step();
        purge_old(SIZE_MAX);
    }
    REQUIRE(dirty_bytes() == 0);
    for (size_t i = 0; i < n; i++)
        REQUIRE(block[i] == NULL || intact(i));
    size_t still = 0;
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
            still += rcl_arena_get(i)->bin[cls].live;
    REQUIRE(still + (size_t)rcl_account_get(&rcl_account.large_blocks) == kept);
}

TEST(survivors_keep_their_pages_only)
{
    for (size_t i = 0; i < array_len(kinds); i++)
        unit_child_passes(around_a_survivor, (void *)&kinds[i]);
}

static void taken_in_between(void *arg)
{
    size_t size = *(const size_t *)arg, n = take(size, 2 * MIB);

    give_all(n);
    for (int round = 0; round < 4; round++) {
        for (int i = 1; i < OLD_AT_STEP; i++) {
            purge_step();
            REQUIRE(purge_old(SIZE_MAX) == 0);
        }
        n = take(size, 2 * MIB);
        give_all(n);
    }
    REQUIRE(purged_bytes() == 0);
}

TEST(what_is_used_again_is_young_again)
{
    static const size_t some[] = {64, 3000, 40000, 600000};

    for (size_t i = 0; i < array_len(some); i++)
        unit_child_passes(taken_in_between, (void *)&some[i]);
}

static void within_a_budget(void *arg)
{
    size_t size = *(const size_t *)arg, n = take(size, 8 * MIB), sum = 0, some;
    size_t page = rcl_page_size(), budget = 16;

    give_all(n);
    size_t dirty = dirty_bytes() / page;
    for (int i = 0; i < OLD_AT_STEP; i++)
        purge_step();
    some = purge_old(budget);
    REQUIRE(some >= budget && some <= 8 * budget + 2 * MIB / page);
    REQUIRE(dirty_bytes() / page == dirty - some);
    for (sum = some; (some = purge_old(budget)) != 0; sum += some) {}
    REQUIRE(sum == dirty && dirty_bytes() == 0);
}

TEST(a_budget_is_kept_and_zero_means_done)
{
    for (size_t i = 0; i < array_len(kinds); i++)
        unit_child_passes(within_a_budget, (void *)&kinds[i]);
}

static void idle_cache(void *arg)
{
    enum { IDLE_AT_STEP = 3 };

    (void)arg;
    rcl_opt.tcache = 1;
    size_t n = take(1000, 100000);
    give_all(n);
    REQUIRE(rcl_tls.cache != &rcl_tcache_none && rcl_account.cache_bytes > 0);
    for (int i = 0; i < IDLE_AT_STEP; i++) {
        REQUIRE(rcl_account.cache_bytes > 0);
        purge_step();
        purge_old(SIZE_MAX);
    }
    /* What an idle cache held has been idle for a window already: it goes in the same step. */
    REQUIRE(rcl_tls.cache == &rcl_tcache_none && rcl_account.cache_bytes == 0);
    REQUIRE(dirty_bytes() == 0);
    REQUIRE(rcl_account.used_pages == 0);
}

TEST(a_step_is_one_of_idleness_for_caches)
{
    unit_child_passes(idle_cache, NULL);
}

TEST(a_step_is_a_quarter_of_the_window)
{
    rcl_opt.dirty_decay_ms = 1000;
    assert_int_equal(rcl_purge_step_ns(), 1000000000u / RCL_DECAY_STEPS);
    rcl_opt.dirty_decay_ms = 1;
    assert_int_equal(rcl_purge_step_ns(), 1000000u / RCL_DECAY_STEPS);
    rcl_opt.dirty_decay_ms = 3600000;
    assert_int_equal(rcl_purge_step_ns(), UINT64_C(3600000000000) / RCL_DECAY_STEPS);
    rcl_opt.dirty_decay_ms = 0;
    assert_int_equal(rcl_purge_step_ns(), 0);
    rcl_opt.dirty_decay_ms = -1;
    assert_int_equal(rcl_purge_step_ns(), 0);
}

/* --- request ----------------------------------------------------------------------------- */

static void everything(void *arg)
{
    static char *old[BLOCKS_MAX];
    static size_t old_size[BLOCKS_MAX];
    size_t count = 0;

    (void)arg;
    rcl_opt.tcache = 1;
    for (size_t k = 0; k < array_len(kinds); k++) {
        size_t n = take(kinds[k], MIB);
        for (size_t i = 0; i < n && count < BLOCKS_MAX; i++) {
            old[count] = block[i];
            old_size[count++] = sizes[i];
        }
        give_all(n);
    }
    take(3 * MIB, 6 * MIB);
    old[count] = block[0];
    old_size[count++] = 3 * MIB;
    give_all(2);
    REQUIRE(rcl_account.cache_bytes > 0);
    size_t dirty = dirty_bytes();
    REQUIRE(dirty > 6 * MIB);
    size_t returned = purge_all();
    REQUIRE(returned >= dirty && returned < 64 * MIB);
    REQUIRE(dirty_bytes() == 0 && rcl_account.cache_bytes == 0 && rcl_account.used_pages == 0);
    REQUIRE(rcl_account_read(&rcl_account.mapped_bytes) == 0);
    for (size_t i = 0; i < count; i++)
        REQUIRE(resident(old[i], old_size[i]) == 0);
    size_t caches, bytes;
    rcl_threads_usage(&caches, &bytes);
    REQUIRE(caches == 0 && bytes == 0);
    /* Asked again there is nothing, and everything can be had again. */
    REQUIRE(purge_all() == 0);
    for (size_t k = 0; k < array_len(kinds); k++)
        give_all(take(kinds[k], MIB));
}

TEST(all_returns_everything)
{
    unit_child_passes(everything, NULL);
}

/* --- demand ------------------------------------------------------------------------------ */

static void before_a_fork(void *arg)
{
    (void)arg;
    rcl_opt.tcache = 1;
    rcl_heap_free(rcl_heap_alloc(100), "free");
    REQUIRE(rcl_tls.cache != &rcl_tcache_none);
    /* Freed and taken again: a demand, but neither side of the fork should copy it. */
    for (int i = 0; i < 2; i++)
        give_all(take(600000, 8 * MIB));
    REQUIRE(rcl_account_get(&rcl_account.demand_pages) > 0 && dirty_bytes() >= 7 * MIB);
    purge_before_fork();
    REQUIRE(dirty_bytes() == 0);
    REQUIRE(rcl_tls.cache == &rcl_tcache_none);
}

TEST(before_a_fork_everything_dirty_goes_and_the_own_cache)
{
    unit_child_passes(before_a_fork, NULL);
}

static void demanded_is_not_excess(void *arg)
{
    (void)arg;
    rcl_opt.dirty_min = (int64_t)(16 * MIB);
    give_all(take(40000, 12 * MIB));
    give_all(take(40000, 12 * MIB)); /* taken again */
    rcl_opt.dirty_min = (int64_t)MIB;
    REQUIRE(ceiling_bytes() >= 12 * MIB);
    size_t dirty = dirty_bytes();
    for (int i = 0; i < 50; i++)
        excess();
    REQUIRE(dirty_bytes() == dirty);
}

TEST(what_is_demanded_is_no_excess)
{
    unit_child_passes(demanded_is_not_excess, NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_goes_back_below_the_ceiling, set_up),
        cmocka_unit_test_setup(what_is_above_the_ceiling_goes_back_while_it_is_freed, set_up),
        cmocka_unit_test_setup(a_call_does_a_limited_amount_of_work, set_up),
        cmocka_unit_test_setup(what_caches_may_hold_counts_against_the_ceiling, set_up),
        cmocka_unit_test_setup(with_no_decay_time_everything_goes_back_at_once, set_up),
        cmocka_unit_test_setup(nothing_live_is_touched, set_up),
        cmocka_unit_test_setup(memory_that_is_locked_stays_and_nobody_insists, set_up),
        cmocka_unit_test_setup(pages_go_back_when_their_window_is_over, set_up),
        cmocka_unit_test_setup(survivors_keep_their_pages_only, set_up),
        cmocka_unit_test_setup(what_is_used_again_is_young_again, set_up),
        cmocka_unit_test_setup(a_budget_is_kept_and_zero_means_done, set_up),
        cmocka_unit_test_setup(a_step_is_one_of_idleness_for_caches, set_up),
        cmocka_unit_test_setup(a_step_is_a_quarter_of_the_window, set_up),
        cmocka_unit_test_setup(all_returns_everything, set_up),
        cmocka_unit_test_setup(before_a_fork_everything_dirty_goes_and_the_own_cache, set_up),
        cmocka_unit_test_setup(what_is_demanded_is_no_excess, set_up),
    };

    if (!rcl_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
