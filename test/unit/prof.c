/* SPDX-License-Identifier: MIT */
/*
 * Tests of prof.h: what is sampled has the true value as its mean, whatever is allocated and
 * by whatever way; samples end with their blocks; switching and forks lose nothing.
 */
#include "unit.h"

#include "account.h"
#include "boot.h"
#include "fork.h"
#include "gate.h"
#include "heap.h"
#include "huge.h"
#include "options.h"
#include "prof.h"
#include "prof_live.h"
#include "prof_stack.h"
#include "purge.h"
#include "span.h"
#include "thread.h"

#include <math.h>
#include <sys/resource.h>

enum { SEEDS = 200 };

static const struct rcl_options defaults = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#include "options.def"
#undef OPT
};

/* As malloc() and free() do it: a hit, the hit while profiling, or the slow path. */
static void *take(size_t size)
{
    if (size <= RCL_SMALL_MAX) {
        unsigned cls = rcl_class_of_small(size);
        void *p = rcl_tcache_pop(rcl_thread_begin_alloc(&rcl_tls), cls);
        if (p != NULL) {
            rcl_thread_end(&rcl_tls);
            return p;
        }
        p = rcl_thread_pop_counted(&rcl_tls, cls);
        if (p != NULL)
            return p;
    }
    void *p = rcl_heap_alloc(size);
    REQUIRE(p != NULL);
    return p;
}

static void give(void *p)
{
    struct rcl_tcache *tc = rcl_thread_begin_free(&rcl_tls);
    if (rcl_tcache_push(tc, rcl_pagemap_class(p), p))
        rcl_thread_end(&rcl_tls);
    else
        rcl_heap_free(p, "free");
}

static size_t usable(const void *p)
{
    return rcl_heap_usable(p, "malloc_usable_size");
}

static struct rcl_stacks_total total(void)
{
    struct rcl_stacks_total t;

    rcl_stacks_total(&t);
    return t;
}

static void assert_no_sample(void)
{
    assert_int_equal(total().live_samples, 0);
    assert_int_equal(total().live_bytes, 0);
    for (struct rcl_stack *s = rcl_stacks_first(); s != NULL; s = s->older) {
        assert_int_equal(s->live.units, 0);
        assert_int_equal(s->live.bytes, 0);
    }
}

static int set_up(void **state)
{
    (void)state;
    rcl_opt = defaults;
    rcl_opt.background_thread = !UNIT_TSAN;
    errno = UNIT_ERRNO;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(errno, UNIT_ERRNO);
    rcl_prof_set_active(false);
    assert_no_sample();
    rcl_prof_reset(19);
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_purge_all(&rcl_tls);
    rcl_gate_leave(&rcl_tls.gate);
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), 0);
    assert_int_equal(rcl_account_get(&rcl_account.cache_bytes), 0);
    assert_int_equal(rcl_account_get(&rcl_account.cache_blocks), 0);
    return 0;
}

static void start(unsigned lg, uint64_t seed)
{
    rcl_prof_reset((int)lg);
    rcl_prof_set_active(true);
    rcl_prof_seed(&rcl_tls, seed);
}

/* --- unbiased ---------------------------------------------------------------------------- */

/* Estimates of one quantity, and what their variance must be. */
struct estimate {
    double sum, truth, variance;
    unsigned n;
};

static void estimate_add(struct estimate *e, double found, double truth, double variance)
{
    e->sum += found;
    e->truth += truth;
    e->variance += variance;
    e->n++;
}

static double sigmas(const struct estimate *e)
{
    double off = e->sum - e->truth;

    /* Weights are whole numbers; that much can be off without any chance. */
    if (fabs(off) <= e->n * 64.0)
        return 0;
    return off / sqrt(e->variance);
}

/* Of the estimate of one block's bytes: either 0, or s/p. */
static double variance_of(size_t bytes, unsigned lg)
{
    double p = -expm1(-(double)bytes / pow(2, lg));

    return (double)bytes * (double)bytes * (1 - p) / p;
}

/* Twenty sizes of every kind; the rate such that a seed has some samples and not all. */
TEST(live_bytes_are_unbiased_at_every_size)
{
    static const size_t sizes[] = {
        16,       48,    112,    256,       512,    1000, 1500,    4096,    5000,     12000,
        32 * KIB, 40000, 100000, 256 * KIB, 300000, MIB,  MIB + 1, 4 * MIB, 16 * MIB, 64 * MIB,
    };
    static void *block[40000];

    for (size_t i = 0; i < array_len(sizes); i++) {
        unsigned lg = sizes[i] < 8 * KIB ? 13 : sizes[i] < MIB ? 18 : 24;
        size_t mean = (size_t)1 << lg, n = rcl_max(16 * mean / sizes[i], 6);
        struct estimate live = {0};

        assert_true(n <= array_len(block));
        for (unsigned seed = 0; seed < SEEDS; seed++) {
            double truth = 0, variance = 0;
            start(lg, seed * 1000003 + i);
            for (size_t k = 0; k < n; k++) {
                block[k] = take(sizes[i]);
                truth += (double)usable(block[k]);
                variance += variance_of(usable(block[k]), lg);
            }
            estimate_add(&live, (double)total().live_bytes, truth, variance);
            assert_int_equal(total().live_bytes, total().all_bytes);
            for (size_t k = 0; k < n; k++)
                give(block[k]);
            assert_no_sample();
        }
        print_message("%9zu bytes: estimate %+.3f %%, %+.2f sigma\n", sizes[i],
                      100 * (live.sum / live.truth - 1), sigmas(&live));
        assert_true(fabs(sigmas(&live)) <= 3);
    }
}

/* The pattern at which sampling of misses alone goes wrong: what is freed comes back at once. */
TEST(blocks_that_come_and_go_are_counted_too)
{
    struct estimate all = {0};

    for (unsigned seed = 0; seed < SEEDS; seed++) {
        start(14, seed);
        for (unsigned i = 0; i < 4000; i++)
            give(take(64));
        estimate_add(&all, (double)total().all_bytes, 4000 * 64, 4000 * variance_of(64, 14));
    }
    print_message("alone %+.2f sigma\n", sigmas(&all));
    assert_true(fabs(sigmas(&all)) <= 3);

    all = (struct estimate){0};
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        void *held[50] = {NULL};
        double truth = 0, variance = 0;
        struct unit_random random = {seed};
        start(15, seed);
        for (unsigned i = 0; i < 5000; i++) {
            size_t at = unit_below(&random, array_len(held));
            if (held[at] != NULL)
                give(held[at]);
            held[at] = take(1 + unit_below(&random, (size_t)1 << unit_below(&random, 18)));
            truth += (double)usable(held[at]);
            variance += variance_of(usable(held[at]), 15);
        }
        estimate_add(&all, (double)total().all_bytes, truth, variance);
        for (size_t at = 0; at < array_len(held); at++)
            if (held[at] != NULL)
                give(held[at]);
        assert_no_sample();
    }
    print_message("mixed %+.2f sigma\n", sigmas(&all));
    assert_true(fabs(sigmas(&all)) <= 3);
}

TEST(aligned_and_zeroed_blocks_are_counted_like_others)
{
    struct estimate live = {0};

    for (unsigned seed = 0; seed < SEEDS; seed++) {
        void *block[600];
        double truth = 0, variance = 0;
        struct unit_random random = {seed};
        start(16, seed);
        for (size_t i = 0; i < array_len(block); i++) {
            size_t size = 1 + unit_below(&random, (size_t)1 << unit_below(&random, 21));
            size_t align = (size_t)16 << unit_below(&random, 10);
            block[i] = i % 3 == 0   ? rcl_heap_alloc_zero(size)
                       : i % 3 == 1 ? rcl_heap_alloc_aligned(align, size)
                                    : take(size);
            assert_non_null(block[i]);
            assert_true(i % 3 != 1 || (uintptr_t)block[i] % align == 0);
            truth += (double)usable(block[i]);
            variance += variance_of(usable(block[i]), 16);
        }
        estimate_add(&live, (double)total().live_bytes, truth, variance);
        for (size_t i = 0; i < array_len(block); i++)
            give(block[i]);
        assert_no_sample();
    }
    print_message("%+.2f sigma\n", sigmas(&live));
    assert_true(fabs(sigmas(&live)) <= 3);
}

TEST(realloc_keeps_the_estimate_true)
{
    struct estimate live = {0};

    for (unsigned seed = 0; seed < SEEDS; seed++) {
        char *block[60];
        double truth = 0, variance = 0;
        struct unit_random random = {seed};
        start(17, seed);
        for (size_t i = 0; i < array_len(block); i++)
            block[i] = take(1 + unit_below(&random, 3000));
        for (unsigned round = 0; round < 500; round++) {
            size_t i = unit_below(&random, array_len(block));
            size_t size = 1 + unit_below(&random, (size_t)1 << unit_below(&random, 23));
            block[i] = rcl_heap_realloc(block[i], size);
            assert_non_null(block[i]);
        }
        for (size_t i = 0; i < array_len(block); i++) {
            truth += (double)usable(block[i]);
            variance += variance_of(usable(block[i]), 17);
        }
        estimate_add(&live, (double)total().live_bytes, truth, variance);
        for (size_t i = 0; i < array_len(block); i++)
            give(block[i]);
        assert_no_sample();
    }
    print_message("%+.2f sigma\n", sigmas(&live));
    assert_true(fabs(sigmas(&live)) <= 3);
}

struct worker {
    uint64_t seed;
    unsigned rounds;
    void *held[200];
    double truth, variance, allocated;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct unit_random random = {w->seed};

    rcl_prof_seed(&rcl_tls, w->seed);
    for (unsigned i = 0; i < w->rounds; i++) {
        size_t at = unit_below(&random, array_len(w->held));
        if (w->held[at] != NULL)
            give(w->held[at]);
        w->held[at] = take(1 + unit_below(&random, (size_t)1 << unit_below(&random, 17)));
        unit_stamp(w->held[at], 16, at);
        w->allocated += (double)usable(w->held[at]);
    }
    for (size_t at = 0; at < array_len(w->held); at++) {
        REQUIRE(w->held[at] != NULL && unit_stamped(w->held[at], 16, at));
        w->truth += (double)usable(w->held[at]);
        w->variance += variance_of(usable(w->held[at]), 16);
    }
    return NULL;
}

TEST(threads_count_together_and_free_each_others_samples)
{
    enum { THREADS = 4, ROUNDS = 20 };
    struct estimate live = {0};

    for (unsigned round = 0; round < ROUNDS; round++) {
        static struct worker w[THREADS];
        pthread_t thread[THREADS];
        double truth = 0, variance = 0;

        memset(w, 0, sizeof w);
        start(16, round);
        for (unsigned i = 0; i < THREADS; i++) {
            w[i].seed = round * 100 + i;
            w[i].rounds = 4000;
            assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
            pthread_join(thread[i], NULL);
            truth += w[i].truth;
            variance += w[i].variance;
        }
        estimate_add(&live, (double)total().live_bytes, truth, variance);
        for (unsigned i = 0; i < THREADS; i++)
            for (size_t at = 0; at < array_len(w[i].held); at++)
                give(w[i].held[at]);
        assert_no_sample();
    }
    print_message("%+.2f sigma\n", sigmas(&live));
    assert_true(fabs(sigmas(&live)) <= 3);
}

/* --- samples ----------------------------------------------------------------------------- */

TEST(at_rate_0_every_block_is_a_sample_and_every_byte_is_known)
{
    static void *block[3000];
    size_t bytes = 0;
    struct unit_random random = unit_random_start();

    start(0, 1);
    for (size_t i = 0; i < array_len(block); i++) {
        block[i] = take(1 + unit_below(&random, (size_t)1 << unit_below(&random, 21)));
        bytes += usable(block[i]);
        assert_int_equal(total().live_samples, i + 1);
        assert_int_equal(total().live_bytes, bytes);
        assert_true(rcl_pagemap_class(block[i]) >= RCL_CLASS_SAMPLED);
    }
    for (size_t i = 0; i < array_len(block); i++) {
        assert_true(rcl_pagemap_class(block[i]) >= RCL_CLASS_SAMPLED);
        bytes -= usable(block[i]);
        give(block[i]);
        assert_int_equal(total().live_bytes, bytes);
    }
}

TEST(a_page_is_marked_as_long_as_a_sample_begins_on_it)
{
    char *a, *b, *plain;

    start(40, 1); /* nothing will be sampled but what follows */
    a = take(64);
    rcl_prof_reset(0);
    b = take(64);
    rcl_prof_reset(0); /* forgets b */
    assert_int_equal(rcl_pagemap_class(b), rcl_class_of_small(64));
    plain = b;
    b = take(64);
    give(a);
    a = take(64);
    assert_int_equal(rcl_pagemap_class(b), RCL_CLASS_SAMPLED);
    assert_int_equal(rcl_block_class(b), rcl_class_of_small(64));
    assert_int_equal(total().live_samples, 2);
    give(plain); /* no sample, though perhaps on the page of one */
    assert_int_equal(total().live_samples, 2);
    give(b);
    assert_int_equal(total().live_samples, 1);
    assert_int_equal(rcl_pagemap_class(a), RCL_CLASS_SAMPLED);
    give(a);
    assert_int_equal(rcl_pagemap_class(a), rcl_class_of_small(64));
    assert_int_equal(rcl_pagemap_class(b), rcl_class_of_small(64));
}

TEST(off_the_hit_path_finds_the_cache_and_nothing_is_sampled)
{
    void *p = take(100);

    assert_false(rcl_prof_active());
    assert_ptr_equal(rcl_tls.alloc, rcl_tls.cache);
    assert_false(rcl_prof_set_active(true));
    assert_true(rcl_prof_active());
    give(take(100));
    assert_ptr_equal(rcl_tls.alloc, &rcl_tcache_none);
    assert_ptr_not_equal(rcl_tls.cache, &rcl_tcache_none);
    assert_true(rcl_prof_set_active(false));
    give(take(100));
    assert_ptr_equal(rcl_tls.alloc, rcl_tls.cache);
    assert_int_equal(total().all_samples, 0);
    give(p);
}

TEST(samples_survive_a_pause_and_end_when_they_are_freed)
{
    void *p, *big;

    start(0, 1);
    p = take(100);
    big = take(2 * MIB);
    rcl_prof_set_active(false);
    give(take(100));
    assert_int_equal(total().live_samples, 2);
    assert_int_equal(total().all_samples, 2);
    give(p);
    assert_int_equal(total().live_samples, 1);
    rcl_prof_set_active(true);
    give(take(100));
    assert_int_equal(total().all_samples, 3);
    give(big);
}

TEST(reset_forgets_samples_and_leaves_blocks_alone)
{
    static void *block[2000];

    start(0, 1);
    for (size_t i = 0; i < array_len(block); i++)
        block[i] = take(i * 150 + 1);
    rcl_prof_reset(20);
    assert_int_equal(rcl_prof_lg_sample(), 20);
    assert_no_sample();
    assert_int_equal(total().all_bytes, 0);
    for (size_t i = 0; i < array_len(block); i++) {
        assert_true(rcl_pagemap_class(block[i]) < RCL_CLASS_SAMPLED);
        assert_true(usable(block[i]) >= i * 150 + 1);
        give(block[i]);
    }
}

TEST(the_peak_is_kept)
{
    void *block[100];
    uint64_t peak = 0;

    start(0, 1);
    for (unsigned i = 0; i < 100; i++)
        block[i] = take(10000);
    peak = total().live_bytes;
    for (unsigned i = 0; i < 100; i++)
        give(block[i]);
    assert_int_equal(total().peak_bytes, peak);
    give(take(5000));
    assert_int_equal(total().peak_bytes, peak);
    uint64_t sum = 0;
    for (struct rcl_stack *s = rcl_stacks_first(); s != NULL; s = s->older)
        sum += s->peak.bytes;
    assert_int_equal(sum, peak);
}

/* A sampled block that is freed twice is found like any other. */
static void free_twice(void *arg)
{
    void *p = take(*(const size_t *)arg);

    rcl_heap_free(p, "free");
    rcl_heap_free(p, "free");
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_threads_drain(&rcl_tls, RCL_DRAIN_ALL);
}

TEST(a_sample_freed_twice_is_a_double_free)
{
    static const size_t size[] = {16, 64, 1000, 20000};

    start(0, 1);
    for (size_t i = 0; i < array_len(size); i++)
        unit_child_dies(free_twice, (void *)&size[i], "libreclaim: free(): double free of 0x");
}

static void free_inside(void *arg)
{
    rcl_heap_free((char *)take(*(const size_t *)arg) + 16, "free");
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_threads_drain(&rcl_tls, RCL_DRAIN_ALL);
}

static void ask_inside(void *arg)
{
    rcl_heap_usable((char *)take(*(const size_t *)arg) + 16, "malloc_usable_size");
}

TEST(a_pointer_into_a_sample_is_no_block)
{
    static const size_t size[] = {64, 1000, 20000, 100000, 500000, 3000000};

    start(0, 1);
    for (size_t i = 0; i < array_len(size); i++) {
        unit_child_dies(free_inside, (void *)&size[i], "libreclaim: free(): invalid pointer 0x");
        unit_child_dies(ask_inside, (void *)&size[i],
                        "libreclaim: malloc_usable_size(): invalid pointer 0x");
    }
}

static void use_samples(void *arg)
{
    REQUIRE(total().live_samples == 1);
    give(arg);
    REQUIRE(total().live_samples == 0);
    void *p = take(300);
    REQUIRE(total().live_samples == 1);
    give(p);
    REQUIRE(total().live_samples == 0);
}

TEST(a_child_inherits_the_samples)
{
    void *p, *q;

    start(0, 1);
    p = take(100);
    q = take(100);
    rcl_heap_free(q, "free");
    unit_child_passes(use_samples, p);
    give(p);
}

static void switch_on_without_memory(void *unused)
{
    struct rlimit none = {0, 0};

    (void)unused;
    REQUIRE(setrlimit(RLIMIT_AS, &none) == 0);
    if (rcl_os_map(rcl_page_size()) != NULL)
        _exit(UNIT_CHILD_SKIPS); /* emulators have no such limit */
    REQUIRE(!rcl_prof_set_active(true));
    REQUIRE(!rcl_prof_active());
    give(take(100)); /* as if nothing had been asked for */
    rcl_prof_reset(-1);
    _exit(0);
}

/* The tables are mapped by the first switch, so this is the first test. */
TEST(without_memory_for_its_tables_profiling_stays_off)
{
    struct unit_child child;

    give(take(100)); /* there is a cache to take from */
    unit_run_child(switch_on_without_memory, NULL, &child);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == UNIT_CHILD_SKIPS)
        skip();
    assert_string_equal(child.text, "libreclaim: prof: no memory for the tables of heap profiles; "
                                    "profiling stays off\n");
    assert_int_equal(child.status, 0);
}

#define TESTED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_for_its_tables_profiling_stays_off),
        TESTED(live_bytes_are_unbiased_at_every_size),
        TESTED(blocks_that_come_and_go_are_counted_too),
        TESTED(aligned_and_zeroed_blocks_are_counted_like_others),
        TESTED(realloc_keeps_the_estimate_true),
        TESTED(threads_count_together_and_free_each_others_samples),
        TESTED(at_rate_0_every_block_is_a_sample_and_every_byte_is_known),
        TESTED(a_page_is_marked_as_long_as_a_sample_begins_on_it),
        TESTED(off_the_hit_path_finds_the_cache_and_nothing_is_sampled),
        TESTED(samples_survive_a_pause_and_end_when_they_are_freed),
        TESTED(reset_forgets_samples_and_leaves_blocks_alone),
        TESTED(the_peak_is_kept),
        TESTED(a_sample_freed_twice_is_a_double_free),
        TESTED(a_pointer_into_a_sample_is_no_block),
        TESTED(a_child_inherits_the_samples),
    };

    if (!rcl_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
