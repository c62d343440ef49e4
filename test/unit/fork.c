/* SPDX-License-Identifier: MIT */
/*
 * Tests of fork.h.  fork() is libc's; our handlers are registered by the constructor in
 * boot.c, as in every program.
 */
#include "unit.h"

#include "account.h"
#include "arena.h"
#include "boot.h"
#include "heap.h"
#include "huge.h"
#include "options.h"
#include "purge.h"
#include "thread.h"

#include <sys/time.h>

static const size_t sizes[] = {16, 100, 1000, 5000, 30000, 40000, 200000, 500000, 1500000};

/* Every kind of block can be had, is one's own, and can be given back. */
static void use_the_heap(void)
{
    char *p[array_len(sizes)];

    for (size_t i = 0; i < array_len(sizes); i++) {
        p[i] = rcl_heap_alloc_zero(sizes[i]);
        REQUIRE(p[i] != NULL && unit_zero(p[i], sizes[i]));
        unit_stamp(p[i], sizes[i], i + 1);
    }
    for (size_t i = 0; i < array_len(sizes); i++) {
        REQUIRE(unit_stamped(p[i], sizes[i], i + 1));
        unit_stamp(p[i], sizes[i] / 2, i + 2);
        p[i] = rcl_heap_realloc(p[i], 2 * sizes[i]);
        REQUIRE(p[i] != NULL && unit_stamped(p[i], sizes[i] / 2, i + 2));
        rcl_heap_free(p[i], "free");
    }
}

static void child_must_pass(pid_t pid)
{
    int status;

    REQUIRE(pid > 0);
    while (waitpid(pid, &status, 0) < 0)
        REQUIRE(errno == EINTR);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static size_t live(unsigned cls)
{
    size_t n = 0;

    for (unsigned i = 0; i < rcl_arena_count(); i++)
        n += rcl_arena_get(i)->bin[cls].live;
    return n;
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
    return 0;
}

/* --- one thread -------------------------------------------------------------------------- */

TEST(parent_and_child_go_on)
{
    static char *block[array_len(sizes)];

    for (size_t i = 0; i < array_len(sizes); i++) {
        block[i] = rcl_heap_alloc(sizes[i]);
        unit_stamp(block[i], sizes[i], 77 + i);
    }
    pid_t pid = fork();
    if (pid == 0) {
        alarm(UNIT_CHILD_SECONDS);
        for (size_t i = 0; i < array_len(sizes); i++) {
            REQUIRE(unit_stamped(block[i], sizes[i], 77 + i));
            memset(block[i], 0, sizes[i]);
        }
        use_the_heap();
        for (size_t i = 0; i < array_len(sizes); i++)
            rcl_heap_free(block[i], "free");
        use_the_heap();
        /* And a child of the child. */
        pid_t second = fork();
        if (second == 0) {
            use_the_heap();
            _exit(0);
        }
        child_must_pass(second);
        use_the_heap();
        _exit(0);
    }
    use_the_heap();
    child_must_pass(pid);
    for (size_t i = 0; i < array_len(sizes); i++) {
        assert_true(unit_stamped(block[i], sizes[i], 77 + i));
        rcl_heap_free(block[i], "free");
    }
}

static void leave_behind(size_t bytes)
{
    static char *p[256];
    size_t n = bytes / (256 * KIB);

    REQUIRE(n <= array_len(p));
    for (size_t i = 0; i < n; i++)
        p[i] = memset(rcl_heap_alloc(256 * KIB), 1, 256 * KIB);
    for (size_t i = 0; i < n; i++)
        rcl_heap_free(p[i], "free");
}

static void ends_the_helper(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        rcl_opt.dirty_min = (int64_t)1 << 40;
        leave_behind(8 * MIB);
        REQUIRE(unit_thread_count() == 2);
        pid_t pid = fork();
        REQUIRE(unit_thread_count() == 1); /* on both sides */
        if (pid == 0) {
            /* Each side may have one of its own again. */
            leave_behind(8 * MIB);
            REQUIRE(unit_thread_count() == 2);
            _exit(0);
        }
        child_must_pass(pid);
        leave_behind(8 * MIB);
        REQUIRE(unit_thread_count() == 2);
    }
}

TEST(the_helper_is_gone_before_the_fork)
{
    unit_child_passes(ends_the_helper, NULL);
}

static void returns_what_nobody_wants(void *arg)
{
    (void)arg;
    rcl_opt.dirty_min = (int64_t)1 << 40;
    rcl_opt.background_thread = 0;
    REQUIRE(rcl_account.demand_pages == 0);
    leave_behind(16 * MIB); /* once: no demand */
    REQUIRE(rcl_purge_dirty() << rcl_page_shift() >= (int64_t)(15 * MIB));
    pid_t pid = fork();
    REQUIRE(rcl_purge_dirty() <= rcl_account.demand_pages);
    REQUIRE(rcl_purge_dirty() << rcl_page_shift() < (int64_t)MIB);
    if (pid == 0)
        _exit(0);
    child_must_pass(pid);
}

TEST(what_is_beyond_the_demand_is_returned_before)
{
    unit_child_passes(returns_what_nobody_wants, NULL);
}

/* --- several threads --------------------------------------------------------------------- */

static uint32_t filled, may_end;

static void *fill_a_cache(void *arg)
{
    void *p[20];

    for (size_t i = 0; i < array_len(p); i++)
        p[i] = rcl_heap_alloc(100);
    for (size_t i = 0; i < array_len(p); i++)
        rcl_heap_free(p[i], "free");
    __atomic_fetch_add(&filled, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&may_end, __ATOMIC_SEQ_CST))
        unit_sleep_ms(1);
    return arg;
}

static void takes_over_caches(void *arg)
{
    enum { N = 4 };
    pthread_t thread[N];
    unsigned cls = rcl_class_of_small(100);
    size_t caches, bytes;

    (void)arg;
    void *mine = rcl_heap_alloc(100);
    for (int i = 0; i < N; i++)
        REQUIRE(pthread_create(&thread[i], NULL, fill_a_cache, NULL) == 0);
    while (__atomic_load_n(&filled, __ATOMIC_SEQ_CST) < N)
        unit_sleep_ms(1);
    rcl_threads_usage(&caches, &bytes);
    REQUIRE(caches == N + 1);
    pid_t pid = fork();
    rcl_threads_usage(&caches, &bytes);
    if (pid == 0) {
        REQUIRE(caches == 1);
        REQUIRE(live(cls) == 1 + rcl_tcache_count(rcl_tls.cache, cls));
        REQUIRE(rcl_account.cache_bytes == (int64_t)rcl_tls.cache->bytes);
        rcl_heap_free(mine, "free");
        use_the_heap();
        _exit(0);
    }
    REQUIRE(caches == N + 1);
    child_must_pass(pid);
    __atomic_store_n(&may_end, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < N; i++)
        pthread_join(thread[i], NULL);
    rcl_heap_free(mine, "free");
}

TEST(the_child_takes_over_the_caches_of_lost_threads)
{
    unit_child_passes(takes_over_caches, NULL);
}

static uint32_t enough;

static void *be_busy(void *arg)
{
    enum { N = 100 };
    static __thread char *p[N];
    static __thread size_t size[N];
    struct unit_random random = {(uintptr_t)arg};

    while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
        size_t i = unit_below(&random, N);
        if (p[i] != NULL) {
            REQUIRE(unit_stamped(p[i], size[i], i + (uintptr_t)arg));
            rcl_heap_free(p[i], "free");
            p[i] = NULL;
        } else {
            size[i] = unit_below(&random, (size_t)64 << unit_below(&random, 15));
            p[i] = rcl_heap_alloc(size[i]);
            REQUIRE(p[i] != NULL);
            unit_stamp(p[i], size[i], i + (uintptr_t)arg);
        }
    }
    for (size_t i = 0; i < N; i++)
        rcl_heap_free(p[i], "free");
    return NULL;
}

enum { BUSY = 3, FORKS = 200 };
static pthread_t busy[BUSY];

static void start_busy_threads(void)
{
    for (uintptr_t i = 0; i < BUSY; i++)
        REQUIRE(pthread_create(&busy[i], NULL, be_busy, (void *)(i + 1)) == 0);
}

static void end_busy_threads(void)
{
    __atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < BUSY; i++)
        pthread_join(busy[i], NULL);
}

static void many_forks(void *arg)
{
    (void)arg;
    start_busy_threads();
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(10);
            REQUIRE(unit_thread_count() == 1);
            use_the_heap();
            _exit(0);
        }
        use_the_heap();
        child_must_pass(pid);
    }
    end_busy_threads();
}

TEST(many_forks_while_others_are_at_work)
{
    unit_child_passes(many_forks, NULL);
}

static void *fork_often(void *arg)
{
    for (int i = 0; i < 15; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(10);
            use_the_heap();
            _exit(0);
        }
        use_the_heap();
        child_must_pass(pid);
    }
    return arg;
}

static void forks_at_once(void *arg)
{
    char args[4];

    (void)arg;
    start_busy_threads();
    unit_threads(4, fork_often, args, 1);
    end_busy_threads();
}

TEST(several_threads_fork_at_once)
{
    unit_child_passes(forks_at_once, NULL);
}

/* --- from a signal handler that has interrupted a slow path ------------------------------ */

static volatile sig_atomic_t forked_inside, in_child;
static volatile pid_t last_child;

/* The child goes on with what was interrupted, and ends at the next look at in_child. */
static void fork_if_inside(int sig)
{
    (void)sig;
    if (rcl_tls.gate.inside == 0 || in_child || last_child != 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        in_child = 1;
        alarm(10);
    } else {
        last_child = pid;
        forked_inside++;
    }
}

static void interrupted(void *arg)
{
    enum { WANTED = 30 };
    struct sigaction action = {.sa_handler = fork_if_inside, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    uint64_t start = rcl_os_now_ns();
    bool others = arg != NULL;

    rcl_opt.tcache = 0; /* every call goes the slow way */
    if (others) {
        /* The signal is for this thread. */
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGPROF);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        start_busy_threads();
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    }
    REQUIRE(sigaction(SIGPROF, &action, NULL) == 0);
    REQUIRE(setitimer(ITIMER_PROF, &often, NULL) == 0);
    while (forked_inside < WANTED && rcl_os_now_ns() - start < UINT64_C(2000000000)) {
        char *p = rcl_heap_alloc(100), *q = rcl_heap_alloc(40000), *r = rcl_heap_alloc(300000);
        unit_stamp(p, 100, 1);
        unit_stamp(q, 40000, 2);
        unit_stamp(r, 300000, 3);
        q = rcl_heap_realloc(q, 500000);
        rcl_heap_free(r, "free");
        REQUIRE(unit_stamped(p, 100, 1));
        rcl_heap_free(p, "free");
        rcl_heap_free(q, "free");
        if (in_child) {
            REQUIRE(rcl_tls.gate.inside == 0);
            use_the_heap();
            _exit(0);
        }
        if (last_child != 0) {
            REQUIRE(rcl_tls.gate.inside == 0);
            child_must_pass(last_child);
            last_child = 0;
        }
    }
    REQUIRE(setitimer(ITIMER_PROF, &never, NULL) == 0);
    if (others)
        end_busy_threads();
    use_the_heap();
    REQUIRE(forked_inside > 0);
}

TEST(from_a_handler_in_a_slow_path)
{
    unit_child_passes(interrupted, NULL);
}

TEST(from_a_handler_in_a_slow_path_while_others_are_at_work)
{
    unit_child_passes(interrupted, &enough);
}

static struct rcl_bin *held;
static bool worker_done;

static void *want_the_lock(void *arg)
{
    for (int i = 0; i < 100; i++)
        rcl_heap_free(rcl_heap_alloc(100), "free");
    __atomic_store_n(&worker_done, true, __ATOMIC_SEQ_CST);
    return arg;
}

/* The place is chosen here: inside the gate and with a lock that another thread waits for. */
static void with_a_lock_held(void *arg)
{
    pthread_t thread;

    (void)arg;
    rcl_opt.tcache = 0;
    rcl_opt.narenas = 1;
    rcl_heap_free(rcl_heap_alloc(100), "free");
    held = &rcl_arena_get(0)->bin[rcl_class_of_small(100)];
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_lock(&held->lock);
    REQUIRE(pthread_create(&thread, NULL, want_the_lock, NULL) == 0);
    unit_sleep_ms(20);
    pid_t pid = fork();
    REQUIRE(rcl_tls.gate.inside == 1);
    rcl_unlock(&held->lock);
    rcl_gate_leave(&rcl_tls.gate);
    use_the_heap();
    if (pid == 0)
        _exit(0);
    child_must_pass(pid);
    pthread_join(thread, NULL);
    REQUIRE(worker_done);
    /* And the next fork is one like any other. */
    pid = fork();
    if (pid == 0) {
        use_the_heap();
        _exit(0);
    }
    child_must_pass(pid);
}

TEST(with_a_lock_held_that_another_thread_waits_for)
{
    unit_child_passes(with_a_lock_held, NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_beyond_the_demand_is_returned_before, set_up),
        cmocka_unit_test_setup(the_helper_is_gone_before_the_fork, set_up),
        cmocka_unit_test_setup(the_child_takes_over_the_caches_of_lost_threads, set_up),
        cmocka_unit_test_setup(parent_and_child_go_on, set_up),
        cmocka_unit_test_setup(many_forks_while_others_are_at_work, set_up),
        cmocka_unit_test_setup(several_threads_fork_at_once, set_up),
        cmocka_unit_test_setup(from_a_handler_in_a_slow_path, set_up),
        cmocka_unit_test_setup(from_a_handler_in_a_slow_path_while_others_are_at_work, set_up),
        cmocka_unit_test_setup(with_a_lock_held_that_another_thread_waits_for, set_up),
    };

    if (!rcl_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
