/* SPDX-License-Identifier: MIT */
/*
 * mallctl: the names that programs read, with their types, and what each refuses and how.
 * (What they tell and do: control.c.)
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
    {"prof.active", 1},
    {"prof.lg_sample", 8},
    {"prof.interval", 8},
    {"prof.thread_active_init", 1},
    {"thread.prof.active", 1},
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
        "arena.0.extent_hooks", /* memory from elsewhere: doc/jemalloc-compat.md */
        "arena.4294967296.purge",
        "stats.arenas",
        "stats.arenas.0",
        "stats.arenas.3000.nthreads",
        "stats.arenas.0.bins.0",
        "stats.arenas.0.bins.999.nmalloc",
        "stats.arenas.0.lextents.999.nmalloc",
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

static void test_a_bool_is_any_byte(void **state)
{
    char seven = 7;
    bool was = ctl_bool("prof.active");
    (void)state;

    assert_int_equal(mallctl("prof.active", NULL, NULL, &seven, 1), 0);
    assert_true(ctl_bool("prof.active"));
    assert_int_equal(ctl_set_bool("prof.active", was), 0);
    assert_int_equal(ctl_bool("prof.active"), was);
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
    assert_int_equal(ctl_set_ssize("arena.0.dirty_decay_ms", 18446744072001), EFAULT);
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

/* Nothing is written where the old value could not be told. */
static void test_no_room_for_the_old_value(void **state)
{
    static const char *const names[] = {"arena.0.dirty_decay_ms", "arenas.dirty_decay_ms"};
    char old[16];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        ssize_t before = ctl_ssize(names[i]), other = before + 77;
        for (size_t bytes = 0; bytes <= sizeof old; bytes++) {
            size_t length = bytes;
            int err = mallctl(names[i], old, &length, &other, sizeof other);
            assert_int_equal(err, bytes == sizeof other ? 0 : EINVAL);
            assert_int_equal(length, bytes < sizeof other ? bytes : sizeof other);
            assert_int_equal(ctl_ssize(names[i]), bytes == sizeof other ? other : before);
            assert_int_equal(ctl_set_ssize(names[i], before), 0);
        }
    }
    /* A length without a value is none. */
    size_t length = sizeof(uint64_t);
    assert_int_equal(mallctl("epoch", old, &length, NULL, sizeof(uint64_t)), 0);
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
        assert_true(size < PTRDIFF_MAX / 1024); /* fit for sums */
        assert_int_equal(nallocx(size, 0), size);
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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_programs_read),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_null_where_there_must_be_something),
        cmocka_unit_test(test_read_only_write_only_neither),
        cmocka_unit_test(test_a_bool_is_any_byte),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_no_room_for_the_old_value),
        cmocka_unit_test(test_sizes_of_bins_by_mib),
        cmocka_unit_test(test_a_part_of_a_name),
        cmocka_unit_test(test_any_numbers_at_all),
        cmocka_unit_test(test_any_names_at_all),
    };

    test_begin();
    jemalloc_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
