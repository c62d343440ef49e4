/* SPDX-License-Identifier: MIT */
/*
 * Tests of prof_unwind.h: the callers, in order, where frame pointers are kept; and a short or
 * odd stack, never a fault, where they are not what they should be.
 */
#include "unit.h"

#include "prof_unwind.h"

enum { DEPTH = 40, MAX = 64 };

static struct rcl_frame found[MAX];
static unsigned n;

/* Deeper and deeper; not inlined, not a loop, not a tail call. */
__attribute__((noinline)) static unsigned down(unsigned depth, unsigned max)
{
    volatile unsigned more = depth;

    if (depth == 0)
        n = rcl_unwind(found, max);
    else
        more += down(depth - 1, max);
    return more;
}

TEST(recursion_is_seen_frame_by_frame)
{
    down(DEPTH, MAX);
    /* The first is the call above rcl_unwind's caller; all but the ends are one place. */
    assert_true(n >= DEPTH);
    for (unsigned i = 2; i < DEPTH; i++)
        assert_int_equal(found[i].pc, found[1].pc);
    for (unsigned i = 1; i < DEPTH; i++) {
        assert_true(found[i].low > found[i - 1].low);
        assert_true(found[i].low <= found[i].high);
        assert_true(found[i - 1].high <= found[i].low || found[i - 1].high == found[i].low);
    }
    assert_true((uintptr_t)found[0].pc - (uintptr_t)down < 4096);
}

TEST(no_more_than_asked_for)
{
    for (unsigned max = 0; max <= DEPTH; max++) {
        memset(found, 0, sizeof found);
        down(DEPTH, max);
        assert_int_equal(n, max);
        assert_int_equal(found[max].pc, 0);
    }
}

#if defined(__x86_64__) && !defined(RCL_WITH_LIBUNWIND)
/* Call rcl_unwind with any frame pointer, as code does that uses the register for itself. */
static unsigned unwind_from(uintptr_t frame_pointer)
{
    struct rcl_frame *out = found;
    unsigned got, max = MAX;

    __asm__ volatile("mov %%rsp, %%rbx\n\t"
                     "lea -256(%%rsp), %%rsp\n\t" /* past what a leaf may use below */
                     "and $-16, %%rsp\n\t"
                     "push %%rbp\n\t"
                     "push %%rbp\n\t"
                     "mov %[fp], %%rbp\n\t"
                     "call *%[fn]\n\t"
                     "pop %%rbp\n\t"
                     "pop %%rbp\n\t"
                     "mov %%rbx, %%rsp"
                     : "=a"(got), "+D"(out), "+S"(max)
                     : [fp] "r"(frame_pointer), [fn] "r"(rcl_unwind)
                     : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
    return got;
}

TEST(a_chain_that_is_none_ends_the_walk)
{
    struct unit_random random = unit_random_start();
    size_t page = unit_kernel_page();
    char *hole = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t stack = (uintptr_t)__builtin_frame_address(0);

    assert_ptr_not_equal(hole, MAP_FAILED);
    munmap(hole + page, page);
    const uintptr_t odd[] = {0,
                             1,
                             8,
                             4096,
                             (uintptr_t)-1,
                             (uintptr_t)-8,
                             (uintptr_t)1 << 47,
                             ((uintptr_t)1 << 47) - 8,
                             (uintptr_t)hole,
                             (uintptr_t)hole + page - 8,
                             (uintptr_t)hole + page,
                             (uintptr_t)hole + 2 * page - 8,
                             stack,
                             stack + 4,
                             stack + 8 * MIB,
                             stack - 8 * MIB};

    for (size_t i = 0; i < array_len(odd); i++)
        assert_true(unwind_from(odd[i]) <= MAX);
    for (unsigned i = 0; i < 20000; i++)
        unwind_from(unit_next(&random) >> unit_below(&random, 64));
    for (unsigned i = 0; i < 20000; i++)
        unwind_from(stack + unit_below(&random, 1 << 16));
    munmap(hole, 4 * page);
}

/* Words of the stack that look like links: the chain must go up, or it ends. */
TEST(a_chain_in_a_circle_ends)
{
    uintptr_t link[8];

    link[0] = (uintptr_t)&link[2];
    link[1] = 0x401000;
    link[2] = (uintptr_t)&link[4];
    link[3] = 0x402000;
    link[4] = (uintptr_t)&link[0]; /* back */
    link[5] = 0x403000;
    unsigned got = unwind_from((uintptr_t)link);
    assert_in_range(got, 3, 5); /* ours, the three, and perhaps the caller of all */
    assert_int_equal(found[got - 1].pc, 0x403000);
    assert_int_equal(found[got - 2].pc, 0x402000);
}
#endif

static void *on_a_small_stack(void *arg)
{
    (void)arg;
    down(3, MAX);
    REQUIRE(n >= 3);
    return NULL;
}

TEST(other_stacks)
{
    pthread_t thread;
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    assert_int_equal(pthread_attr_setstacksize(&attr, (size_t)sysconf(_SC_THREAD_STACK_MIN)), 0);
    assert_int_equal(pthread_create(&thread, &attr, on_a_small_stack, NULL), 0);
    pthread_join(thread, NULL);
}

int main(void)
{
    /* By frame pointers; and again by whatever the start has found. */
    const struct CMUnitTest links[] = {
        cmocka_unit_test(recursion_is_seen_frame_by_frame),
        cmocka_unit_test(no_more_than_asked_for),
#if defined(__x86_64__) && !defined(RCL_WITH_LIBUNWIND)
        cmocka_unit_test(a_chain_that_is_none_ends_the_walk),
        cmocka_unit_test(a_chain_in_a_circle_ends),
#endif
        cmocka_unit_test(other_stacks),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recursion_is_seen_frame_by_frame),
        cmocka_unit_test(no_more_than_asked_for),
        cmocka_unit_test(other_stacks),
    };

    rcl_os_init();
    int failed = cmocka_run_group_tests(links, NULL, NULL);
    rcl_unwind_boot();
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
