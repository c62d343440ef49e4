/* SPDX-License-Identifier: MIT */
/*
 * testlib.h - what the black-box tests share.
 *
 * These tests see an allocator only through its public C interface, so that one
 * body serves every way to get it into a program: linked to libreclaim.so, linked
 * with reclaim.o, or preloaded.  Nothing here includes a header of the library.
 *
 * Include this file before any other: it asks for the GNU interfaces.
 *
 * Environment:
 *   RECLAIM_SO            path of libreclaim.so, for tests that start other programs
 *   RECLAIM_BUILD         how the library was configured, "hostile=yes page=65536"
 *   RECLAIM_TEST_FOREIGN  set: another allocator is under test (to validate the tests
 *                         themselves), do not demand what only libreclaim promises
 */
#ifndef TESTLIB_H
#define TESTLIB_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    TEST_ERRNO = 4711,          /* a value no call sets: proves that errno was left alone */
    TEST_FULL_FILL = 64 * 1024, /* up to here every byte of a block is filled and checked */
    TEST_HARD_ERROR = 99,       /* automake's exit code for "the test itself is broken"   */
    TEST_PROGRAM_SECONDS = 300, /* the whole program's limit, outside of closer watches   */
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/*
 * REQUIRE() ends the whole process with one line.  cmocka's own assertions jump out
 * of the test function, which is wrong in a second thread, a signal handler or a
 * forked child; this one is right everywhere and allocates nothing.
 */
#define REQUIRE(condition) ((condition) ? (void)0 : test_fail(TEST_PLACE #condition "\n"))
#define TEST_PLACE __FILE__ ":" TEST_STRING(__LINE__) ": not true: "
#define TEST_STRING(token) TEST_STRING_(token)
#define TEST_STRING_(token) #token

static inline void test_say(const char *text)
{
    size_t length = strlen(text);

    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, text, length);
        if (written <= 0)
            return;
        text += written;
        length -= (size_t)written;
    }
}

static inline void test_fail(const char *text)
{
    test_say(text);
    _exit(1);
}

/*
 * The compiler knows what malloc does: it drops pairs of malloc and free, warns of
 * sizes it can see and uses what the standard leaves undefined.  A value that went
 * through here has an unknown origin.
 */
static inline void *opaque(const void *pointer)
{
    void *result = (void *)(uintptr_t)pointer;

    __asm__ volatile("" : "+r"(result) : : "memory");
    return result;
}

static inline size_t opaque_size(size_t size)
{
    __asm__ volatile("" : "+r"(size));
    return size;
}

/* ---- which allocator --------------------------------------------------------------------- */

static inline bool test_foreign(void)
{
    return getenv("RECLAIM_TEST_FOREIGN") != NULL;
}

/* A build with tiny limits pays for them in overhead: bounds on space are wider there. */
static inline bool test_hostile_build(void)
{
    const char *build = getenv("RECLAIM_BUILD");

    return build != NULL && strstr(build, "hostile=yes") != NULL;
}

/* ThreadSanitizer's shadow, several times what is used and never returned, is resident too. */
static inline bool test_shadowed(void)
{
    const char *build = getenv("RECLAIM_BUILD");

    return build != NULL && strstr(build, "sanitizer=tsan") != NULL;
}

/* The page that the library counts in: the kernel's, or the larger one it pretends. */
static inline size_t test_page(void)
{
    const char *build = getenv("RECLAIM_BUILD");
    const char *page = build == NULL ? NULL : strstr(build, "page=");
    size_t pretended = page == NULL ? 0 : (size_t)strtoul(page + 5, NULL, 10);
    size_t real = (size_t)sysconf(_SC_PAGESIZE);

    return pretended > real ? pretended : real;
}

/* What a block of this size takes at least: blocks beyond a page are whole pages. */
static inline size_t test_footprint(size_t size)
{
    size_t page = test_page();

    return size < page ? size : (size + page - 1) / page * page;
}

static inline const char *test_malloc_file(void)
{
    Dl_info info;

    if (dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) == 0 || info.dli_fname == NULL)
        return "an unknown place";
    return info.dli_fname;
}

/* ---- random numbers and patterns --------------------------------------------------------- */

struct test_random {
    uint64_t state;
};

/* SplitMix64: any seed is good, and the same seed gives the same test. */
static inline uint64_t test_next(struct test_random *random)
{
    uint64_t x = (random->state += UINT64_C(0x9e3779b97f4a7c15));

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline size_t test_below(struct test_random *random, size_t limit)
{
    return (size_t)(test_next(random) % limit);
}

/* A size from 1 to 2^bits whose logarithm is uniform: every size class gets its share. */
static inline size_t test_log_size(struct test_random *random, unsigned bits)
{
    size_t top = (size_t)1 << test_below(random, bits + 1);

    return top / 2 + 1 + test_below(random, top - top / 2);
}

/* Blocks beyond TEST_FULL_FILL get one word in 256 bytes, so that checks stay affordable. */
static inline size_t test_stride(size_t filled)
{
    return filled <= TEST_FULL_FILL ? 8 : 256;
}

static inline uint64_t test_word(uint64_t seed, size_t offset)
{
    return (seed + offset) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The last bytes of a block are its own part of the pattern: its end is always checked. */
static inline size_t test_tail(size_t size)
{
    return size == 0 ? 0 : (size - 1) & ~(size_t)7;
}

static inline void test_fill(void *block, size_t size, uint64_t seed)
{
    unsigned char *bytes = block;

    for (size_t at = 0; at < test_tail(size); at += test_stride(size)) {
        uint64_t word = test_word(seed, at);
        memcpy(bytes + at, &word, sizeof word);
    }
    for (size_t at = test_tail(size); at < size; at++)
        bytes[at] = (unsigned char)(seed + at);
}

/* Whether the first `size` bytes still hold what test_fill(block, filled, seed) wrote. */
static inline bool test_intact(const void *block, size_t size, size_t filled, uint64_t seed)
{
    const unsigned char *bytes = block;

    for (size_t at = 0; at < test_tail(filled) && at + 8 <= size; at += test_stride(filled)) {
        uint64_t word = test_word(seed, at);
        if (memcmp(bytes + at, &word, sizeof word) != 0)
            return false;
    }
    for (size_t at = test_tail(filled); at < size; at++) {
        if (bytes[at] != (unsigned char)(seed + at))
            return false;
    }
    return true;
}

static inline bool test_all_zero(const void *block, size_t size)
{
    const unsigned char *bytes = block;

    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* ---- time and memory --------------------------------------------------------------------- */

static inline uint64_t test_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Resident bytes of this process; no stdio, so that measuring does not allocate. */
static inline size_t test_resident(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    REQUIRE(length > 0);
    close(fd);
    text[length] = '\0';

    char *second = strchr(text, ' ');
    REQUIRE(second != NULL);
    return (size_t)strtoull(second, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- other processes --------------------------------------------------------------------- */

static inline bool test_exited_well(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static inline int test_wait(pid_t child)
{
    int status = -1;

    while (waitpid(child, &status, 0) < 0)
        REQUIRE(errno == EINTR);
    return status;
}

/* ---- watch-dog --------------------------------------------------------------------------- */

/*
 * A deadlock must be a failure that says so, not a test run that never ends.  The
 * timer uses a real-time signal, because SIGALRM and SIGPROF are what some tests are
 * about, and it is not inherited by children: the parent names the child it waits
 * for, and the handler ends both.
 */
static struct {
    const char *what;     /* printed when time is up               */
    volatile pid_t child; /* killed when time is up, if not 0      */
    timer_t timer;
    bool made;
} test_dog;

static inline void test_dog_bites(int signal_number)
{
    (void)signal_number;
    test_say("watch-dog: no progress, deadlock suspected in: ");
    test_say(test_dog.what);
    test_say(test_dog.child != 0 ? " (the child hangs)\n" : " (this process hangs)\n");
    if (test_dog.child != 0)
        kill(test_dog.child, SIGKILL);
    _exit(1);
}

static inline void test_dog_set(unsigned seconds)
{
    struct itimerspec due = {.it_value = {.tv_sec = (time_t)seconds}};

    REQUIRE(timer_settime(test_dog.timer, 0, &due, NULL) == 0);
}

/* Start or restart it; `what` must live as long as the watch. */
static inline void test_watch(unsigned seconds, const char *what)
{
    if (!test_dog.made) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMAX - 1};
        struct sigaction action = {.sa_handler = test_dog_bites};

        REQUIRE(sigaction(SIGRTMAX - 1, &action, NULL) == 0);
        REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &test_dog.timer) == 0);
        test_dog.made = true;
    }
    test_dog.what = what;
    test_dog.child = 0;
    test_dog_set(seconds);
}

/* Back to the limit of the whole program. */
static inline void test_unwatch(void)
{
    test_watch(TEST_PROGRAM_SECONDS, "the whole program");
}

/* A forked child has no timer: it gets one when it outlives a few calls. */
static inline void test_watch_child(unsigned seconds, const char *what)
{
    test_dog.made = false;
    test_watch(seconds, what);
}

/* waitpid under the watch-dog: a child that hangs is killed and named. */
static inline int test_wait_watched(pid_t child)
{
    test_dog.child = child;
    int status = test_wait(child);
    test_dog.child = 0;
    return status;
}

/* ---- parts, and the start of a test program ---------------------------------------------- */

/*
 * A part of a test that needs a process of its own (a limit that cannot be taken
 * back, a resident size without history) is a row of a table; test_run_part() starts
 * this program anew for it, test_main_part() is what the new process runs.
 */
struct test_part {
    const char *name;
    int (*run)(char **arguments); /* the exit code */
};

static inline int test_run_part(const char *name, const char *first, const char *second)
{
    const char *arguments[] = {"part", "--part", name, first, second, NULL};
    pid_t child = fork();

    REQUIRE(child >= 0);
    if (child == 0) {
        execv("/proc/self/exe", (char **)(uintptr_t)arguments);
        _exit(127);
    }
    return test_wait_watched(child);
}

static inline int test_main_part(const struct test_part *parts, size_t count, char **argv)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(parts[i].name, argv[2]) == 0)
            return parts[i].run(argv + 3);
    }
    fprintf(stderr, "no part %s\n", argv[2]);
    return TEST_HARD_ERROR;
}

static inline bool test_is_part(int argc, char **argv)
{
    return argc > 2 && strcmp(argv[1], "--part") == 0;
}

/*
 * A mistyped LD_PRELOAD only makes the loader complain: the program runs, on glibc's
 * malloc, and every test would pass without having tested anything.  Call first.
 */
static inline void test_begin(void)
{
    const char *file = test_malloc_file();

    if (!test_foreign() && (strstr(file, "/libc.so") != NULL || strstr(file, "/libc-") != NULL)) {
        fprintf(stderr, "malloc comes from %s: libreclaim is not in this process\n", file);
        _exit(TEST_HARD_ERROR);
    }
    test_unwatch();
}

#endif
