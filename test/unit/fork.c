/* SPDX-License-Identifier: MIT */
/*
 * Tests of fork.h, by real forks: what parent and child find, and what fork waits for.
 * The program's own handlers are registered before ours, so they run within the time in
 * which the gate is closed.
 */
#include "unit.h"

#include "background.h"
#include "blocks.h"
#include "fork.h"
#include "large.h"
#include "lock.h"
#include "pagemap.h"
#include "purge.h"

enum { THREADS = 3, CLS = RCL_CLASS_FIRST + 4 };

/* --- the program's handlers ------------------------------------------------------------------- */

static unsigned prepared, in_parent, in_child; /* how often they ran */
static unsigned to_nest;                       /* forks for the handler to make */

static void use_memory(void)
{
    void *p[200];

    for (size_t i = 0; i < array_len(p); i++) {
        p[i] = block_get(RCL_CLASS_FIRST + (unsigned)i % 20);
        memset(p[i], 1, 16);
    }
    for (size_t i = 0; i < array_len(p); i++)
        block_put(RCL_CLASS_FIRST + (unsigned)i % 20, p[i]);
}

static void wait_for(pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        REQUIRE(errno == EINTR);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void prepare(void)
{
    prepared++;
    use_memory();
    if (to_nest > 0) {
        to_nest--;
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            use_memory();
            _exit(0);
        }
        wait_for(child);
    }
}

static void parent(void)
{
    in_parent++;
    use_memory();
}

static void child(void)
{
    in_child++;
    use_memory();
}

/* --- what both sides find ---------- */

/* The allocator works, and no helper is there. */
static void assert_well(unsigned threads)
{
    struct rcl_gate_pass other = {.shard = 5};

    if (threads != 0 && !UNIT_TSAN) /* which has a thread of its own */
        REQUIRE(unit_thread_count() == threads);
    REQUIRE(rcl_tls.gate.inside == 0);
    REQUIRE(rcl_gate_enter(&other));
    rcl_gate_leave(&other);
    REQUIRE(rcl_lock_waiters == 0 || threads == 0);
    use_memory();
}

static void fork_and_look(unsigned threads)
{
    pid_t pid = fork();

    REQUIRE(pid >= 0);
    if (pid == 0) {
        assert_well(threads);
        _exit(0);
    }
    assert_well(threads);
    wait_for(pid);
}

static void fork_plainly(void *arg)
{
    unsigned before = prepared;

    (void)arg;
    use_memory();
    for (int i = 0; i < 20; i++)
        fork_and_look(unit_thread_count());
    REQUIRE(prepared == before + 20);
}

TEST(parent_and_child_go_on)
{
    unit_child_passes(fork_plainly, NULL);
}

/* Leaves so much behind that the helper is wanted. */
static void leave_dirty(size_t bytes)
{
    struct rcl_arena *a = rcl_arena_get(0);
    struct rcl_run run;
    void *p[64];
    size_t n = 0;

    rcl_gate_enter_patient(&rcl_tls.gate);
    for (size_t got = 0; got < bytes; got += RCL_LARGE_MAX / 4) {
        REQUIRE((p[n] = rcl_large_take(&a->runs, a, RCL_LARGE_MAX / 4, 1, RCL_CLASS_LARGE, &run)) !=
                NULL);
        memset(p[n++], 1, RCL_LARGE_MAX / 4);
    }
    while (n > 0)
        rcl_large_give(rcl_pagemap_desc(p[--n]), RCL_AGE_NEW);
    rcl_gate_leave(&rcl_tls.gate);
}

static void fork_beside_the_helper(void *arg)
{
    unsigned threads = unit_thread_count();

    (void)arg;
    for (int i = 0; i < 20; i++) {
        leave_dirty(4 * MIB);
        rcl_background_kick();
        REQUIRE(unit_thread_count() == threads + 1);
        fork_and_look(threads);
    }
    /* A later free starts it again, on both sides. */
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    leave_dirty(4 * MIB);
    rcl_background_kick();
    REQUIRE(unit_thread_count() == threads + 1);
    if (pid == 0)
        _exit(0);
    wait_for(pid);
}

TEST(whoever_counts_threads_sees_no_helper)
{
    if (UNIT_TSAN || unit_emulated())
        skip();
    unit_child_passes(fork_beside_the_helper, NULL);
}

static void fork_with_dirty_memory(void *arg)
{
    (void)arg;
    use_memory();
    leave_dirty(8 * MIB);
    REQUIRE(rcl_purge_dirty() * (int64_t)rcl_page_size() >= (int64_t)(8 * MIB));
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    REQUIRE(rcl_purge_dirty() * (int64_t)rcl_page_size() <= (int64_t)RCL_PURGE_WORTH_BYTES);
    if (pid == 0)
        _exit(0);
    wait_for(pid);
}

TEST(free_memory_is_returned_first)
{
    unit_child_passes(fork_with_dirty_memory, NULL);
}

/* --- beside other threads ---------- */

static uint32_t stop;

static void *work(void *arg)
{
    struct unit_random random = {(uintptr_t)arg};
    struct {
        void *p;
        unsigned cls;
        uint64_t mark;
    } own[50] = {{NULL, 0, 0}};

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        size_t i = unit_below(&random, array_len(own));
        if (own[i].p == NULL) {
            own[i].cls = RCL_CLASS_FIRST + (unsigned)unit_below(&random, 30);
            own[i].p = block_get(own[i].cls);
            own[i].mark = unit_next(&random);
            unit_stamp(own[i].p, rcl_classes[own[i].cls].size, own[i].mark);
        } else {
            REQUIRE(unit_stamped(own[i].p, rcl_classes[own[i].cls].size, own[i].mark));
            block_put(own[i].cls, own[i].p);
            own[i].p = NULL;
        }
    }
    for (size_t i = 0; i < array_len(own); i++)
        if (own[i].p != NULL)
            block_put(own[i].cls, own[i].p);
    return NULL;
}

static size_t caches(void)
{
    struct rcl_caches_stats stats;

    rcl_threads_usage(&stats);
    return stats.caches;
}

static void fork_beside_threads(void *arg)
{
    pthread_t thread[THREADS];
    char args[THREADS];

    (void)arg;
    stop = 0;
    for (size_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&thread[i], NULL, work, &args[i]) == 0);
    for (int i = 0; i < 100; i++) {
        pid_t pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
            assert_well(0);
            /* The caches of threads that do not exist have been taken over. */
            REQUIRE(caches() <= 1);
            for (int k = 0; k < 20; k++)
                use_memory();
            rcl_gate_enter_patient(&rcl_tls.gate);
            rcl_purge_all(&rcl_tls);
            rcl_gate_leave(&rcl_tls.gate);
            _exit(0);
        }
        use_memory();
        wait_for(pid);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
}

TEST(beside_threads_that_allocate)
{
    if (UNIT_TSAN)
        skip(); /* it counts on fork from one thread only */
    unit_child_passes(fork_beside_threads, NULL);
}

static void *fork_often(void *arg)
{
    for (int i = 0; i < 30; i++) {
        pid_t pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
            use_memory();
            _exit(0);
        }
        use_memory();
        wait_for(pid);
    }
    return arg;
}

static void fork_from_several_threads(void *arg)
{
    char args[THREADS];

    (void)arg;
    unit_threads(THREADS, fork_often, args, 1);
    fork_and_look(0);
}

TEST(several_threads_fork)
{
    if (UNIT_TSAN || unit_emulated())
        skip();
    unit_child_passes(fork_from_several_threads, NULL);
}

/* --- from a handler ---------- */

static void fork_within_a_fork(void *arg)
{
    (void)arg;
    use_memory();
    for (int i = 0; i < 10; i++) {
        to_nest = 1;
        fork_and_look(unit_thread_count());
        REQUIRE(to_nest == 0);
    }
}

TEST(a_fork_handler_may_fork)
{
    unit_child_passes(fork_within_a_fork, NULL);
}

static struct rcl_lock lock;

static void *want_the_lock(void *arg)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    __atomic_store_n((uint32_t *)arg, 1, __ATOMIC_RELEASE);
    rcl_lock(&lock);
    rcl_unlock(&lock);
    rcl_gate_leave(&rcl_tls.gate);
    return NULL;
}

/* As from a signal handler that interrupted a slow path just when it held a lock. */
static void fork_in_a_slow_path(void *arg)
{
    uint32_t inside = 0;
    pthread_t thread;

    (void)arg;
    /* The handlers must find what they allocate in the cache: a slow path may want the lock. */
    use_memory();
    for (int i = 0; i < 10; i++) {
        rcl_gate_enter_patient(&rcl_tls.gate);
        rcl_lock(&lock);
        if (arg != NULL) {
            inside = 0;
            REQUIRE(pthread_create(&thread, NULL, want_the_lock, &inside) == 0);
            while (__atomic_load_n(&rcl_lock_waiters, __ATOMIC_SEQ_CST) == 0)
                rcl_os_yield();
        }
        pid_t pid = _Fork(); /* without the handlers, which allocate */
        REQUIRE(pid >= 0);
        REQUIRE(rcl_tls.gate.inside == 1);
        rcl_unlock(&lock);
        rcl_gate_leave(&rcl_tls.gate);
        if (arg != NULL && pid != 0)
            REQUIRE(pthread_join(thread, NULL) == 0);
        assert_well(0);
        if (pid == 0)
            _exit(0);
        wait_for(pid);
    }
}

TEST(a_slow_path_that_was_interrupted_goes_on_in_both)
{
    unit_child_passes(fork_in_a_slow_path, NULL);
}

TEST(those_who_wait_for_the_interrupted_one_do_not_stop_it)
{
    if (UNIT_TSAN)
        skip();
    unit_child_passes(fork_in_a_slow_path, &lock);
}

/* --- without handlers ---------- */

static void fork_without_handlers(void *arg)
{
    unsigned before = prepared, threads = unit_thread_count();

    (void)arg;
    use_memory();
    for (int i = 0; i < 20; i++) {
        if (!UNIT_TSAN && !unit_emulated()) {
            leave_dirty(4 * MIB);
            rcl_background_kick();
        }
        pid_t pid = _Fork();
        REQUIRE(pid >= 0);
        assert_well(threads);
        if (pid == 0)
            _exit(0);
        wait_for(pid);
    }
    REQUIRE(prepared == before);
}

TEST(the_fork_without_handlers_works_as_well)
{
    unit_child_passes(fork_without_handlers, NULL);
}

/* --- the caller notices nothing ---------- */

static void compare_before_and_after(void *arg)
{
    sigset_t before, after;

    (void)arg;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    REQUIRE(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (int number = 1; number < 32; number++)
        REQUIRE(sigismember(&after, number) == (number == SIGUSR2));
    if (pid == 0)
        _exit(0);
    wait_for(pid);
}

TEST(blocked_signals_are_as_they_were)
{
    unit_child_passes(compare_before_and_after, NULL);
}

static int boot(void **state)
{
    (void)state;
    rcl_opt.narenas = 2;
    rcl_opt.background_thread = !UNIT_TSAN;
    if (!block_boot(1000000000) || pthread_atfork(prepare, parent, child) != 0)
        return 1;
    rcl_fork_boot();
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(parent_and_child_go_on),
        cmocka_unit_test(whoever_counts_threads_sees_no_helper),
        cmocka_unit_test(free_memory_is_returned_first),
        cmocka_unit_test(beside_threads_that_allocate),
        cmocka_unit_test(several_threads_fork),
        cmocka_unit_test(a_fork_handler_may_fork),
        cmocka_unit_test(a_slow_path_that_was_interrupted_goes_on_in_both),
        cmocka_unit_test(those_who_wait_for_the_interrupted_one_do_not_stop_it),
        cmocka_unit_test(the_fork_without_handlers_works_as_well),
        cmocka_unit_test(blocked_signals_are_as_they_were),
    };

    return cmocka_run_group_tests(tests, boot, NULL);
}
