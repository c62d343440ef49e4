/* SPDX-License-Identifier: MIT */
/*
 * Tests of gate.h.  A thread is what its pass says: most tests use passes of their own,
 * so that one thread can play several parts where nobody has to wait.
 */
#include "unit.h"

#include "gate.h"
#include "lock.h"

enum { THREADS = 3 };

static const uint64_t patience = RCL_GATE_PATIENCE_NS;

/* A part of a test that is played by a thread of its own. */
struct actor {
    struct rcl_gate_pass pass;
    pthread_t thread;
    void (*act)(struct actor *a);
    uint32_t step; /* what it has reached */
    bool result;
    uint64_t ns; /* how long it took */
};

static void *run_actor(void *arg)
{
    struct actor *a = arg;
    uint64_t begin = rcl_os_now_ns();

    a->act(a);
    a->ns = rcl_os_now_ns() - begin;
    __atomic_store_n(&a->step, 100, __ATOMIC_RELEASE);
    return NULL;
}

static void begin(struct actor *a, uint32_t shard, void (*act)(struct actor *a))
{
    memset(a, 0, sizeof *a);
    a->pass.shard = shard;
    a->act = act;
    REQUIRE(pthread_create(&a->thread, NULL, run_actor, a) == 0);
}

static void end(struct actor *a)
{
    REQUIRE(pthread_join(a->thread, NULL) == 0);
}

static uint32_t step_of(struct actor *a)
{
    return __atomic_load_n(&a->step, __ATOMIC_ACQUIRE);
}

static void wait_for_step(struct actor *a, uint32_t step)
{
    while (step_of(a) < step)
        rcl_os_yield();
}

static void reach(struct actor *a, uint32_t step)
{
    __atomic_store_n(&a->step, step, __ATOMIC_RELEASE);
}

/* Parts. */

static void enter_wait_and_leave(struct actor *a)
{
    a->result = rcl_gate_enter(&a->pass);
    reach(a, 1);
    wait_for_step(a, 2);
    rcl_gate_leave(&a->pass);
}

static void only_enter(struct actor *a)
{
    a->result = rcl_gate_enter(&a->pass);
    if (a->result)
        rcl_gate_leave(&a->pass);
}

static void only_enter_patiently(struct actor *a)
{
    rcl_gate_enter_patient(&a->pass);
    rcl_gate_leave(&a->pass);
}

static void only_close(struct actor *a)
{
    rcl_gate_close(&a->pass);
}

/* --- in and out -------------------------------------------------------------------------- */

TEST(an_open_gate_lets_everybody_in)
{
    struct rcl_gate_pass me = {.shard = 5}, other = {.shard = 5};

    for (int i = 0; i < 3; i++) {
        assert_true(rcl_gate_enter(&me));
        assert_int_equal(me.inside, 1);
        rcl_gate_enter_patient(&other);
        assert_int_equal(other.inside, 1);
        assert_true(rcl_gate_enter(&me)); /* from a signal handler */
        assert_int_equal(me.inside, 2);
        rcl_gate_leave(&me);
        rcl_gate_leave(&me);
        rcl_gate_leave(&other);
        assert_int_equal(me.inside, 0);
        assert_int_equal(other.inside, 0);
    }
    /* All are out: closing does not wait. */
    rcl_gate_close(&me);
    rcl_gate_open();
}

TEST(closing_waits_for_those_inside)
{
    struct actor inside, closer;

    begin(&inside, 3, enter_wait_and_leave);
    wait_for_step(&inside, 1);
    assert_true(inside.result);
    begin(&closer, 4, only_close);
    unit_sleep_ms(30);
    assert_int_equal(step_of(&closer), 0);
    reach(&inside, 2);
    end(&inside);
    end(&closer);
    rcl_gate_open();
}

TEST(the_owner_passes_a_closed_gate)
{
    struct rcl_gate_pass me = {.shard = 1};

    rcl_gate_close(&me);
    for (int i = 0; i < 3; i++) {
        uint64_t start = rcl_os_now_ns();
        assert_true(rcl_gate_enter(&me));
        rcl_gate_enter_patient(&me);
        rcl_gate_leave(&me);
        rcl_gate_leave(&me);
        assert_int_equal(me.inside, 0);
        assert_true(rcl_os_now_ns() - start < 1000 * patience);
    }
    rcl_gate_open();
}

TEST(who_is_inside_may_come_in_again)
{
    struct actor closer;
    struct rcl_gate_pass me = {.shard = 1};

    assert_true(rcl_gate_enter(&me));
    begin(&closer, 2, only_close);
    unit_sleep_ms(10);
    /* A signal handler of a thread that the closer waits for must not wait for the closer. */
    assert_true(rcl_gate_enter(&me));
    assert_int_equal(me.inside, 2);
    rcl_gate_leave(&me);
    rcl_gate_leave(&me);
    end(&closer);
    rcl_gate_open();
}

/* --- patience ---------------------------------------------------------------------------- */

TEST(nobody_waits_for_ever_at_a_closed_gate)
{
    struct rcl_gate_pass me = {.shard = 1};
    struct actor other;
    uint64_t briefest = UINT64_MAX;

    rcl_gate_close(&me);
    begin(&other, 2, only_enter);
    end(&other);
    assert_false(other.result);
    assert_int_equal(other.pass.inside, 0);
    assert_true(other.ns >= patience);
    /* From then on each request waits for a moment only. */
    for (int i = 0; i < 20; i++) {
        begin(&other, 2, only_enter);
        end(&other);
        assert_false(other.result);
        briefest = other.ns < briefest ? other.ns : briefest;
    }
    assert_in_range(briefest, RCL_GATE_BRIEF_NS, patience - 1);
    /* They have left no trace inside. */
    rcl_gate_open();
    rcl_gate_close(&me);
    /* And a new closing has new patience. */
    begin(&other, 2, only_enter);
    end(&other);
    assert_false(other.result);
    assert_true(other.ns >= patience);
    rcl_gate_open();
    assert_true(rcl_gate_enter(&other.pass));
    rcl_gate_leave(&other.pass);
}

TEST(patience_begins_when_nobody_is_inside_any_more)
{
    struct actor inside, closer, other;

    begin(&inside, 3, enter_wait_and_leave);
    wait_for_step(&inside, 1);
    begin(&closer, 4, only_close);
    for (;;) {
        begin(&other, 5, only_enter);
        unit_sleep_ms((unsigned)(4 * patience / 1000000));
        if (step_of(&other) == 0)
            break;
        /* It came before the closer. */
        end(&other);
        assert_true(other.result);
    }
    reach(&inside, 2);
    end(&inside);
    end(&closer);
    end(&other);
    assert_false(other.result);
    rcl_gate_open();
}

TEST(the_patient_wait_as_long_as_it_takes)
{
    struct rcl_gate_pass me = {.shard = 1};
    struct actor other;

    rcl_gate_close(&me);
    begin(&other, 2, only_enter_patiently);
    unit_sleep_ms((unsigned)(6 * patience / 1000000));
    assert_int_equal(step_of(&other), 0);
    rcl_gate_open();
    end(&other);
    assert_int_equal(other.pass.inside, 0);
}

TEST(opening_lets_those_in_who_wait)
{
    struct rcl_gate_pass me = {.shard = 1};
    unsigned in = 0;

    for (int i = 0; i < 10; i++) {
        struct actor other;

        rcl_gate_close(&me);
        begin(&other, 2, only_enter);
        unit_sleep_ms(1);
        rcl_gate_open();
        end(&other);
        in += other.result;
    }
    assert_true(in > 0); /* a loaded machine may lose patience now and then */
}

/* --- closing from inside: fork in a signal handler that interrupted a slow path ---------- */

static struct rcl_lock lock;

static void enter_and_lock(struct actor *a)
{
    a->result = rcl_gate_enter(&a->pass);
    reach(a, 1);
    rcl_lock(&lock);
    rcl_unlock(&lock);
    rcl_gate_leave(&a->pass);
}

TEST(closing_from_inside_does_not_wait_for_those_who_wait_for_the_closer)
{
    struct rcl_gate_pass me = {.shard = 1};
    struct actor other[THREADS];

    assert_true(rcl_gate_enter(&me));
    rcl_lock(&lock);
    for (uint32_t i = 0; i < THREADS; i++) {
        begin(&other[i], 2 + i, enter_and_lock);
        wait_for_step(&other[i], 1);
        assert_true(other[i].result);
    }
    rcl_gate_close(&me);
    assert_int_equal(me.inside, 1);
    rcl_gate_open();
    rcl_unlock(&lock);
    rcl_gate_leave(&me);
    for (uint32_t i = 0; i < THREADS; i++)
        end(&other[i]);
    rcl_gate_close(&me);
    rcl_gate_open();
}

static void enter_and_close_from_inside(struct actor *a)
{
    a->result = rcl_gate_enter(&a->pass);
    rcl_gate_close(&a->pass);
}

TEST(closing_from_inside_waits_for_those_who_are_at_work)
{
    struct actor inside, closer;

    begin(&inside, 3, enter_wait_and_leave);
    wait_for_step(&inside, 1);
    begin(&closer, 4, enter_and_close_from_inside);
    unit_sleep_ms(30);
    assert_int_equal(step_of(&closer), 0);
    reach(&inside, 2);
    end(&inside);
    end(&closer);
    rcl_gate_open();
    rcl_gate_leave(&closer.pass);
    assert_int_equal(closer.pass.inside, 0);
}

/*
 * A thread at the threshold is counted a moment before its pass says so.  That is played by
 * a second pass with the same counter.
 */
static void close_at_the_threshold(void *arg)
{
    struct rcl_gate_pass me = {.shard = 3, .crossing = 1}, counted = {.shard = 3};

    /* Interrupted before it was counted, and after. */
    rcl_gate_close(&me);
    rcl_gate_open();
    REQUIRE(rcl_gate_enter(&counted));
    rcl_gate_close(&me);
    if (arg != NULL) /* in the child the threshold is still there */
        rcl_gate_reset(&me);
    else
        rcl_gate_open();
    me.inside++;
    me.crossing = 0;
    rcl_gate_leave(&me);
    me.shard = 4;
    rcl_gate_close(&me);
    rcl_gate_open();
}

TEST(closing_at_the_threshold_is_not_stopped_by_oneself)
{
    char in_the_child;

    unit_child_passes(close_at_the_threshold, NULL);
    unit_child_passes(close_at_the_threshold, &in_the_child);
}

/* --- one fork at a time ------------------------------------------------------------------ */

static void fork_once(struct actor *a)
{
    a->result = rcl_gate_fork_begin(&a->pass);
    reach(a, 1);
    wait_for_step(a, 2);
    rcl_gate_fork_end();
}

TEST(forks_wait_for_each_other)
{
    struct actor first, second;

    begin(&first, 1, fork_once);
    wait_for_step(&first, 1);
    begin(&second, 2, fork_once);
    unit_sleep_ms(20);
    assert_int_equal(step_of(&second), 0);
    reach(&first, 2);
    end(&first);
    assert_true(first.result);
    wait_for_step(&second, 1);
    reach(&second, 2);
    end(&second);
    assert_true(second.result);
}

TEST(a_fork_within_a_fork_is_noticed)
{
    struct rcl_gate_pass me = {.shard = 1};

    assert_true(rcl_gate_fork_begin(&me));
    assert_false(rcl_gate_fork_begin(&me));
    assert_false(rcl_gate_fork_begin(&me));
    assert_true(rcl_gate_fork_leave_nested());
    assert_true(rcl_gate_fork_leave_nested());
    assert_false(rcl_gate_fork_leave_nested());
    rcl_gate_fork_end();
    assert_true(rcl_gate_fork_begin(&me));
    assert_false(rcl_gate_fork_leave_nested());
    rcl_gate_fork_end();
}

/* --- the child --------------------------------------------------------------------------- */

static void reset_in_a_child(void *arg)
{
    struct rcl_gate_pass *me = arg, other = {.shard = 7};

    rcl_gate_reset(me);
    /* The gate is open, and the threads that were inside are not here. */
    REQUIRE(rcl_gate_enter(&other));
    rcl_gate_leave(&other);
    if (me->inside > 0)
        rcl_gate_leave(me);
    REQUIRE(me->inside == 0);
    rcl_gate_close(me);
    rcl_gate_open();
    REQUIRE(rcl_lock_waiters == 0);
}

TEST(in_a_child_only_the_forking_thread_is_left)
{
    struct rcl_gate_pass me = {.shard = 1};
    struct actor inside, waiting;

    if (UNIT_TSAN)
        skip(); /* its run time does not like forks beside threads */
    begin(&inside, 3, enter_wait_and_leave);
    wait_for_step(&inside, 1);
    rcl_lock(&lock);
    begin(&waiting, 4, enter_and_lock);
    while (__atomic_load_n(&rcl_lock_waiters, __ATOMIC_SEQ_CST) == 0)
        rcl_os_yield();
    unit_child_passes(reset_in_a_child, &me);
    /* In the middle of a slow path of its own. */
    assert_true(rcl_gate_enter(&me));
    unit_child_passes(reset_in_a_child, &me);
    rcl_gate_leave(&me);
    rcl_unlock(&lock);
    end(&waiting);
    reach(&inside, 2);
    end(&inside);
    /* With the gate closed, as it is in earnest. */
    rcl_gate_close(&me);
    unit_child_passes(reset_in_a_child, &me);
    rcl_gate_open();
}

/* --- what was put off -------------------------------------------------------------------- */

enum { BLOCKS = 3000 };

struct block {
    void *next;
    uint32_t seen;
};

static struct block blocks[THREADS][BLOCKS];

static void *defer_all(void *arg)
{
    struct block *b = arg;

    for (size_t i = 0; i < BLOCKS; i++)
        rcl_gate_defer(&b[i]);
    return NULL;
}

static size_t take_deferred(void)
{
    size_t n = 0;

    for (struct block *b = rcl_gate_deferred(), *next; b != NULL; b = next, n++) {
        next = b->next;
        b->seen++;
    }
    return n;
}

TEST(deferred_blocks_come_out_once)
{
    pthread_t thread[THREADS];
    size_t n = 0;

    assert_null(rcl_gate_deferred());
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, defer_all, blocks[i]), 0);
    while (n < THREADS * BLOCKS / 2)
        n += take_deferred();
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    n += take_deferred();
    assert_int_equal(n, THREADS * BLOCKS);
    for (size_t i = 0; i < THREADS; i++)
        for (size_t k = 0; k < BLOCKS; k++)
            assert_int_equal(blocks[i][k].seen, 1);
    assert_null(rcl_gate_deferred());
}

/* --- all at once ------------------------------------------------------------------------- */

static uint32_t forking, at_work, stop;

static void come_and_go(struct actor *a)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        if (!rcl_gate_enter(&a->pass))
            continue;
        __atomic_fetch_add(&at_work, 1, __ATOMIC_SEQ_CST);
        REQUIRE(__atomic_load_n(&forking, __ATOMIC_SEQ_CST) == 0);
        __atomic_fetch_sub(&at_work, 1, __ATOMIC_SEQ_CST);
        rcl_gate_leave(&a->pass);
    }
}

TEST(nobody_is_inside_a_closed_gate)
{
    struct rcl_gate_pass me = {.shard = 0};
    struct actor worker[THREADS];
    uint64_t until = rcl_os_now_ns() + 400000000u;

    stop = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        begin(&worker[i], i % 2, come_and_go);
    while (rcl_os_now_ns() < until) {
        rcl_gate_close(&me);
        __atomic_store_n(&forking, 1, __ATOMIC_SEQ_CST);
        for (int i = 0; i < 100; i++)
            REQUIRE(__atomic_load_n(&at_work, __ATOMIC_SEQ_CST) == 0);
        __atomic_store_n(&forking, 0, __ATOMIC_SEQ_CST);
        rcl_gate_open();
        rcl_os_yield();
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < THREADS; i++)
        end(&worker[i]);
}

/* It gives up where somebody stays inside, and where a fork may be waiting for the helper's end. */
TEST(the_helper_holds_the_gate_only_if_that_is_soon)
{
    struct rcl_gate_pass me = {.shard = 0}, other = {.shard = 1}, forker = {.shard = 2};

    assert_true(rcl_gate_try_hold(&me));
    rcl_gate_release();
    assert_true(rcl_gate_enter(&other)); /* it is open again */
    assert_false(rcl_gate_try_hold(&me));
    assert_true(rcl_gate_enter(&me));
    rcl_gate_leave(&me);
    rcl_gate_leave(&other);
    assert_true(rcl_gate_fork_begin(&forker));
    assert_false(rcl_gate_try_hold(&me));
    rcl_gate_fork_end();
    assert_true(rcl_gate_try_hold(&me));
    rcl_gate_release();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_gate_lets_everybody_in),
        cmocka_unit_test(closing_waits_for_those_inside),
        cmocka_unit_test(the_owner_passes_a_closed_gate),
        cmocka_unit_test(who_is_inside_may_come_in_again),
        cmocka_unit_test(nobody_waits_for_ever_at_a_closed_gate),
        cmocka_unit_test(patience_begins_when_nobody_is_inside_any_more),
        cmocka_unit_test(the_patient_wait_as_long_as_it_takes),
        cmocka_unit_test(opening_lets_those_in_who_wait),
        cmocka_unit_test(closing_from_inside_does_not_wait_for_those_who_wait_for_the_closer),
        cmocka_unit_test(closing_from_inside_waits_for_those_who_are_at_work),
        cmocka_unit_test(closing_at_the_threshold_is_not_stopped_by_oneself),
        cmocka_unit_test(forks_wait_for_each_other),
        cmocka_unit_test(a_fork_within_a_fork_is_noticed),
        cmocka_unit_test(in_a_child_only_the_forking_thread_is_left),
        cmocka_unit_test(deferred_blocks_come_out_once),
        cmocka_unit_test(nobody_is_inside_a_closed_gate),
        cmocka_unit_test(the_helper_holds_the_gate_only_if_that_is_soon),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
