/* SPDX-License-Identifier: MIT */
/*
 * Tests of meta.h.  Every object carries a mark of its owner from its first byte to its
 * last: two that overlapped, or one that was purged while it lived, would lose it.
 */
#include "unit.h"

#include "meta.h"

struct object {
    char *p;
    size_t bytes;
    uint64_t mark;
};

static void fill(const struct object *o)
{
    for (size_t i = 0; i < o->bytes; i++)
        o->p[i] = (char)(o->mark + i);
}

static bool intact(const struct object *o)
{
    for (size_t i = 0; i < o->bytes; i++)
        if (o->p[i] != (char)(o->mark + i))
            return false;
    return true;
}

static size_t live_bytes(void)
{
    size_t mapped, live;

    rcl_meta_usage(&mapped, &live);
    REQUIRE(live <= mapped);
    return live;
}

static size_t mapped_bytes(void)
{
    size_t mapped, live;

    rcl_meta_usage(&mapped, &live);
    return mapped;
}

TEST(nothing_is_mapped_before_the_first_object)
{
    assert_int_equal(live_bytes(), 0);
    assert_int_equal(mapped_bytes(), 0);
    assert_int_equal(rcl_meta_purge(0), 0);
}

TEST(every_size_is_aligned_and_usable)
{
    for (size_t bytes = 1; bytes <= RCL_META_MAX; bytes++) {
        size_t before = live_bytes();
        struct object o = {rcl_meta_alloc(bytes), bytes, bytes};

        assert_non_null(o.p);
        assert_int_equal((uintptr_t)o.p % RCL_CACHELINE, 0);
        assert_in_range(live_bytes() - before, bytes, bytes + RCL_CACHELINE - 1);
        fill(&o);
        assert_true(intact(&o));
        rcl_meta_free(o.p, bytes);
        assert_int_equal(live_bytes(), before);
    }
}

TEST(objects_of_one_size_do_not_share_a_byte)
{
    enum { N = 500 };
    static const size_t sizes[] = {1, 64, 65, 200, 1000, 2049, RCL_META_MAX};
    static struct object o[N];

    for (size_t s = 0; s < array_len(sizes); s++) {
        for (size_t i = 0; i < N; i++) {
            o[i] = (struct object){rcl_meta_alloc(sizes[s]), sizes[s], i * 7};
            assert_non_null(o[i].p);
            fill(&o[i]);
        }
        for (size_t i = 0; i < N; i++) {
            assert_true(intact(&o[i]));
            rcl_meta_free(o[i].p, o[i].bytes);
        }
    }
    assert_int_equal(live_bytes(), 0);
}

TEST(what_was_freed_is_used_again)
{
    /* More rounds than the mapping has room for objects. */
    size_t mapped = mapped_bytes();

    for (size_t i = 0; i < 10000; i++) {
        void *p = rcl_meta_alloc(1000);
        assert_non_null(p);
        rcl_meta_free(p, 1000);
    }
    assert_int_equal(mapped_bytes(), mapped);
}

TEST(purging_returns_empty_blocks_and_nothing_else)
{
    enum { N = 3000 };
    static struct object o[N];

    rcl_meta_purge(0);
    for (size_t i = 0; i < N; i++) {
        o[i] = (struct object){rcl_meta_alloc(512), 512, i};
        assert_non_null(o[i].p);
        fill(&o[i]);
    }
    /* Nothing is empty yet. */
    assert_int_equal(rcl_meta_purge(0), 0);

    /* One survivor in a hundred. */
    for (size_t i = 0; i < N; i++)
        if (i % 100 != 0)
            rcl_meta_free(o[i].p, 512);
    size_t empty = rcl_meta_purge(0);
    assert_in_range(empty, 1, N * 512);
    for (size_t i = 0; i < N; i += 100) {
        assert_true(intact(&o[i]));
        rcl_meta_free(o[i].p, 512);
    }
    assert_int_equal(live_bytes(), 0);
    assert_true(rcl_meta_purge(0) > 0);
    assert_int_equal(rcl_meta_purge(0), 0);
    /* What objects were on is resident no more. */
    for (size_t i = 0; i < N; i++) {
        char *page = o[i].p - (uintptr_t)o[i].p % rcl_page_size();
        assert_int_equal(unit_resident(page, rcl_page_size()), 0);
    }
    /* And it can be used again. */
    for (size_t i = 0; i < N; i++) {
        o[i] = (struct object){rcl_meta_alloc(512), 512, i};
        fill(&o[i]);
    }
    for (size_t i = 0; i < N; i++) {
        assert_true(intact(&o[i]));
        rcl_meta_free(o[i].p, 512);
    }
}

TEST(a_little_may_be_kept)
{
    rcl_meta_purge(0);
    void *p = rcl_meta_alloc(64);
    assert_non_null(p);
    rcl_meta_free(p, 64);
    assert_int_equal(rcl_meta_purge(MIB), 0);
    assert_true(rcl_meta_purge(0) > 0);
}

TEST(random_objects)
{
    enum { N = 400 };
    static struct object o[N];
    struct unit_random random = unit_random_start();

    memset(o, 0, sizeof o);
    for (int step = 0; step < 100000; step++) {
        struct object *x = &o[unit_below(&random, N)];

        if (x->p != NULL) {
            assert_true(intact(x));
            rcl_meta_free(x->p, x->bytes);
            x->p = NULL;
        } else {
            size_t bytes = 1 + unit_below(&random, (size_t)64 << unit_below(&random, 7));
            *x = (struct object){rcl_meta_alloc(bytes), bytes, unit_next(&random)};
            assert_non_null(x->p);
            fill(x);
        }
        if (unit_below(&random, 1000) == 0)
            rcl_meta_purge(unit_below(&random, 2) * 64 * KIB);
    }
    for (size_t i = 0; i < N; i++) {
        if (o[i].p != NULL) {
            assert_true(intact(&o[i]));
            rcl_meta_free(o[i].p, o[i].bytes);
        }
    }
    assert_int_equal(live_bytes(), 0);
}

/* --- out of memory -------------------------------------------------------------------------- */

static void use_all_memory(void *arg)
{
    enum { N = 20000 };
    static struct object o[N];
    size_t n = 0;

    (void)arg;
    unit_limit_memory(4 * MIB);
    for (; n < N; n++) {
        o[n] = (struct object){rcl_meta_alloc(1024), 1024, n};
        if (o[n].p == NULL)
            break;
        fill(&o[n]);
    }
    REQUIRE(n >= 1024 && n < N); /* a MiB at least, of the four */
    REQUIRE(rcl_meta_alloc(1024) == NULL);
    size_t live = live_bytes();

    /* What is given back can be had again, in another size too once a block is empty. */
    rcl_meta_free(o[n - 1].p, 1024);
    o[n - 1].p = rcl_meta_alloc(1024);
    REQUIRE(o[n - 1].p != NULL && live_bytes() == live);
    fill(&o[n - 1]);
    for (size_t i = 0; i < n / 2; i++)
        rcl_meta_free(o[i].p, 1024);
    void *other = rcl_meta_alloc(RCL_META_MAX);
    REQUIRE(other != NULL);
    rcl_meta_free(other, RCL_META_MAX);
    for (size_t i = n / 2; i < n; i++) {
        REQUIRE(intact(&o[i]));
        rcl_meta_free(o[i].p, 1024);
    }
    REQUIRE(live_bytes() == 0);
    unit_unlimit_memory();
    for (size_t i = 0; i < 2 * n; i++)
        REQUIRE(rcl_meta_alloc(1024) != NULL);
}

TEST(out_of_memory_is_null)
{
    unit_child_passes(use_all_memory, NULL);
}

static size_t tables_seen;

static void see_table(void *arg, const void *addr, size_t bytes)
{
    const char *table = arg;

    tables_seen += table >= (const char *)addr && table < (const char *)addr + bytes;
}

TEST(a_table_is_zeroed_counted_and_seen)
{
    enum { BYTES = 100000 };
    size_t mapped, live, mapped_now, live_now;

    rcl_meta_usage(&mapped, &live);
    char *table = rcl_meta_table(BYTES, "a table");
    assert_non_null(table);
    assert_int_equal((uintptr_t)table % RCL_CACHELINE, 0);
    for (size_t i = 0; i < BYTES; i++)
        assert_int_equal(table[i], 0);
    table[BYTES - 1] = 1;
    rcl_meta_usage(&mapped_now, &live_now);
    assert_in_range(mapped_now - mapped, BYTES, BYTES + 2 * rcl_page_size());
    assert_int_equal(live_now - live, mapped_now - mapped);
    tables_seen = 0;
    rcl_meta_each(see_table, table);
    assert_int_equal(tables_seen, 1);
    assert_null(rcl_meta_table((size_t)1 << 60, "too large"));
}

/* --- threads ------------------------------------------------------------------------------ */

static void *work(void *arg)
{
    enum { N = 100 };
    struct object o[N] = {{NULL, 0, 0}};
    struct unit_random random = {(uintptr_t)arg};

    for (int step = 0; step < 20000; step++) {
        struct object *x = &o[unit_below(&random, N)];
        if (x->p != NULL) {
            REQUIRE(intact(x));
            rcl_meta_free(x->p, x->bytes);
            x->p = NULL;
        } else {
            size_t bytes = 1 + unit_below(&random, 600);
            *x = (struct object){rcl_meta_alloc(bytes), bytes, unit_next(&random)};
            REQUIRE(x->p != NULL);
            fill(x);
        }
        if (step % 500 == 0)
            rcl_meta_purge(0);
    }
    for (size_t i = 0; i < N; i++)
        if (o[i].p != NULL)
            rcl_meta_free(o[i].p, o[i].bytes);
    return NULL;
}

TEST(several_threads)
{
    char args[4];

    unit_threads(4, work, args, 1);
    assert_int_equal(live_bytes(), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_mapped_before_the_first_object),
        cmocka_unit_test(every_size_is_aligned_and_usable),
        cmocka_unit_test(objects_of_one_size_do_not_share_a_byte),
        cmocka_unit_test(what_was_freed_is_used_again),
        cmocka_unit_test(purging_returns_empty_blocks_and_nothing_else),
        cmocka_unit_test(a_little_may_be_kept),
        cmocka_unit_test(random_objects),
        cmocka_unit_test(out_of_memory_is_null),
        cmocka_unit_test(several_threads),
        cmocka_unit_test(a_table_is_zeroed_counted_and_seen),
    };

    rcl_os_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
