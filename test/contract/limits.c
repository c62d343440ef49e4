/* SPDX-License-Identifier: MIT */
/*
 * Little address space: no crash, NULL and ENOMEM at the end, most of the limit usable,
 * and everything as before once the memory is free again.  Each part is a new process,
 * because a limit cannot be taken back and address space has a history.
 */
#include "../testlib.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <cmocka.h>

static const size_t limit = 512 * MIB;

static void set_limit(void)
{
    struct rlimit space = {limit, limit};

    REQUIRE(setrlimit(RLIMIT_AS, &space) == 0);
}

/* Blocks are chained through their first word: the list needs no memory of its own. */
static size_t take_all(size_t size, void **head)
{
    size_t count = 0;

    *head = NULL;
    for (;;) {
        errno = TEST_ERRNO;
        void **block = malloc(opaque_size(size));

        if (block == NULL) {
            REQUIRE(errno == ENOMEM);
            return count;
        }
        REQUIRE((uintptr_t)block % 16 == 0);
        for (size_t at = 4096; at < size; at += 4096)
            ((char *)block)[at] = 1;
        ((unsigned char *)block)[size - 1] = (unsigned char)count;
        *block = *head;
        *head = block;
        count++;
    }
}

static void give_all(size_t size, size_t count, void *head)
{
    while (head != NULL) {
        void *next = *(void **)head;

        count--;
        REQUIRE(((unsigned char *)head)[size - 1] == (unsigned char)count);
        free(head);
        head = next;
    }
    REQUIRE(count == 0);
}

static void report(const char *what, size_t size, size_t bytes)
{
    char text[120];

    snprintf(text, sizeof text, "%s %zu B: %zu MB of %zu\n", what, size, bytes >> 20, limit >> 20);
    test_say(text);
}

static size_t number(const char *text)
{
    return (size_t)strtoull(text, NULL, 10);
}

static int part_fill(char **arguments)
{
    size_t size = number(arguments[0]);
    void *head;

    set_limit();
    size_t count = take_all(size, &head);
    give_all(size, count, head);
    if (count * test_footprint(size) >= limit / 100 * (test_hostile_build() ? 75 : 85))
        return 0;
    report("usable in blocks of", size, count * size);
    return test_foreign() ? 0 : 1;
}

/* All of it in one size, free, then all of it in another, and back. */
static int part_refill(char **arguments)
{
    size_t size[2] = {number(arguments[0]), number(arguments[1])};
    size_t good = 0;

    set_limit();
    for (size_t round = 0; round < 3; round++) {
        void *head;
        size_t now = size[round % 2];
        size_t count = take_all(now, &head);

        give_all(now, count, head);
        if (count * test_footprint(now) >= limit / 100 * (test_hostile_build() ? 65 : 75))
            good++;
        else
            report("after the other size, blocks of", now, count * now);
    }
    return good == 3 || test_foreign() ? 0 : 1;
}

/* Every entry point says no in its own way, and the next small request may still be served. */
static int part_say_no(char **arguments)
{
    void *head, *other = NULL;
    (void)arguments;

    set_limit();
    void *block = malloc(1000);
    REQUIRE(block != NULL);
    test_fill(block, 1000, 1);
    size_t count = take_all(100000, &head);
    errno = TEST_ERRNO;
    REQUIRE(calloc(1, opaque_size(64 * MIB)) == NULL && errno == ENOMEM);
    errno = TEST_ERRNO;
    REQUIRE(realloc(opaque(block), opaque_size(64 * MIB)) == NULL && errno == ENOMEM);
    REQUIRE(test_intact(block, 1000, 1000, 1));
    REQUIRE(posix_memalign(&other, 4096, opaque_size(64 * MIB)) == ENOMEM && other == NULL);
    errno = TEST_ERRNO;
    REQUIRE(aligned_alloc(4096, opaque_size(64 * MIB)) == NULL && errno == ENOMEM);
    errno = TEST_ERRNO;
    REQUIRE(reallocarray(opaque(NULL), opaque_size(64), MIB) == NULL && errno == ENOMEM);
    give_all(100000, count, head);
    free(block);
    block = calloc(1, 64 * MIB);
    REQUIRE(block != NULL);
    REQUIRE(test_all_zero(block, 64 * MIB));
    free(block);
    return 0;
}

static volatile size_t refusals;

static void *take_in_a_thread(void *argument)
{
    struct test_random random = {(uintptr_t)argument};
    void *head = NULL;

    for (size_t round = 0; round < 3; round++) {
        for (;;) {
            size_t size = sizeof(void *) + test_log_size(&random, 17);
            void **block = malloc(size);
            if (block == NULL)
                break;
            memset(block, 1, size);
            *block = head;
            head = block;
        }
        __atomic_add_fetch(&refusals, 1, __ATOMIC_SEQ_CST);
        while (head != NULL) {
            void *next = *(void **)head;
            free(head);
            head = next;
        }
    }
    return NULL;
}

/* Threads that reach the end together: NULL for some, a crash or a deadlock for none. */
static int part_threads(char **arguments)
{
    pthread_attr_t attributes;
    pthread_t thread[4];
    (void)arguments;

    set_limit();
    test_watch_child(100, "threads that exhaust the address space");
    REQUIRE(pthread_attr_init(&attributes) == 0);
    REQUIRE(pthread_attr_setstacksize(&attributes, 256 * KIB) == 0);
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        REQUIRE(pthread_create(&thread[i], &attributes, take_in_a_thread, (void *)(i + 1)) == 0);
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
    REQUIRE(refusals == 3 * COUNT_OF(thread));
    void *block = malloc(100 * MIB);
    REQUIRE(block != NULL || test_foreign());
    free(block);
    return 0;
}

/* A block that grows to most of the limit: possible only when it never exists twice. */
static int part_grow(char **arguments)
{
    char *block = NULL;
    (void)arguments;

    set_limit();
    for (size_t size = MIB; size <= 400 * MIB; size += size / 4 / MIB * MIB + MIB) {
        char *grown = realloc(block, size);

        REQUIRE(grown != NULL);
        REQUIRE(block == NULL || grown[0] == 1);
        grown[0] = 1;
        grown[size - 1] = 1;
        block = grown;
    }
    free(block);
    return 0;
}

static void check_part(const char *name, size_t first, size_t second)
{
    char text[2][24];

    snprintf(text[0], sizeof text[0], "%zu", first);
    snprintf(text[1], sizeof text[1], "%zu", second);
    test_watch(120, name);
    int status = test_run_part(name, text[0], text[1]);
    test_unwatch();
    if (WIFSIGNALED(status))
        print_error("part %s %zu %zu: killed by signal %d\n", name, first, second,
                    WTERMSIG(status));
    assert_true(test_exited_well(status));
}

static const size_t sizes[] = {64, 5000, 100000, 1000000};

static void test_most_of_the_limit_is_usable(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        check_part("fill", sizes[i], 0);
}

static void test_any_size_after_any_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (size_t j = i + 1; j < COUNT_OF(sizes); j++) {
            check_part("refill", sizes[i], sizes[j]);
            check_part("refill", sizes[j], sizes[i]);
        }
    }
}

static void test_every_call_says_no(void **state)
{
    (void)state;
    check_part("say-no", 0, 0);
}

static void test_threads_reach_the_end(void **state)
{
    (void)state;
    check_part("threads", 0, 0);
}

static void test_growing_needs_no_second_copy(void **state)
{
    (void)state;
    check_part("grow", 0, 0);
}

/* ---- an ordinary program in 128 MiB ------------------------------------------------------ */

/* Output of `ls -l /usr/bin` as a checksum, or -1; with a preload and a limit if given. */
static long long list_files(const char *preload, size_t space)
{
    int ends[2];
    unsigned char text[4096];
    long long sum = 0;
    ssize_t got;

    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        struct rlimit as = {space, space};

        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        unsetenv("LD_PRELOAD");
        if (preload != NULL)
            setenv("LD_PRELOAD", preload, 1);
        setenv("LC_ALL", "C", 1);
        if (space != 0)
            setrlimit(RLIMIT_AS, &as);
        execl("/bin/ls", "ls", "-l", "/usr/bin", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    while ((got = read(ends[0], text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            sum = (sum * 131 + text[i]) % 1000000007;
    }
    close(ends[0]);
    return test_exited_well(test_wait_watched(child)) ? sum : -1;
}

static void test_ls_runs_in_128_mib(void **state)
{
    const char *preload = getenv("RECLAIM_SO");
    (void)state;

    if (preload == NULL)
        preload = getenv("LD_PRELOAD");
    if (preload == NULL || preload[0] == '\0')
        skip();
    test_watch(60, "ls under ulimit -v 131072");
    long long expected = list_files(NULL, 0);
    assert_true(expected > 0);
    assert_int_equal(list_files(preload, 131072 * KIB), expected);
    test_unwatch();
}

/* ---- locked memory ----------------------------------------------------------------------- */

/* The page map: nine bytes for each 4 KiB of a GiB, of two where memory lies around an end. */
#define LEAF_BYTES (GIB / (4 * KIB) * 9)
static bool at_an_end; /* some block, or the mapping of 4 MiB at most that it is from */

static void *use_some(void *argument)
{
    for (size_t size = 16; size <= 256 * KIB; size += size / 4) {
        char *block = malloc(size);
        REQUIRE(block != NULL);
        at_an_end |= ((uintptr_t)block + 4 * MIB) / GIB != ((uintptr_t)block - 4 * MIB) / GIB;
        block[0] = 1;
        free(block);
    }
    return argument;
}

/* Resident bytes without those of files: mlockall makes all of every library resident too. */
static size_t anonymous(void)
{
    char text[128], *end;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    REQUIRE(length > 0);
    close(fd);
    text[length] = '\0';
    strtoull(text, &end, 10);
    unsigned long long resident = strtoull(end, &end, 10), files = strtoull(end, NULL, 10);
    REQUIRE(resident > files);
    return (size_t)(resident - files) * (size_t)sysconf(_SC_PAGESIZE);
}

/* With MCL_FUTURE every page of a mapping is resident at once: a reservation would show. */
static int part_lock(char **arguments)
{
    pthread_attr_t attributes;
    pthread_t thread;
    void *held[100];
    (void)arguments;

    size_t before = anonymous();
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        return 77;
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        held[i] = malloc(i * 100);
        REQUIRE(held[i] != NULL);
    }
    use_some(NULL);
    REQUIRE(pthread_attr_init(&attributes) == 0);
    REQUIRE(pthread_attr_setstacksize(&attributes, 128 * KIB) == 0);
    for (size_t i = 0; i < 4; i++) {
        REQUIRE(pthread_create(&thread, &attributes, use_some, NULL) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
    }
    size_t after = anonymous();
    for (size_t i = 0; i < COUNT_OF(held); i++)
        free(held[i]);
    size_t most = (test_page() > 4096 ? 32 : 16) * MIB + (at_an_end ? LEAF_BYTES : 0);
    if (after <= before + most)
        return 0;
    char text[80];
    snprintf(text, sizeof text, "mlockall made %zu kB more resident\n", (after - before) / KIB);
    test_say(text);
    return test_foreign() ? 0 : 1;
}

static void test_mlockall_locks_little(void **state)
{
    (void)state;
    test_watch(60, "mlockall");
    int status = test_run_part("lock", NULL, NULL);
    test_unwatch();
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); /* not allowed to lock that much */
    assert_true(test_exited_well(status));
}

int main(int argc, char **argv)
{
    static const struct test_part parts[] = {
        {"fill", part_fill},       {"refill", part_refill}, {"say-no", part_say_no},
        {"threads", part_threads}, {"grow", part_grow},     {"lock", part_lock},
    };
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_most_of_the_limit_is_usable),
        cmocka_unit_test(test_any_size_after_any_size),
        cmocka_unit_test(test_every_call_says_no),
        cmocka_unit_test(test_threads_reach_the_end),
        cmocka_unit_test(test_growing_needs_no_second_copy),
        cmocka_unit_test(test_ls_runs_in_128_mib),
        cmocka_unit_test(test_mlockall_locks_little),
    };

    if (test_is_part(argc, argv))
        return test_main_part(parts, COUNT_OF(parts), argv);
    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
