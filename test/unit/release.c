/* SPDX-License-Identifier: MIT */
/*
 * Tests of release.h: what is given is gone, nothing else is, and what the kernel has not
 * (system-call filters in forked children) is not missed.
 */
#include "unit.h"

#include "release.h"

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

TEST(purged_pages_read_as_zero)
{
    size_t page = rcl_page_size();
    char *p = map(8);

    memset(p, 1, 8 * page);
    assert_int_equal(rcl_release(p + 2 * page, 3 * page), 0);
    assert_int_equal(unit_resident(p + 2 * page, 3 * page), 0);
    assert_true(p[2 * page - 1] == 1 && p[5 * page] == 1);
    assert_true(unit_zero(p + 2 * page, 3 * page));
    unmap(p, 8);
}

/* Ranges of 1 to 3 pages with 1 or 2 pages between them; each page has its mark. */
static void purge_random_ranges(size_t n, struct unit_random *random)
{
    size_t page = rcl_page_size(), pages = n * 5 + 1, at = 0;
    struct rcl_os_range *range = calloc(n, sizeof *range);
    bool *gone = calloc(pages, sizeof *gone);
    char *p = map(pages);

    for (size_t i = 0; i < pages; i++)
        p[i * page] = p[(i + 1) * page - 1] = (char)(i % 100 + 1);
    for (size_t i = 0; i < n; i++) {
        at += 1 + unit_below(random, 2);
        size_t length = 1 + unit_below(random, 3);
        range[i] = (struct rcl_os_range){p + at * page, length * page};
        memset(gone + at, true, length);
        at += length;
    }
    errno = UNIT_ERRNO;
    REQUIRE(rcl_release_many(range, n) == 0);
    REQUIRE(errno == UNIT_ERRNO);
    for (size_t i = 0; i < pages; i++) {
        char expected = gone[i] ? 0 : (char)(i % 100 + 1);
        REQUIRE(p[i * page] == expected && p[(i + 1) * page - 1] == expected);
    }
    REQUIRE(rcl_os_unmap(p, pages * page) == 0);
    free(range);
    free(gone);
}

static void purge_all_counts(void *arg)
{
    static const size_t counts[] = {0, 1, 2, 3, 31, 63, 64};
    struct unit_random random = {(uintptr_t)arg};

    for (size_t i = 0; i < array_len(counts); i++)
        purge_random_ranges(counts[i], &random);
}

TEST(many_ranges_are_purged_exactly)
{
    struct unit_random random = unit_random_start();
    purge_all_counts((void *)(uintptr_t)unit_next(&random));
}

static void purge_without_the_vector_call(void *arg)
{
    unit_forbid(SYS_process_madvise, (unsigned)(uintptr_t)arg);
    purge_all_counts((void *)1);
}

TEST(many_ranges_are_purged_where_the_vector_call_is_missing)
{
    unit_child_passes(purge_without_the_vector_call, (void *)(uintptr_t)ENOSYS);
    unit_child_passes(purge_without_the_vector_call, (void *)(uintptr_t)EPERM);
    unit_child_passes(purge_without_the_vector_call, (void *)(uintptr_t)EINTR);
    unit_child_passes(purge_without_the_vector_call, (void *)(uintptr_t)EAGAIN);
}

/* Every other page of `p` as ranges. */
static void every_other(char *p, struct rcl_os_range *range, size_t n)
{
    size_t page = rcl_page_size();

    memset(p, 1, 2 * n * page);
    for (size_t i = 0; i < n; i++)
        range[i] = (struct rcl_os_range){p + 2 * i * page, page};
}

/*
 * From here on the kernel accepts any advice but MADV_DONTNEED and does nothing, as qemu does; and
 * knows no call for several ranges.
 */
static void heedless_kernel(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_madvise, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_DONTNEED, 2, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = array_len(code), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(UNIT_CHILD_SKIPS);
}

struct kernel {
    void (*from_here_on)(void);
};

static void refuse_locked_pages(void *arg)
{
    enum { N = 64 };
    size_t page = rcl_page_size();
    struct rcl_os_range range[N];
    char *p = rcl_os_map(2 * N * page);
    const struct kernel *kernel = arg;

    kernel->from_here_on();
    REQUIRE(p != NULL);
    every_other(p, range, N);
    if (!unit_lock(range[0].addr, page) || !unit_lock(range[17].addr, page) ||
        !unit_lock(range[N - 1].addr, page))
        _exit(UNIT_CHILD_SKIPS);
    errno = UNIT_ERRNO;
    REQUIRE(rcl_release(range[17].addr, page) != 0);
    uint64_t refused = rcl_release_many(range, N);
    REQUIRE(errno == UNIT_ERRNO);
    REQUIRE(refused == (UINT64_C(1) | UINT64_C(1) << 17 | UINT64_C(1) << (N - 1)));
    for (size_t i = 0; i < N; i++) {
        REQUIRE(p[(2 * i + 1) * page] == 1);
        REQUIRE((refused >> i & 1) != 0 || p[2 * i * page] == 0);
    }
    REQUIRE(syscall(SYS_munlock, p, 2 * N * page) == 0);
    REQUIRE(rcl_release_many(range, N) == 0);
    for (size_t i = 0; i < N; i++)
        REQUIRE(p[2 * i * page] == 0);
}

TEST(an_old_kernel_refuses_locked_pages_and_no_others)
{
    unit_child_passes(refuse_locked_pages, &(struct kernel){unit_old_kernel});
}

TEST(a_kernel_that_says_yes_to_anything_is_not_believed)
{
    unit_child_passes(refuse_locked_pages, &(struct kernel){heedless_kernel});
}

static void return_locked_pages(void *arg)
{
    enum { N = 64 };
    size_t page = rcl_page_size();
    struct rcl_os_range range[N];
    char *p = rcl_os_map(2 * N * page);
    (void)arg;

    if (!unit_can_return_locked())
        _exit(UNIT_CHILD_SKIPS);
    REQUIRE(p != NULL);
    every_other(p, range, N);
    uint64_t calls = rcl_os_returns();
    REQUIRE(rcl_release_many(range, N) == 0);
    uint64_t usual = rcl_os_returns() - calls;

    every_other(p, range, N);
    REQUIRE(unit_lock(range[0].addr, page) && unit_lock(range[17].addr, page));
    errno = UNIT_ERRNO;
    REQUIRE(rcl_release_many(range, N) == 0);
    REQUIRE(errno == UNIT_ERRNO);
    REQUIRE(unit_resident(range[17].addr, page) == 0);
    for (size_t i = 0; i < N; i++)
        REQUIRE(p[2 * i * page] == 0 && p[(2 * i + 1) * page] == 1);

    /* It has learned: from here on it costs what it always does. */
    every_other(p, range, N);
    calls = rcl_os_returns();
    REQUIRE(rcl_release_many(range, N) == 0);
    REQUIRE(rcl_os_returns() - calls <= usual);
    memset(range[17].addr, 1, page);
    REQUIRE(rcl_release(range[17].addr, page) == 0);
    REQUIRE(p[2 * 17 * page] == 0);
}

TEST(locked_pages_go_too)
{
    unit_child_passes(return_locked_pages, NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(purged_pages_read_as_zero),
        cmocka_unit_test(many_ranges_are_purged_exactly),
        cmocka_unit_test(many_ranges_are_purged_where_the_vector_call_is_missing),
        cmocka_unit_test(an_old_kernel_refuses_locked_pages_and_no_others),
        cmocka_unit_test(a_kernel_that_says_yes_to_anything_is_not_believed),
        cmocka_unit_test(locked_pages_go_too),
    };

    rcl_os_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
