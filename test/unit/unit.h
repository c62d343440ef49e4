/* SPDX-License-Identifier: MIT */
/*
 * unit.h - what the unit tests share.
 *
 * A unit test is linked to the objects that are shipped, without the surface: the
 * process and cmocka run on libc's malloc, the module under test is called by its own
 * names.  Include this file first.
 *
 * Random tests take their seed from RECLAIM_TEST_SEED, else a constant, and print it.
 */
#ifndef UNIT_H
#define UNIT_H

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base.h"
#include "os.h"
#include "pagemap.h"

enum {
    UNIT_ERRNO = 4711,       /* a value no call sets: proves that errno was left alone */
    UNIT_CHILD_SECONDS = 20, /* a child that takes longer hangs */
    UNIT_CHILD_SKIPS = 77,   /* the exit code of a child that cannot test this here */
};

#if defined(__SANITIZE_THREAD__)
#define UNIT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNIT_TSAN 1
#endif
#endif
#ifndef UNIT_TSAN
#define UNIT_TSAN 0
#endif

#define TEST(name) static void name(void **state __attribute__((unused)))

/*
 * REQUIRE() ends the process with one line.  cmocka's assertions jump out of the test
 * function, which is wrong in a second thread and in a forked child.
 */
#define REQUIRE(condition) ((condition) ? (void)0 : unit_fail(UNIT_PLACE #condition "\n"))
#define UNIT_PLACE __FILE__ ":" UNIT_STRING(__LINE__) ": not true: "
#define UNIT_STRING(token) UNIT_STRING_(token)
#define UNIT_STRING_(token) #token

static inline void unit_fail(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        _exit(2);
    _exit(1);
}

/* --- random numbers and patterns ----------------------------------------------------- */

struct unit_random {
    uint64_t state;
};

static inline struct unit_random unit_random_start(void)
{
    const char *text = getenv("RECLAIM_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 20260417;

    print_message("seed %llu\n", (unsigned long long)seed);
    return (struct unit_random){seed};
}

/* SplitMix64. */
static inline uint64_t unit_next(struct unit_random *random)
{
    uint64_t x = (random->state += UINT64_C(0x9e3779b97f4a7c15));

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline size_t unit_below(struct unit_random *random, size_t limit)
{
    return (size_t)(unit_next(random) % limit);
}

/* Owner's mark on a block: at both ends, and on every page and boundary between. */
static inline void unit_stamp(void *block, size_t bytes, uint64_t mark)
{
    for (size_t at = 0; at + 8 <= bytes; at += at + 1024 < bytes ? 512 : 8)
        memcpy((char *)block + at, &mark, 8);
}

static inline bool unit_stamped(const void *block, size_t bytes, uint64_t mark)
{
    for (size_t at = 0; at + 8 <= bytes; at += at + 1024 < bytes ? 512 : 8)
        if (memcmp((const char *)block + at, &mark, 8) != 0)
            return false;
    return true;
}

static inline bool unit_zero(const void *block, size_t bytes)
{
    const char *p = block;

    return bytes == 0 || (p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0);
}

/* --- the process ------------------------------------------------------------------------ */

/* Under an emulator: its threads and forks have limits of their own. */
static inline bool unit_emulated(void)
{
    char name[16];

    return prctl(PR_GET_NAME, name) == 0 && strncmp(name, "qemu-", 5) == 0;
}

/* The kernel's page, which is smaller than a pretended one. */
static inline size_t unit_kernel_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Bytes of the range that are resident; SIZE_MAX when a part of it is not mapped. */
static inline size_t unit_resident(const void *addr, size_t bytes)
{
    unsigned char state[1024];
    size_t page = unit_kernel_page(), resident = 0;

    for (size_t at = 0; at < bytes; at += page * sizeof state) {
        size_t some = rcl_min(bytes - at, page * sizeof state);
        if (mincore((char *)(uintptr_t)addr + at, some, state) != 0)
            return SIZE_MAX;
        for (size_t i = 0; i < (some + page - 1) / page; i++)
            resident += (state[i] & 1) != 0 ? page : 0;
    }
    return resident;
}

/* Address space of this process in bytes. */
static inline size_t unit_address_space(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    REQUIRE(length > 0);
    close(fd);
    text[length] = '\0';
    return (size_t)strtoull(text, NULL, 10) * unit_kernel_page();
}

/* Whether the kernel has been asked for no huge pages on the mapping around `p`. */
static inline bool unit_no_huge_pages(const void *p)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false, none = false;

    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (uintptr_t)p >= from && (uintptr_t)p < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            none = strstr(line, " nh") != NULL;
    }
    if (maps != NULL)
        fclose(maps);
    return none;
}

/* Threads the kernel counts in this process. */
static inline unsigned unit_thread_count(void)
{
    char text[4096], *line;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    REQUIRE(length > 0);
    close(fd);
    text[length] = '\0';
    line = strstr(text, "\nThreads:");
    REQUIRE(line != NULL);
    return (unsigned)strtoul(line + 9, NULL, 10);
}

static inline void unit_sleep_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&time, &time) != 0 && errno == EINTR) {}
}

/* --- threads ------------------------------------------------------------------------------ */

enum { UNIT_THREADS_MAX = 16 };

/* n threads, each with its element of the array `args`; returns when all have ended. */
static inline void unit_threads(unsigned n, void *(*run)(void *), void *args, size_t arg_bytes)
{
    pthread_t thread[UNIT_THREADS_MAX];

    REQUIRE(n <= UNIT_THREADS_MAX);
    for (unsigned i = 0; i < n; i++)
        REQUIRE(pthread_create(&thread[i], NULL, run, (char *)args + i * arg_bytes) == 0);
    for (unsigned i = 0; i < n; i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
}

/* --- forked children ------------------------------------------------------------------------ */

struct unit_child {
    int status;      /* as waitpid gives it */
    char text[4096]; /* what it wrote to stderr */
};

/* Run `body` in a forked child, which ends when it returns, or when its time is up. */
static inline void unit_run_child(void (*body)(void *), void *arg, struct unit_child *child)
{
    int ends[2];
    size_t length = 0;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        signal(SIGALRM, SIG_DFL);
        alarm(UNIT_CHILD_SECONDS);
        body(arg);
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t n; length < sizeof child->text - 1; length += (size_t)n) {
        n = read(ends[0], child->text + length, sizeof child->text - 1 - length);
        if (n <= 0)
            break;
    }
    child->text[length] = '\0';
    close(ends[0]);
    /* An emulator adds a line of its own. */
    char *emulator = strstr(child->text, "qemu: uncaught target signal");
    if (emulator != NULL)
        *emulator = '\0';
    while (waitpid(pid, &child->status, 0) < 0)
        assert_int_equal(errno, EINTR);
}

/* The child's REQUIREs all hold, and it ends. */
static inline void unit_child_passes(void (*body)(void *), void *arg)
{
    struct unit_child child;

    unit_run_child(body, arg, &child);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == UNIT_CHILD_SKIPS)
        skip();
    if (child.text[0] != '\0')
        print_message("%s", child.text);
    if (WIFSIGNALED(child.status))
        print_message("the child was ended by signal %d%s\n", WTERMSIG(child.status),
                      WTERMSIG(child.status) == SIGALRM ? ": it hangs" : "");
    assert_true(WIFEXITED(child.status));
    assert_int_equal(WEXITSTATUS(child.status), 0);
}

/* The child aborts, and its last words are one line that begins with `start`. */
static inline void unit_child_dies(void (*body)(void *), void *arg, const char *start)
{
    struct unit_child child;

    unit_run_child(body, arg, &child);
    if (strncmp(child.text, start, strlen(start)) != 0)
        print_message("expected: %s\nfound: %s\n", start, child.text);
    assert_int_equal(strncmp(child.text, start, strlen(start)), 0);
    assert_ptr_equal(strchr(child.text, '\n'), child.text + strlen(child.text) - 1);
    assert_true(WIFSIGNALED(child.status));
    assert_int_equal(WTERMSIG(child.status), SIGABRT);
}

/*
 * From here on the kernel gives this process `bytes` of address space at most.  For
 * forked children.  Where limits have no effect (emulators) the child ends as skipped.
 */
static inline void unit_limit_memory(size_t bytes)
{
    /* This sanitizer's run-time needs memory for whatever the process does. */
    if (UNIT_TSAN)
        _exit(UNIT_CHILD_SKIPS);

    /* The stack could not grow any more either. */
    volatile char stack[128 * 1024];
    for (size_t i = 0; i < sizeof stack; i += 1024)
        stack[i] = 0;

    size_t most = unit_address_space() + bytes;
    struct rlimit limit = {most, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    if (rcl_os_map(rcl_align_up(bytes + 1, 64 * KIB)) != NULL)
        _exit(UNIT_CHILD_SKIPS);
}

/*
 * Before unit_limit_memory(), where a little memory should be enough to go on: the page map
 * may lack a leaf, which is large, for the holes into which the kernel will put it.
 */
static inline void unit_cover_holes(void)
{
    for (size_t bytes = rcl_page_size(); bytes <= 4 * MIB; bytes *= 2) {
        void *p = rcl_os_map(bytes);
        REQUIRE(p != NULL && rcl_pagemap_cover(p, bytes));
        REQUIRE(rcl_os_unmap(p, bytes) == 0);
    }
}

static inline void unit_unlimit_memory(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
}

enum { UNIT_DONTNEED_LOCKED = 24 }; /* MADV_DONTNEED_LOCKED, of Linux 5.18 */

/*
 * From here on this system call of this thread, and of those that it makes, is answered so: one
 * of SECCOMP_RET_.  For forked children.
 */
static inline void unit_answer(long system_call, uint32_t answer)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)system_call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = array_len(code), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(UNIT_CHILD_SKIPS);
}

/* From here on this system call fails in this process, as in a sandbox.  For forked children. */
static inline void unit_forbid(long system_call, unsigned error)
{
    unit_answer(system_call, SECCOMP_RET_ERRNO | error);
}

/*
 * From here on locked memory cannot be returned and several ranges not in one call, as under
 * Linux before 5.18.  For forked children.
 */
static inline void unit_old_kernel(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_madvise, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, UNIT_DONTNEED_LOCKED, 1, 2),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = array_len(code), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(UNIT_CHILD_SKIPS);
}

/* Lock pages, and whether that can be undone by returning them: sanitizers make mlock() nothing. */
static inline bool unit_lock(void *p, size_t bytes)
{
    return syscall(SYS_mlock, p, bytes) == 0;
}

static inline bool unit_can_return_locked(void)
{
    size_t page = rcl_page_size();
    char *p = rcl_os_map(page);

    REQUIRE(p != NULL);
    *p = 1;
    bool can = unit_lock(p, page) && syscall(SYS_madvise, p, page, UNIT_DONTNEED_LOCKED) == 0 &&
               *p == 0;
    REQUIRE(rcl_os_unmap(p, page) == 0);
    return can;
}

/*
 * ThreadSanitizer knows nothing of sys_membarrier: to it, taking a cache from another thread
 * (thread.h) is a race.  So it sees the library as it is where there is no membarrier.  What
 * is suppressed reads without a lock on purpose: to guess, or one bit that only its owner
 * changes.
 */
#if UNIT_TSAN
__attribute__((constructor)) static void unit_without_barrier(void)
{
    unit_forbid(SYS_membarrier, ENOSYS);
}

const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:step_idle\nrace:in_use\nrace:rcl_threads_usage\nrace:rcl_bin_has_work\n"
           "race:rcl_slab_check\n";
}

/* Long enough to name the other side of a race, so that the names above are found. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "history_size=7";
}
#endif

#endif
