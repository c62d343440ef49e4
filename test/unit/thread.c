/* SPDX-License-Identifier: MIT */
/*
 * Tests of thread.h: caches come with the first slow path, go with the thread, and can
 * be taken from a thread at any moment but those in which it uses them.
 */
#include "unit.h"

#include "account.h"
#include "bin.h"
#include "blocks.h"
#include "options.h"
#include "pagemap.h"
#include "thread.h"

enum { THREADS = 3, CLS = RCL_CLASS_FIRST + 4 };

static size_t drain(struct rcl_tls *self, enum rcl_drain which)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    size_t n = rcl_threads_drain(self, which);
    rcl_gate_leave(&rcl_tls.gate);
    return n;
}

static size_t caches(void)
{
    struct rcl_caches_stats stats;

    rcl_threads_usage(&stats);
    return stats.caches;
}

static size_t cached_bytes(void)
{
    struct rcl_caches_stats stats;

    rcl_threads_usage(&stats);
    return stats.bytes;
}

/* Blocks handed out by all bins of a class: to caches, and to tests. */
static size_t live(unsigned cls)
{
    size_t sum = 0;

    for (unsigned i = 0; i < rcl_arena_count(); i++) {
        struct rcl_bin *b = &rcl_arena_get(i)->bin[cls];
        rcl_lock(&b->lock);
        sum += b->live;
        rcl_unlock(&b->lock);
    }
    return sum;
}

/* Every test leaves no cache and no block behind. */
static int tear_down(void **state)
{
    (void)state;
    drain(&rcl_tls, RCL_DRAIN_ALL);
    assert_int_equal(caches(), 0);
    assert_int_equal(live(CLS), 0);
    assert_int_equal(rcl_account_get(&rcl_account.used_pages), 0);
    assert_int_equal(rcl_account_get(&rcl_account.hole_bytes), 0);
    assert_int_equal(rcl_account_get(&rcl_account.slab_pages), 0);
    assert_int_equal(rcl_account_get(&rcl_account.caches), 0);
    assert_int_equal(rcl_account_get(&rcl_account.cache_bytes), 0);
    return 0;
}

/* --- a thread that does what it is told --------------------------------------------------- */

enum { FILL, USE, BE_BUSY, BE_INSIDE, REST, END };

struct actor {
    pthread_t thread;
    uint32_t told, done; /* numbers of orders */
    uint32_t order;
    struct rcl_tls *tls;
};

static void carry_out(uint32_t order)
{
    void *p[8];

    switch (order) {
    case FILL: /* leaves some blocks in the cache */
    case USE:
        for (size_t i = 0; i < array_len(p); i++) {
            p[i] = block_get(CLS);
            unit_stamp(p[i], rcl_classes[CLS].size, (uintptr_t)p[i]);
        }
        for (size_t i = 0; i < array_len(p); i++) {
            REQUIRE(unit_stamped(p[i], rcl_classes[CLS].size, (uintptr_t)p[i]));
            block_put(CLS, p[i]);
        }
        break;
    case BE_BUSY:
        rcl_thread_begin_free(&rcl_tls);
        break;
    case BE_INSIDE:
        rcl_gate_enter_patient(&rcl_tls.gate);
        break;
    case REST:
        rcl_thread_end(&rcl_tls);
        if (rcl_tls.gate.inside > 0)
            rcl_gate_leave(&rcl_tls.gate);
        break;
    default:
        break;
    }
}

static void *run_actor(void *arg)
{
    struct actor *a = arg;
    uint32_t done = 0, order;

    a->tls = &rcl_tls;
    do {
        while (__atomic_load_n(&a->told, __ATOMIC_ACQUIRE) == done)
            rcl_os_futex_wait(&a->told, done, 0);
        order = a->order;
        carry_out(order);
        __atomic_store_n(&a->done, ++done, __ATOMIC_RELEASE);
        rcl_os_futex_wake(&a->done, 1);
    } while (order != END);
    return NULL;
}

static void begin(struct actor *a)
{
    memset(a, 0, sizeof *a);
    REQUIRE(pthread_create(&a->thread, NULL, run_actor, a) == 0);
}

static void tell(struct actor *a, uint32_t order)
{
    a->order = order;
    uint32_t number = a->told + 1;
    __atomic_store_n(&a->told, number, __ATOMIC_RELEASE);
    rcl_os_futex_wake(&a->told, 1);
    while (__atomic_load_n(&a->done, __ATOMIC_ACQUIRE) != number)
        rcl_os_futex_wait(&a->done, number - 1, 0);
}

static void end(struct actor *a)
{
    tell(a, END);
    REQUIRE(pthread_join(a->thread, NULL) == 0);
}

/* --- a cache comes and goes --------------------------------------------------------------- */

static void *look_at_the_start(void *arg)
{
    REQUIRE(rcl_tls.cache == &rcl_tcache_none);
    REQUIRE(rcl_tls.busy == 0 && rcl_tls.ended == 0 && rcl_tls.gate.inside == 0);
    REQUIRE(rcl_thread_begin_free(&rcl_tls) == &rcl_tcache_none);
    REQUIRE(rcl_tls.busy == 1);
    rcl_thread_end(&rcl_tls);
    REQUIRE(rcl_tls.busy == 0);
    REQUIRE(caches() == 0);
    return arg;
}

TEST(a_thread_begins_with_the_empty_cache)
{
    char arg;

    unit_threads(1, look_at_the_start, &arg, 1);
}

TEST(the_first_slow_path_makes_a_cache)
{
    void *p = block_get(CLS);
    struct rcl_tcache *tc = rcl_tls.cache;

    assert_ptr_not_equal(tc, &rcl_tcache_none);
    assert_ptr_equal(tc->owner, &rcl_tls);
    assert_ptr_equal(rcl_thread_cache(&rcl_tls), tc);
    assert_ptr_equal(rcl_thread_begin_free(&rcl_tls), tc);
    rcl_thread_end(&rcl_tls);
    assert_int_equal(caches(), 1);
    size_t held = rcl_tcache_count(tc, CLS);
    assert_int_equal(cached_bytes(), held * rcl_classes[CLS].size);
    block_put(CLS, p);
    assert_int_equal(cached_bytes(), (held + 1) * rcl_classes[CLS].size);
}

static uint32_t shards[UNIT_THREADS_MAX];

static void *note_the_shard(void *arg)
{
    block_put(CLS, block_get(CLS));
    *(uint32_t *)arg = rcl_tls.gate.shard;
    REQUIRE(rcl_tls.known);
    return NULL;
}

TEST(threads_share_no_counter_of_the_gate_while_there_are_enough)
{
    unit_threads(UNIT_THREADS_MAX, note_the_shard, shards, sizeof shards[0]);
    for (size_t i = 0; i < UNIT_THREADS_MAX; i++) {
        assert_in_range(shards[i], 0, RCL_GATE_SHARDS - 1);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(shards[i], shards[k]);
    }
}

TEST(what_threads_leave_behind_when_they_end_is_taken)
{
    struct actor a[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        begin(&a[i]);
        tell(&a[i], FILL);
    }
    assert_int_equal(caches(), THREADS);
    assert_true(live(CLS) > 0);
    for (size_t i = 0; i < THREADS; i++)
        end(&a[i]);
    assert_true(caches() <= THREADS);
    drain(NULL, RCL_DRAIN_ALL);
    assert_int_equal(caches(), 0);
    assert_int_equal(live(CLS), 0);
}

TEST(a_new_thread_goes_on_with_the_cache_of_one_that_has_ended)
{
    struct actor a, b, c;

    begin(&a);
    tell(&a, FILL);
    struct rcl_tcache *tc = a.tls->cache;
    struct rcl_arena *arena = tc->arena;
    uint32_t threads = arena->threads;
    end(&a);
    size_t held = rcl_tcache_count(tc, CLS);
    assert_true(held > 0);
    assert_null(tc->owner);
    assert_int_equal(caches(), 1);

    begin(&b);
    tell(&b, FILL);
    assert_ptr_equal(b.tls->cache, tc);
    assert_ptr_equal(tc->owner, b.tls);
    assert_ptr_equal(b.tls->arena, arena);
    assert_int_equal(arena->threads, threads);
    assert_true(rcl_tcache_count(tc, CLS) >= held);
    /* There is one of it only. */
    begin(&c);
    tell(&c, FILL);
    assert_ptr_not_equal(c.tls->cache, tc);
    assert_int_equal(caches(), 2);
    end(&c);
    end(&b);
}

TEST(a_cache_that_waits_for_a_thread_is_idle)
{
    struct actor a;

    begin(&a);
    tell(&a, FILL);
    end(&a);
    size_t steps = 0;
    while (drain(NULL, RCL_DRAIN_IDLE) == 0 && steps < 10)
        steps++;
    assert_in_range(steps, 1, 3);
    assert_int_equal(caches(), 0);
    assert_int_equal(live(CLS), 0);
    /* Nor does a thread find it now. */
    begin(&a);
    tell(&a, BE_INSIDE);
    tell(&a, REST);
    assert_ptr_equal(a.tls->cache, &rcl_tcache_none);
    end(&a);
}

TEST(a_few_caches_wait_at_most)
{
    enum { MANY = 12 };
    struct actor a[MANY];

    for (size_t i = 0; i < MANY; i++) {
        begin(&a[i]);
        tell(&a[i], FILL);
    }
    for (size_t i = 0; i < MANY; i++)
        end(&a[i]);
    assert_in_range(caches(), 1, 4);
}

static pthread_key_t late_key;

/* A destructor of the program's that allocates, perhaps after ours has run. */
static void allocate_late(void *arg)
{
    static uint32_t rounds;

    for (int i = 0; i < 100; i++)
        block_put(CLS, block_get(CLS));
    if (__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED) % 3 != 2)
        pthread_setspecific(late_key, arg); /* and again in the next round */
    else
        REQUIRE(rcl_tls.ended == 1 && rcl_tls.cache == &rcl_tcache_none);
}

static void *end_with_a_destructor(void *arg)
{
    pthread_setspecific(late_key, arg);
    block_put(CLS, block_get(CLS));
    return NULL;
}

TEST(destructors_that_allocate_leave_nothing_behind)
{
    char arg;

    assert_int_equal(pthread_key_create(&late_key, allocate_late), 0);
    for (int i = 0; i < 10; i++)
        unit_threads(1, end_with_a_destructor, &arg, 1);
    pthread_key_delete(late_key);
    drain(NULL, RCL_DRAIN_ALL);
    assert_int_equal(caches(), 0);
    assert_int_equal(live(CLS), 0);
}

TEST(a_thread_can_drop_its_own_cache)
{
    block_put(CLS, block_get(CLS));
    struct rcl_arena *arena = rcl_tls.cache->arena;
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_thread_drop_cache(&rcl_tls);
    assert_ptr_equal(rcl_tls.cache, &rcl_tcache_none);
    rcl_thread_drop_cache(&rcl_tls);
    rcl_gate_leave(&rcl_tls.gate);
    assert_int_equal(caches(), 0);
    assert_int_equal(live(CLS), 0);
    assert_int_equal(arena->threads, 0);
    block_put(CLS, block_get(CLS));
    assert_ptr_equal(rcl_tls.cache->arena, arena);
}

/* --- taking caches away ------------------------------------------------------------------- */

TEST(the_cache_of_a_resting_thread_is_taken)
{
    struct actor a;

    if (!rcl_os_process_barrier())
        skip();
    begin(&a);
    for (int round = 0; round < 20; round++) {
        tell(&a, FILL);
        assert_true(live(CLS) > 0);
        assert_int_equal(drain(NULL, RCL_DRAIN_ALL), 1);
        assert_int_equal(caches(), 0);
        assert_int_equal(live(CLS), 0);
        assert_ptr_equal(a.tls->cache, &rcl_tcache_none);
        assert_int_equal(drain(NULL, RCL_DRAIN_ALL), 0);
        /* It finds out, and goes on. */
        tell(&a, USE);
        assert_int_equal(caches(), 1);
    }
    end(&a);
}

static void drain_without_a_barrier(void *arg)
{
    struct actor a;

    (void)arg;
    unit_forbid(SYS_membarrier, ENOSYS);
    begin(&a);
    tell(&a, FILL);
    block_put(CLS, block_get(CLS));
    REQUIRE(caches() == 2);
    struct rcl_tcache *tc = a.tls->cache;
    for (int i = 0; i < 5; i++)
        REQUIRE(drain(NULL, i % 2 == 0 ? RCL_DRAIN_ALL : RCL_DRAIN_IDLE) == 0);
    REQUIRE(caches() == 2 && a.tls->cache == tc);
    tell(&a, USE);
    REQUIRE(a.tls->cache == tc);
    /* One's own can be taken none the less. */
    REQUIRE(drain(&rcl_tls, RCL_DRAIN_ALL) == 1);
    REQUIRE(caches() == 1);
    end(&a);
    /* What no thread has can be taken. */
    REQUIRE(drain(NULL, RCL_DRAIN_ALL) == 1);
    REQUIRE(caches() == 0 && live(CLS) == 0);
}

TEST(without_a_barrier_caches_of_others_are_left_alone)
{
    unit_child_passes(drain_without_a_barrier, NULL);
}

static void assert_left_alone(uint32_t order)
{
    struct actor a;

    begin(&a);
    tell(&a, FILL);
    struct rcl_tcache *tc = a.tls->cache;
    size_t held = rcl_tcache_count(tc, CLS);
    tell(&a, order);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(drain(NULL, i % 2 == 0 ? RCL_DRAIN_ALL : RCL_DRAIN_IDLE), 0);
        assert_ptr_equal(a.tls->cache, tc);
        assert_int_equal(rcl_tcache_count(tc, CLS), held);
        assert_int_equal(caches(), 1);
    }
    tell(&a, REST);
    if (rcl_os_process_barrier())
        assert_int_equal(drain(NULL, RCL_DRAIN_ALL), 1);
    end(&a);
}

TEST(a_busy_thread_is_left_alone)
{
    assert_left_alone(BE_BUSY);
}

TEST(a_thread_in_a_slow_path_is_left_alone)
{
    assert_left_alone(BE_INSIDE);
}

TEST(ones_own_cache_is_taken_where_asked)
{
    block_put(CLS, block_get(CLS));
    assert_int_equal(drain(&rcl_tls, RCL_DRAIN_ALL), 1);
    assert_ptr_equal(rcl_tls.cache, &rcl_tcache_none);
    assert_int_equal(live(CLS), 0);
    block_put(CLS, block_get(CLS));
    assert_int_equal(caches(), 1);
}

TEST(only_idle_caches_are_taken_after_some_steps)
{
    struct actor idle, active;
    unsigned steps = 0;

    if (!rcl_os_process_barrier())
        skip();
    begin(&idle);
    begin(&active);
    tell(&idle, FILL);
    tell(&active, FILL);
    /* The first look cannot know. */
    assert_int_equal(drain(NULL, RCL_DRAIN_IDLE), 0);
    while (idle.tls->cache != &rcl_tcache_none) {
        assert_in_range(++steps, 1, 4);
        /* A block that is held makes the difference. */
        tell(&active, FILL);
        struct rcl_tcache *tc = active.tls->cache;
        void *p = rcl_tcache_pop(tc, CLS);
        if (steps % 2 != 0)
            assert_true(rcl_tcache_push(tc, CLS, p));
        size_t taken = drain(NULL, RCL_DRAIN_IDLE);
        assert_int_equal(taken, idle.tls->cache == &rcl_tcache_none);
        if (steps % 2 == 0)
            assert_true(rcl_tcache_push(tc, CLS, p));
    }
    assert_true(steps >= 2);
    assert_int_equal(caches(), 1);
    assert_ptr_not_equal(active.tls->cache, &rcl_tcache_none);
    end(&idle);
    end(&active);
}

static size_t drain_resting(size_t pages)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    size_t n = rcl_threads_drain_resting(pages);
    rcl_gate_leave(&rcl_tls.gate);
    return n;
}

TEST(large_caches_of_resting_threads_are_taken)
{
    struct actor resting, active;

    if (UNIT_TSAN || !rcl_os_process_barrier())
        skip();
    begin(&resting);
    begin(&active);
    tell(&resting, FILL);
    rcl_tcache_measure(resting.tls->cache); /* it has not counted yet */
    rcl_account.pinned_each = RCL_PINNED_ONE;
    size_t pages = rcl_tcache_pages_most(resting.tls->cache);
    assert_true(pages > 0);
    /* The first look cannot know, and one that pins no more may stay. */
    assert_int_equal(drain_resting(pages - 1), 0);
    assert_int_equal(drain_resting(pages), 0);
    for (int look = 0; look < 4; look++) {
        tell(&active, FILL);
        struct rcl_tcache *tc = active.tls->cache;
        rcl_tcache_measure(tc);
        assert_true(rcl_tcache_pages_most(tc) > 0);
        void *p = look % 2 == 0 ? rcl_tcache_pop(tc, CLS) : NULL;
        assert_int_equal(drain_resting(0), look == 0); /* the other one's */
        if (p != NULL)
            assert_true(rcl_tcache_push(tc, CLS, p));
    }
    assert_ptr_equal(resting.tls->cache, &rcl_tcache_none);
    assert_ptr_not_equal(active.tls->cache, &rcl_tcache_none);
    end(&resting);
    end(&active);
}

TEST(what_is_taken_from_an_idle_cache_is_old)
{
    struct actor a;
    size_t old = 0;

    if (!rcl_os_process_barrier())
        skip();
    begin(&a);
    tell(&a, FILL);
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        rcl_bin_purge(&rcl_arena_get(i)->bin[CLS], RCL_PURGE_ANY, SIZE_MAX);
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        rcl_runs_purge(&rcl_arena_get(i)->runs, RCL_PURGE_ANY, SIZE_MAX);
    assert_int_equal(drain(NULL, RCL_DRAIN_ALL), 1);
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        old += rcl_runs_purge(&rcl_arena_get(i)->runs, RCL_PURGE_OLD, SIZE_MAX);
    assert_true(old > 0);
    assert_int_equal(rcl_account_get(&rcl_account.dirty_pages), 0);
    end(&a);
}

TEST(who_loses_its_cache_keeps_its_arena)
{
    struct actor a, b;

    if (!rcl_os_process_barrier())
        skip();
    begin(&a);
    begin(&b);
    tell(&a, FILL);
    tell(&b, FILL);
    struct rcl_arena *of_a = a.tls->cache->arena, *of_b = b.tls->cache->arena;
    unsigned count = rcl_arena_count();
    for (int i = 0; i < 10; i++) {
        assert_int_equal(drain(NULL, RCL_DRAIN_ALL), 2);
        tell(i % 2 == 0 ? &a : &b, USE);
        tell(i % 2 == 0 ? &b : &a, USE);
        assert_ptr_equal(a.tls->cache->arena, of_a);
        assert_ptr_equal(b.tls->cache->arena, of_b);
    }
    assert_int_equal(rcl_arena_count(), count);
    end(&a);
    end(&b);
}

/* --- taking them in full flight ----------------------------------------------------------- */

enum { OWN = 40 };

static uint32_t stop;

static void *work(void *arg)
{
    struct unit_random random = {(uintptr_t)arg};
    struct {
        void *p;
        unsigned cls;
        uint64_t mark;
    } own[OWN] = {{NULL, 0, 0}};
    uint64_t rounds = 0;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED) || rounds < 1000) {
        size_t i = unit_below(&random, OWN);
        rounds++;
        if (own[i].p == NULL) {
            own[i].cls = RCL_CLASS_FIRST + (unsigned)unit_below(&random, 4);
            own[i].p = block_get(own[i].cls);
            own[i].mark = unit_next(&random);
            unit_stamp(own[i].p, rcl_classes[own[i].cls].size, own[i].mark);
        } else {
            REQUIRE(unit_stamped(own[i].p, rcl_classes[own[i].cls].size, own[i].mark));
            block_put(own[i].cls, own[i].p);
            own[i].p = NULL;
        }
        if (rounds % 4096 == 0)
            unit_sleep_ms(1); /* a moment in which the cache can be had */
    }
    for (size_t i = 0; i < OWN; i++)
        if (own[i].p != NULL)
            block_put(own[i].cls, own[i].p);
    return NULL;
}

TEST(no_block_is_lost_or_doubled_when_caches_are_taken_at_any_moment)
{
    pthread_t thread[THREADS];
    char args[THREADS];
    uint64_t until = rcl_os_now_ns() + 400000000u;
    size_t taken = 0;

    stop = 0;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &args[i]), 0);
    while (rcl_os_now_ns() < until) {
        taken += drain(NULL, RCL_DRAIN_ALL);
        for (unsigned i = 0; i < rcl_arena_count(); i++)
            rcl_runs_purge(&rcl_arena_get(i)->runs, RCL_PURGE_ANY, 100);
        if (taken % 16 == 0)
            rcl_os_yield();
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    if (rcl_os_process_barrier())
        assert_true(taken > 0);
    drain(NULL, RCL_DRAIN_ALL);
    for (unsigned cls = RCL_CLASS_FIRST; cls < RCL_CLASS_FIRST + 4; cls++)
        assert_int_equal(live(cls), 0);
}

/* --- fork and memory ---------------------------------------------------------------------- */

static void find_the_others_gone(void *arg)
{
    struct rcl_tcache *mine = rcl_tls.cache;

    (void)arg;
    rcl_gate_reset(&rcl_tls.gate);
    rcl_threads_forked(&rcl_tls);
    REQUIRE(caches() == THREADS + 1);
    REQUIRE(drain(&rcl_tls, RCL_DRAIN_GONE) == THREADS);
    REQUIRE(caches() == 1 && rcl_tls.cache == mine);
    REQUIRE(drain(&rcl_tls, RCL_DRAIN_GONE) == 0);
    block_put(CLS, block_get(CLS));
    REQUIRE(rcl_tls.cache == mine);
    /* And once more, in a child of the child. */
    rcl_threads_forked(&rcl_tls);
    REQUIRE(drain(NULL, RCL_DRAIN_GONE) == 0);
    REQUIRE(drain(&rcl_tls, RCL_DRAIN_ALL) == 1);
    REQUIRE(live(CLS) == 0);
    if (unit_emulated())
        return;
    /* New threads are as good as ever. */
    struct actor a;
    begin(&a);
    tell(&a, FILL);
    REQUIRE(drain(NULL, RCL_DRAIN_GONE) == 0);
    end(&a);
    REQUIRE(drain(NULL, RCL_DRAIN_ALL) == 1);
    REQUIRE(caches() == 0);
}

TEST(a_forked_child_inherits_the_caches_of_threads_that_are_gone)
{
    struct actor a[THREADS];

    if (UNIT_TSAN)
        skip(); /* its run time does not like threads in a child of threads */
    block_put(CLS, block_get(CLS));
    for (size_t i = 0; i < THREADS; i++) {
        begin(&a[i]);
        tell(&a[i], FILL);
    }
    /* One of them in the middle of something. */
    tell(&a[0], BE_BUSY);
    unit_child_passes(find_the_others_gone, NULL);
    tell(&a[0], REST);
    for (size_t i = 0; i < THREADS; i++)
        end(&a[i]);
}

static void go_on_without_a_cache(void *arg)
{
    struct rcl_tcache *tc;
    void *p;
    bool zero;

    (void)arg;
    /* Slabs to take from, then no memory for descriptors. */
    REQUIRE(rcl_blocks_take(rcl_arena_get(0), CLS, &p, 1, &zero) == 1);
    unit_limit_memory(0);
    while (rcl_tcache_new(NULL) != NULL) {}
    tc = rcl_thread_cache(&rcl_tls);
    REQUIRE(tc == &rcl_tcache_none);
    void *q = block_get(CLS);
    block_put(CLS, q);
    REQUIRE(rcl_tls.cache == &rcl_tcache_none);
    unit_unlimit_memory();
    block_put(CLS, block_get(CLS));
    REQUIRE(rcl_tls.cache != &rcl_tcache_none);
}

TEST(without_memory_a_thread_goes_on_without_a_cache)
{
    unit_child_passes(go_on_without_a_cache, NULL);
}

static int boot(void **state)
{
    (void)state;
    rcl_opt.narenas = 2;
    return block_boot(1000000000) ? 0 : 1;
}

#define TESTED(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TESTED(a_thread_begins_with_the_empty_cache),
        TESTED(the_first_slow_path_makes_a_cache),
        TESTED(threads_share_no_counter_of_the_gate_while_there_are_enough),
        TESTED(what_threads_leave_behind_when_they_end_is_taken),
        TESTED(a_new_thread_goes_on_with_the_cache_of_one_that_has_ended),
        TESTED(a_cache_that_waits_for_a_thread_is_idle),
        TESTED(a_few_caches_wait_at_most),
        TESTED(destructors_that_allocate_leave_nothing_behind),
        TESTED(a_thread_can_drop_its_own_cache),
        TESTED(the_cache_of_a_resting_thread_is_taken),
        TESTED(without_a_barrier_caches_of_others_are_left_alone),
        TESTED(a_busy_thread_is_left_alone),
        TESTED(a_thread_in_a_slow_path_is_left_alone),
        TESTED(ones_own_cache_is_taken_where_asked),
        TESTED(only_idle_caches_are_taken_after_some_steps),
        TESTED(large_caches_of_resting_threads_are_taken),
        TESTED(what_is_taken_from_an_idle_cache_is_old),
        TESTED(who_loses_its_cache_keeps_its_arena),
        TESTED(no_block_is_lost_or_doubled_when_caches_are_taken_at_any_moment),
        TESTED(a_forked_child_inherits_the_caches_of_threads_that_are_gone),
        TESTED(without_memory_a_thread_goes_on_without_a_cache),
    };

    return cmocka_run_group_tests(tests, boot, NULL);
}
