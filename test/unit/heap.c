/* SPDX-License-Identifier: MIT */
/*
 * Tests of heap.h: every kind of block by every way in and out, and what happens at the
 * edges: no memory, a closed gate, pointers that are no blocks.
 */
#include "unit.h"

#include "account.h"
#include "arena.h"
#include "boot.h"
#include "gate.h"
#include "heap.h"
#include "huge.h"
#include "options.h"
#include "pagemap.h"
#include "purge.h"
#include "thread.h"

/* Around every boundary between kinds, and some of each kind. */
static const size_t sizes[] = {
    0,       1,       15,      16,      17,      100,     511,     512,    513,
    1024,    1025,    4095,    4096,    4097,    16384,   32767,   32768,  32769,
    40000,   65536,   65537,   131072,  262143,  262144,  262145,  300000, 524288,
    1048575, 1048576, 1048577, 1200000, 2097152, 3000001, 5000000,
};

static unsigned kind(const void *p)
{
    return rcl_pagemap_class(p);
}

static size_t usable(const void *p)
{
    return rcl_heap_usable(p, "malloc_usable_size");
}

static void assert_block(const void *p, size_t size)
{
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % RCL_MIN_ALIGN, 0);
    assert_true(usable(p) >= size);
    assert_true(usable(p) >= 1);
}

static int set_up(void **state)
{
    static const struct rcl_options defaults = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#include "options.def"
#undef OPT
    };

    (void)state;
    rcl_opt = defaults;
    rcl_opt.background_thread = !UNIT_TSAN; /* its run time needs threads of libc's */
    errno = UNIT_ERRNO;
    return 0;
}

static void purge_all(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_purge_all(&rcl_tls);
    rcl_gate_leave(&rcl_tls.gate);
}

/* Blocks that are page runs, of all arenas. */
static int64_t runs_out(void)
{
    int64_t n = 0;

    for (unsigned i = 0; i < rcl_arena_count(); i++) {
        const struct rcl_large_stats *s = &rcl_arena_get(i)->runs.large;
        for (unsigned k = 0; k < RCL_RUN_KINDS; k++)
            n += (int64_t)(s->kind[k].taken - s->kind[k].given);
    }
    return n;
}

/* Nothing that was done has touched errno; all was given back, and no count remembers it. */
static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(errno, UNIT_ERRNO);
    purge_all();
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), 0);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), 0);
    assert_int_equal(rcl_account_get(&rcl_account.hole_bytes), 0);
    assert_int_equal(rcl_account_get(&rcl_account.slab_pages), 0);
    assert_int_equal(runs_out(), 0);
    assert_int_equal(rcl_account_get(&rcl_account.cache_bytes), 0);
    return 0;
}

/* --- taking ------------------------------------------------------------------------------ */

TEST(every_size_is_aligned_and_usable)
{
    for (size_t i = 0; i < array_len(sizes); i++) {
        char *p = rcl_heap_alloc(sizes[i]);
        size_t n;

        assert_block(p, sizes[i]);
        n = usable(p);
        unit_stamp(p, n, i + 1);
        assert_int_equal(usable(p), n);
        assert_true(unit_stamped(p, n, i + 1));
        rcl_heap_free(p, "free");
    }
}

TEST(each_size_is_of_its_kind)
{
    for (size_t i = 0; i < array_len(sizes); i++) {
        void *p = rcl_heap_alloc(sizes[i]);

        if (sizes[i] <= RCL_SMALL_MAX)
            assert_int_equal(kind(p), rcl_class_of_small(sizes[i]));
        else if (sizes[i] <= RCL_MEDIUM_MAX)
            assert_int_equal(kind(p), rcl_class_of_medium(sizes[i]));
        else if (sizes[i] <= RCL_LARGE_MAX)
            assert_int_equal(kind(p), RCL_CLASS_LARGE);
        else
            assert_int_equal(kind(p), RCL_CLASS_HUGE);
        size_t whole = rcl_align_up(sizes[i], rcl_page_size());
        if (sizes[i] > RCL_LARGE_MAX) /* a kept block may be a little longer */
            assert_in_range(usable(p), whole, whole + whole / 7);
        else if (sizes[i] > RCL_MEDIUM_MAX)
            assert_int_equal(usable(p), whole);
        else
            assert_int_equal(usable(p), rcl_classes[kind(p)].size);
        rcl_heap_free(p, "free");
    }
}

TEST(blocks_do_not_overlap)
{
    enum { EACH = 3 };
    static char *block[array_len(sizes) * EACH];

    for (size_t i = 0; i < array_len(block); i++) {
        block[i] = rcl_heap_alloc(sizes[i / EACH]);
        assert_block(block[i], sizes[i / EACH]);
        unit_stamp(block[i], usable(block[i]), i + 1);
    }
    for (size_t i = 0; i < array_len(block); i++) {
        assert_true(unit_stamped(block[i], usable(block[i]), i + 1));
        rcl_heap_free(block[i], "free");
    }
}

TEST(aligned_blocks_of_every_kind)
{
    for (size_t align = 1; align <= 4 * MIB; align *= 2) {
        void *block[array_len(sizes)];

        for (size_t i = 0; i < array_len(sizes); i++) {
            block[i] = rcl_heap_alloc_aligned(align, sizes[i]);
            assert_block(block[i], sizes[i]);
            assert_int_equal((uintptr_t)block[i] % align, 0);
            unit_stamp(block[i], usable(block[i]), i + align);
        }
        for (size_t i = 0; i < array_len(sizes); i++) {
            assert_true(unit_stamped(block[i], usable(block[i]), i + align));
            rcl_heap_free(block[i], "free");
        }
    }
}

TEST(an_alignment_that_no_address_has_is_no_memory)
{
    assert_null(rcl_heap_alloc_aligned((size_t)1 << 62, 100));
    void *p = rcl_heap_alloc_aligned((size_t)1 << 30, 100);
    if (p != NULL) {
        assert_int_equal((uintptr_t)p % ((size_t)1 << 30), 0);
        rcl_heap_free(p, "free");
    }
}

TEST(zero_means_zero_after_dirty_use)
{
    /* With and without caches: blocks come by different ways. */
    for (int cache = 0; cache < 2; cache++) {
        rcl_opt.tcache = cache;
        for (size_t i = 0; i < array_len(sizes); i++) {
            void *dirty[4];
            for (size_t j = 0; j < array_len(dirty); j++) {
                dirty[j] = rcl_heap_alloc(sizes[i]);
                memset(dirty[j], 0xa5, usable(dirty[j]));
            }
            for (size_t j = 0; j < array_len(dirty); j++)
                rcl_heap_free(dirty[j], "free");
            for (size_t j = 0; j < array_len(dirty); j++) {
                dirty[j] = rcl_heap_alloc_zero(sizes[i]);
                assert_block(dirty[j], sizes[i]);
                assert_true(unit_zero(dirty[j], sizes[i]));
                memset(dirty[j], 0x5a, usable(dirty[j]));
            }
            for (size_t j = 0; j < array_len(dirty); j++)
                rcl_heap_free(dirty[j], "free");
        }
    }
}

/* A run of which one part was used before and another was not. */
TEST(zero_over_pages_of_both_sorts)
{
    rcl_opt.tcache = 0;
    for (size_t bytes = 64 * KIB; bytes <= 512 * KIB; bytes *= 2) {
        char *p = rcl_heap_alloc(bytes), *q = rcl_heap_alloc(bytes);
        memset(p, 0xa5, bytes);
        memset(q, 0xa5, bytes / 2);
        rcl_heap_free(p, "free");
        rcl_heap_free(q, "free");
        char *z = rcl_heap_alloc_zero(2 * bytes - 1000);
        assert_block(z, 2 * bytes - 1000);
        assert_true(unit_zero(z, 2 * bytes - 1000));
        memset(z, 0xa5, 2 * bytes - 1000);
        rcl_heap_free(z, "free");
    }
}

TEST(more_than_there_are_addresses_is_null)
{
    static const size_t much[] = {SIZE_MAX, SIZE_MAX - 4095, (size_t)1 << 63, (size_t)1 << 48,
                                  PTRDIFF_MAX};

    for (size_t i = 0; i < array_len(much); i++) {
        assert_null(rcl_heap_alloc(much[i]));
        assert_null(rcl_heap_alloc_zero(much[i]));
        assert_null(rcl_heap_alloc_aligned(64, much[i]));
        assert_null(rcl_heap_alloc_aligned(MIB, much[i]));
        assert_int_equal(rcl_tls.busy, 0);
        assert_int_equal(rcl_tls.gate.inside, 0);
        void *p = rcl_heap_alloc(100);
        unit_stamp(p, 100, 5);
        assert_null(rcl_heap_realloc(p, much[i]));
        assert_true(unit_stamped(p, 100, 5));
        rcl_heap_free(p, "free");
    }
}

TEST(nothing_is_freed_by_freeing_null)
{
    rcl_heap_free(NULL, "free");
    assert_int_equal(rcl_tls.busy, 0);
}

/* --- realloc ----------------------------------------------------------------------------- */

TEST(realloc_from_every_size_to_every_other)
{
    for (size_t i = 0; i < array_len(sizes); i++) {
        for (size_t j = 0; j < array_len(sizes); j++) {
            size_t from = sizes[i], to = rcl_max(sizes[j], 1), both;
            char *p = rcl_heap_alloc(from);

            both = rcl_min(usable(p), to);
            unit_stamp(p, both, i * 1000 + j);
            p = rcl_heap_realloc(p, to);
            assert_block(p, to);
            assert_true(unit_stamped(p, both, i * 1000 + j));
            unit_stamp(p, usable(p), 1);
            assert_true(unit_stamped(p, usable(p), 1));
            rcl_heap_free(p, "free");
        }
    }
}

TEST(realloc_to_what_fits_stays)
{
    for (size_t i = 0; i < array_len(sizes); i++) {
        char *p = rcl_heap_alloc(sizes[i]);

        assert_ptr_equal(rcl_heap_realloc(p, usable(p)), p);
        assert_ptr_equal(rcl_heap_realloc(p, rcl_max(sizes[i], 1)), p);
        rcl_heap_free(p, "free");
    }
}

TEST(realloc_gives_back_what_is_much_too_large)
{
    for (size_t i = 0; i < array_len(sizes); i++) {
        char *p = rcl_heap_alloc(sizes[i]);
        size_t to = rcl_max(sizes[i] / 4, 1);

        p = rcl_heap_realloc(p, to);
        assert_block(p, to);
        if (to > RCL_MIN_ALIGN)
            assert_true(usable(p) <= to + to / 3 + rcl_page_size());
        rcl_heap_free(p, "free");
    }
}

TEST(a_growing_run_seldom_moves)
{
    size_t moves = 0, size = RCL_SMALL_MAX + 1;
    char *p = rcl_heap_alloc(size);

    unit_stamp(p, size, 3);
    for (; size <= RCL_LARGE_MAX; size += 4 * KIB) {
        char *q = rcl_heap_realloc(p, size);
        moves += q != p;
        p = q;
        assert_block(p, size);
    }
    assert_true(unit_stamped(p, RCL_SMALL_MAX + 1, 3));
    /* A class after the other would be 24 moves. */
    assert_in_range(moves, 0, 6);
    rcl_heap_free(p, "free");
}

TEST(a_growing_block_keeps_its_content)
{
    char *p = rcl_heap_alloc(1);
    size_t n = 1;

    p[0] = 1;
    for (size_t next; n < 8 * MIB; n = next) {
        next = n + n / 3 + 1;
        p = rcl_heap_realloc(p, next);
        assert_block(p, next);
        for (size_t at = 0; at < n; at += 1 + n / 100)
            assert_int_equal((unsigned char)p[at], (unsigned char)(at * 7 + 1));
        for (size_t at = 0; at < next; at++)
            p[at] = (char)(at * 7 + 1);
    }
    for (; n > 1; n /= 3) {
        p = rcl_heap_realloc(p, n);
        for (size_t at = 0; at < n; at++)
            if ((unsigned char)p[at] != (unsigned char)(at * 7 + 1))
                fail();
    }
    rcl_heap_free(p, "free");
}

TEST(what_a_large_block_has_grown_into_can_be_zeroed)
{
    for (int i = 0; i < 4; i++) {
        char *p = rcl_heap_alloc(300 * KIB);
        memset(p, 0xee, 300 * KIB);
        p = rcl_heap_realloc(p, 900 * KIB);
        memset(p, 0xee, 900 * KIB);
        p = rcl_heap_realloc(p, 300 * KIB);
        char *z = rcl_heap_alloc_zero(500 * KIB);
        assert_true(unit_zero(z, 500 * KIB));
        memset(z, 0xee, 500 * KIB);
        rcl_heap_free(p, "free");
        rcl_heap_free(z, "free");
    }
}

/* --- a mixture --------------------------------------------------------------------------- */

struct entry {
    char *p;
    size_t size; /* stamped */
    uint64_t mark;
};

static size_t some_size(struct unit_random *random)
{
    size_t bits = 1 + unit_below(random, unit_below(random, 10) == 0 ? 22 : 15);

    return unit_below(random, (size_t)1 << bits);
}

static void step(struct entry *e, struct unit_random *random)
{
    static const size_t aligns[] = {16, 32, 64, 4096, 65536};
    size_t size = some_size(random);

    if (e->p == NULL) {
        size_t way = unit_below(random, 4);
        if (way == 0) {
            e->p = rcl_heap_alloc_zero(size);
            REQUIRE(unit_zero(e->p, size));
        } else if (way == 1) {
            size_t align = aligns[unit_below(random, array_len(aligns))];
            e->p = rcl_heap_alloc_aligned(align, size);
            REQUIRE((uintptr_t)e->p % align == 0);
        } else {
            e->p = rcl_heap_alloc(size);
        }
    } else {
        REQUIRE(unit_stamped(e->p, e->size, e->mark));
        if (unit_below(random, 3) != 0 || size == 0) {
            rcl_heap_free(e->p, "free");
            e->p = NULL;
            return;
        }
        size_t both = rcl_min(size, e->size);
        unit_stamp(e->p, both, ~e->mark);
        e->p = rcl_heap_realloc(e->p, size);
        REQUIRE(unit_stamped(e->p, both, ~e->mark));
    }
    REQUIRE(e->p != NULL && rcl_heap_usable(e->p, "x") >= size);
    e->size = size;
    e->mark = unit_next(random);
    unit_stamp(e->p, size, e->mark);
}

TEST(random_use)
{
    enum { N = 300 };
    static struct entry entry[N];
    struct unit_random random = unit_random_start();

    memset(entry, 0, sizeof entry);
    errno = UNIT_ERRNO;
    for (int i = 0; i < 60000; i++) {
        step(&entry[unit_below(&random, N)], &random);
        if (i % 10000 == 0)
            purge_all();
    }
    for (int i = 0; i < N; i++)
        rcl_heap_free(entry[i].p, "free");
    assert_int_equal(errno, UNIT_ERRNO);
}

enum { SHARED = 200 };
static struct entry shared[SHARED];
static uint32_t taken[SHARED];

static void *step_shared(void *arg)
{
    struct unit_random random = {(uintptr_t)arg};

    errno = UNIT_ERRNO;
    for (int i = 0; i < 15000; i++) {
        size_t at = unit_below(&random, SHARED);
        if (__atomic_exchange_n(&taken[at], 1, __ATOMIC_ACQUIRE) != 0)
            continue;
        step(&shared[at], &random);
        __atomic_store_n(&taken[at], 0, __ATOMIC_RELEASE);
    }
    REQUIRE(UNIT_TSAN || errno == UNIT_ERRNO); /* that sanitizer's memory functions may set it */
    return NULL;
}

TEST(random_use_by_threads_that_free_each_others_blocks)
{
    char args[4];

    unit_threads(4, step_shared, args, 1);
    for (int i = 0; i < SHARED; i++)
        if (shared[i].p != NULL) {
            assert_true(unit_stamped(shared[i].p, shared[i].size, shared[i].mark));
            rcl_heap_free(shared[i].p, "free");
        }
    errno = UNIT_ERRNO;
}

/* --- the gate is closed and stays so ----------------------------------------------------- */

/* Another thread forks, and does not get on. */
static void served_without_locks(void *arg)
{
    static struct rcl_gate_pass forker = {.shard = 33};
    static char *before[array_len(sizes)], *during[array_len(sizes)];
    struct rcl_huge_stats of_huge;

    (void)arg;
    rcl_opt.tcache = 0; /* every call goes the slow way */
    rcl_opt.background_thread = 0;
    for (size_t i = 0; i < array_len(sizes); i++) {
        before[i] = rcl_heap_alloc(sizes[i]);
        unit_stamp(before[i], sizes[i], i);
    }
    errno = UNIT_ERRNO;
    rcl_gate_close(&forker);
    for (size_t i = 0; i < array_len(sizes); i++) {
        size_t align = i % 3 == 0 ? 256 * KIB : 16;
        during[i] = i % 2 == 0 ? rcl_heap_alloc_zero(sizes[i])
                               : rcl_heap_alloc_aligned(align, sizes[i]);
        REQUIRE(during[i] != NULL && rcl_heap_usable(during[i], "x") >= sizes[i]);
        REQUIRE((uintptr_t)during[i] % (i % 2 == 0 ? 16 : align) == 0);
        REQUIRE(unit_zero(during[i], sizes[i]));
        unit_stamp(during[i], sizes[i], 1000 + i);
        REQUIRE(rcl_tls.gate.inside == 0 && rcl_tls.busy == 0);
    }
    /* Resizing works too. */
    char *grown = rcl_heap_realloc(before[10], 3000000);
    REQUIRE(grown != NULL && unit_stamped(grown, sizes[10], 10));
    before[10] = rcl_heap_realloc(grown, sizes[10]);
    REQUIRE(before[10] != NULL && unit_stamped(before[10], sizes[10], 10));
    grown = rcl_heap_realloc(before[31], 4 * MIB);
    REQUIRE(grown != NULL && unit_stamped(grown, sizes[31], 31));
    before[31] = grown;
    /* Frees of both sorts are put off. */
    for (size_t i = 0; i < array_len(sizes); i++) {
        REQUIRE(unit_stamped(during[i], sizes[i], 1000 + i));
        REQUIRE(unit_stamped(before[i], sizes[i], i));
        if (i % 2 == 0) {
            rcl_heap_free(during[i], "free");
            rcl_heap_free(before[i], "free");
        }
    }
    REQUIRE(errno == UNIT_ERRNO);
    rcl_gate_open();
    /* The first who comes by frees them; what is left behaves like any block. */
    rcl_heap_free(rcl_heap_alloc(100), "free");
    REQUIRE(rcl_gate_deferred_head == NULL);
    for (size_t i = 1; i < array_len(sizes); i += 2) {
        REQUIRE(unit_stamped(during[i], sizes[i], 1000 + i));
        during[i] = rcl_heap_realloc(during[i], 2 * sizes[i]);
        REQUIRE(unit_stamped(during[i], sizes[i], 1000 + i));
        rcl_heap_free(during[i], "free");
        rcl_heap_free(before[i], "free");
    }
    rcl_huge_usage(&of_huge);
    REQUIRE(of_huge.live_blocks == 0 && of_huge.live_bytes == 0);
    REQUIRE(runs_out() == 0);
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        REQUIRE(rcl_arena_get(0)->bin[cls].live == 0);
    purge_all();
    REQUIRE(rcl_account_get(&rcl_account.used_pages) == 0);
    REQUIRE(rcl_account_get(&rcl_account.dirty_pages) == 0);
    REQUIRE(rcl_account_read(&rcl_account.mapped_bytes) == 0);
}

/* Before any other test has left blocks in caches. */
TEST(a_gate_that_stays_closed_stops_nobody)
{
    unit_child_passes(served_without_locks, NULL);
}

static void *free_often(void *arg)
{
    for (int i = 0; i < 20; i++)
        rcl_heap_free(arg, "free");
    return NULL;
}

static void free_twice_at_a_closed_gate(void *arg)
{
    void *p = rcl_heap_alloc(*(const size_t *)arg);
    pthread_t thread;

    rcl_opt.background_thread = 0;
    rcl_gate_close(&rcl_tls.gate);
    REQUIRE(pthread_create(&thread, NULL, free_often, p) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    rcl_gate_open();
    rcl_heap_free(rcl_heap_alloc(3 * MIB), "free");
    purge_all();
}

TEST(a_double_free_that_was_put_off_is_found)
{
    static const size_t size[] = {100, 100000, 500000, 3000000};

    if (UNIT_TSAN)
        skip(); /* a thread in a forked child */
    for (size_t i = 0; i < array_len(size); i++)
        unit_child_dies(free_twice_at_a_closed_gate, (void *)&size[i], "libreclaim: free(): ");
    errno = UNIT_ERRNO;
}

/* --- out of memory ----------------------------------------------------------------------- */

static void use_all_memory(void *arg)
{
    enum { N = 400000 };
    static char *block[N];
    size_t size = *(const size_t *)arg, n = 0;

    purge_all();
    unit_limit_memory(24 * MIB);
    errno = UNIT_ERRNO;
    for (; n < N; n++) {
        block[n] = rcl_heap_alloc(size);
        if (block[n] == NULL)
            break;
        unit_stamp(block[n], size, n);
    }
    /* Most of the memory could be had. */
    REQUIRE(n < N && n * size >= 12 * MIB);
    REQUIRE(rcl_heap_alloc(size) == NULL && rcl_heap_alloc_zero(size) == NULL);
    REQUIRE(rcl_heap_alloc_aligned(2 * RCL_LARGE_MAX, size) == NULL);
    REQUIRE(rcl_heap_alloc(30 * MIB) == NULL);
    REQUIRE(rcl_heap_realloc(block[0], 30 * MIB) == NULL);
    REQUIRE(errno == UNIT_ERRNO && rcl_tls.busy == 0 && rcl_tls.gate.inside == 0);

    /* Half of it given back serves any other size. */
    for (size_t i = 0; i < n; i++)
        REQUIRE(unit_stamped(block[i], size, i));
    for (size_t i = n / 4; i < n; i++) {
        rcl_heap_free(block[i], "free");
        block[i] = NULL;
    }
    for (size_t i = 0; i < array_len(sizes); i++) {
        char *p = rcl_heap_alloc_zero(sizes[i]);
        REQUIRE(p != NULL && unit_zero(p, sizes[i]));
        unit_stamp(p, sizes[i], 1);
        rcl_heap_free(p, "free");
    }
    for (size_t i = 0; i < n / 4; i++) {
        REQUIRE(unit_stamped(block[i], size, i));
        /* Shrinking never fails. */
        unit_stamp(block[i], size / 2, i);
        block[i] = rcl_heap_realloc(block[i], size / 2);
        REQUIRE(block[i] != NULL && unit_stamped(block[i], size / 2, i));
        rcl_heap_free(block[i], "free");
    }
    unit_unlimit_memory();
    REQUIRE(rcl_heap_alloc(30 * MIB) != NULL);
}

TEST(out_of_memory_is_null_and_what_is_freed_serves_every_size)
{
    static const size_t size[] = {128, 3000, 20000, 100000, 600000, 2 * MIB};

    for (size_t i = 0; i < array_len(size); i++)
        unit_child_passes(use_all_memory, (void *)&size[i]);
}

/* Blocks of one size until there is no memory, given back: nearly all, whatever was before. */
static void use_all_memory_again_and_again(void *arg)
{
    static const size_t size[] = {1000, 100000, 48, 700000, 5000, 3000000, 30000, 16, 200000};
    size_t limit = 32 * MIB;
    /* With tiny chunks a large block may leave a third of its chunk unused. */
    size_t least = RCL_CHUNK_BYTES >= 4 * MIB ? limit / 4 * 3 : limit / 2;

    (void)arg;
    unit_cover_holes();
    unit_limit_memory(limit);
    for (size_t i = 0; i < array_len(size); i++) {
        size_t bytes = 0;
        void *list = NULL;
        for (void *p; (p = rcl_heap_alloc(size[i])) != NULL; list = p, bytes += size[i])
            *(void **)p = list;
        REQUIRE(bytes >= least);
        for (void *next; list != NULL; list = next) {
            next = *(void **)list;
            rcl_heap_free(list, "free");
        }
    }
}

TEST(what_one_size_has_held_serves_any_other)
{
    unit_child_passes(use_all_memory_again_and_again, NULL);
}

static void shrink_when_full(void *arg)
{
    enum { N = 100000 };
    static char *block[N];
    size_t size = *(const size_t *)arg, n = 0;

    rcl_opt.background_thread = 0;
    unit_limit_memory(24 * MIB);
    for (; n < N && (block[n] = rcl_heap_alloc(size)) != NULL; n++)
        unit_stamp(block[n], 16, n);
    while (rcl_heap_alloc(16) != NULL) {}
    for (size_t i = 0; i < n; i++) {
        char *p = rcl_heap_realloc(block[i], 20);
        REQUIRE(p != NULL && unit_stamped(p, 16, i));
    }
}

TEST(shrinking_succeeds_without_memory)
{
    static const size_t size[] = {3000, 100000, 600000, 2 * MIB};

    for (size_t i = 0; i < array_len(size); i++)
        unit_child_passes(shrink_when_full, (void *)&size[i]);
}

/* --- pointers that are no blocks --------------------------------------------------------- */

struct bad {
    char *p;
    const char *caller;
};

/* A bad pointer is found at once then, instead of when it leaves the cache. */
static void without_cache(void)
{
    rcl_opt.tcache = 0;
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_threads_drain(&rcl_tls, RCL_DRAIN_ALL);
    rcl_gate_leave(&rcl_tls.gate);
}

static void free_bad(void *arg)
{
    struct bad *b = arg;

    without_cache();
    rcl_heap_free(b->p, b->caller);
}

static void use_bad(void *arg)
{
    struct bad *b = arg;

    rcl_heap_usable(b->p, b->caller);
}

static void realloc_bad(void *arg)
{
    struct bad *b = arg;

    rcl_heap_realloc(b->p, 10);
}

static void expect_bad(char *p, const char *text)
{
    struct bad b = {p, "free"};
    char start[200];

    snprintf(start, sizeof start, "libreclaim: free(): invalid pointer %p: %s", (void *)p, text);
    unit_child_dies(free_bad, &b, start);
    b.caller = "some_function";
    snprintf(start, sizeof start, "libreclaim: some_function(): invalid pointer %p: %s", (void *)p,
             text);
    unit_child_dies(free_bad, &b, start);
}

/* The same for what asks about a block. */
static void expect_bad_everywhere(char *p, const char *text)
{
    struct bad b = {p, "malloc_usable_size"};
    char start[200];

    expect_bad(p, text);
    snprintf(start, sizeof start, "libreclaim: malloc_usable_size(): invalid pointer %p: %s",
             (void *)p, text);
    unit_child_dies(use_bad, &b, start);
    snprintf(start, sizeof start, "libreclaim: realloc(): invalid pointer %p: %s", (void *)p, text);
    unit_child_dies(realloc_bad, &b, start);
}

#define FOREIGN "no block of this allocator starts there"
#define INSIDE "not the start of a block"

TEST(pointers_that_were_never_ours)
{
    static char here[10000];
    char stack[100];

    expect_bad_everywhere((char *)1, FOREIGN);
    expect_bad_everywhere((char *)8, FOREIGN);
    expect_bad_everywhere((char *)4096, FOREIGN);
    expect_bad_everywhere(here + 4096, FOREIGN);
    expect_bad_everywhere(stack, FOREIGN);
    expect_bad_everywhere((char *)(UINTPTR_MAX - 15), FOREIGN);
    expect_bad_everywhere((char *)((uintptr_t)1 << 47), FOREIGN);
    expect_bad_everywhere((char *)((uintptr_t)1 << 62), FOREIGN);
    char *of_libc = malloc(100);
    expect_bad_everywhere(of_libc, FOREIGN);
    free(of_libc);
    void *mapped = rcl_os_map(rcl_page_size());
    expect_bad_everywhere(mapped, FOREIGN);
    rcl_os_unmap(mapped, rcl_page_size());
    errno = UNIT_ERRNO;
}

TEST(pointers_into_a_small_block)
{
    static const size_t size[] = {16, 64, 100, 1000, 5000, 32768};

    for (size_t i = 0; i < array_len(size); i++) {
        char *p = rcl_heap_alloc(size[i]), text[200];
        size_t n = usable(p);
        const size_t at[] = {1, 8, n / 2, n - 1};

        for (size_t j = 0; j < array_len(at); j++) {
            snprintf(text, sizeof text, "%s (%zu bytes into a block of %zu bytes at %p)\n", INSIDE,
                     at[j], n, (void *)p);
            expect_bad_everywhere(p + at[j], text);
        }
        rcl_heap_free(p, "free");
    }
    errno = UNIT_ERRNO;
}

TEST(pointers_into_a_large_or_huge_block)
{
    static const size_t size[] = {40000, 262144, 262145, MIB, MIB + 1, 10 * MIB};

    for (size_t i = 0; i < array_len(size); i++) {
        char *p = rcl_heap_alloc(size[i]), text[200];
        size_t n = usable(p);
        const size_t page = rcl_page_size();
        /* For medium ones the message tells the size of the run. */
        size_t run = rcl_align_up(n, page);
        const size_t at[] = {RCL_GRANULE, RCL_GRANULE + 16, page, n - 1};

        for (size_t j = 0; j < array_len(at); j++) {
            snprintf(text, sizeof text, "%s (%zu bytes into a block of %zu bytes at %p)\n", INSIDE,
                     at[j], run, (void *)p);
            if (at[j] < n)
                expect_bad_everywhere(p + at[j], text);
        }
        /* On the first granule. */
        expect_bad_everywhere(p + 8, INSIDE);
        expect_bad_everywhere(p + 16, INSIDE);
        rcl_heap_free(p, "free");
    }
    errno = UNIT_ERRNO;
}

/* A block whose slab lives on without it. */
static char *beside_another(size_t size)
{
    static char *block[64];

    for (size_t i = 0; i < array_len(block); i++)
        block[i] = rcl_heap_alloc(size);
    for (size_t i = 1; i < array_len(block); i++)
        if (rcl_pagemap_desc(block[i]) == rcl_pagemap_desc(block[i - 1]))
            return block[i];
    return block[0];
}

static void free_twice(void *arg)
{
    char *p = beside_another(*(const size_t *)arg);

    without_cache();
    rcl_heap_free(p, "free");
    rcl_heap_free(p, "free");
}

TEST(a_block_freed_twice)
{
    static const size_t size[] = {64, 1000, 20000, 40000, 262144, 300000, MIB, MIB + 1, 5 * MIB};

    for (size_t i = 0; i < array_len(size); i++)
        unit_child_dies(free_twice, (void *)&size[i],
                        size[i] <= RCL_SMALL_MAX ? "libreclaim: free(): double free of 0x"
                                                 : "libreclaim: free(): invalid pointer 0x");
    errno = UNIT_ERRNO;
}

static void free_twice_through_the_cache(void *arg)
{
    char *p = beside_another(*(const size_t *)arg);

    rcl_heap_free(p, "free");
    rcl_heap_free(p, "free");
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_threads_drain(&rcl_tls, RCL_DRAIN_ALL);
}

TEST(a_block_freed_twice_through_the_cache)
{
    static const size_t size[] = {16, 64, 1000, 20000};

    for (size_t i = 0; i < array_len(size); i++)
        unit_child_dies(free_twice_through_the_cache, (void *)&size[i],
                        "libreclaim: free(): double free of 0x");
    errno = UNIT_ERRNO;
}

#define TESTED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TESTED(a_gate_that_stays_closed_stops_nobody), /* must be the first */
        TESTED(every_size_is_aligned_and_usable),
        TESTED(each_size_is_of_its_kind),
        TESTED(blocks_do_not_overlap),
        TESTED(aligned_blocks_of_every_kind),
        TESTED(an_alignment_that_no_address_has_is_no_memory),
        TESTED(zero_means_zero_after_dirty_use),
        TESTED(zero_over_pages_of_both_sorts),
        TESTED(more_than_there_are_addresses_is_null),
        TESTED(nothing_is_freed_by_freeing_null),
        TESTED(realloc_from_every_size_to_every_other),
        TESTED(realloc_to_what_fits_stays),
        TESTED(realloc_gives_back_what_is_much_too_large),
        TESTED(a_growing_run_seldom_moves),
        TESTED(a_growing_block_keeps_its_content),
        TESTED(what_a_large_block_has_grown_into_can_be_zeroed),
        TESTED(random_use),
        TESTED(random_use_by_threads_that_free_each_others_blocks),
        TESTED(pointers_that_were_never_ours),
        TESTED(pointers_into_a_small_block),
        TESTED(pointers_into_a_large_or_huge_block),
        TESTED(a_block_freed_twice),
        TESTED(a_block_freed_twice_through_the_cache),
        TESTED(a_double_free_that_was_put_off_is_found),
        TESTED(out_of_memory_is_null_and_what_is_freed_serves_every_size),
        TESTED(what_one_size_has_held_serves_any_other),
        TESTED(shrinking_succeeds_without_memory),
    };

    if (!rcl_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
