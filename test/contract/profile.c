/* SPDX-License-Identifier: MIT */
/*
 * Heap profiles as a program gets them: each entry point is charged to its caller, nothing of
 * ours stands in a stack, and neither thousands of stacks nor deep or broken ones do harm.
 *
 * This program runs itself with profiling on and reads what that has written.
 */
#include "profile.h"

#include <malloc.h>
#include <pthread.h>

enum { BLOCKS = 10 };

/* --- what the child does ------------------------------------------------------------------ */

#define CALLER(name, call)                           \
    __attribute__((noinline)) static void name(void) \
    {                                                \
        for (int i = 0; i < BLOCKS; i++)             \
            keep(call);                              \
    }

CALLER(use_malloc, malloc(opaque_size(3000)))
CALLER(use_malloc_medium, malloc(opaque_size(50000)))
CALLER(use_malloc_large, malloc(opaque_size(500000)))
CALLER(use_malloc_huge, malloc(opaque_size(5000000)))
CALLER(use_calloc, calloc(3, opaque_size(1000)))
CALLER(use_realloc, realloc(NULL, opaque_size(3000)))
CALLER(use_reallocarray, reallocarray(NULL, 3, opaque_size(1000)))
CALLER(use_aligned_alloc, aligned_alloc(64, opaque_size(3000)))
CALLER(use_memalign, memalign(64, opaque_size(3000)))
CALLER(use_valloc, valloc(opaque_size(3000)))
CALLER(use_pvalloc, pvalloc(opaque_size(3000)))
CALLER(use_grown, realloc(malloc(100), opaque_size(3000)))

__attribute__((noinline)) static void use_posix_memalign(void)
{
    for (int i = 0; i < BLOCKS; i++) {
        void *p;
        REQUIRE(posix_memalign(&p, 64, opaque_size(3000)) == 0);
        keep(p);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} callers[] = {
#define ROW(name)   \
    {               \
#name, name \
    }
    ROW(use_malloc),         ROW(use_malloc_medium), ROW(use_malloc_large), ROW(use_malloc_huge),
    ROW(use_calloc),         ROW(use_realloc),       ROW(use_reallocarray), ROW(use_aligned_alloc),
    ROW(use_memalign),       ROW(use_valloc),        ROW(use_pvalloc),      ROW(use_grown),
    ROW(use_posix_memalign),
};

static int part_entries(char **arguments)
{
    (void)arguments;
    for (size_t i = 0; i < COUNT_OF(callers); i++) {
        printf("%s %p\n", callers[i].name, (void *)(uintptr_t)callers[i].run);
        callers[i].run();
    }
    fflush(stdout);
    return 0;
}

/* One stack for each number of 14 bits. */
__attribute__((noinline)) static int left(unsigned number, unsigned bits);

__attribute__((noinline)) static int right(unsigned number, unsigned bits)
{
    if (bits == 0) {
        keep(malloc(opaque_size(64)));
        return 1;
    }
    volatile int below = number & 1 ? right(number >> 1, bits - 1) : left(number >> 1, bits - 1);
    return below + 1; /* not a loop in disguise */
}

__attribute__((noinline)) static int left(unsigned number, unsigned bits)
{
    if (bits == 0) {
        keep(malloc(opaque_size(64)));
        return 1;
    }
    volatile int below = number & 1 ? right(number >> 1, bits - 1) : left(number >> 1, bits - 1);
    return below + 1; /* not a loop in disguise */
}

static int part_many(char **arguments)
{
    (void)arguments;
    for (unsigned number = 0; number < 1 << 14; number++)
        left(number, 14);
    return 0;
}

__attribute__((noinline)) static int deep(unsigned depth)
{
    if (depth == 0) {
        keep(malloc(opaque_size(100)));
        return 1;
    }
    volatile int below = deep(depth - 1);
    return below + 1;
}

static int part_deep(char **arguments)
{
    (void)arguments;
    deep(5000);
    return 0;
}

/* malloc is called with anything in the register that holds the frame pointer. */
static int part_broken(char **arguments)
{
    (void)arguments;
#if defined(__x86_64__)
    struct test_random random = {1};
    for (unsigned i = 0; i < 5000; i++) {
        uintptr_t frame = i % 3 == 0   ? test_next(&random)
                          : i % 3 == 1 ? (uintptr_t)&random + test_below(&random, 1 << 20)
                                       : (uintptr_t)kept[0] + test_below(&random, 1 << 20);
        size_t size = 100;
        void *p;
        if (keeping == 0)
            keep(malloc(100000));
        __asm__ volatile("mov %%rsp, %%rbx\n\t"
                         "lea -256(%%rsp), %%rsp\n\t" /* past what a leaf may use below */
                         "and $-16, %%rsp\n\t"
                         "push %%rbp\n\t"
                         "push %%rbp\n\t"
                         "mov %[frame], %%rbp\n\t"
                         "call *%[fn]\n\t"
                         "pop %%rbp\n\t"
                         "pop %%rbp\n\t"
                         "mov %%rbx, %%rsp"
                         : "=a"(p), "+D"(size)
                         : [frame] "r"(frame), [fn] "r"(malloc)
                         : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
        keep(p);
    }
#endif
    return 0;
}

/* Samples go and come on the same pages in several threads. */
static void *churn(void *arg)
{
    void *own[50] = {NULL};
    struct test_random random = {(uintptr_t)arg};

    for (unsigned i = 0; i < 20000; i++) {
        size_t at = test_below(&random, COUNT_OF(own));
        free(own[at]);
        own[at] = malloc(1 + test_below(&random, 2000));
        REQUIRE(own[at] != NULL);
    }
    for (size_t i = 0; i < COUNT_OF(own); i++)
        free(own[i]);
    return NULL;
}

static int part_threads(char **arguments)
{
    (void)arguments;
    pthread_t thread[4];

    for (size_t i = 0; i < COUNT_OF(thread); i++)
        REQUIRE(pthread_create(&thread[i], NULL, churn, (void *)(i + 1)) == 0);
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        pthread_join(thread[i], NULL);
    return 0;
}

/* --- reading ------------------------------------------------------------------------------ */

/* Of the stacks whose first address lies in [start, start + 1 KiB), the live blocks. */
static unsigned long long blocks_of(uintptr_t start, uintptr_t end)
{
    unsigned long long blocks = 0;

    for (const char *at = profile; (at = strstr(at, "\n@ 0x")) != NULL; at++) {
        uintptr_t first = (uintptr_t)strtoull(at + 3, NULL, 16);
        unsigned long long n = 0;
        if (first < start || first >= end)
            continue;
        const char *counts = strstr(at, "t*: ");
        REQUIRE(counts != NULL && sscanf(counts, "t*: %llu:", &n) == 1);
        blocks += n;
    }
    return blocks;
}

static void test_every_entry_point_is_charged_to_its_caller(void **state)
{
    (void)state;
    uintptr_t start[COUNT_OF(callers)];

    run_child("entries", "");
    for (size_t i = 0; i < COUNT_OF(callers); i++) {
        const char *at = strstr(output, callers[i].name);
        void *address;
        char line[64];
        snprintf(line, sizeof line, "%s %%p\n", callers[i].name);
        while (at != NULL && sscanf(at, line, &address) != 1)
            at = strstr(at + 1, callers[i].name);
        assert_non_null(at);
        start[i] = (uintptr_t)address;
    }
    for (size_t i = 0; i < COUNT_OF(callers); i++) {
        uintptr_t end = start[i] + 1024; /* or where the next one begins */
        for (size_t k = 0; k < COUNT_OF(callers); k++)
            if (start[k] > start[i] && start[k] < end)
                end = start[k];
        unsigned long long n = blocks_of(start[i], end);
        if (n != BLOCKS)
            print_message("%s: %llu blocks instead of %d\n", callers[i].name, n, BLOCKS);
        assert_int_equal(n, BLOCKS);
    }
}

static void test_ten_thousand_stacks(void **state)
{
    (void)state;
    run_child("many", "");
    assert_true(stacks() >= 10000);
    assert_true(stacks() <= (1 << 14) + 100);
    assert_string_equal(output, "");
}

static void test_stacks_deeper_than_the_limit(void **state)
{
    (void)state;
    static const unsigned limits[] = {1, 7, 128, 480};

    for (size_t i = 0; i < 2 * COUNT_OF(limits); i++) {
        /* By either name. */
        const char *option = i < COUNT_OF(limits) ? "prof_depth" : "prof_bt_max";
        unsigned limit = limits[i % COUNT_OF(limits)];
        char more[64];
        size_t most = 0;
        snprintf(more, sizeof more, ",%s:%u", option, limit);
        run_child("deep", more);
        for (const char *at = profile; (at = strstr(at, "\n@ ")) != NULL; at++) {
            size_t frames = 0;
            for (const char *p = at + 2; *p != '\n'; p++)
                frames += *p == ' ';
            most = frames > most ? frames : most;
        }
        assert_int_equal(most, limit);
        assert_string_equal(output, "");
        tear_down(NULL);
        set_up(NULL);
    }
}

static void test_broken_chains_of_frames(void **state)
{
    (void)state;
    run_child("broken", "");
    assert_string_equal(output, "");
}

static void test_threads(void **state)
{
    (void)state;
    run_child("threads", "");
    assert_string_equal(output, "");
    assert_non_null(strstr(profile, "\nMAPPED_LIBRARIES:\n"));
}

int main(int argc, char **argv)
{
    static const struct test_part parts[] = {
        {"entries", part_entries}, {"many", part_many},       {"deep", part_deep},
        {"broken", part_broken},   {"threads", part_threads},
    };
    static const struct CMUnitTest tests[] = {
        TESTED(test_every_entry_point_is_charged_to_its_caller),
        TESTED(test_ten_thousand_stacks),
        TESTED(test_stacks_deeper_than_the_limit),
        TESTED(test_broken_chains_of_frames),
        TESTED(test_threads),
    };

    if (test_is_part(argc, argv))
        return test_main_part(parts, COUNT_OF(parts), argv);
    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
