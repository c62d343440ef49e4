/* SPDX-License-Identifier: MIT */
/*
 * Tests of background.h, by the threads the kernel counts.  Each runs in a child: a fork
 * ends the helper, and what the parent's tests have left behind is small.
 */
#include "unit.h"

#include "account.h"
#include "background.h"
#include "boot.h"
#include "heap.h"
#include "options.h"
#include "purge.h"
#include "thread.h"

#include <dirent.h>

enum { WINDOW_MS = 80 };

static int set_up(void **state)
{
    (void)state;
    rcl_opt.background_thread = 1;
    rcl_opt.tcache = 0;
    rcl_opt.dirty_min = (int64_t)1 << 40;
    rcl_opt.dirty_share = 0;
    rcl_opt.dirty_decay_ms = WINDOW_MS;
    return 0;
}

static size_t dirty_bytes(void)
{
    int64_t pages = rcl_purge_dirty();

    return pages > 0 ? (size_t)pages << rcl_page_shift() : 0;
}

/* Leave that much free memory behind. */
static void leave_behind(size_t bytes)
{
    enum { PIECE = 256 * 1024 };
    char *piece[64];
    size_t n = bytes / PIECE;

    REQUIRE(n <= array_len(piece));
    for (size_t i = 0; i < n; i++) {
        piece[i] = rcl_heap_alloc(PIECE + 1);
        REQUIRE(piece[i] != NULL);
        memset(piece[i], 1, PIECE);
    }
    for (size_t i = 0; i < n; i++)
        rcl_heap_free(piece[i], "free");
}

static bool await_threads(unsigned count, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        if (unit_thread_count() == count)
            return true;
        unit_sleep_ms(1);
    }
    return unit_thread_count() == count;
}

/* --- when it is started ------------------------------------------------------------------ */

static void little(void *arg)
{
    void *p = rcl_heap_alloc(300 * KIB);

    (void)arg;
    memset(p, 1, 300 * KIB);
    rcl_heap_free(p, "free");
    REQUIRE(dirty_bytes() > 0);
    rcl_background_kick();
    REQUIRE(unit_thread_count() == 1);
    unit_sleep_ms(WINDOW_MS);
    REQUIRE(unit_thread_count() == 1);
}

TEST(none_for_little)
{
    unit_child_passes(little, NULL);
}

static void exact(void *arg)
{
    int64_t pages = (int64_t)(RCL_PURGE_WORTH_BYTES >> rcl_page_shift());

    (void)arg;
    REQUIRE(rcl_account.dirty_pages == 0 && rcl_account.cache_bytes == 0);
    rcl_account.dirty_pages = pages;
    rcl_background_kick();
    REQUIRE(unit_thread_count() == 1);
    rcl_account.dirty_pages = 0;
    rcl_account.cache_bytes = (int64_t)RCL_PURGE_WORTH_BYTES;
    rcl_background_kick();
    REQUIRE(unit_thread_count() == 1);
    /* Both together. */
    rcl_account.dirty_pages = 1;
    rcl_background_kick();
    REQUIRE(unit_thread_count() == 2);
    rcl_account.dirty_pages = 0;
    rcl_account.cache_bytes = 0;
    REQUIRE(await_threads(1, 2000));
}

TEST(one_byte_more_than_the_threshold_starts_it)
{
    unit_child_passes(exact, NULL);
}

static void *free_much(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        leave_behind(4 * MIB);
        rcl_background_kick();
    }
    return NULL;
}

static void many_kicks(void *arg)
{
    char args[6];

    (void)arg;
    unit_threads(6, free_much, args, 1);
    leave_behind(4 * MIB);
    REQUIRE(unit_thread_count() == 2);
    for (int i = 0; i < 100; i++)
        rcl_background_kick();
    REQUIRE(unit_thread_count() == 2);
}

TEST(there_is_exactly_one)
{
    unit_child_passes(many_kicks, NULL);
}

static void read_status(int tid, const char *field, char *out, size_t size)
{
    char path[64], text[4096];

    snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
    long n = rcl_os_read_file(path, text, sizeof text - 1);
    REQUIRE(n > 0);
    text[n] = '\0';
    char *at = strstr(text, field);
    REQUIRE(at != NULL);
    at += strlen(field);
    at += strspn(at, ": \t");
    size_t length = strcspn(at, "\n");
    REQUIRE(length < size);
    memcpy(out, at, length);
    out[length] = '\0';
}

static int helper_tid(void)
{
    DIR *dir = opendir("/proc/self/task");
    int found = 0;

    REQUIRE(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        int tid = atoi(e->d_name);
        if (tid != 0 && tid != getpid()) {
            REQUIRE(found == 0);
            found = tid;
        }
    }
    closedir(dir);
    REQUIRE(found != 0);
    return found;
}

static void signals(void *arg)
{
    char text[64];
    sigset_t before, after;
    uint64_t never = (UINT64_C(1) << (SIGKILL - 1)) | (UINT64_C(1) << (SIGSTOP - 1));

    (void)arg;
    rcl_opt.dirty_decay_ms = 10000; /* it stays long enough to be looked at */
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    REQUIRE(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    leave_behind(4 * MIB);
    REQUIRE(unit_thread_count() == 2);
    read_status(helper_tid(), "SigBlk", text, sizeof text);
    REQUIRE(strtoull(text, NULL, 16) == ~never);
    /* The starter has its own mask back. */
    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (int sig = 1; sig < 32; sig++)
        REQUIRE(sigismember(&after, sig) == (sig == SIGUSR2));
    rcl_background_stop();
}

TEST(all_its_signals_are_blocked)
{
    unit_child_passes(signals, NULL);
}

static void switched_off(void *arg)
{
    int64_t *option = arg;

    if (option == &rcl_opt.background_thread)
        *option = 0;
    void *p[4];
    for (int i = 0; i < 4; i++)
        p[i] = memset(rcl_heap_alloc(MIB), 1, MIB);
    for (int i = 0; i < 4; i++)
        rcl_heap_free(p[i], "free");
    rcl_background_kick();
    REQUIRE(unit_thread_count() == 1);
    unit_sleep_ms(WINDOW_MS);
    REQUIRE(unit_thread_count() == 1);
}

TEST(none_when_switched_off)
{
    unit_child_passes(switched_off, &rcl_opt.background_thread);
}

TEST(none_when_nothing_decays_by_time)
{
    static const int64_t never[] = {-1, 0};

    for (size_t i = 0; i < array_len(never); i++) {
        rcl_opt.dirty_decay_ms = never[i];
        unit_child_passes(switched_off, &rcl_opt.dirty_decay_ms);
    }
}

/* --- what it does and when it ends ------------------------------------------------------- */

/* Processor time of the process in clock ticks would be too coarse: count its switches. */
static unsigned long switches(void)
{
    struct rusage usage;

    REQUIRE(getrusage(RUSAGE_SELF, &usage) == 0);
    return (unsigned long)(usage.ru_nvcsw + usage.ru_nivcsw);
}

static void comes_and_goes(void *arg)
{
    static char *p[16];

    (void)arg;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < array_len(p); i++)
            p[i] = memset(rcl_heap_alloc(400 * KIB), 1, 400 * KIB);
        REQUIRE(unit_thread_count() == 1);
        for (size_t i = 0; i < array_len(p); i++)
            rcl_heap_free(p[i], "free");
        REQUIRE(unit_thread_count() == 2);
        /* About a window, and no more than a few. */
        REQUIRE(await_threads(1, 50 * WINDOW_MS));
        REQUIRE(dirty_bytes() == 0);
        for (size_t i = 0; i < array_len(p); i++) {
            size_t resident = unit_resident(p[i], rcl_page_size());
            REQUIRE(resident == 0 || resident == SIZE_MAX);
        }
        /* An idle process has no wake-ups: only ours, to look. */
        unsigned long before = switches();
        unit_sleep_ms(3 * WINDOW_MS);
        REQUIRE(switches() - before <= 20);
        REQUIRE(unit_thread_count() == 1);
        rcl_background_kick();
        REQUIRE(unit_thread_count() == 1);
    }
}

TEST(it_returns_everything_and_ends)
{
    unit_child_passes(comes_and_goes, NULL);
}

static void not_too_soon(void *arg)
{
    static char *p[8];

    (void)arg;
    rcl_opt.dirty_decay_ms = 800;
    for (size_t i = 0; i < array_len(p); i++)
        p[i] = memset(rcl_heap_alloc(400 * KIB), 1, 400 * KIB);
    uint64_t start = rcl_os_now_ns();
    for (size_t i = 0; i < array_len(p); i++)
        rcl_heap_free(p[i], "free");
    size_t dirty = dirty_bytes();
    REQUIRE(dirty >= 3 * MIB);
    while (dirty_bytes() == dirty)
        unit_sleep_ms(5);
    /* Between a half and three quarters of a window; later on a busy machine. */
    REQUIRE(rcl_os_now_ns() - start >= 390000000u);
    while (dirty_bytes() > 0)
        unit_sleep_ms(5);
    REQUIRE(rcl_os_now_ns() - start <= 3000000000u);
}

TEST(it_waits_for_the_window)
{
    unit_child_passes(not_too_soon, NULL);
}

static void rest_is_left(void *arg)
{
    (void)arg;
    leave_behind(2 * MIB);
    REQUIRE(unit_thread_count() == 2);
    /* Something below the threshold comes again and again: it does not go on for that. */
    uint64_t start = rcl_os_now_ns();
    bool ended = false;
    while (!ended && rcl_os_now_ns() - start < UINT64_C(5000000000)) {
        void *p = memset(rcl_heap_alloc(300 * KIB), 1, 300 * KIB);
        rcl_heap_free(p, "free");
        unit_sleep_ms(2);
        ended = unit_thread_count() == 1;
    }
    REQUIRE(ended);
    for (int i = 0; i < 20; i++) {
        void *p = memset(rcl_heap_alloc(300 * KIB), 1, 300 * KIB);
        rcl_heap_free(p, "free");
        REQUIRE(unit_thread_count() == 1);
    }
}

TEST(it_ends_though_a_little_is_left)
{
    unit_child_passes(rest_is_left, NULL);
}

static struct rcl_tls *sleeper;
static uint32_t sleeper_state;

static void *fall_asleep(void *arg)
{
    static void *p[2000];

    sleeper = &rcl_tls;
    for (size_t i = 0; i < array_len(p); i++)
        p[i] = rcl_heap_alloc(1000);
    for (size_t i = 0; i < array_len(p); i++)
        rcl_heap_free(p[i], "free");
    __atomic_store_n(&sleeper_state, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&sleeper_state, __ATOMIC_SEQ_CST) != 2)
        unit_sleep_ms(5);
    return arg;
}

static void takes_idle_caches(void *arg)
{
    pthread_t thread;

    (void)arg;
    rcl_opt.tcache = 1;
    REQUIRE(pthread_create(&thread, NULL, fall_asleep, NULL) == 0);
    while (__atomic_load_n(&sleeper_state, __ATOMIC_SEQ_CST) != 1)
        unit_sleep_ms(1);
    REQUIRE(sleeper->cache != &rcl_tcache_none);
    leave_behind(4 * MIB);
    for (int i = 0; i < 3000 && rcl_account_get(&rcl_account.cache_bytes) != 0; i++)
        unit_sleep_ms(1);
    REQUIRE(rcl_account_get(&rcl_account.cache_bytes) == 0);
    REQUIRE(__atomic_load_n(&sleeper->cache, __ATOMIC_RELAXED) == &rcl_tcache_none);
    REQUIRE(await_threads(2, 3000)); /* the sleeper and this one */
    REQUIRE(dirty_bytes() == 0);
    __atomic_store_n(&sleeper_state, 2, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
}

TEST(it_takes_the_caches_of_sleeping_threads)
{
    unit_child_passes(takes_idle_caches, NULL);
}

/* --- stop, resume, forget ---------------------------------------------------------------- */

static uint32_t no_more;

static void *free_all_the_time(void *arg)
{
    while (!__atomic_load_n(&no_more, __ATOMIC_RELAXED))
        leave_behind(2 * MIB);
    return arg;
}

static void stopped(void *arg)
{
    pthread_t thread;

    (void)arg;
    for (int round = 0; round < 30; round++) {
        leave_behind(4 * MIB);
        REQUIRE(unit_thread_count() == 2);
        rcl_background_stop();
        REQUIRE(unit_thread_count() == 1); /* at once */
        leave_behind(4 * MIB);
        rcl_background_kick();
        REQUIRE(unit_thread_count() == 1);
        rcl_background_resume();
        REQUIRE(unit_thread_count() == 1);
    }
    /* With none running it may be stopped just as well. */
    rcl_background_stop();
    rcl_background_resume();
    leave_behind(4 * MIB);
    REQUIRE(unit_thread_count() == 2);

    /* While another thread would start it all the time. */
    REQUIRE(pthread_create(&thread, NULL, free_all_the_time, NULL) == 0);
    for (int round = 0; round < 50; round++) {
        rcl_background_stop();
        REQUIRE(unit_thread_count() == 2);
        unit_sleep_ms(1);
        REQUIRE(unit_thread_count() == 2);
        rcl_background_resume();
        unit_sleep_ms(round % 3);
    }
    __atomic_store_n(&no_more, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
}

TEST(stop_ends_it_and_resume_allows_it)
{
    unit_child_passes(stopped, NULL);
}

static void forgotten(void *arg)
{
    (void)arg;
    /* As a child finds it: whatever the parent noted, there is none. */
    leave_behind(4 * MIB);
    rcl_background_stop();
    rcl_background_forget();
    REQUIRE(unit_thread_count() == 1);
    rcl_background_kick();
    REQUIRE(unit_thread_count() == 2);
    REQUIRE(await_threads(1, 3000));
    REQUIRE(dirty_bytes() == 0);
}

TEST(a_child_starts_its_own)
{
    unit_child_passes(forgotten, NULL);
}

/* --- where no thread can be made --------------------------------------------------------- */

static void refused(void *arg)
{
    (void)arg;
    unit_forbid(SYS_clone, EPERM);
    rcl_opt.dirty_min = (int64_t)(4 * MIB);
    errno = UNIT_ERRNO;
    for (int i = 0; i < 20; i++) {
        leave_behind(3 * MIB);
        REQUIRE(unit_thread_count() == 1);
    }
    char *p = memset(rcl_heap_alloc(8 * MIB), 1, 8 * MIB);
    rcl_heap_free(p, "free");
    REQUIRE(dirty_bytes() <= 4 * MIB); /* the ceiling holds */
    /* stop and resume find nothing to do. */
    rcl_background_stop();
    rcl_background_resume();
    leave_behind(3 * MIB);
    REQUIRE(unit_thread_count() == 1);
    sigset_t mask;
    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
    for (int sig = 1; sig < 32; sig++)
        REQUIRE(!sigismember(&mask, sig));
}

TEST(where_clone_is_refused_nothing_is_said)
{
    struct unit_child child;

    unit_run_child(refused, NULL, &child);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == UNIT_CHILD_SKIPS)
        skip();
    assert_string_equal(child.text, "");
    assert_int_equal(child.status, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(none_for_little, set_up),
        cmocka_unit_test_setup(one_byte_more_than_the_threshold_starts_it, set_up),
        cmocka_unit_test_setup(there_is_exactly_one, set_up),
        cmocka_unit_test_setup(all_its_signals_are_blocked, set_up),
        cmocka_unit_test_setup(none_when_switched_off, set_up),
        cmocka_unit_test_setup(none_when_nothing_decays_by_time, set_up),
        cmocka_unit_test_setup(it_returns_everything_and_ends, set_up),
        cmocka_unit_test_setup(it_waits_for_the_window, set_up),
        cmocka_unit_test_setup(it_ends_though_a_little_is_left, set_up),
        cmocka_unit_test_setup(it_takes_the_caches_of_sleeping_threads, set_up),
        cmocka_unit_test_setup(stop_ends_it_and_resume_allows_it, set_up),
        cmocka_unit_test_setup(a_child_starts_its_own, set_up),
        cmocka_unit_test_setup(where_clone_is_refused_nothing_is_said, set_up),
    };

    if (!rcl_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
