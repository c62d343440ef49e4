/* SPDX-License-Identifier: MIT */
/*
 * Tests of os.h.  What the kernel refuses is made to happen: by address-space limits,
 * locked pages, and system-call filters in forked children.
 */
#include "unit.h"

#include <sched.h>
#include <sys/stat.h>

static char *map(size_t pages)
{
    char *p = rcl_os_map(pages * rcl_page_size());

    assert_non_null(p);
    return p;
}

static void unmap(char *p, size_t pages)
{
    assert_int_equal(rcl_os_unmap(p, pages * rcl_page_size()), 0);
}

/* --- the page -------------------------------------------------------------------------- */

static void write_there(void *arg)
{
    *(int *)arg = 1;
}

TEST(shared_memory_is_the_childs_too)
{
    int *shared = rcl_os_map_shared(rcl_page_size()), *own = rcl_os_map(rcl_page_size());

    assert_non_null(shared);
    assert_non_null(own);
    unit_child_passes(write_there, shared);
    unit_child_passes(write_there, own);
    assert_int_equal(*shared, 1);
    assert_int_equal(*own, 0);
    rcl_os_unmap(shared, rcl_page_size());
    rcl_os_unmap(own, rcl_page_size());
}

TEST(page_size_is_the_machines)
{
#ifdef RCL_TEST_PAGE_SIZE
    size_t page = RCL_TEST_PAGE_SIZE;
#else
    size_t page = unit_kernel_page();
#endif
    assert_int_equal(rcl_page_size(), page);
    assert_int_equal((size_t)1 << rcl_page_shift(), page);
    rcl_os_init();
    assert_int_equal(rcl_page_size(), page);
}

/* --- memory ------------------------------------------------------------------------------ */

TEST(mapped_memory_is_zero_aligned_and_private)
{
    size_t bytes = 5 * rcl_page_size();
    char *p = map(5);

    assert_int_equal((uintptr_t)p % rcl_page_size(), 0);
    assert_true(unit_zero(p, bytes));
    memset(p, 0xa5, bytes);
    unmap(p, 5);
    assert_int_equal(unit_resident(p, bytes), SIZE_MAX);
}

TEST(aligned_mappings_leave_nothing_behind)
{
    size_t page = rcl_page_size(), start = unit_address_space();
    char *some = map(1000);
    bool exact = unit_address_space() == start + 1000 * page;

    /* An emulator's address space is not the program's. */
    unmap(some, 1000);
    exact = exact && unit_address_space() == start;
    for (size_t align = page; align <= 64 * MIB; align *= 4) {
        for (size_t bytes = page; bytes <= 4 * MIB; bytes *= 5) {
            size_t before = unit_address_space(), size = rcl_align_up(bytes, page);
            char *p = rcl_os_map_aligned(size, align);

            assert_non_null(p);
            assert_int_equal((uintptr_t)p % align, 0);
            p[0] = p[size - 1] = 1;
            assert_true(!exact || unit_address_space() == before + size);
            assert_int_equal(rcl_os_unmap(p, size), 0);
            assert_true(!exact || unit_address_space() == before);
        }
    }
}

TEST(what_the_kernel_does_not_have_is_null)
{
    size_t page = rcl_page_size(), most = rcl_align_down(SIZE_MAX, page);

    errno = UNIT_ERRNO;
    assert_null(rcl_os_map(most));
    assert_null(rcl_os_map((size_t)1 << 60));
    assert_null(rcl_os_map_aligned(page, (size_t)1 << 63));
    assert_null(rcl_os_map_aligned(most, (size_t)1 << 40));
    assert_int_equal(errno, UNIT_ERRNO);
}

static void map_beyond_the_limit(void *arg)
{
    (void)arg;
    unit_limit_memory(4 * MIB);
    REQUIRE(rcl_os_map(8 * MIB) == NULL);
    REQUIRE(rcl_os_map_aligned(64 * KIB, 16 * MIB) == NULL ||
            rcl_os_map_aligned(64 * KIB, 32 * MIB) == NULL);
    char *p = rcl_os_map(64 * KIB);
    REQUIRE(p != NULL);
    p[0] = 1;
    REQUIRE(rcl_os_remap(p, 64 * KIB, 8 * MIB) == NULL);
    REQUIRE(p[0] == 1);
    REQUIRE(unit_resident(p, 64 * KIB) != SIZE_MAX);
}

TEST(out_of_address_space_is_null)
{
    unit_child_passes(map_beyond_the_limit, NULL);
}

TEST(remapping_keeps_the_content)
{
    size_t page = rcl_page_size();
    char *wall = map(40), *p = wall;

    /* Eight pages with memory of ours directly behind them: they cannot grow in place. */
    for (size_t i = 0; i < 8; i++)
        memset(p + i * page, (int)i + 1, page);
    char *q = rcl_os_remap(p, 8 * page, 24 * page);
    assert_non_null(q);
    assert_ptr_not_equal(q, p);
    for (size_t i = 0; i < 8; i++)
        assert_true(q[i * page] == (char)(i + 1) && q[(i + 1) * page - 1] == (char)(i + 1));
    assert_true(unit_zero(q + 8 * page, 16 * page));

    p = rcl_os_remap(q, 24 * page, 3 * page);
    assert_non_null(p);
    assert_true(p[0] == 1 && p[3 * page - 1] == 3);

    /* Refused: the old mapping is intact. */
    assert_null(rcl_os_remap(p, 3 * page, (size_t)1 << 60));
    assert_true(p[0] == 1 && p[3 * page - 1] == 3);
    unmap(p, 3);
    assert_int_equal(rcl_os_unmap(wall + 8 * page, 32 * page), 0);
}

TEST(remapping_to_a_place_replaces_what_is_there)
{
    size_t page = rcl_page_size();
    char *from = map(4), *to = map(6);

    memset(from, 1, 4 * page);
    memset(to, 2, 6 * page);
    assert_int_equal(rcl_os_remap_to(from, 4 * page, 2 * page, to), 0);
    assert_true(to[0] == 1 && to[2 * page - 1] == 1);
    assert_true(to[2 * page] == 2 && to[6 * page - 1] == 2);
    assert_int_equal(unit_resident(from, 4 * page), SIZE_MAX);
    unmap(to, 6);

    /* An impossible target. */
    from = map(1);
    from[0] = 3;
    errno = UNIT_ERRNO;
    assert_int_not_equal(rcl_os_remap_to(from, page, page, (void *)1), 0);
    assert_int_equal(errno, UNIT_ERRNO);
    assert_int_equal(from[0], 3);
    unmap(from, 1);
}

/* --- advice -------------------------------------------------------------------------------- */

static void lock_all_to_come(void *arg)
{
    char *before = rcl_os_map(rcl_page_size());
    (void)arg;

    REQUIRE(before != NULL && !rcl_os_is_resident(before));
    enum { OS_MCL_FUTURE = 2 };
    if (syscall(SYS_mlockall, OS_MCL_FUTURE) != 0)
        _exit(UNIT_CHILD_SKIPS);
    char *p = rcl_os_map(16 * rcl_page_size());
    if (p == NULL) /* a limit */
        _exit(UNIT_CHILD_SKIPS);
    REQUIRE(rcl_os_is_resident(p) && rcl_os_is_resident(p + 15 * rcl_page_size()));
    REQUIRE(!rcl_os_is_resident(before));
}

TEST(what_the_kernel_has_populated_is_seen)
{
    unit_child_passes(lock_all_to_come, NULL);
}

TEST(advice_never_fails)
{
    size_t page = rcl_page_size();
    char *p = map(2);

    memset(p, 1, 2 * page);
    errno = UNIT_ERRNO;
    rcl_os_no_hugepage(p, 2 * page);
    rcl_os_hugepage(p, 2 * page);
    rcl_os_name(p, 2 * page, "libreclaim test");
    rcl_os_no_hugepage(NULL, page);
    rcl_os_hugepage((void *)1, 3);
    rcl_os_name(NULL, page, "libreclaim test");
    assert_int_equal(errno, UNIT_ERRNO);
    assert_true(p[0] == 1 && p[2 * page - 1] == 1);
    unmap(p, 2);
}

static void see_the_name(void *arg)
{
    char line[512];
    bool seen = false;
    char *p = rcl_os_map(rcl_page_size());

    (void)arg;
    REQUIRE(p != NULL);
    p[0] = 1;
    if (prctl(0x53564d41 /* PR_SET_VMA */, 0, p, rcl_page_size(), "probe") != 0)
        _exit(UNIT_CHILD_SKIPS);
    rcl_os_name(p, rcl_page_size(), "libreclaim test");
    FILE *maps = fopen("/proc/self/maps", "r");
    REQUIRE(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL)
        if (strtoull(line, NULL, 16) == (uintptr_t)p)
            seen = strstr(line, "[anon:libreclaim test]") != NULL;
    fclose(maps);
    REQUIRE(seen);
}

TEST(mappings_carry_names)
{
    unit_child_passes(see_the_name, NULL);
}

/* --- time ---------------------------------------------------------------------------------- */

TEST(time_goes_forward)
{
    uint64_t last = 0, last_coarse = 0;

    for (int i = 0; i < 10000; i++) {
        uint64_t coarse = rcl_os_coarse_ns(), now = rcl_os_now_ns();

        assert_true(now != 0 && coarse != 0);
        assert_true(now >= last && coarse >= last_coarse);
        assert_true(coarse <= now); /* the same clock, read earlier and behind */
        last = now;
        last_coarse = coarse;
    }
    uint64_t before = rcl_os_now_ns();
    unit_sleep_ms(20);
    assert_true(rcl_os_now_ns() - before >= 20000000u);
    assert_true(rcl_os_coarse_ns() > before);
}

/* --- futex ------------------------------------------------------------------------------------ */

TEST(futex_wait_returns_when_the_word_differs)
{
    uint32_t word = 1;

    errno = UNIT_ERRNO;
    rcl_os_futex_wait(&word, 2, 0);
    assert_int_equal(errno, UNIT_ERRNO);
}

TEST(futex_wait_ends_with_its_time)
{
    uint32_t word = 1;
    uint64_t start = rcl_os_now_ns();

    while (rcl_os_now_ns() - start < 30000000u)
        rcl_os_futex_wait(&word, 1, 30000000u);
    assert_true(rcl_os_now_ns() - start < 5000000000u);
}

struct sleeper {
    uint32_t word;
    uint32_t asleep;
};

static void *sleep_on_a_futex(void *arg)
{
    struct sleeper *s = arg;

    __atomic_fetch_add(&s->asleep, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&s->word, __ATOMIC_ACQUIRE) == 0)
        rcl_os_futex_wait(&s->word, 0, 0);
    __atomic_fetch_sub(&s->asleep, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

TEST(futex_wake_wakes)
{
    struct sleeper s = {0, 0};
    pthread_t thread[3];

    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, sleep_on_a_futex, &s), 0);
    while (__atomic_load_n(&s.asleep, __ATOMIC_SEQ_CST) < 3)
        rcl_os_yield();
    unit_sleep_ms(10);
    __atomic_store_n(&s.word, 1, __ATOMIC_RELEASE);
    rcl_os_futex_wake(&s.word, 1);
    rcl_os_futex_wake(&s.word, INT32_MAX);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(s.asleep, 0);
}

/* --- who and where ------------------------------------------------------------------------ */

static void *other_thread_id(void *arg)
{
    *(int *)arg = rcl_os_tid();
    REQUIRE(rcl_os_pid() == getpid());
    return NULL;
}

TEST(process_and_thread_ids)
{
    int other = 0;

    assert_int_equal(rcl_os_pid(), getpid());
    assert_int_equal(rcl_os_tid(), getpid());
    unit_threads(1, other_thread_id, &other, sizeof other);
    assert_true(other > 0 && other != getpid());
}

static void count_one_processor(void *arg)
{
    cpu_set_t all, one;

    (void)arg;
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    REQUIRE(rcl_os_ncpu() == 1);
}

TEST(processors_are_those_we_may_use)
{
    cpu_set_t all;

    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_in_range(rcl_os_ncpu(), 1, (unsigned)CPU_COUNT(&all));
    unit_child_passes(count_one_processor, NULL);
}

/* --- signals ------------------------------------------------------------------------------ */

/* The first 64 signals of this thread's mask: what the kernel knows. */
static uint64_t signal_mask(void)
{
    sigset_t set;
    uint64_t mask;

    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &set) == 0);
    memcpy(&mask, &set, sizeof mask);
    return mask;
}

static volatile sig_atomic_t signals_seen;

static void see_a_signal(int number)
{
    (void)number;
    signals_seen++;
}

TEST(blocked_signals_wait)
{
    struct sigaction action = {.sa_handler = see_a_signal};
    uint64_t mask = signal_mask();

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    signals_seen = 0;
    errno = UNIT_ERRNO;
    uint64_t outer = rcl_os_block_signals();
    uint64_t inner = rcl_os_block_signals();
    raise(SIGUSR1);
    assert_int_equal(signals_seen, 0);
    rcl_os_restore_signals(inner);
    assert_int_equal(signals_seen, 0);
    rcl_os_restore_signals(outer);
    assert_int_equal(errno, UNIT_ERRNO);
    unit_sleep_ms(1); /* ThreadSanitizer runs handlers late */
    assert_int_equal(signals_seen, 1);
    assert_int_equal(signal_mask(), mask);
    signal(SIGUSR1, SIG_DFL);
}

/* --- the barrier -------------------------------------------------------------------------- */

enum { BARRIER_ROUNDS = 20000, BARRIER_MS = 300 };

static struct {
    uint32_t turn[2]; /* rounds begun by each side */
    uint32_t flag[2];
    uint32_t saw[BARRIER_ROUNDS]; /* by the side without a fence */
    bool stop;
} dekker;

/* Returns when both sides have come here for the same round. */
static void meet(unsigned me, uint32_t round)
{
    __atomic_store_n(&dekker.turn[me], round, __ATOMIC_RELEASE);
    while (__atomic_load_n(&dekker.turn[1 - me], __ATOMIC_ACQUIRE) < round)
        rcl_os_yield();
}

static void *side_without_a_fence(void *arg)
{
    for (uint32_t i = 0; i < BARRIER_ROUNDS; i++) {
        meet(0, 2 * i + 1);
        if (dekker.stop)
            break;
        __atomic_store_n(&dekker.flag[0], i + 1, __ATOMIC_RELAXED);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        dekker.saw[i] = __atomic_load_n(&dekker.flag[1], __ATOMIC_RELAXED);
        meet(0, 2 * i + 2);
    }
    return arg;
}

TEST(process_barrier_orders_other_threads)
{
    uint64_t end = rcl_os_now_ns() + BARRIER_MS * UINT64_C(1000000);
    pthread_t thread;
    unsigned blind = 0;

    if (!rcl_os_process_barrier())
        skip();
    assert_int_equal(pthread_create(&thread, NULL, side_without_a_fence, NULL), 0);
    for (uint32_t i = 0; i < BARRIER_ROUNDS; i++) {
        dekker.stop = rcl_os_now_ns() > end;
        meet(1, 2 * i + 1);
        if (dekker.stop)
            break;
        __atomic_store_n(&dekker.flag[1], i + 1, __ATOMIC_RELAXED);
        REQUIRE(rcl_os_process_barrier());
        uint32_t other = __atomic_load_n(&dekker.flag[0], __ATOMIC_RELAXED);
        meet(1, 2 * i + 2);
        /* One of the two must have seen the other. */
        blind += other != i + 1 && dekker.saw[i] != i + 1;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(blind, 0);
}

static void have_no_barrier(void *arg)
{
    unit_forbid(SYS_membarrier, (unsigned)(uintptr_t)arg);
    errno = UNIT_ERRNO;
    REQUIRE(!rcl_os_process_barrier());
    REQUIRE(!rcl_os_process_barrier());
    REQUIRE(errno == UNIT_ERRNO);
}

TEST(a_missing_barrier_is_told)
{
    unit_child_passes(have_no_barrier, (void *)(uintptr_t)ENOSYS);
    unit_child_passes(have_no_barrier, (void *)(uintptr_t)EPERM);
}

/* --- bare threads ------------------------------------------------------------------------- */

static struct {
    char stack[32 * 1024] RCL_ALIGNED(64);
    char tls[1024];
    uint32_t tid_word;
    uint32_t go;    /* futex word */
    uint32_t ready; /* futex word */
    int tid, tid_inside;
    bool is_bare;
    uintptr_t frame, thread_pointer;
    uint64_t blocked; /* signals */
    void *arg;
} bare;

/* Runs as the bare thread: no libc. */
static void bare_body(void *arg)
{
    bare.arg = arg;
    bare.frame = (uintptr_t)__builtin_frame_address(0);
    bare.tid_inside = rcl_os_tid();
    bare.is_bare = rcl_os_thread_is_bare();
    bare.blocked = rcl_os_block_signals();
#if defined(__x86_64__)
    __asm__("mov %%fs:0, %0" : "=r"(bare.thread_pointer));
#else
    __asm__("mrs %0, tpidr_el0" : "=r"(bare.thread_pointer));
#endif
    __atomic_store_n(&bare.ready, 1, __ATOMIC_RELEASE);
    rcl_os_futex_wake(&bare.ready, 1);
    while (__atomic_load_n(&bare.go, __ATOMIC_ACQUIRE) == 0)
        rcl_os_futex_wait(&bare.go, 0, 0);
}

/* With all signals blocked, as it is meant to be used: it cannot run a handler of libc's world. */
static int bare_start(void)
{
    memset(bare.tls, 0, sizeof bare.tls);
    bare.go = bare.ready = 0;
    uint64_t signals = rcl_os_block_signals();
    int error = rcl_os_thread_start(bare_body, &bare.arg, bare.stack, sizeof bare.stack, bare.tls,
                                    sizeof bare.tls, &bare.tid_word, &bare.tid);
    rcl_os_restore_signals(signals);
    return error;
}

static void bare_wait_ready(void)
{
    while (__atomic_load_n(&bare.ready, __ATOMIC_ACQUIRE) == 0)
        rcl_os_futex_wait(&bare.ready, 0, 0);
}

static void bare_release(void)
{
    __atomic_store_n(&bare.go, 1, __ATOMIC_RELEASE);
    rcl_os_futex_wake(&bare.go, 1);
    rcl_os_thread_join(&bare.tid_word, bare.tid);
}

/* In a forked child, which has no thread of an earlier test that the kernel still counts. */
static void run_a_bare_thread(void *arg)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGALRM, SIGPROF, SIGUSR1, SIGCHLD, SIGSEGV};
    unsigned threads = unit_thread_count();
    uint64_t mask = signal_mask();

    (void)arg;
    REQUIRE(bare_start() == 0);
    REQUIRE(signal_mask() == mask);
    bare_wait_ready();

    REQUIRE(unit_thread_count() == threads + 1);
    REQUIRE(bare.arg == &bare.arg);
    REQUIRE(bare.tid > 0 && bare.tid != getpid());
    REQUIRE(bare.tid == bare.tid_inside && bare.tid_word == (uint32_t)bare.tid);
    REQUIRE(bare.is_bare && !rcl_os_thread_is_bare());
    REQUIRE(bare.frame - (uintptr_t)bare.stack < sizeof bare.stack);
    REQUIRE(bare.frame % 16 == 0);
    REQUIRE(bare.thread_pointer - (uintptr_t)bare.tls >= 128);
    REQUIRE(bare.thread_pointer - (uintptr_t)bare.tls <= sizeof bare.tls - 128);
    for (size_t i = 0; i < array_len(signals); i++)
        REQUIRE((bare.blocked >> (signals[i] - 1)) & 1);

    bare_release();
    REQUIRE(bare.tid_word == 0);
    REQUIRE(unit_thread_count() == threads);
}

TEST(a_bare_thread_runs_and_is_joined)
{
    if (UNIT_TSAN)
        skip(); /* its run time needs a thread of libc's */
    unit_child_passes(run_a_bare_thread, NULL);
}

static void join_many(void *arg)
{
    unsigned threads = unit_thread_count();

    (void)arg;
    for (int i = 0; i < 300; i++) {
        REQUIRE(bare_start() == 0);
        bare_release();
        REQUIRE(unit_thread_count() == threads);
    }
}

TEST(after_a_join_the_kernel_does_not_count_the_thread)
{
    if (UNIT_TSAN)
        skip();
    unit_child_passes(join_many, NULL);
}

static void start_where_threads_are_forbidden(void *arg)
{
    uint64_t mask = signal_mask();

    (void)arg;
    unit_forbid(SYS_clone, EAGAIN);
    errno = UNIT_ERRNO;
    REQUIRE(bare_start() == EAGAIN);
    REQUIRE(errno == UNIT_ERRNO);
    REQUIRE(bare.tid == 0 && bare.tid_word == 0);
    REQUIRE(signal_mask() == mask);
    rcl_os_thread_join(&bare.tid_word, bare.tid);
}

TEST(a_thread_that_cannot_start_is_an_error)
{
    unit_child_passes(start_where_threads_are_forbidden, NULL);
}

/* --- files and the environment ------------------------------------------------------------ */

static void *drain_a_pipe(void *arg)
{
    int fd = *(int *)arg;
    char part[1000];
    size_t total = 0;

    for (ssize_t n; (n = read(fd, part, sizeof part)) > 0;)
        for (ssize_t i = 0; i < n; i++, total++)
            REQUIRE(part[i] == (char)('a' + total % 26));
    *(int *)arg = (int)total;
    return NULL;
}

TEST(all_of_it_is_written)
{
    enum { BYTES = 300000 }; /* more than a pipe holds */
    char *text = malloc(BYTES);
    int ends[2];
    pthread_t reader;

    for (size_t i = 0; i < BYTES; i++)
        text[i] = (char)('a' + i % 26);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pthread_create(&reader, NULL, drain_a_pipe, &ends[0]), 0);
    rcl_os_write(ends[1], text, BYTES);
    close(ends[1]);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(ends[0], BYTES);
    free(text);

    errno = UNIT_ERRNO;
    rcl_os_write(-1, "nobody to tell", 14);
    assert_int_equal(errno, UNIT_ERRNO);

    /* Nobody reads: no SIGPIPE, now or later. */
    sigset_t waiting;
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    assert_int_equal(rcl_os_write(ends[1], "nobody to tell", 14), EPIPE);
    assert_int_equal(sigpending(&waiting), 0);
    assert_false(sigismember(&waiting, SIGPIPE));
    close(ends[1]);
}

TEST(the_start_of_a_file)
{
    char name[] = "/tmp/libreclaim-os-XXXXXX", text[64];
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    close(fd);
    memset(text, '#', sizeof text);
    assert_int_equal(rcl_os_read_file(name, text, sizeof text), 10);
    assert_memory_equal(text, "0123456789#", 11);
    memset(text, '#', sizeof text);
    assert_int_equal(rcl_os_read_file(name, text, 4), 4);
    assert_memory_equal(text, "0123#", 5);
    unlink(name);
    errno = UNIT_ERRNO;
    assert_int_equal(rcl_os_read_file(name, text, sizeof text), -1);
    assert_int_equal(errno, UNIT_ERRNO);
}

TEST(the_text_of_a_link)
{
    char folder[] = "/tmp/libreclaim-os-XXXXXX", name[64], text[64];

    assert_non_null(mkdtemp(folder));
    snprintf(name, sizeof name, "%s/link", folder);
    assert_int_equal(symlink("where/it/points", name), 0);
    memset(text, '#', sizeof text);
    assert_int_equal(rcl_os_read_link(name, text, sizeof text), 15);
    assert_string_equal(text, "where/it/points");
    memset(text, '#', sizeof text);
    assert_int_equal(rcl_os_read_link(name, text, 6), 5);
    assert_string_equal(text, "where");
    assert_int_equal(text[6], '#');
    unlink(name);
    assert_int_equal(rcl_os_read_link(name, text, sizeof text), -1);
    rmdir(folder);
}

TEST(environment)
{
    extern char **environ;
    char **saved = environ;
    bool known = false;

    setenv("LIBRECLAIM_TEST", "a=b,c", 1);
    setenv("LIBRECLAIM_TESTS", "longer", 1);
    setenv("LIBRECLAIM_EMPTY", "", 1);
    assert_string_equal(rcl_os_getenv("LIBRECLAIM_TEST", &known), "a=b,c");
    assert_true(known);
    assert_string_equal(rcl_os_getenv("LIBRECLAIM_EMPTY", &known), "");
    assert_null(rcl_os_getenv("LIBRECLAIM_TES", &known));
    assert_true(known);
    environ = NULL;
    assert_null(rcl_os_getenv("LIBRECLAIM_TEST", &known));
    assert_false(known);
    environ = saved;
}

/* This program as somebody else's, run by nobody: it must find its environment closed. */
static void run_with_another_uid(void *arg)
{
    char folder[] = "/tmp/libreclaim-os-XXXXXX", self[1024], name[64], command[1200];
    (void)arg;

    if (getuid() != 0 || mkdtemp(folder) == NULL)
        _exit(UNIT_CHILD_SKIPS);
    snprintf(name, sizeof name, "%s/program", folder);
    REQUIRE(rcl_os_read_link("/proc/self/exe", self, sizeof self) > 0);
    snprintf(command, sizeof command, "cp '%s' %s", self, name);
    if (system(command) != 0 || chmod(folder, 0755) != 0 || chmod(name, 04755) != 0)
        _exit(UNIT_CHILD_SKIPS);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        setenv("LIBRECLAIM_TEST", "1", 1);
        if (setuid(65534) == 0)
            execl(name, name, "--secure", (char *)NULL);
        _exit(UNIT_CHILD_SKIPS);
    }
    int status = 0;
    waitpid(child, &status, 0);
    unlink(name);
    rmdir(folder);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

TEST(environment_is_closed_to_set_user_id_programs)
{
    unit_child_passes(run_with_another_uid, NULL);
}

static int answer_as_set_user_id_program(void)
{
    bool known = false;

    if (geteuid() != 0 || getuid() == 0)
        return UNIT_CHILD_SKIPS; /* the file system does not allow it */
    if (rcl_os_getenv("LIBRECLAIM_TEST", &known) != NULL || !known) {
        fputs("a set-user-ID program reads its environment\n", stderr);
        return 1;
    }
    return 0;
}

TEST(a_thread_has_the_user_of_its_process)
{
    assert_true(rcl_os_same_user());
}

static void other_user(void *arg)
{
    (void)arg;
    /* For this thread alone: the bare call goes around libc, which would tell the others. */
    if (syscall(SYS_gettid) == getpid() || syscall(SYS_setresuid, -1, 54321, -1) != 0)
        _exit(UNIT_CHILD_SKIPS);
    REQUIRE(!rcl_os_same_user());
}

static void *run_other_user(void *arg)
{
    other_user(arg);
    return NULL;
}

static void a_thread_becomes_another(void *arg)
{
    pthread_t thread;
    (void)arg;
    REQUIRE(pthread_create(&thread, NULL, run_other_user, NULL) == 0);
    pthread_join(thread, NULL);
    REQUIRE(rcl_os_same_user());
}

TEST(a_thread_with_another_user_is_seen)
{
    unit_child_passes(a_thread_becomes_another, NULL);
}

TEST(memory_that_may_be_gone_is_read_without_a_fault)
{
    char *p = rcl_os_map(2 * rcl_page_size()), *end = p + unit_kernel_page();
    uint64_t word = 0;

    p[0] = 47;
    assert_true(rcl_os_readable(p));
    bool no_call = syscall(SYS_process_vm_readv, 0, NULL, 0, NULL, 0, 0) != 0 && errno == ENOSYS;
    if (!no_call)
        assert_true(rcl_os_copy(&word, p, sizeof word) && word == 47);
    assert_int_equal(munmap(end, (size_t)(p + 2 * rcl_page_size() - end)), 0);
    assert_false(rcl_os_readable(end) || rcl_os_readable(NULL));
    assert_false(rcl_os_copy(&word, end - 4, sizeof word));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_size_is_the_machines),
        cmocka_unit_test(shared_memory_is_the_childs_too),
        cmocka_unit_test(mapped_memory_is_zero_aligned_and_private),
        cmocka_unit_test(aligned_mappings_leave_nothing_behind),
        cmocka_unit_test(what_the_kernel_does_not_have_is_null),
        cmocka_unit_test(out_of_address_space_is_null),
        cmocka_unit_test(remapping_keeps_the_content),
        cmocka_unit_test(remapping_to_a_place_replaces_what_is_there),
        cmocka_unit_test(what_the_kernel_has_populated_is_seen),
        cmocka_unit_test(advice_never_fails),
        cmocka_unit_test(mappings_carry_names),
        cmocka_unit_test(time_goes_forward),
        cmocka_unit_test(futex_wait_returns_when_the_word_differs),
        cmocka_unit_test(futex_wait_ends_with_its_time),
        cmocka_unit_test(futex_wake_wakes),
        cmocka_unit_test(process_and_thread_ids),
        cmocka_unit_test(processors_are_those_we_may_use),
        cmocka_unit_test(blocked_signals_wait),
        cmocka_unit_test(process_barrier_orders_other_threads),
        cmocka_unit_test(a_missing_barrier_is_told),
        cmocka_unit_test(a_bare_thread_runs_and_is_joined),
        cmocka_unit_test(after_a_join_the_kernel_does_not_count_the_thread),
        cmocka_unit_test(a_thread_that_cannot_start_is_an_error),
        cmocka_unit_test(all_of_it_is_written),
        cmocka_unit_test(the_start_of_a_file),
        cmocka_unit_test(the_text_of_a_link),
        cmocka_unit_test(memory_that_may_be_gone_is_read_without_a_fault),
        cmocka_unit_test(environment),
        cmocka_unit_test(environment_is_closed_to_set_user_id_programs),
        cmocka_unit_test(a_thread_has_the_user_of_its_process),
        cmocka_unit_test(a_thread_with_another_user_is_seen),
    };

    if (argc > 1 && strcmp(argv[1], "--secure") == 0)
        return answer_as_set_user_id_program();
    rcl_os_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
