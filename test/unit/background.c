/* SPDX-License-Identifier: MIT */
/*
 * Tests of background.h: when the helper thread is there and when it is not.  Each in a
 * forked child, where the kernel counts one thread at first.
 */
#include "unit.h"

#include "background.h"
#include "blocks.h"
#include "large.h"
#include "pagemap.h"
#include "purge.h"

#include <dirent.h>
#include <sched.h>
#include <ucontext.h>

enum { WINDOW_MS = 80, SOON_MS = 8000 };

static unsigned threads_at_first;

static void start(void)
{
    rcl_opt.dirty_decay_ms = WINDOW_MS;
    rcl_opt.dirty_min = 1 << 30;
    rcl_opt.narenas = 1;
    rcl_opt.background_thread = 1;
    REQUIRE(block_boot(WINDOW_MS * UINT64_C(1000000)));
    threads_at_first = unit_thread_count();
}

static unsigned helpers(void)
{
    return unit_thread_count() - threads_at_first;
}

static size_t dirty_bytes(void)
{
    return (size_t)rcl_purge_dirty() * rcl_page_size();
}

static void leave_dirty(size_t bytes)
{
    struct rcl_arena *a = rcl_arena_get(0);
    struct rcl_run run;
    void *p[64];
    size_t n = 0;

    rcl_gate_enter_patient(&rcl_tls.gate);
    for (size_t got = 0; got < bytes; got += RCL_LARGE_MAX / 4) {
        p[n] = rcl_large_take(&a->runs, a, RCL_LARGE_MAX / 4, 1, RCL_CLASS_LARGE, &run);
        REQUIRE(p[n] != NULL);
        memset(p[n++], 1, RCL_LARGE_MAX / 4);
    }
    while (n > 0)
        rcl_large_give(rcl_pagemap_desc(p[--n]), RCL_AGE_NEW);
    rcl_gate_leave(&rcl_tls.gate);
}

/* Give it time until there are so many helpers. */
static bool come_to(unsigned wanted)
{
    for (int ms = 0; ms < SOON_MS && helpers() != wanted; ms += 5)
        unit_sleep_ms(5);
    return helpers() == wanted;
}

/* --- when it starts --------------------------------------------------------------------------- */

static void kick_for_little(void *arg)
{
    (void)arg;
    start();
    rcl_background_kick();
    REQUIRE(helpers() == 0);
    leave_dirty(RCL_PURGE_WORTH_BYTES / 2);
    rcl_background_kick();
    REQUIRE(helpers() == 0);
}

static void kick_where_it_is_unwanted(void *arg)
{
    (void)arg;
    start();
    leave_dirty(4 * MIB);
    rcl_opt.background_thread = 0;
    rcl_background_kick();
    REQUIRE(helpers() == 0);
    rcl_opt.background_thread = 1;
    rcl_opt.dirty_decay_ms = -1;
    rcl_background_kick();
    REQUIRE(helpers() == 0);
}

/* Of many threads that rest: each has little in it, but there is the cache itself. */
static void kick_for_many_caches(void *arg)
{
    (void)arg;
    start();
    rcl_account_add(&rcl_account.caches, RCL_PURGE_WORTH_BYTES / sizeof(struct rcl_tcache) + 1);
    rcl_background_kick();
    REQUIRE(helpers() == 1);
}

/* Where pages go back at once, caches do not. */
static void kick_where_nothing_decays(void *arg)
{
    (void)arg;
    start();
    rcl_opt.dirty_decay_ms = 0;
    rcl_background_kick();
    REQUIRE(helpers() == 0);
    rcl_account_add(&rcl_account.cache_bytes, 4 * MIB);
    rcl_background_kick();
    REQUIRE(helpers() == 1);
}

TEST(it_is_started_for_caches)
{
    unit_child_passes(kick_for_many_caches, NULL);
    unit_child_passes(kick_where_nothing_decays, NULL);
}

static void shorten_the_window(void *arg)
{
    (void)arg;
    start();
    rcl_opt.dirty_decay_ms = 3600000;
    leave_dirty(4 * MIB);
    rcl_background_kick();
    REQUIRE(helpers() == 1);
    unit_sleep_ms(20); /* it waits by now */
    rcl_opt.dirty_decay_ms = WINDOW_MS;
    rcl_background_hurry();
    REQUIRE(come_to(0));
    REQUIRE(dirty_bytes() == 0);
}

TEST(a_shorter_window_counts_at_once)
{
    unit_child_passes(shorten_the_window, NULL);
}

TEST(it_is_not_started_without_need)
{
    unit_child_passes(kick_for_little, NULL);
    unit_child_passes(kick_where_it_is_unwanted, NULL);
}

static void return_memory_and_end(void *arg)
{
    (void)arg;
    start();
    REQUIRE(rcl_background_next_ns() == 0);
    for (int round = 0; round < 3; round++) {
        leave_dirty(4 * MIB);
        uint64_t before = rcl_os_now_ns();
        rcl_background_kick();
        /* Known at once, though it may not have run yet. */
        uint64_t next = rcl_background_next_ns();
        REQUIRE(next >= before + rcl_purge_step_ns() &&
                next <= rcl_os_now_ns() + rcl_purge_step_ns());
        REQUIRE(helpers() == 1);
        /* Not before its time. */
        REQUIRE(dirty_bytes() >= 4 * MIB);
        REQUIRE(come_to(0));
        REQUIRE(dirty_bytes() == 0);
        rcl_background_kick();
        REQUIRE(helpers() == 0);
    }
}

TEST(it_returns_what_is_idle_and_ends)
{
    unit_child_passes(return_memory_and_end, NULL);
}

static void *kick_often(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        rcl_background_kick();
        REQUIRE(helpers() <= 1 + 4);
    }
    return arg;
}

static void kick_from_several_threads(void *arg)
{
    char args[4];

    (void)arg;
    start();
    leave_dirty(4 * MIB);
    unit_threads(4, kick_often, args, 1);
    /* The kernel counts the four a little longer. */
    REQUIRE(come_to(1) || helpers() == 0);
    REQUIRE(come_to(0));
    REQUIRE(dirty_bytes() == 0);
}

TEST(there_is_one_at_most)
{
    unit_child_passes(kick_from_several_threads, NULL);
}

static void kick_where_threads_are_forbidden(void *arg)
{
    (void)arg;
    start();
    leave_dirty(4 * MIB);
    unit_forbid(SYS_clone, EPERM);
    for (int i = 0; i < 100; i++)
        rcl_background_kick();
    REQUIRE(helpers() == 0);
    rcl_background_stop();
    rcl_background_resume();
}

TEST(where_no_thread_can_be_made_there_is_none)
{
    unit_child_passes(kick_where_threads_are_forbidden, NULL);
}

/* --- around fork -------------------- */

static void stop_and_resume(void *arg)
{
    (void)arg;
    start();
    /* When there is none. */
    rcl_background_stop();
    rcl_background_resume();
    for (int round = 0; round < 200; round++) {
        leave_dirty(2 * MIB);
        rcl_background_kick();
        REQUIRE(helpers() == 1);
        if (round % 10 == 9)
            unit_sleep_ms(WINDOW_MS / RCL_DECAY_STEPS); /* in the middle of its work */
        rcl_background_stop();
        REQUIRE(helpers() == 0);
        rcl_background_kick();
        REQUIRE(helpers() == 0);
        rcl_background_resume();
        REQUIRE(helpers() == 0);
    }
    leave_dirty(2 * MIB);
    rcl_background_kick();
    REQUIRE(helpers() == 1);
    REQUIRE(come_to(0));
    REQUIRE(dirty_bytes() == 0);
}

TEST(once_stopped_it_is_gone_until_it_is_allowed_again)
{
    unit_child_passes(stop_and_resume, NULL);
}

static void forget_in_a_child(void *arg)
{
    int status;

    (void)arg;
    start();
    leave_dirty(4 * MIB);
    rcl_background_kick();
    REQUIRE(helpers() == 1);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        rcl_gate_reset(&rcl_tls.gate);
        rcl_background_forget();
        REQUIRE(unit_thread_count() == threads_at_first);
        rcl_background_kick();
        REQUIRE(helpers() == 1);
        REQUIRE(come_to(0));
        REQUIRE(dirty_bytes() == 0);
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    REQUIRE(come_to(0));
}

static bool is_late;      /* the late thread is between its looks at the helper; relaxed */
static bool one_has_come; /* since then; release */

/* It has found no helper, and blocks signals to make one: first it lets one come and go. */
static void be_late(int signal, siginfo_t *info, void *context)
{
    ucontext_t *c = context;

    (void)signal, (void)info;
#ifdef __x86_64__
    c->uc_mcontext.gregs[REG_RAX] = 0;
#else
    c->uc_mcontext.regs[0] = 0;
#endif
    if (__atomic_exchange_n(&is_late, true, __ATOMIC_RELAXED))
        return;
    while (!__atomic_load_n(&one_has_come, __ATOMIC_ACQUIRE))
        continue;
    while (rcl_background_running())
        continue;
}

static void *kick_late(void *arg)
{
    unit_answer(SYS_rt_sigprocmask, SECCOMP_RET_TRAP); /* in this thread */
    rcl_background_kick();
    return arg;
}

/* Who comes late makes the next helper as the last one ends: not while that is stopped. */
static void stop_beside_a_late_kick(void *arg)
{
    enum { TRIALS = 100, LONG_MS = 12000 };
    struct sigaction trapped = {.sa_sigaction = be_late, .sa_flags = SA_SIGINFO};
    pthread_t late;
    (void)arg;

    start();
    rcl_opt.dirty_decay_ms = LONG_MS; /* so long each helper waits for its first steps */
    REQUIRE(sigaction(SIGSYS, &trapped, NULL) == 0);
    leave_dirty(4 * MIB);
    for (int i = 0; i < TRIALS; i++) {
        __atomic_store_n(&is_late, false, __ATOMIC_RELAXED);
        __atomic_store_n(&one_has_come, false, __ATOMIC_RELAXED);
        REQUIRE(pthread_create(&late, NULL, kick_late, NULL) == 0);
        while (!__atomic_load_n(&is_late, __ATOMIC_RELAXED))
            sched_yield();
        rcl_background_kick();
        REQUIRE(rcl_background_running());
        __atomic_store_n(&one_has_come, true, __ATOMIC_RELEASE);
        uint64_t before = rcl_os_now_ns();
        rcl_background_stop();
        REQUIRE(rcl_os_now_ns() - before < LONG_MS / 4 * UINT64_C(1000000));
        REQUIRE(!rcl_background_running());
        pthread_join(late, NULL);
        rcl_background_resume();
    }
    REQUIRE(helpers() == 0);
}

TEST(stopping_it_does_not_wait_for_the_next_one)
{
    if (unit_emulated())
        skip(); /* no filters of system calls */
    unit_child_passes(stop_beside_a_late_kick, NULL);
}

TEST(a_child_has_its_own)
{
    if (unit_emulated())
        skip(); /* a fork beside threads, and then a thread */
    unit_child_passes(forget_in_a_child, NULL);
}

static void wait_at_the_gate(void *arg)
{
    (void)arg;
    start();
    leave_dirty(4 * MIB);
    rcl_gate_close(&rcl_tls.gate);
    rcl_background_kick();
    unit_sleep_ms(4 * WINDOW_MS);
    REQUIRE(helpers() == 1);
    REQUIRE(dirty_bytes() >= 4 * MIB);
    rcl_gate_open();
    REQUIRE(come_to(0));
    REQUIRE(dirty_bytes() == 0);
}

TEST(it_waits_at_a_closed_gate)
{
    unit_child_passes(wait_at_the_gate, NULL);
}

/* The id in the innermost namespace of the thread that the folder `name` describes. */
static int inner_id(const char *name)
{
    char path[300], text[4096];

    snprintf(path, sizeof path, "/proc/self/task/%s/status", name);
    long n = rcl_os_read_file(path, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    char *line = strstr(text, "\nNSpid:");
    if (line == NULL)
        return 0;
    line[1 + strcspn(line + 1, "\n")] = '\0';
    return atoi(strrchr(line, '\t') + 1);
}

/* The id of a thread of this process that is not the main one, or 0. */
static int other_thread(void)
{
    DIR *folder = opendir("/proc/self/task");
    int id = 0;

    REQUIRE(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        int one = inner_id(entry->d_name);
        if (one > 0 && one != getpid())
            id = one;
    }
    closedir(folder);
    return id;
}

struct sleeper {
    pthread_t thread;
    int id;
    uint32_t word; /* futex word: ends it */
};

static void *sleep_on(void *arg)
{
    struct sleeper *s = arg;

    __atomic_store_n(&s->id, rcl_os_tid(), __ATOMIC_RELEASE);
    while (__atomic_load_n(&s->word, __ATOMIC_ACQUIRE) == 0)
        rcl_os_futex_wait(&s->word, 0, 0);
    return NULL;
}

/* A thread with this id; false: the kernel would not give it to us. */
static bool make_thread_with_id(struct sleeper *s, int id)
{
    for (int attempt = 0; attempt < 200; attempt++) {
        char text[16];
        int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
        int length = snprintf(text, sizeof text, "%d", id - 1);
        if (fd < 0 || write(fd, text, (size_t)length) != length)
            return false;
        *s = (struct sleeper){.id = 0};
        REQUIRE(pthread_create(&s->thread, NULL, sleep_on, s) == 0);
        close(fd);
        while (__atomic_load_n(&s->id, __ATOMIC_ACQUIRE) == 0)
            rcl_os_yield();
        if (s->id == id)
            return true;
        __atomic_store_n(&s->word, 1, __ATOMIC_RELEASE);
        rcl_os_futex_wake(&s->word, 1);
        REQUIRE(pthread_join(s->thread, NULL) == 0);
    }
    return false;
}

static void stop_when_its_id_is_anothers(void)
{
    struct sleeper s;

    alarm(UNIT_CHILD_SECONDS / 2); /* not inherited */
    start();
    leave_dirty(4 * MIB);
    rcl_background_kick();
    int id = other_thread();
    REQUIRE(id != 0);
    REQUIRE(come_to(0));
    if (!make_thread_with_id(&s, id))
        _exit(UNIT_CHILD_SKIPS);
    rcl_background_stop(); /* must not take that thread for the helper */
    rcl_background_resume();
    _exit(0);
}

/*
 * Thread ids are given out again only in a namespace of our own: turning them back for all
 * processes of the machine would make others signal the wrong ones.
 */
static void enter_a_namespace(void *arg)
{
    (void)arg;
    if (unshare(CLONE_NEWPID) != 0)
        _exit(UNIT_CHILD_SKIPS);
    for (int level = 0; level < 2; level++) { /* its first process cannot be ended by a signal */
        pid_t pid = fork();
        int status;
        if (pid < 0)
            _exit(UNIT_CHILD_SKIPS);
        if (pid == 0)
            continue;
        REQUIRE(waitpid(pid, &status, 0) == pid);
        REQUIRE(WIFEXITED(status));
        _exit(WEXITSTATUS(status));
    }
    REQUIRE(getpid() == 2);
    stop_when_its_id_is_anothers();
}

TEST(a_thread_that_inherits_its_id_is_not_taken_for_it)
{
    if (unit_emulated())
        skip();
    unit_child_passes(enter_a_namespace, NULL);
}

/* --- an idle process has no thread of ours -------------------- */

static void *fill_a_cache_and_sleep(void *arg)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        void *p[600];
        size_t n = rcl_min(2u * rcl_classes[cls].cache_max, array_len(p));
        for (size_t i = 0; i < n; i++)
            p[i] = block_get(cls);
        for (size_t i = 0; i < n; i++)
            block_put(cls, p[i]);
    }
    return sleep_on(arg);
}

static void be_idle_with_a_full_cache(void *arg)
{
    struct sleeper s = {.id = 0};

    if (arg != NULL)
        unit_forbid(SYS_membarrier, ENOSYS);
    start();
    REQUIRE(pthread_create(&s.thread, NULL, fill_a_cache_and_sleep, &s) == 0);
    while (__atomic_load_n(&s.id, __ATOMIC_ACQUIRE) == 0)
        rcl_os_yield();
    threads_at_first++;
    leave_dirty(4 * MIB);
    rcl_background_kick();
    REQUIRE(come_to(0));
    REQUIRE(dirty_bytes() <= RCL_PURGE_WORTH_BYTES);
}

TEST(it_ends_when_another_thread_sleeps_on_a_full_cache)
{
    unit_child_passes(be_idle_with_a_full_cache, NULL);
}

TEST(it_ends_even_where_caches_of_others_cannot_be_taken)
{
    unit_child_passes(be_idle_with_a_full_cache, &threads_at_first);
}

static void be_idle_with_locked_memory(void *arg)
{
    struct rcl_arena *a = rcl_arena_get(0);
    struct rcl_run run;
    char *p[8];

    (void)arg;
    start();
    a = rcl_arena_get(0);
    for (size_t i = 0; i < array_len(p); i++) {
        p[i] = rcl_large_take(&a->runs, a, RCL_LARGE_MAX / 2, 1, RCL_CLASS_LARGE, &run);
        REQUIRE(p[i] != NULL);
        if (syscall(SYS_mlock, p[i], RCL_LARGE_MAX / 2) != 0)
            _exit(UNIT_CHILD_SKIPS);
    }
    for (size_t i = 0; i < array_len(p); i++)
        rcl_large_give(rcl_pagemap_desc(p[i]), RCL_AGE_NEW);
    rcl_background_kick();
    REQUIRE(helpers() == 1);
    REQUIRE(come_to(0));
}

TEST(it_ends_even_where_the_kernel_takes_nothing)
{
    unit_child_passes(be_idle_with_locked_memory, NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_not_started_without_need),
        cmocka_unit_test(it_is_started_for_caches),
        cmocka_unit_test(a_shorter_window_counts_at_once),
        cmocka_unit_test(it_returns_what_is_idle_and_ends),
        cmocka_unit_test(there_is_one_at_most),
        cmocka_unit_test(where_no_thread_can_be_made_there_is_none),
        cmocka_unit_test(once_stopped_it_is_gone_until_it_is_allowed_again),
        cmocka_unit_test(stopping_it_does_not_wait_for_the_next_one),
        cmocka_unit_test(a_child_has_its_own),
        cmocka_unit_test(it_waits_at_a_closed_gate),
        cmocka_unit_test(a_thread_that_inherits_its_id_is_not_taken_for_it),
        cmocka_unit_test(it_ends_when_another_thread_sleeps_on_a_full_cache),
        cmocka_unit_test(it_ends_even_where_caches_of_others_cannot_be_taken),
        cmocka_unit_test(it_ends_even_where_the_kernel_takes_nothing),
    };

    if (UNIT_TSAN)
        return 77; /* its run time needs a thread of libc's */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
