/* SPDX-License-Identifier: MIT */
/* Tests of lock.h: exclusion, sleeping, counting, and the one rule about two locks. */
#include "unit.h"

#include "lock.h"

enum { THREADS = 4, ROUNDS = 20000 };

TEST(a_zeroed_lock_is_free)
{
    static struct rcl_lock zeroed;
    struct rcl_lock made;

    memset(&made, 0xff, sizeof made);
    rcl_lock_init(&made);
    assert_memory_equal(&made, &zeroed, sizeof made);
    assert_int_equal(zeroed.word, 0);
    assert_int_equal(zeroed.waits, 0);
}

TEST(held_and_free)
{
    struct rcl_lock l = {0};

    for (int i = 0; i < 3; i++) {
        assert_true(rcl_lock_try(&l));
        assert_int_equal(l.word, 1);
        assert_false(rcl_lock_try(&l));
        assert_int_equal(l.word, 1);
        rcl_unlock(&l);
        assert_int_equal(l.word, 0);
        rcl_lock(&l);
        assert_false(rcl_lock_try(&l));
        rcl_unlock(&l);
    }
    /* Nobody waited. */
    assert_int_equal(l.waits, 0);
    assert_int_equal(rcl_lock_waiters, 0);
}

/* --- several threads --------------------------------------------------------------------- */

static struct {
    struct rcl_lock lock;
    uint64_t count; /* plain: only the lock makes this right */
    uint32_t inside;
} shared;

static void *count_up(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 16 == 0) {
            while (!rcl_lock_try(&shared.lock))
                rcl_os_yield();
        } else {
            rcl_lock(&shared.lock);
        }
        REQUIRE(__atomic_fetch_add(&shared.inside, 1, __ATOMIC_RELAXED) == 0);
        shared.count++;
        if (i % 512 == 0)
            rcl_os_yield(); /* so that others find it held, and sleep */
        REQUIRE(__atomic_fetch_sub(&shared.inside, 1, __ATOMIC_RELAXED) == 1);
        rcl_unlock(&shared.lock);
    }
    return arg;
}

TEST(one_at_a_time)
{
    char args[THREADS];

    unit_threads(THREADS, count_up, args, 1);
    assert_int_equal(shared.count, THREADS * ROUNDS);
    assert_int_equal(shared.lock.word, 0);
    assert_int_equal(rcl_lock_waiters, 0);
}

static struct rcl_lock held;
static uint32_t got_it;

static void *wait_for_it(void *arg)
{
    rcl_lock(&held);
    __atomic_fetch_add(&got_it, 1, __ATOMIC_SEQ_CST);
    rcl_unlock(&held);
    return arg;
}

/* Processor time of the whole process. */
static uint64_t cpu_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

TEST(who_waits_sleeps)
{
    pthread_t thread[THREADS];

    rcl_lock_init(&held);
    got_it = 0;
    rcl_lock(&held);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, wait_for_it, NULL), 0);
    while (__atomic_load_n(&rcl_lock_waiters, __ATOMIC_SEQ_CST) < THREADS)
        rcl_os_yield();
    assert_int_equal(held.waits, THREADS);
    assert_int_equal(__atomic_load_n(&held.word, __ATOMIC_SEQ_CST), 2);

    unit_sleep_ms(5); /* the last one may be on its way into the kernel */
    uint64_t before = cpu_ns();
    unit_sleep_ms(50);
    assert_true(cpu_ns() - before < 25000000u);
    assert_int_equal(__atomic_load_n(&got_it, __ATOMIC_SEQ_CST), 0);

    rcl_unlock(&held);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(got_it, THREADS);
    assert_int_equal(held.word, 0);
    assert_int_equal(rcl_lock_waiters, 0);
}

/* --- two locks ------------------------------------------------------------------------------ */

static void take_two(void *arg)
{
    struct rcl_lock first = {0}, second = {0};

    (void)arg;
    rcl_lock(&first);
    rcl_lock(&second);
}

static void take_one_after_the_other(void *arg)
{
    struct rcl_lock first = {0}, second = {0};

    (void)arg;
    for (int i = 0; i < 10000; i++) {
        rcl_lock(&first);
        rcl_unlock(&first);
        rcl_lock(&second);
        rcl_unlock(&second);
    }
}

TEST(holding_one_lock_while_taking_another_is_found_in_debug_builds)
{
    unit_child_passes(take_one_after_the_other, NULL);
    if (RCL_DEBUG)
        unit_child_dies(take_two, NULL, "libreclaim: internal error, please report: ");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zeroed_lock_is_free),
        cmocka_unit_test(held_and_free),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(who_waits_sleeps),
        cmocka_unit_test(holding_one_lock_while_taking_another_is_found_in_debug_builds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
