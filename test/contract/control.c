/* SPDX-License-Identifier: MIT */
/*
 * What mallctl tells is so, and what it is asked to do is done: statistics, a thread's
 * bytes and cache, purging, decay, the helper.  (Names and errors: mallctl.c.)
 */
#include "jemalloc.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* ---- what the numbers say ---------------------------------------------------------------- */

static bool near_to(size_t a, size_t b, size_t slack)
{
    return a > b ? a - b <= slack : b - a <= slack;
}

static void test_statistics_are_of_the_last_epoch(void **state)
{
    (void)state;
    ctl_epoch();
    uint64_t epoch = ctl_u64("epoch");
    size_t before = ctl_size("stats.allocated");
    void *p = malloc(50 * MIB);
    assert_non_null(opaque(p));
    assert_int_equal(ctl_size("stats.allocated"), before);
    assert_int_equal(ctl_u64("epoch"), epoch);
    ctl_epoch();
    assert_int_equal(ctl_u64("epoch"), epoch + 1);
    assert_true(near_to(ctl_size("stats.allocated"), before + 50 * MIB, 2 * MIB));
    free(p);
    ctl_epoch();
    assert_true(near_to(ctl_size("stats.allocated"), before, 2 * MIB));
}

enum { BLOCKS = 40000, BLOCK_BYTES = 960 };

static void test_statistics_add_up(void **state)
{
    static void *block[BLOCKS];
    size_t bytes = (size_t)BLOCKS * BLOCK_BYTES;
    (void)state;

    ctl_do("arena.4096.purge");
    ctl_epoch();
    size_t allocated = ctl_size("stats.allocated"), resident = ctl_size("stats.resident");
    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = malloc(BLOCK_BYTES);
        memset(block[i], 1, BLOCK_BYTES);
    }
    ctl_epoch();
    assert_true(near_to(ctl_size("stats.allocated"), allocated + bytes, bytes / 20));
    assert_true(near_to(ctl_size("stats.resident"), resident + bytes, bytes / 5));
    assert_true(ctl_size("stats.active") >= ctl_size("stats.allocated"));
    assert_true(ctl_size("stats.resident") >= ctl_size("stats.active"));
    assert_true(ctl_size("stats.mapped") >= ctl_size("stats.allocated"));
    assert_true(ctl_size("stats.metadata") > 0);
    assert_true(ctl_size("stats.metadata") < bytes / 4);

    /* Arenas together are the sum of the arenas, and their bins. */
    size_t small = 0, large = 0, bins = 0;
    for (unsigned i = 0; i < ctl_unsigned("arenas.narenas"); i++) {
        if (!ctl_bool(ctl_name("arena.%zu.initialized", i, 0)))
            continue;
        small += ctl_size(ctl_name("stats.arenas.%zu.small.allocated", i, 0));
        large += ctl_size(ctl_name("stats.arenas.%zu.large.allocated", i, 0));
        for (unsigned j = 0; j < ctl_unsigned("arenas.nbins"); j++)
            bins += ctl_size(ctl_name("stats.arenas.%zu.bins.%zu.curregs", i, j)) *
                    ctl_size(ctl_name("arenas.bin.%zu.size", j, 0));
    }
    assert_int_equal(small, ctl_size("stats.arenas.4096.small.allocated"));
    assert_int_equal(large, ctl_size("stats.arenas.4096.large.allocated"));
    assert_int_equal(bins, small);
    assert_true(small >= bytes);

    for (size_t i = 0; i < BLOCKS; i++)
        free(block[i]);
    ctl_do("arena.4096.purge");
    ctl_epoch();
    assert_true(near_to(ctl_size("stats.allocated"), allocated, MIB));
    assert_true(ctl_size("stats.resident") < resident + 2 * MIB);
    static const char *const purged[] = {"stats.arenas.%zu.dirty_purged",
                                         "stats.arenas.%zu.dirty_nmadvise",
                                         "stats.arenas.%zu.dirty_npurge"};
    assert_true(ctl_u64("stats.arenas.4096.dirty_purged") * test_page() >= bytes / 2);
    for (size_t k = 0; k < COUNT_OF(purged); k++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < ctl_unsigned("arenas.narenas"); i++)
            if (ctl_bool(ctl_name("arena.%zu.initialized", i, 0)))
                sum += ctl_u64(ctl_name(purged[k], i, 0));
        assert_true(sum > 0);
        /* A sweep over all arenas is one, and one for each in which it found something. */
        assert_true(k == 2 || sum <= ctl_u64(ctl_name(purged[k], 4096, 0)));
    }
}

static size_t bin_of(size_t size)
{
    for (size_t j = 0;; j++)
        if (ctl_size(ctl_name("arenas.bin.%zu.size", j, 0)) >= size)
            return j;
}

static void test_bins_count_their_blocks(void **state)
{
    size_t j = bin_of(720);
    static void *block[1000];
    unsigned a = ctl_unsigned("arenas.create");
    (void)state;

    for (size_t i = 0; i < COUNT_OF(block); i++)
        block[i] = mallocx(720, MALLOCX_ARENA(a));
    for (size_t i = 0; i < COUNT_OF(block); i += 2)
        free(block[i]);
    ctl_epoch();
    assert_int_equal(ctl_u64(ctl_name("stats.arenas.%zu.bins.%zu.nmalloc", a, j)), 1000);
    assert_int_equal(ctl_u64(ctl_name("stats.arenas.%zu.bins.%zu.ndalloc", a, j)), 500);
    assert_int_equal(ctl_size(ctl_name("stats.arenas.%zu.bins.%zu.curregs", a, j)), 500);
    size_t slabs = ctl_size(ctl_name("stats.arenas.%zu.bins.%zu.curslabs", a, j));
    size_t regs = ctl_unsigned(ctl_name("arenas.bin.%zu.nregs", j, 0));
    assert_int_equal(slabs, (1000 + regs - 1) / regs);
    assert_int_equal(ctl_u64(ctl_name("stats.arenas.%zu.bins.%zu.nslabs", a, j)), slabs);
    assert_int_equal(ctl_size(ctl_name("stats.arenas.%zu.bins.%zu.nonfull_slabs", a, j)), slabs);
    assert_int_equal(ctl_size(ctl_name("stats.arenas.%zu.small.allocated", a, 0)),
                     500 * ctl_size(ctl_name("arenas.bin.%zu.size", j, 0)));
    void *large = mallocx(300000, MALLOCX_ARENA(a)), *medium = mallocx(40960, MALLOCX_ARENA(a));
    ctl_epoch();
    unsigned extents = ctl_unsigned("arenas.nlextents");
    size_t found = 0, of_large = 0; /* the smallest that is no smaller than the block */
    while (ctl_size(ctl_name("arenas.lextent.%zu.size", of_large, 0)) < 300000)
        of_large++;
    for (unsigned k = 0; k < extents; k++)
        found += ctl_size(ctl_name("stats.arenas.%zu.lextents.%zu.curlextents", a, k));
    assert_int_equal(found, 2);
    assert_int_equal(ctl_size(ctl_name("stats.arenas.%zu.lextents.%zu.curlextents", a, of_large)),
                     1);
    assert_true(ctl_size(ctl_name("stats.arenas.%zu.large.allocated", a, 0)) >= 340960);
    free(large);
    free(medium);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", a, 0)), 0);
    /* What it has done is remembered, among the destroyed. */
    ctl_epoch();
    assert_true(ctl_u64(ctl_name("stats.arenas.4097.bins.%zu.nmalloc", j, 0)) >= 1000);
    assert_int_equal(ctl_size(ctl_name("stats.arenas.4097.bins.%zu.curregs", j, 0)), 0);
}

/* ---- threads ----------------------------------------------------------------------------- */

static void check_counters(void)
{
    uint64_t *in = ctl_counter("thread.allocatedp"), *out = ctl_counter("thread.deallocatedp");
    uint64_t in0 = *in, out0 = *out;

    /* Hits and misses, every kind of block, each to the byte. */
    for (int round = 0; round < 200; round++) {
        for (size_t size = 8; size <= 2 * MIB; size *= 2) {
            void *p = malloc(opaque_size(size));
            REQUIRE(*in - in0 == malloc_usable_size(p) && *out == out0);
            in0 = *in;
            size_t usable = malloc_usable_size(p);
            free(p);
            REQUIRE(*in == in0 && *out - out0 == usable);
            out0 = *out;
        }
    }
    void *p = calloc(10, 10), *q = aligned_alloc(256, 512);
    REQUIRE(*in - in0 == malloc_usable_size(p) + malloc_usable_size(q));
    uint64_t net = *in - *out;
    p = realloc(p, 3 * MIB);
    p = realloc(p, 6 * MIB);
    REQUIRE(*in - *out - net == malloc_usable_size(p) - 112);
    free(p);
    free(q);
    REQUIRE(*in - *out == in0 - out0);
    REQUIRE(ctl_u64("thread.allocated") == *in && ctl_u64("thread.deallocated") == *out);

    REQUIRE(ctl_do("thread.peak.reset") == 0);
    REQUIRE(ctl_u64("thread.peak.read") == 0);
    free(opaque(malloc(5 * MIB)));
    free(opaque(malloc(1000)));
    REQUIRE(ctl_u64("thread.peak.read") == 5 * MIB);
}

static void *count_in_a_thread(void *arg)
{
    (void)arg;
    check_counters();
    return NULL;
}

static void test_a_thread_counts_its_bytes(void **state)
{
    pthread_t thread;
    (void)state;

    assert_int_equal(pthread_create(&thread, NULL, count_in_a_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    check_counters();
    malloc_trim(0); /* takes the cache away; the counters stay */
    check_counters();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        check_counters();
        _exit(0);
    }
    assert_true(test_exited_well(test_wait(child)));
}

static void *without_cache(void *arg)
{
    (void)arg;
    bool was, off = false;
    size_t length = sizeof was;

    REQUIRE(ctl_bool("thread.tcache.enabled"));
    REQUIRE(mallctl("thread.tcache.enabled", &was, &length, &off, sizeof off) == 0);
    REQUIRE(was && !ctl_bool("thread.tcache.enabled"));
    REQUIRE(ctl_do("thread.tcache.flush") == EFAULT && ctl_do("thread.idle") == 0);
    unsigned a = ctl_unsigned("thread.arena");
    size_t j = bin_of(2000);
    ctl_epoch();
    uint64_t before = ctl_u64(ctl_name("stats.arenas.4096.bins.%zu.nmalloc", j, a));
    for (int i = 0; i < 100; i++)
        free(opaque(malloc(2000)));
    ctl_epoch();
    /* Each one came from the bin. */
    REQUIRE(ctl_u64(ctl_name("stats.arenas.4096.bins.%zu.nmalloc", j, a)) - before >= 100);
    REQUIRE(ctl_set_bool("thread.tcache.enabled", true) == 0);
    REQUIRE(ctl_bool("thread.tcache.enabled"));
    return NULL;
}

static void test_a_thread_can_do_without_a_cache(void **state)
{
    pthread_t thread;
    (void)state;

    assert_int_equal(pthread_create(&thread, NULL, without_cache, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---- what is done on request ------------------------------------------------------------- */

static void leave_dirty(size_t bytes)
{
    static void *block[20000];
    size_t n = bytes / 5000;

    for (size_t i = 0; i < n; i++) {
        block[i] = malloc(5000);
        memset(block[i], 1, 5000);
    }
    for (size_t i = 0; i < n; i++)
        free(block[i]);
}

static void test_purge_and_idle_return_memory(void **state)
{
    static const char *const names[] = {"arena.4096.purge", "thread.idle", "arena.0.purge"};
    char all[64];
    (void)state;

    snprintf(all, sizeof all, "arena.%u.purge", ctl_unsigned("arenas.narenas"));
    for (size_t i = 0; i <= COUNT_OF(names); i++) {
        malloc_trim(0);
        size_t before = test_resident();
        leave_dirty(5 * MIB); /* less than what may stay for a while */
        assert_int_equal(ctl_do(i < COUNT_OF(names) ? names[i] : all), 0);
        if (i == 2)
            assert_int_equal(ctl_do("thread.tcache.flush"), 0);
        assert_true(test_resident() < before + 2 * MIB);
    }
}

static void test_decay_by_arena(void **state)
{
    ssize_t before = ctl_ssize("arena.0.dirty_decay_ms");
    (void)state;

    assert_int_equal(before, ctl_ssize("opt.dirty_decay_ms"));
    assert_int_equal(ctl_ssize("arenas.dirty_decay_ms"), before);
    /* Of arenas to come. */
    assert_int_equal(ctl_set_ssize("arenas.dirty_decay_ms", 0), 0);
    unsigned a = ctl_unsigned("arenas.create");
    assert_int_equal(ctl_ssize(ctl_name("arena.%zu.dirty_decay_ms", a, 0)), 0);
    assert_int_equal(ctl_ssize("arena.0.dirty_decay_ms"), before);
    assert_int_equal(ctl_set_ssize("arenas.dirty_decay_ms", before), 0);

    /* 0: what is freed goes in the free that frees it. */
    static void *block[1000];
    for (size_t i = 0; i < COUNT_OF(block); i++)
        memset(block[i] = mallocx(4096, MALLOCX_ARENA(a)), 1, 4096);
    size_t full = test_resident();
    for (size_t i = 0; i < COUNT_OF(block); i++)
        free(block[i]);
    assert_true(test_resident() + 3 * MIB < full);

    /* Never: it stays, until it is set anew. */
    assert_int_equal(ctl_set_ssize(ctl_name("arena.%zu.dirty_decay_ms", a, 0), -1), 0);
    for (size_t i = 0; i < COUNT_OF(block); i++)
        memset(block[i] = mallocx(4096, MALLOCX_ARENA(a)), 1, 4096);
    full = test_resident();
    for (size_t i = 0; i < COUNT_OF(block); i++)
        free(block[i]);
    nanosleep(&(struct timespec){1, 500000000}, NULL);
    assert_true(test_resident() + MIB > full);
    assert_int_equal(ctl_set_ssize(ctl_name("arena.%zu.dirty_decay_ms", a, 0), 1000), 0);
    assert_true(test_resident() + 3 * MIB < full);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", a, 0)), 0);
}

static unsigned threads_of_process(void)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, text, sizeof text - 1);

    REQUIRE(length > 0);
    close(fd);
    text[length] = '\0';
    return (unsigned)strtoul(strstr(text, "\nThreads:") + 9, NULL, 10);
}

static void test_the_helper_can_be_sent_away(void **state)
{
    (void)state;
    if (!ctl_bool("background_thread"))
        skip(); /* the run has it switched off */
    assert_int_equal(ctl_set_bool("background_thread", false), 0);
    assert_false(ctl_bool("background_thread"));
    assert_true(ctl_bool("opt.background_thread"));
    unsigned threads = threads_of_process();
    leave_dirty(5 * MIB);
    nanosleep(&(struct timespec){0, 100000000}, NULL);
    assert_int_equal(threads_of_process(), threads);
    assert_int_equal(ctl_size("stats.background_thread.num_threads"), 0);
    /* It takes up what has been freed meanwhile. */
    assert_int_equal(ctl_set_bool("background_thread", true), 0);
    assert_int_equal(threads_of_process(), threads + 1);
    leave_dirty(5 * MIB);
    assert_int_equal(threads_of_process(), threads + 1);
    assert_int_equal(ctl_size("stats.background_thread.num_threads"), 1);
    assert_int_equal(ctl_set_bool("background_thread", false), 0);
    assert_int_equal(threads_of_process(), threads);
    assert_int_equal(ctl_set_bool("background_thread", true), 0);
}

/* With no samples taken it changes nothing else. */
static void test_dumps_by_growth_can_be_switched(void **state)
{
    (void)state;
    bool before = ctl_bool("prof.gdump");
    assert_int_equal(ctl_set_bool("prof.gdump", !before), 0);
    assert_int_equal(ctl_bool("prof.gdump"), !before);
    assert_int_equal(ctl_set_bool("prof.gdump", before), 0);
    assert_int_equal(ctl_bool("prof.gdump"), before);
}

static void test_the_option_tells_how_many_arenas_there_are(void **state)
{
    (void)state;
    assert_true(ctl_unsigned("opt.narenas") >= 1);
    assert_true(ctl_unsigned("opt.narenas") <= ctl_unsigned("arenas.narenas"));
}

static void test_realloc_to_nothing_is_counted(void **state)
{
    size_t before = ctl_size("stats.zero_reallocs");
    (void)state;

    assert_null(realloc(malloc(10), opaque_size(0)));
    assert_int_equal(ctl_size("stats.zero_reallocs"), before + 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statistics_are_of_the_last_epoch),
        cmocka_unit_test(test_statistics_add_up),
        cmocka_unit_test(test_bins_count_their_blocks),
        cmocka_unit_test(test_a_thread_counts_its_bytes),
        cmocka_unit_test(test_a_thread_can_do_without_a_cache),
        cmocka_unit_test(test_purge_and_idle_return_memory),
        cmocka_unit_test(test_decay_by_arena),
        cmocka_unit_test(test_the_helper_can_be_sent_away),
        cmocka_unit_test(test_dumps_by_growth_can_be_switched),
        cmocka_unit_test(test_the_option_tells_how_many_arenas_there_are),
        cmocka_unit_test(test_realloc_to_nothing_is_counted),
    };

    test_begin();
    jemalloc_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
