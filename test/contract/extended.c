/* SPDX-License-Identifier: MIT */
/*
 * jemalloc's extended interface: mallocx and its family with every flag, explicit arenas,
 * explicit caches.  The bits of the flags are those of programs compiled with jemalloc's
 * own header, so they are written out as numbers here once.
 */
#include "jemalloc.h"

#include <fcntl.h>
#include <pthread.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* One of each kind of block, and the sizes around their borders. */
static const size_t sizes[] = {
    1,     8,     16,     17,     100,    112,    513,    4096,    5000,    32768,
    32769, 40000, 131072, 200000, 262144, 262145, 500000, 1048576, 1048577, 3000000,
};

static void test_flags_are_jemallocs_bits(void **state)
{
    (void)state;
    assert_int_equal(MALLOCX_LG_ALIGN(12), 12);
    assert_int_equal(MALLOCX_ALIGN(4096), 12);
    assert_int_equal(MALLOCX_ALIGN((size_t)1 << 40), 40);
    assert_int_equal(MALLOCX_ZERO, 0x40);
    assert_int_equal(MALLOCX_TCACHE_NONE, 0x100);
    assert_int_equal(MALLOCX_TCACHE(0), 0x200);
    assert_int_equal(MALLOCX_TCACHE(7), 0x900);
    assert_int_equal(MALLOCX_ARENA(0), 0x100000);
    assert_int_equal(MALLOCX_ARENA(5), 0x600000);
    assert_int_equal(MALLCTL_ARENAS_ALL, 4096);
    assert_int_equal(MALLCTL_ARENAS_DESTROYED, 4097);
}

static void test_version_is_that_of_the_header(void **state)
{
    const char *version = NULL;
    size_t length = sizeof version;
    char parts[32];

    (void)state;
    assert_int_equal(mallctl("version", &version, &length, NULL, 0), 0);
    assert_memory_equal(version, JEMALLOC_VERSION, strlen(JEMALLOC_VERSION));
    snprintf(parts, sizeof parts, "%d.%d.%d-%d-g%s", JEMALLOC_VERSION_MAJOR, JEMALLOC_VERSION_MINOR,
             JEMALLOC_VERSION_BUGFIX, JEMALLOC_VERSION_NREV, JEMALLOC_VERSION_GID);
    assert_string_equal(parts, JEMALLOC_VERSION);
}

static void test_what_nallocx_says_is_what_there_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (int lg = 0; lg <= 21; lg += 3) {
            int flags = MALLOCX_LG_ALIGN(lg);
            size_t told = nallocx(sizes[i], flags);
            void *p = mallocx(sizes[i], flags);

            assert_non_null(p);
            assert_int_equal((uintptr_t)p % ((size_t)1 << lg), 0);
            assert_true(told >= sizes[i]);
            assert_int_equal(sallocx(p, flags), told);
            assert_int_equal(malloc_usable_size(p), sallocx(p, 0));
            memset(p, 0xff, sallocx(p, 0));
            sdallocx(p, i % 2 ? sizes[i] : told, flags);
        }
    }
    assert_int_equal(nallocx(SIZE_MAX, 0), 0);
    assert_int_equal(nallocx((size_t)PTRDIFF_MAX + 1, 0), 0);
    assert_int_equal(nallocx(1, MALLOCX_LG_ALIGN(63)), 0);
}

static void test_what_cannot_be_had_is_null_and_errno_stays(void **state)
{
    void *p = mallocx(100, 0);
    (void)state;

    errno = TEST_ERRNO;
    assert_null(mallocx(opaque_size(SIZE_MAX), 0));
    assert_null(mallocx(opaque_size(PTRDIFF_MAX), MALLOCX_ZERO));
    assert_null(mallocx(1, MALLOCX_LG_ALIGN(62)));
    assert_null(rallocx(p, opaque_size(SIZE_MAX), 0));
    assert_null(mallocx(1, MALLOCX_ARENA(4000))); /* there is none of that index */
    assert_null(rallocx(p, 200, MALLOCX_ARENA(4000)));
    assert_int_equal(errno, TEST_ERRNO);
    dallocx(p, 0);
}

/* jemalloc ignores it. */
static void test_a_flag_without_a_meaning(void **state)
{
    (void)state;
    for (size_t size = 1; size < 100000; size = size * 2 + 1) {
        char *p = mallocx(size, 0x80);
        assert_non_null(p);
        memset(p, 1, size);
        dallocx(p, 0x80);
    }
}

static void test_rallocx_keeps_content_and_alignment(void **state)
{
    struct test_random random = {7};
    (void)state;

    for (int round = 0; round < 3000; round++) {
        size_t from = test_log_size(&random, 21), to = test_log_size(&random, 21);
        int lg = (int)test_below(&random, 14), flags = MALLOCX_LG_ALIGN(lg);
        void *p = mallocx(from, 0);

        assert_non_null(p);
        test_fill(p, from, (uint64_t)round);
        void *q = rallocx(p, to, flags);
        assert_non_null(q);
        assert_int_equal((uintptr_t)q % ((size_t)1 << lg), 0);
        assert_true(sallocx(q, 0) >= to);
        assert_true(test_intact(q, from < to ? from : to, from, (uint64_t)round));
        dallocx(q, flags);
    }
}

/* ---- arenas ------------------------------------------------------------------------------ */

static unsigned make_arena(void)
{
    return ctl_unsigned("arenas.create");
}

static void test_blocks_come_from_the_arena_named(void **state)
{
    unsigned a = make_arena(), b = make_arena();
    int in_a = MALLOCX_ARENA(a), in_b = MALLOCX_ARENA(b) | MALLOCX_TCACHE_NONE;
    (void)state;

    assert_int_not_equal(a, b);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *p = mallocx(sizes[i], in_a), *q = mallocx(sizes[i], in_b), *r = malloc(sizes[i]);
        assert_int_equal(ctl_arena_of(p), a);
        assert_int_equal(ctl_arena_of(q), b);
        assert_true(ctl_arena_of(r) < a && ctl_arena_of(r) < b);
        memset(p, 1, sizes[i]);
        memset(q, 2, sizes[i]);
        /* Moved to the other arena when it must move. */
        p = rallocx(p, sizes[i] * 3, in_b);
        assert_int_equal(*(char *)p, 1);
        assert_true(ctl_arena_of(p) == a || ctl_arena_of(p) == b);
        /* Freed in the usual way: it goes where it came from, and malloc does not get it. */
        free(p);
        free(q);
        void *s = malloc(sizes[i]);
        assert_true(ctl_arena_of(s) < a);
        free(s);
        free(r);
    }
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", a, 0)), 0);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", b, 0)), 0);
}

static size_t small_and_large(unsigned arena)
{
    ctl_epoch();
    return ctl_size(ctl_name("stats.arenas.%zu.small.allocated", arena, 0)) +
           ctl_size(ctl_name("stats.arenas.%zu.large.allocated", arena, 0));
}

enum { MANY = 30000 };

static void fill_arena(unsigned arena, int flags)
{
    struct test_random random = {arena};
    size_t bytes = 0;

    for (int i = 0; i < MANY; i++) {
        size_t size = test_log_size(&random, i % 100 == 0 ? 19 : 13);
        void *p = mallocx(size, MALLOCX_ARENA(arena) | flags);
        assert_non_null(p);
        memset(p, 3, size);
        bytes += size;
        if (i % 3 == 0)
            free(p);
    }
    assert_true(bytes > 20 * MIB);
}

static void test_reset_returns_everything(void **state)
{
    unsigned a = make_arena();
    (void)state;

    fill_arena(a, 0); /* what the descriptors take */
    assert_int_equal(ctl_do(ctl_name("arena.%zu.reset", a, 0)), 0);
    malloc_trim(0);
    size_t before = test_resident();
    for (int round = 0; round < 3; round++) {
        fill_arena(a, 0);
        void *huge = mallocx(20 * MIB, MALLOCX_ARENA(a));
        memset(huge, 1, 20 * MIB);
        assert_int_equal(ctl_arena_of(huge), a);
        assert_true(small_and_large(a) > 10 * MIB);
        assert_true(test_resident() > before + 30 * MIB);

        assert_int_equal(ctl_do(ctl_name("arena.%zu.reset", a, 0)), 0);
        assert_int_equal(small_and_large(a), 0);
        assert_true(ctl_bool(ctl_name("arena.%zu.initialized", a, 0)));
        assert_true(test_resident() < before + 4 * MIB);
    }
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", a, 0)), 0);
}

/* Bytes in use by a heap profile written now. */
static unsigned long long profiled(void)
{
    char path[] = "/tmp/extended.XXXXXX", text[256] = "";
    const char *name = path;
    unsigned long long objects = 0, bytes = 0;
    int fd = mkstemp(path);

    REQUIRE(fd >= 0 && mallctl("prof.dump", NULL, NULL, &name, sizeof name) == 0);
    close(fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    unlink(path);
    const char *total = strstr(text, "t*:");
    REQUIRE(total != NULL && sscanf(total, "t*: %llu: %llu", &objects, &bytes) == 2);
    return bytes;
}

static void test_reset_ends_the_samples_of_what_it_discards(void **state)
{
    static const char *const ways[] = {"arena.%zu.reset", "arena.%zu.destroy"};
    size_t every = 0, asked = 0;
    (void)state;

    assert_int_equal(mallctl("prof.reset", NULL, NULL, &every, sizeof every), 0);
    assert_int_equal(ctl_set_bool("prof.active", true), 0);
    unsigned other = make_arena();
    void *kept[2][COUNT_OF(sizes)];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        kept[0][i] = malloc(sizes[i]);
        kept[1][i] = mallocx(sizes[i], MALLOCX_ARENA(other) | MALLOCX_TCACHE_NONE);
        asked += 2 * sizes[i];
    }
    for (int round = 0; round < 4; round++) {
        unsigned a = make_arena();
        unsigned long long before = profiled();
        assert_true(before >= asked);
        for (size_t i = 0; i < COUNT_OF(sizes); i++)
            for (int n = 0; n < 3; n++)
                assert_non_null(
                    mallocx(sizes[i], MALLOCX_ARENA(a) | (n == 0 ? 0 : MALLOCX_TCACHE_NONE)));
        assert_true(profiled() >= before + asked);
        assert_int_equal(ctl_do(ctl_name(ways[round % 2], a, 0)), 0);
        assert_in_range(profiled(), before - 4096, before + 4096);
    }
    /* Nothing is left that could be stumbled over. */
    assert_int_equal(mallctl("prof.reset", NULL, NULL, &every, sizeof every), 0);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        free(kept[0][i]);
        dallocx(kept[1][i], MALLOCX_TCACHE_NONE);
    }
    assert_int_equal(ctl_set_bool("prof.active", false), 0);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", other, 0)), 0);
}

static void test_reset_leaves_others_alone(void **state)
{
    unsigned a = make_arena(), b = make_arena();
    static void *kept[2][1000];
    (void)state;

    for (size_t i = 0; i < 1000; i++) {
        kept[0][i] = mallocx(i * 50 + 1, MALLOCX_ARENA(b));
        kept[1][i] = malloc(i * 50 + 1);
        for (int k = 0; k < 2; k++)
            test_fill(kept[k][i], i * 50 + 1, i);
        assert_non_null(mallocx(i * 50 + 1, MALLOCX_ARENA(a)));
    }
    assert_int_equal(ctl_do(ctl_name("arena.%zu.reset", a, 0)), 0);
    fill_arena(a, 0);
    for (size_t i = 0; i < 1000; i++) {
        for (int k = 0; k < 2; k++) {
            assert_true(test_intact(kept[k][i], i * 50 + 1, i * 50 + 1, i));
            free(kept[k][i]);
        }
    }
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", a, 0)), 0);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", b, 0)), 0);
}

static void test_a_destroyed_arena_is_gone_and_its_index_used_again(void **state)
{
    unsigned a = make_arena(), b = make_arena();
    (void)state;

    fill_arena(a, 0);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", a, 0)), 0);
    assert_false(ctl_bool(ctl_name("arena.%zu.initialized", a, 0)));
    assert_true(ctl_bool("arena.4097.initialized"));
    assert_null(mallocx(1, MALLOCX_ARENA(a)));
    assert_int_equal(ctl_do(ctl_name("arena.%zu.reset", a, 0)), EFAULT);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", a, 0)), EFAULT);
    assert_int_equal(make_arena(), a);
    fill_arena(a, 0);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", a, 0)), 0);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", b, 0)), 0);
}

static void test_automatic_arenas_are_not_reset(void **state)
{
    (void)state;
    assert_int_equal(ctl_do("arena.0.reset"), EFAULT);
    assert_int_equal(ctl_do("arena.0.destroy"), EFAULT);
    assert_int_equal(ctl_do("arena.4096.reset"), EFAULT);
}

static void *allocate_bound(void *arg)
{
    unsigned a = *(unsigned *)arg, was = ctl_unsigned("thread.arena");

    REQUIRE(was != a);
    REQUIRE(ctl_set_unsigned("thread.arena", a) == 0);
    REQUIRE(ctl_unsigned("thread.arena") == a);
    for (int round = 0; round < 3; round++) {
        void *p[300];
        for (size_t i = 0; i < COUNT_OF(p); i++) {
            p[i] = malloc(i * 97 + 1);
            REQUIRE(ctl_arena_of(p[i]) == a);
            memset(p[i], 1, i * 97 + 1);
        }
        void *huge = malloc(3 * MIB);
        REQUIRE(ctl_arena_of(huge) == a);
        free(huge);
        for (size_t i = 0; i < COUNT_OF(p); i++)
            free(p[i]);
    }
    /* Bound, it cannot be destroyed, not even by the thread itself. */
    REQUIRE(ctl_do(ctl_name("arena.%zu.destroy", a, 0)) == EFAULT);
    /* What the thread's cache holds of it goes with a reset. */
    REQUIRE(ctl_do(ctl_name("arena.%zu.reset", a, 0)) == 0);
    void *p = malloc(100);
    REQUIRE(ctl_arena_of(p) == a);
    free(p);
    return NULL;
}

static void test_a_thread_takes_from_the_arena_it_is_bound_to(void **state)
{
    unsigned a = make_arena();
    pthread_t thread;
    (void)state;

    for (int i = 0; i < 5; i++) {
        assert_int_equal(pthread_create(&thread, NULL, allocate_bound, &a), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", a, 0)), 0);
    assert_int_equal(ctl_set_unsigned("thread.arena", 4000), EFAULT);
    unsigned mine = ctl_unsigned("thread.arena");
    assert_int_equal(ctl_set_unsigned("thread.arena", mine), 0);
    assert_int_equal(ctl_unsigned("thread.arena"), mine);
}

/* ---- caches ------------------------------------------------------------------------------ */

static void test_explicit_caches_serve_what_they_got(void **state)
{
    unsigned t = ctl_unsigned("tcache.create"), u = ctl_unsigned("tcache.create");
    (void)state;

    assert_int_not_equal(t, u);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *p = mallocx(sizes[i], MALLOCX_TCACHE(t)), *q = mallocx(sizes[i], MALLOCX_TCACHE(u));
        assert_non_null(p);
        assert_ptr_not_equal(p, q);
        memset(p, 1, sizes[i]);
        dallocx(p, MALLOCX_TCACHE(t));
        dallocx(q, MALLOCX_TCACHE(u));
        /* The last one in is the first one out. */
        if (sizes[i] <= 512 && !test_hostile_build())
            assert_ptr_equal(mallocx(sizes[i], MALLOCX_TCACHE(t)), p);
    }
    assert_int_equal(ctl_set_unsigned("tcache.flush", t), 0);
    assert_int_equal(ctl_set_unsigned("tcache.destroy", t), 0);
    assert_int_equal(ctl_set_unsigned("tcache.flush", t), EFAULT);
    assert_int_equal(ctl_set_unsigned("tcache.destroy", t), EFAULT);
    assert_int_equal(ctl_unsigned("tcache.create"), t); /* the number is free again */
    assert_int_equal(ctl_set_unsigned("tcache.destroy", t), 0);
    assert_int_equal(ctl_set_unsigned("tcache.destroy", u), 0);
    /* Without the cache, the blocks are served all the same. */
    void *p = mallocx(100, MALLOCX_TCACHE(t));
    assert_non_null(p);
    dallocx(p, MALLOCX_TCACHE(t));
}

static void *look_all_the_time(void *arg)
{
    while (!__atomic_load_n((bool *)arg, __ATOMIC_RELAXED)) {
        ctl_epoch();
        REQUIRE(ctl_do("arena.4096.purge") == 0);
    }
    return NULL;
}

static void test_caches_come_and_go_beside_reports(void **state)
{
    bool done = false;
    pthread_t thread;
    (void)state;

    assert_int_equal(pthread_create(&thread, NULL, look_all_the_time, &done), 0);
    for (int i = 0; i < 3000; i++) {
        unsigned t = ctl_unsigned("tcache.create");
        dallocx(mallocx(100, MALLOCX_TCACHE(t)), MALLOCX_TCACHE(t));
        assert_int_equal(ctl_set_unsigned("tcache.flush", t), 0);
        assert_int_equal(ctl_set_unsigned("tcache.destroy", t), 0);
    }
    __atomic_store_n(&done, true, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_a_cache_and_an_arena(void **state)
{
    unsigned a = make_arena(), t = ctl_unsigned("tcache.create");
    int flags = MALLOCX_ARENA(a) | MALLOCX_TCACHE(t);
    (void)state;

    for (int round = 0; round < 3; round++) {
        void *p[100];
        for (size_t i = 0; i < COUNT_OF(p); i++) {
            p[i] = mallocx(200, flags);
            assert_int_equal(ctl_arena_of(p[i]), a);
            memset(p[i], 1, 200);
        }
        for (size_t i = 0; i < COUNT_OF(p); i++)
            dallocx(p[i], flags);
        /* What waits in the cache does not outlive the arena's reset. */
        assert_int_equal(ctl_do(ctl_name("arena.%zu.reset", a, 0)), 0);
    }
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", a, 0)), 0);
    void *p = mallocx(200, MALLOCX_TCACHE(t));
    assert_true(ctl_arena_of(p) < a);
    dallocx(p, 0);
    assert_int_equal(ctl_set_unsigned("tcache.destroy", t), 0);
}

static void *share_a_cache(void *arg)
{
    unsigned t = *(unsigned *)arg;

    for (int i = 0; i < 20000; i++) {
        void *p = mallocx(64, MALLOCX_TCACHE(t));
        REQUIRE(p != NULL);
        memset(p, i, 64);
        REQUIRE(((char *)p)[63] == (char)i);
        dallocx(p, MALLOCX_TCACHE(t));
    }
    return NULL;
}

/* Against the rules; it must not cost more than speed. */
static void test_two_threads_may_err_and_share_one(void **state)
{
    unsigned t = ctl_unsigned("tcache.create");
    pthread_t thread[4];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(thread); i++)
        assert_int_equal(pthread_create(&thread[i], NULL, share_a_cache, &t), 0);
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(ctl_set_unsigned("tcache.destroy", t), 0);
}

/* ---- threads, forks ---------------------------------------------------------------------- */

static volatile bool stop;

static void *work_in_own_arena(void *arg)
{
    struct test_random random = {(uintptr_t)arg};

    while (!stop) {
        unsigned a = ctl_unsigned("arenas.create");
        for (int i = 0; i < 500; i++) {
            size_t size = test_log_size(&random, 15);
            void *p = mallocx(size, MALLOCX_ARENA(a));
            REQUIRE(p != NULL);
            test_fill(p, size, 5);
            REQUIRE(test_intact(p, size, size, 5));
            if (i % 2)
                free(p);
        }
        REQUIRE(ctl_do(ctl_name("arena.%zu.purge", a, 0)) == 0 || true);
        char path[64];
        snprintf(path, sizeof path, "arena.%u.%s", a, test_below(&random, 2) ? "reset" : "decay");
        REQUIRE(ctl_do(path) == 0);
        snprintf(path, sizeof path, "arena.%u.destroy", a);
        REQUIRE(ctl_do(path) == 0);
    }
    return NULL;
}

static void *work_as_usual(void *arg)
{
    struct test_random random = {(uintptr_t)arg};

    while (!stop) {
        void *p[50];
        for (size_t i = 0; i < COUNT_OF(p); i++)
            REQUIRE((p[i] = malloc(test_log_size(&random, 18))) != NULL);
        for (size_t i = 0; i < COUNT_OF(p); i++)
            free(p[i]);
        malloc_trim(0);
    }
    return NULL;
}

static void test_arenas_come_and_go_beside_work_purges_and_forks(void **state)
{
    pthread_t thread[4];
    (void)state;

    test_watch(120, "arenas beside forks");
    stop = false;
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        assert_int_equal(pthread_create(&thread[i], NULL, i < 2 ? work_in_own_arena : work_as_usual,
                                        (void *)(i + 1)),
                         0);
    for (int i = 0; i < 30; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            test_watch_child(60, "the child of a fork beside resets");
            unsigned a = ctl_unsigned("arenas.create");
            void *p = mallocx(1000, MALLOCX_ARENA(a));
            REQUIRE(p != NULL && ctl_arena_of(p) == a);
            REQUIRE(ctl_do(ctl_name("arena.%zu.destroy", a, 0)) == 0);
            ctl_epoch();
            REQUIRE(ctl_size("stats.allocated") > 0);
            _exit(0);
        }
        assert_true(test_exited_well(test_wait_watched(child)));
    }
    stop = true;
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    test_unwatch();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_are_jemallocs_bits),
        cmocka_unit_test(test_version_is_that_of_the_header),
        cmocka_unit_test(test_what_nallocx_says_is_what_there_is),
        cmocka_unit_test(test_what_cannot_be_had_is_null_and_errno_stays),
        cmocka_unit_test(test_a_flag_without_a_meaning),
        cmocka_unit_test(test_rallocx_keeps_content_and_alignment),
        cmocka_unit_test(test_blocks_come_from_the_arena_named),
        cmocka_unit_test(test_reset_returns_everything),
        cmocka_unit_test(test_reset_ends_the_samples_of_what_it_discards),
        cmocka_unit_test(test_reset_leaves_others_alone),
        cmocka_unit_test(test_a_destroyed_arena_is_gone_and_its_index_used_again),
        cmocka_unit_test(test_automatic_arenas_are_not_reset),
        cmocka_unit_test(test_a_thread_takes_from_the_arena_it_is_bound_to),
        cmocka_unit_test(test_explicit_caches_serve_what_they_got),
        cmocka_unit_test(test_caches_come_and_go_beside_reports),
        cmocka_unit_test(test_a_cache_and_an_arena),
        cmocka_unit_test(test_two_threads_may_err_and_share_one),
        cmocka_unit_test(test_arenas_come_and_go_beside_work_purges_and_forks),
    };

    test_begin();
    jemalloc_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
