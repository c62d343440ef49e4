/* SPDX-License-Identifier: MIT */
/*
 * A program that has shut itself in: after its first allocation it makes a filter that ends it for
 * any system call but those that doc/syscalls.md names for such a program, and those of its own.
 * What it does then is all that a program does that asks for no report.
 */
#include "../testlib.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <cmocka.h>

enum { SKIPPED = 77 };

static const int allowed[] = {
    /* doc/syscalls.md, "Filters" */
    SYS_mmap,          SYS_munmap,     SYS_mremap,          SYS_process_madvise,
    SYS_madvise,       SYS_prctl,      SYS_futex,           SYS_rt_sigprocmask,
    SYS_sched_yield,   SYS_mincore,    SYS_gettid,          SYS_clone,
    SYS_exit,          SYS_tgkill,     SYS_rt_sigaction,    SYS_kill,
    SYS_getpid,        SYS_membarrier, SYS_write,
/* libc's, glibc's or musl's: threads, fork, sleep, the end; and the answer to any other call */
#ifdef SYS_fork
    SYS_fork,
#endif
    SYS_clone3,        SYS_mprotect,   SYS_set_robust_list, SYS_set_tid_address,
    SYS_rseq,          SYS_wait4,      SYS_nanosleep,       SYS_clock_nanosleep,
    SYS_clock_gettime, SYS_exit_group, SYS_rt_sigreturn};

static void name_it(int signal, siginfo_t *info, void *context)
{
    char text[] = "system call 0000 is not one that doc/syscalls.md names\n";
    int n = info->si_syscall;
    (void)signal, (void)context;

    for (char *digit = strstr(text, "0000") + 3; n > 0; n /= 10)
        *digit-- = (char)('0' + n % 10);
    test_fail(text);
}

static void shut_in(void)
{
    enum { N = COUNT_OF(allowed) };
    struct sigaction action = {.sa_sigaction = name_it, .sa_flags = SA_SIGINFO};
    struct sock_filter code[N + 3];
    struct sock_fprog program = {.len = COUNT_OF(code), .filter = code};

    code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                           offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < N; i++)
        code[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i],
                                                   (unsigned char)(N - i), 0);
    code[N + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    code[N + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    REQUIRE(sigaction(SIGSYS, &action, NULL) == 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(SKIPPED);
}

/* Blocks of all kinds, `bytes` of each size; the second time in memory that was freed before. */
static void *use_all_sizes(void *argument)
{
    static const size_t sizes[] = {16, 1000, 20000, 100000, 400000, 1100000, 3000000};
    enum { MOST = 20000 };
    size_t bytes = *(const size_t *)argument;
    void **held = malloc(MOST * sizeof *held);

    REQUIRE(held != NULL);
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            size_t n = 0;
            for (size_t got = 0; got < bytes && n < MOST; got += sizes[i])
                REQUIRE((held[n++] = calloc(1, sizes[i])) != NULL);
            for (size_t k = 0; k < n; k++) {
                test_fill(held[k], sizes[i], k);
                held[k] = realloc(held[k], sizes[i] + sizes[i] / 2);
                REQUIRE(test_intact(held[k], sizes[i], sizes[i], k));
            }
            while (n > 0)
                free(held[--n]);
        }
        free(aligned_alloc(2 * MIB, 2 * MIB));
    }
    free(held);
    return NULL;
}

static int live_in_it(void)
{
    size_t much = 30 * MIB, little = 2 * MIB;
    struct timespec window = {1, 200000000};
    pthread_t thread[2];

    free(opaque(malloc(1)));
    shut_in();
    use_all_sizes(&much);
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        REQUIRE(pthread_create(&thread[i], NULL, use_all_sizes, &little) == 0);
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        use_all_sizes(&little);
        _exit(0);
    }
    int status = 0;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    use_all_sizes(&much);
    nanosleep(&window, NULL); /* what is left goes by time */
    use_all_sizes(&little);
    malloc_trim(0);
    return 0;
}

static void test_the_named_system_calls_are_enough(void **state)
{
    (void)state;
    if (test_foreign())
        skip();
    test_watch(120, "a program in a sandbox");
    pid_t child = fork();
    if (child == 0)
        _exit(live_in_it());
    int status = test_wait_watched(child);
    test_unwatch();
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        skip();
    if (WIFSIGNALED(status))
        print_message("the child was ended by signal %d\n", WTERMSIG(status));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_named_system_calls_are_enough),
    };

    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
