/* SPDX-License-Identifier: MIT */
/*
 * Tests of prof_eh.h: the walk is the one that the compiler's own unwinder makes, through code
 * without frame pointers and out of a signal handler; and from made-up registers no fault.
 */
#include "unit.h"

#include "prof_eh.h"

#include <dlfcn.h>
#include <ucontext.h>
#include <unwind.h>

#if defined(__x86_64__)

enum { MAX = 64, CALL_SAVED = 1 << 3 | 1 << 6 | 1 << 7 | 0xf << 12 | 1 << 16 };

static uintptr_t walked[2][MAX];
static uintptr_t expected[MAX];
static int n_expected;
static unsigned n_walked[2];

static struct rcl_eh_frame frame_of(const ucontext_t *c)
{
    const greg_t *r = c->uc_mcontext.gregs;
    struct rcl_eh_frame f = {.known = CALL_SAVED};

    f.reg[RCL_EH_RBX] = (uintptr_t)r[REG_RBX];
    f.reg[RCL_EH_RBP] = (uintptr_t)r[REG_RBP];
    f.reg[RCL_EH_RSP] = (uintptr_t)r[REG_RSP];
    for (int i = 0; i < 4; i++)
        f.reg[RCL_EH_R12 + i] = (uintptr_t)r[REG_R12 + i];
    f.reg[RCL_EH_PC] = (uintptr_t)r[REG_RIP];
    return f;
}

static unsigned walk(struct rcl_eh_frame f, uintptr_t *pc)
{
    unsigned n = 0;
    for (; n < MAX; pc[n++] = f.reg[RCL_EH_PC]) {
        uintptr_t in = f.reg[RCL_EH_PC] - !f.exact;
        if (rcl_eh_step(&f) != RCL_EH_CALLER)
            break;
        REQUIRE(in >= f.object.start && in < f.object.end);
    }
    return n;
}

static _Unwind_Reason_Code note(struct _Unwind_Context *context, void *unused)
{
    (void)unused;
    if (n_expected == MAX)
        return _URC_END_OF_STACK;
    expected[n_expected++] = _Unwind_GetIP(context);
    return _URC_NO_REASON;
}

/* Twice: the second time by what was kept of the first. */
__attribute__((noinline)) static void compare(void)
{
    ucontext_t here;

    n_expected = 0;
    _Unwind_Backtrace(note, NULL);
    REQUIRE(getcontext(&here) == 0);
    for (unsigned i = 0; i < 2; i++)
        n_walked[i] = walk(frame_of(&here), walked[i]);
}

/* libgcc begins with this test's own frame and may end with what libc was started by. */
static void assert_same(unsigned least)
{
    for (unsigned i = 0; i < 2; i++) {
        assert_in_range(n_walked[i], least, MAX);
        assert_in_range(n_walked[i], (unsigned)n_expected - 2, (unsigned)n_expected);
        for (unsigned k = 0; k + 1 < (unsigned)n_expected && k < n_walked[i]; k++)
            assert_int_equal(walked[i][k], expected[k + 1]);
    }
}

static int compare_once(const void *a, const void *b)
{
    static bool done;

    (void)a;
    (void)b;
    if (!done)
        compare();
    done = true;
    return 0;
}

TEST(through_libc)
{
    int some[100] = {0};

    qsort(some, array_len(some), sizeof some[0], compare_once);
    assert_same(6);
}

/* Its stack pointer is a multiple of 64, so where its frame begins takes an expression to say. */
__attribute__((noinline)) static int aligned(unsigned depth)
{
    volatile char room[64] __attribute__((aligned(64))) = {0};
    if (depth == 0)
        compare();
    else
        room[1] = (char)aligned(depth - 1);
    return room[0] + room[1] + 1;
}

TEST(through_frames_that_are_realigned)
{
    aligned(10);
    assert_same(12);
}

static void handler(int signal)
{
    (void)signal;
    compare();
}

TEST(out_of_a_signal_handler)
{
    struct sigaction a = {.sa_handler = handler}, before;

    assert_int_equal(sigaction(SIGUSR1, &a, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    sigaction(SIGUSR1, &before, NULL);
    assert_same(4);
}

static void *in_a_thread(void *arg)
{
    compare();
    return arg;
}

TEST(a_thread_has_an_outmost_frame)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, in_a_thread, NULL), 0);
    pthread_join(thread, NULL);
    assert_same(2);
}

/* A pc of code that has rules, and registers that have nothing to do with it. */
TEST(registers_that_are_none)
{
    struct unit_random random = unit_random_start();
    uintptr_t stack = (uintptr_t)__builtin_frame_address(0), code = (uintptr_t)qsort & ~0xffffful;

    for (unsigned round = 0; round < 100000; round++) {
        struct rcl_eh_frame f = {.known = (uint32_t)unit_next(&random), .exact = round % 2};
        for (size_t i = 0; i < array_len(f.reg); i++)
            f.reg[i] = unit_below(&random, 2) ? unit_next(&random) >> unit_below(&random, 64)
                                              : stack + unit_below(&random, 4096) * 8;
        f.reg[RCL_EH_PC] = code + unit_below(&random, 1 << 21);
        uintptr_t pc[MAX];
        walk(f, pc);
    }
}

TEST(code_that_nobody_has_written_is_unknown)
{
    static const uintptr_t nowhere[] = {0, 1, 4096, (uintptr_t)-1, (uintptr_t)1 << 47};

    for (size_t i = 0; i < array_len(nowhere); i++) {
        struct rcl_eh_frame f = {.known = CALL_SAVED};
        f.reg[RCL_EH_PC] = nowhere[i];
        f.reg[RCL_EH_RSP] = (uintptr_t)nowhere;
        assert_int_equal(rcl_eh_step(&f), RCL_EH_UNKNOWN);
        assert_int_equal(f.reg[RCL_EH_PC], nowhere[i]);
    }
}

#endif

TEST(before_the_start_nothing_is_known)
{
    struct rcl_eh_frame f = {.known = 0};

    assert_false(rcl_eh_ready());
    f.reg[RCL_EH_PC] = (uintptr_t)qsort;
    assert_int_equal(rcl_eh_step(&f), RCL_EH_UNKNOWN);
    rcl_eh_boot();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_the_start_nothing_is_known),
#if defined(__x86_64__)
        cmocka_unit_test(through_libc),
        cmocka_unit_test(through_frames_that_are_realigned),
        cmocka_unit_test(out_of_a_signal_handler),
        cmocka_unit_test(a_thread_has_an_outmost_frame),
        cmocka_unit_test(registers_that_are_none),
        cmocka_unit_test(code_that_nobody_has_written_is_unknown),
#endif
    };

    rcl_os_init();
    if (dlsym(RTLD_DEFAULT, "_dl_find_object") == NULL) {
        print_message("skipped: no _dl_find_object in this libc\n");
        return UNIT_CHILD_SKIPS;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
