/* SPDX-License-Identifier: MIT */
/*
 * mallctl: the names that programs read, with their types; what each refuses and how; and
 * that what they tell is so.
 */
#include "jemalloc.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/*
 * What is read, with the bytes it has, by Redis, the Rust crate jemalloc-ctl, ClickHouse, TiKV,
 * RocksDB, folly, Arrow, MariaDB, Envoy, Dragonfly and the monitoring of others.
 */
static const struct {
    const char *name;
    size_t bytes;
} read_by_programs[] = {
    {"version", 8},
    {"epoch", 8},
    {"background_thread", 1},
    {"max_background_threads", 8},
    {"config.cache_oblivious", 1},
    {"config.debug", 1},
    {"config.fill", 1},
    {"config.lazy_lock", 1},
    {"config.malloc_conf", 8},
    {"config.prof", 1},
    {"config.prof_libgcc", 1},
    {"config.prof_libunwind", 1},
    {"config.stats", 1},
    {"config.utrace", 1},
    {"config.xmalloc", 1},
    {"opt.abort", 1},
    {"opt.abort_conf", 1},
    {"opt.confirm_conf", 1},
    {"opt.metadata_thp", 8},
    {"opt.retain", 1},
    {"opt.dss", 8},
    {"opt.narenas", 4},
    {"opt.percpu_arena", 8},
    {"opt.oversize_threshold", 8},
    {"opt.background_thread", 1},
    {"opt.max_background_threads", 8},
    {"opt.dirty_decay_ms", 8},
    {"opt.muzzy_decay_ms", 8},
    {"opt.lg_extent_max_active_fit", 8},
    {"opt.stats_print", 1},
    {"opt.stats_print_opts", 8},
    {"opt.junk", 8},
    {"opt.zero", 1},
    {"opt.utrace", 1},
    {"opt.xmalloc", 1},
    {"opt.tcache", 1},
    {"opt.tcache_max", 8},
    {"opt.thp", 8},
    {"opt.prof", 1},
    {"opt.prof_active", 1},
    {"opt.prof_prefix", 8},
    {"opt.lg_prof_sample", 8},
    {"opt.lg_prof_interval", 8},
    {"opt.prof_final", 1},
    {"opt.prof_leak", 1},
    {"opt.prof_accum", 1},
    {"opt.prof_gdump", 1},
    {"opt.prof_thread_active_init", 1},
    {"opt.zero_realloc", 8},
    {"thread.arena", 4},
    {"thread.allocated", 8},
    {"thread.allocatedp", 8},
    {"thread.deallocated", 8},
    {"thread.deallocatedp", 8},
    {"thread.peak.read", 8},
    {"thread.tcache.enabled", 1},
    {"arena.0.initialized", 1},
    {"arena.4096.initialized", 1},
    {"arena.0.dss", 8},
    {"arena.0.dirty_decay_ms", 8},
    {"arena.0.muzzy_decay_ms", 8},
    {"arenas.narenas", 4},
    {"arenas.dirty_decay_ms", 8},
    {"arenas.muzzy_decay_ms", 8},
    {"arenas.quantum", 8},
    {"arenas.page", 8},
    {"arenas.tcache_max", 8},
    {"arenas.nbins", 4},
    {"arenas.nhbins", 4},
    {"arenas.bin.0.size", 8},
    {"arenas.bin.0.nregs", 4},
    {"arenas.bin.0.slab_size", 8},
    {"arenas.nlextents", 4},
    {"arenas.lextent.0.size", 8},
    {"stats.allocated", 8},
    {"stats.active", 8},
    {"stats.metadata", 8},
    {"stats.metadata_thp", 8},
    {"stats.resident", 8},
    {"stats.mapped", 8},
    {"stats.retained", 8},
    {"stats.zero_reallocs", 8},
    {"stats.background_thread.num_threads", 8},
    {"stats.background_thread.num_runs", 8},
    {"stats.background_thread.run_interval", 8},
    {"stats.arenas.0.nthreads", 4},
    {"stats.arenas.0.dss", 8},
    {"stats.arenas.0.dirty_decay_ms", 8},
    {"stats.arenas.0.muzzy_decay_ms", 8},
    {"stats.arenas.0.uptime", 8},
    {"stats.arenas.4096.pactive", 8},
    {"stats.arenas.4096.pdirty", 8},
    {"stats.arenas.4096.pmuzzy", 8},
    {"stats.arenas.4096.dirty_npurge", 8},
    {"stats.arenas.4096.dirty_nmadvise", 8},
    {"stats.arenas.4096.dirty_purged", 8},
    {"stats.arenas.4096.muzzy_npurge", 8},
    {"stats.arenas.4096.muzzy_nmadvise", 8},
    {"stats.arenas.4096.muzzy_purged", 8},
    {"stats.arenas.4096.mapped", 8},
    {"stats.arenas.4096.retained", 8},
    {"stats.arenas.4096.base", 8},
    {"stats.arenas.4096.internal", 8},
    {"stats.arenas.4096.metadata_thp", 8},
    {"stats.arenas.4096.tcache_bytes", 8},
    {"stats.arenas.4096.resident", 8},
    {"stats.arenas.4096.small.allocated", 8},
    {"stats.arenas.4096.small.nmalloc", 8},
    {"stats.arenas.4096.small.ndalloc", 8},
    {"stats.arenas.4096.small.nrequests", 8},
    {"stats.arenas.4096.small.nfills", 8},
    {"stats.arenas.4096.small.nflushes", 8},
    {"stats.arenas.4096.large.allocated", 8},
    {"stats.arenas.4096.large.nmalloc", 8},
    {"stats.arenas.4096.large.ndalloc", 8},
    {"stats.arenas.4096.large.nrequests", 8},
    {"stats.arenas.4096.bins.0.nmalloc", 8},
    {"stats.arenas.4096.bins.0.ndalloc", 8},
    {"stats.arenas.4096.bins.0.nrequests", 8},
    {"stats.arenas.4096.bins.0.curregs", 8},
    {"stats.arenas.4096.bins.0.curslabs", 8},
    {"stats.arenas.4096.bins.0.nonfull_slabs", 8},
    {"stats.arenas.4096.lextents.0.nmalloc", 8},
    {"stats.arenas.4096.lextents.0.curlextents", 8},
};

/* Each answers with its own length, by name and by number; too much or too little is EINVAL. */
static void test_names_that_programs_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(read_by_programs); i++) {
        const char *name = read_by_programs[i].name;
        size_t mib[8], depth = COUNT_OF(mib), bytes = read_by_programs[i].bytes, length = bytes;
        unsigned char value[64], again[64];

        int err = mallctl(name, value, &length, NULL, 0);
        if (err != 0)
            print_message("%s: %s\n", name, strerror(err));
        assert_int_equal(err, 0);
        assert_int_equal(length, bytes);
        assert_int_equal(mallctl(name, NULL, NULL, NULL, 0), 0);

        assert_int_equal(mallctlnametomib(name, mib, &depth), 0);
        assert_int_equal(mallctlbymib(mib, depth, again, &length, NULL, 0), 0);
        if (strncmp(name, "thread.", 7) != 0) /* this test itself allocates */
            assert_memory_equal(value, again, bytes);

        length = bytes + 1;
        memset(value, 0xee, sizeof value);
        assert_int_equal(mallctl(name, value, &length, NULL, 0), EINVAL);
        assert_int_equal(length, bytes);
        assert_int_equal(value[bytes], 0xee);
        length = bytes - 1;
        assert_int_equal(mallctl(name, value, &length, NULL, 0), EINVAL);
        assert_int_equal(length, bytes - 1);
        length = 0;
        assert_int_equal(mallctl(name, value, &length, NULL, 0), EINVAL);
        assert_int_equal(length, 0);
    }
}

static void test_unknown_names(void **state)
{
    static const char *const unknown[] = {
        "",
        ".",
        "..",
        "version.",
        ".version",
        "versio",
        "versions",
        "Version",
        "version.x",
        "opt",
        "opt.",
        "opt.nothing",
        "arenas",
        "arenas.",
        "arenas..narenas",
        "arenas.bin",
        "arenas.bin.0",
        "arenas.bin.x.size",
        "arenas.bin.-1.size",
        "arenas.bin.999.size",
        "arenas.bin.0.size.0",
        "arenas.bin.18446744073709551616.size",
        "arenas.bin..size",
        "arena",
        "arena.0",
        "arena.x.purge",
        "arena.5000.purge",
        "arena.4098.purge",
        "arena.0.nothing",
        "arena.4294967296.purge",
        "stats.arenas",
        "stats.arenas.0",
        "stats.arenas.3000.nthreads",
        "stats.arenas.0.bins.0",
        "stats.arenas.0.bins.999.nmalloc",
        "stats.arenas.0.lextents.99.nmalloc",
        "arenas.bin.<i>.size",
        "arena.<i>.purge",
        "prof.nothing",
        "thread",
        "thread.tcache",
        "a.b.c.d.e.f.g.h.i.j.k.l",
        "stats.arenas.0.bins.0.mutex.num_wait.x",
        "version\n",
        " version",
    };
    uint64_t value;
    size_t mib[8], length, depth;
    (void)state;

    for (size_t i = 0; i < COUNT_OF(unknown); i++) {
        length = sizeof value;
        if (mallctl(unknown[i], &value, &length, NULL, 0) != ENOENT)
            print_message("known: %s\n", unknown[i]);
        assert_int_equal(mallctl(unknown[i], &value, &length, NULL, 0), ENOENT);
        assert_int_equal(length, sizeof value);
        assert_int_equal(mallctl(unknown[i], NULL, NULL, &value, sizeof value), ENOENT);
    }
    depth = 8;
    assert_int_equal(mallctlnametomib("nothing", mib, &depth), ENOENT);
    assert_int_equal(depth, 8);
}

static void test_null_where_there_must_be_something(void **state)
{
    size_t mib[8], depth = 8, length = 8;
    uint64_t value = 0;
    (void)state;

    assert_int_equal(mallctl(opaque(NULL), &value, &length, NULL, 0), EINVAL);
    assert_int_equal(mallctlnametomib(opaque(NULL), mib, &depth), EINVAL);
    assert_int_equal(mallctlnametomib("version", opaque(NULL), &depth), EINVAL);
    assert_int_equal(mallctlnametomib("version", mib, opaque(NULL)), EINVAL);
    assert_int_equal(mallctlbymib(opaque(NULL), 1, &value, &length, NULL, 0), EINVAL);
    assert_int_equal(mallctlbymib(mib, 0, &value, &length, NULL, 0), ENOENT);
    /* Half of the question: nothing is told. */
    assert_int_equal(mallctl("epoch", &value, NULL, NULL, 0), 0);
    assert_int_equal(mallctl("epoch", NULL, &length, NULL, 0), 0);
}

static void test_read_only_write_only_neither(void **state)
{
    static const char *const read_only[] = {
        "version",           "opt.narenas",
        "config.debug",      "stats.allocated",
        "arenas.narenas",    "thread.allocated",
        "thread.allocatedp", "arena.0.initialized",
        "arenas.bin.3.size", "stats.arenas.0.bins.3.nmalloc",
    };
    static const char *const actions[] = {
        "thread.tcache.flush", "thread.idle",      "thread.peak.reset", "arena.0.purge",
        "arena.0.decay",       "arena.4096.purge", "arena.4096.decay",
    };
    static const char *const write_only[] = {"tcache.flush", "tcache.destroy"};
    uint64_t value = 0, before = ctl_unsigned("arenas.narenas");
    size_t length = 8;
    (void)state;

    for (size_t i = 0; i < COUNT_OF(read_only); i++) {
        for (size_t bytes = 0; bytes <= 8; bytes++)
            assert_int_equal(mallctl(read_only[i], NULL, NULL, &value, bytes), EPERM);
        assert_int_equal(mallctl(read_only[i], NULL, NULL, NULL, 8), EPERM);
    }
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        assert_int_equal(mallctl(actions[i], &value, &length, NULL, 0), EPERM);
        assert_int_equal(mallctl(actions[i], NULL, &length, NULL, 0), EPERM);
        assert_int_equal(mallctl(actions[i], NULL, NULL, &value, 8), EPERM);
        assert_int_equal(ctl_do(actions[i]), 0);
    }
    for (size_t i = 0; i < COUNT_OF(write_only); i++) {
        assert_int_equal(mallctl(write_only[i], &value, &length, NULL, 0), EPERM);
        assert_int_equal(mallctl(write_only[i], NULL, NULL, NULL, 0), EINVAL);
        assert_int_equal(mallctl(write_only[i], NULL, NULL, &value, 8), EINVAL);
    }
    /* What makes something makes nothing when it could not be told. */
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "arenas.create" : "tcache.create";
        length = 8;
        assert_int_equal(mallctl(name, &value, &length, NULL, 0), EINVAL);
        assert_int_equal(length, 0);
        assert_int_equal(mallctl(name, NULL, NULL, NULL, 0), EINVAL);
    }
    assert_int_equal(ctl_unsigned("arenas.narenas"), before);
    /* Hooks for other memory: refused, not ignored. */
    void *hooks = &value;
    unsigned index;
    length = sizeof index;
    assert_int_equal(mallctl("arenas.create", &index, &length, &hooks, sizeof hooks), EFAULT);
    hooks = NULL;
    length = sizeof index;
    assert_int_equal(mallctl("arenas.create", &index, &length, &hooks, sizeof hooks), 0);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", index, 0)), 0);
}

static void test_wrong_values(void **state)
{
    void *p = &state, *nothing = NULL;
    unsigned index;
    size_t length = sizeof index;
    (void)state;

    assert_int_equal(ctl_set_ssize("arena.0.dirty_decay_ms", -2), EFAULT);
    assert_int_equal(ctl_set_ssize("arenas.dirty_decay_ms", -2), EFAULT);
    assert_int_equal(ctl_set_ssize("arenas.muzzy_decay_ms", INT64_MIN), EFAULT);
    assert_int_equal(ctl_set_ssize("arena.0.dirty_decay_ms", INT64_MAX), EFAULT);
    assert_int_equal(ctl_set_unsigned("arena.0.dirty_decay_ms", 1), EINVAL); /* 4 bytes for 8 */
    assert_int_equal(ctl_set_ssize("arena.4096.dirty_decay_ms", 1), EFAULT);
    assert_int_equal(ctl_set_unsigned("tcache.flush", 4000), EFAULT);
    assert_int_equal(ctl_set_unsigned("tcache.destroy", UINT32_MAX), EFAULT);
    assert_int_equal(ctl_set_unsigned("thread.arena", UINT32_MAX), EFAULT);
    assert_int_equal(mallctl("arenas.lookup", &index, &length, &p, sizeof p), EINVAL);
    assert_int_equal(mallctl("arenas.lookup", &index, &length, &nothing, sizeof p), EINVAL);
    assert_int_equal(mallctl("arenas.lookup", &index, &length, NULL, 0), EINVAL);
    assert_int_equal(mallctl("arena.0.dss", NULL, NULL, &nothing, sizeof nothing), EINVAL);
    const char *primary = "primary", *disabled = "disabled";
    assert_int_equal(mallctl("arena.0.dss", NULL, NULL, &primary, sizeof primary), EFAULT);
    assert_int_equal(mallctl("arena.4096.dss", NULL, NULL, &disabled, sizeof disabled), 0);
}

/* ---- by number --------------------------------------------------------------------------- */

/* The manual's own example. */
static void test_sizes_of_bins_by_mib(void **state)
{
    size_t mib[4], depth = 4, last = 0, nbins = ctl_unsigned("arenas.nbins");
    (void)state;

    assert_int_equal(mallctlnametomib("arenas.bin.0.size", mib, &depth), 0);
    assert_int_equal(depth, 4);
    assert_int_equal(mib[2], 0);
    for (size_t i = 0; i < nbins; i++) {
        size_t size, length = sizeof size;
        mib[2] = i;
        assert_int_equal(mallctlbymib(mib, depth, &size, &length, NULL, 0), 0);
        assert_int_equal(size, ctl_size(ctl_name("arenas.bin.%zu.size", i, 0)));
        assert_true(size > last);
        last = size;
        void *p = malloc(size);
        assert_int_equal(malloc_usable_size(p), size);
        free(p);
        size_t slab = ctl_size(ctl_name("arenas.bin.%zu.slab_size", i, 0));
        unsigned nregs = ctl_unsigned(ctl_name("arenas.bin.%zu.nregs", i, 0));
        assert_true(nregs * size <= slab && nregs > 0);
    }
    mib[2] = nbins;
    assert_int_equal(mallctlbymib(mib, depth, NULL, NULL, NULL, 0), ENOENT);
    for (size_t i = 0; i < ctl_unsigned("arenas.nlextents"); i++) {
        size_t size = ctl_size(ctl_name("arenas.lextent.%zu.size", i, 0));
        assert_true(size > last);
        last = size;
    }
    assert_int_equal(ctl_size("arenas.quantum"), 16);
    assert_int_equal(ctl_size("arenas.page"), test_page());
}

static void test_a_part_of_a_name(void **state)
{
    size_t mib[8], whole[8], depth = 2, whole_depth = 8;
    (void)state;

    memset(mib, 0xee, sizeof mib);
    assert_int_equal(mallctlnametomib("stats.arenas.0.bins.5.nmalloc", whole, &whole_depth), 0);
    assert_int_equal(whole_depth, 6);
    assert_int_equal(whole[2], 0);
    assert_int_equal(whole[4], 5);
    assert_int_equal(mallctlnametomib("stats.arenas.0.bins.5.nmalloc", mib, &depth), 0);
    assert_int_equal(depth, 2);
    assert_memory_equal(mib, whole, 2 * sizeof mib[0]);
    assert_true(mib[2] == (size_t)0xeeeeeeeeeeeeeeee);
    depth = 8;
    assert_int_equal(mallctlnametomib("stats.arenas", mib, &depth), 0);
    assert_int_equal(depth, 2);
    assert_memory_equal(mib, whole, 2 * sizeof mib[0]);
    /* It names nothing that could be read. */
    assert_int_equal(mallctlbymib(mib, 2, NULL, NULL, NULL, 0), ENOENT);
    assert_int_equal(mallctlbymib(whole, 5, NULL, NULL, NULL, 0), ENOENT);
    assert_int_equal(mallctlbymib(whole, 7, NULL, NULL, NULL, 0), ENOENT);
}

static void test_any_numbers_at_all(void **state)
{
    struct test_random random = {11};
    size_t mib[9], known = 0;
    (void)state;

    for (int round = 0; round < 300000; round++) {
        unsigned char value[16];
        size_t depth = test_below(&random, 9), length = sizeof value;
        for (size_t i = 0; i < 9; i++)
            mib[i] = test_below(&random, 50) == 0 ? (size_t)test_next(&random)
                                                  : test_below(&random, 300);
        int err = mallctlbymib(mib, depth, value, &length, NULL, 0);
        known += err != ENOENT;
        assert_true(err == ENOENT || err == EINVAL || err == EPERM || err == EFAULT);
    }
    assert_true(known > 0);
}

/* Names put together from parts of names. */
static void test_any_names_at_all(void **state)
{
    static const char *const parts[] = {
        "stats",
        "arenas",
        "arena",
        "bins",
        "bin",
        "lextents",
        "size",
        "nmalloc",
        "opt",
        "thread",
        "tcache",
        "0",
        "1",
        "4096",
        "4097",
        "99999999999999999999",
        "-1",
        "",
        "version",
        "purge",
        "narenas",
        "flush",
        "create",
        "mutex",
        "0x",
        "0x1",
        "<i>",
        "\xff",
        "nonfull_slabs",
    };
    struct test_random random = {13};
    (void)state;

    for (int round = 0; round < 100000; round++) {
        char name[256] = "", value[16];
        size_t n = 1 + test_below(&random, 8), length = sizeof value, mib[8], depth = 8;
        for (size_t i = 0; i < n; i++) {
            strcat(name, parts[test_below(&random, COUNT_OF(parts))]);
            if (i + 1 < n || test_below(&random, 10) == 0)
                strcat(name, ".");
        }
        int err = mallctl(name, value, &length, NULL, 0);
        assert_true(err == ENOENT || err == EINVAL || err == EPERM || err == EFAULT);
        err = mallctlnametomib(name, mib, &depth);
        assert_true(err == 0 || err == ENOENT);
    }
}

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
    assert_true(ctl_u64("stats.arenas.4096.dirty_purged") * test_page() >= bytes / 2);
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
    size_t found = 0;
    for (unsigned k = 0; k < extents; k++)
        found += ctl_size(ctl_name("stats.arenas.%zu.lextents.%zu.curlextents", a, k));
    assert_int_equal(found, 2);
    assert_int_equal(
        ctl_size(ctl_name("stats.arenas.%zu.lextents.%zu.curlextents", a, extents - 2)), 1);
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
    assert_int_equal(ctl_set_bool("background_thread", true), 0);
    leave_dirty(5 * MIB);
    assert_int_equal(threads_of_process(), threads + 1);
    assert_int_equal(ctl_size("stats.background_thread.num_threads"), 1);
    assert_int_equal(ctl_set_bool("background_thread", false), 0);
    assert_int_equal(threads_of_process(), threads);
    assert_int_equal(ctl_set_bool("background_thread", true), 0);
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
        cmocka_unit_test(test_names_that_programs_read),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_null_where_there_must_be_something),
        cmocka_unit_test(test_read_only_write_only_neither),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_sizes_of_bins_by_mib),
        cmocka_unit_test(test_a_part_of_a_name),
        cmocka_unit_test(test_any_numbers_at_all),
        cmocka_unit_test(test_any_names_at_all),
        cmocka_unit_test(test_statistics_are_of_the_last_epoch),
        cmocka_unit_test(test_statistics_add_up),
        cmocka_unit_test(test_bins_count_their_blocks),
        cmocka_unit_test(test_a_thread_counts_its_bytes),
        cmocka_unit_test(test_a_thread_can_do_without_a_cache),
        cmocka_unit_test(test_purge_and_idle_return_memory),
        cmocka_unit_test(test_decay_by_arena),
        cmocka_unit_test(test_the_helper_can_be_sent_away),
        cmocka_unit_test(test_realloc_to_nothing_is_counted),
    };

    test_begin();
    jemalloc_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
