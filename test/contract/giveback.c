/* SPDX-License-Identifier: MIT */
/*
 * Giving memory back, with no option set: a burst that was freed is out of resident
 * memory when the last free returns, up to a small ceiling, and malloc_trim takes that
 * too.  Each measurement is a new process: its resident memory has no history.
 */
#include "../testlib.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <cmocka.h>

static const size_t burst = 300 * MIB;
static const size_t ceiling = 12 * MIB; /* the promise is 8 MiB; the rest is tables and noise */
static const size_t trimmed_ceiling = 2 * MIB;

enum { TEST_SKIP = 77 }; /* of a part: not possible here */

static int judge(const char *what, size_t before, size_t after, size_t allowed)
{
    char text[160];

    if (after <= before + allowed)
        return 0;
    snprintf(text, sizeof text, "%s: %zu kB resident beyond the start, %zu kB allowed\n", what,
             after > before ? (after - before) / KIB : 0, allowed / KIB);
    test_say(text);
    return test_foreign() ? 0 : 1;
}

/* The list of blocks is no part of the measurement: mapped, and touched before it starts. */
static void **map_list(size_t count)
{
    size_t bytes = count * sizeof(void *);
    void **list = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(list != MAP_FAILED);
    memset(list, 0xff, bytes);
    return list;
}

static void reorder(void **list, size_t count, const char *order)
{
    struct test_random random = {71};

    if (strcmp(order, "reverse") == 0) {
        for (size_t i = 0; i < count / 2; i++) {
            void *swapped = list[i];
            list[i] = list[count - 1 - i];
            list[count - 1 - i] = swapped;
        }
    } else if (strcmp(order, "random") == 0) {
        for (size_t i = count - 1; i > 0; i--) {
            size_t j = test_below(&random, i + 1);
            void *swapped = list[i];
            list[i] = list[j];
            list[j] = swapped;
        }
    }
}

struct list {
    void **block;
    size_t count, size;
};

static void *take(void *argument)
{
    struct list *list = argument;

    for (size_t i = 0; i < list->count; i++) {
        list->block[i] = malloc(list->size);
        REQUIRE(list->block[i] != NULL);
        memset(list->block[i], 1, list->size);
    }
    return NULL;
}

static void *give(void *argument)
{
    struct list *list = argument;

    for (size_t i = 0; i < list->count; i++)
        free(list->block[i]);
    return NULL;
}

static int part_burst(char **arguments)
{
    size_t size = (size_t)strtoull(arguments[0], NULL, 10);
    struct list list = {NULL, burst / size, size};

    list.block = map_list(list.count);
    free(malloc(100)); /* what the first call sets up is there before and after */
    size_t before = test_resident();
    take(&list);
    REQUIRE(test_resident() >= before + burst / 100 * 95);
    reorder(list.block, list.count, arguments[1]);
    give(&list);
    int failures = judge("after the last free", before, test_resident(), ceiling);
    malloc_trim(0);
    failures += judge("after malloc_trim", before, test_resident(), trimmed_ceiling);
    return failures;
}

static void check_bursts(size_t size)
{
    static const char *const orders[] = {"forward", "reverse", "random"};
    char text[24];

    snprintf(text, sizeof text, "%zu", size);
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        test_watch(100, "a burst");
        int status = test_run_part("burst", text, orders[i]);
        test_unwatch();
        if (!test_exited_well(status))
            print_error("burst of %zu B blocks, freed %s\n", size, orders[i]);
        assert_true(test_exited_well(status));
    }
}

static void test_burst_of_64_bytes(void **state)
{
    (void)state;
    check_bursts(64);
}

static void test_burst_of_5_kilobytes(void **state)
{
    (void)state;
    check_bursts(5000);
}

static void test_burst_of_100_kilobytes(void **state)
{
    (void)state;
    check_bursts(100000);
}

static void test_burst_of_30_megabytes(void **state)
{
    (void)state;
    check_bursts(30000000);
}

/* All sizes at once, freed in random order. */
static int part_mixed(char **arguments)
{
    enum { COUNT = 60000 };
    struct list list = {map_list(COUNT), COUNT, 0};
    struct test_random random = {72};
    (void)arguments;

    free(malloc(100));
    size_t before = test_resident();
    for (size_t i = 0; i < COUNT; i++) {
        size_t size = test_log_size(&random, 16);
        list.block[i] = malloc(size);
        REQUIRE(list.block[i] != NULL);
        memset(list.block[i], 1, size);
    }
    REQUIRE(test_resident() >= before + 100 * MIB);
    reorder(list.block, COUNT, "random");
    give(&list);
    int failures = judge("mixed sizes, after the last free", before, test_resident(), ceiling);
    malloc_trim(0);
    failures += judge("mixed sizes, after malloc_trim", before, test_resident(), trimmed_ceiling);
    return failures;
}

/* So little that a thread's cache takes all of it, and no free goes the slow way. */
static int part_hits(char **arguments)
{
    enum { COUNT = 1500 };
    struct list list = {map_list(COUNT), COUNT, 0};
    const struct timespec nap = {.tv_sec = 1, .tv_nsec = 500000000};
    (void)arguments;

    free(malloc(100));
    size_t before = test_resident();
    for (size_t i = 0; i < COUNT; i++) {
        list.block[i] = malloc(16 + 2 * i);
        REQUIRE(list.block[i] != NULL);
        memset(list.block[i], 1, 16 + 2 * i);
    }
    REQUIRE(test_resident() >= before + 2 * MIB);
    give(&list);
    nanosleep(&nap, NULL);
    return judge("a little, idle", before, test_resident(), MIB);
}

/* Freed by a thread that never allocated, while the one that allocated sits still. */
static int part_other_thread(char **arguments)
{
    struct list list = {NULL, burst / 5000, 5000};
    pthread_t thread;
    (void)arguments;

    list.block = map_list(list.count);
    REQUIRE(pthread_create(&thread, NULL, give, &(struct list){NULL, 0, 0}) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0); /* its stack and set-up are there from now on */
    size_t before = test_resident();
    take(&list);
    REQUIRE(pthread_create(&thread, NULL, give, &list) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    int failures = judge("freed by another thread", before, test_resident(), ceiling);
    malloc_trim(0);
    failures += judge("... and trimmed", before, test_resident(), trimmed_ceiling);
    return failures;
}

/*
 * Four threads, each with its share, all at work together; then they end.  Nobody frees
 * before all have allocated: memory that one gives and another takes is demand, and may stay.
 */
static pthread_barrier_t all_taken;

static void *take_and_give(void *argument)
{
    take(argument);
    pthread_barrier_wait(&all_taken);
    give(argument);
    return NULL;
}

static int part_threads(char **arguments)
{
    enum { THREADS = 4 };
    struct list list[THREADS];
    pthread_t thread[THREADS];
    size_t before = 0, size = (size_t)strtoull(arguments[0], NULL, 10);

    REQUIRE(pthread_barrier_init(&all_taken, NULL, THREADS) == 0);
    for (size_t i = 0; i < THREADS; i++)
        list[i] = (struct list){map_list(burst / THREADS / size), 0, size};
    for (size_t round = 0; round < 2; round++) { /* the first starts the threads' set-up only */
        for (size_t i = 0; i < THREADS; i++) {
            list[i].count = round == 0 ? 1 : burst / THREADS / size;
            REQUIRE(pthread_create(&thread[i], NULL, take_and_give, &list[i]) == 0);
        }
        for (size_t i = 0; i < THREADS; i++)
            REQUIRE(pthread_join(thread[i], NULL) == 0);
        if (round == 0)
            before = test_resident();
    }
    int failures = judge("four threads", before, test_resident(), ceiling);
    malloc_trim(0);
    failures += judge("four threads, trimmed", before, test_resident(), trimmed_ceiling);
    return failures;
}

/* One survivor holds its page, not its neighbours': here 2 % of the blocks stay alive. */
static int part_survivors(char **arguments)
{
    enum { KEEP_ONE_IN = 50 };
    struct list list = {NULL, 100000, 2000};
    (void)arguments;

    list.block = map_list(list.count);
    free(malloc(100));
    size_t before = test_resident();
    take(&list);
    for (size_t i = 0; i < list.count; i++) {
        if (i % KEEP_ONE_IN != 0)
            free(list.block[i]);
    }
    malloc_trim(0);
    /* each survivor of 2000 bytes lies in at most two pages */
    size_t live = list.count / KEEP_ONE_IN * 2 * test_page();
    int failures = judge("one survivor in fifty, trimmed", before, test_resident(),
                         live + trimmed_ceiling);
    for (size_t i = 0; i < list.count; i += KEEP_ONE_IN) {
        REQUIRE(*(char *)list.block[i] == 1);
        free(list.block[i]);
    }
    return failures;
}

/* realloc gives the end of a block back too. */
static int part_shrink(char **arguments)
{
    struct list list = {NULL, 20, 15000000};
    (void)arguments;

    list.block = map_list(list.count);
    size_t before = test_resident();
    take(&list);
    for (size_t i = 0; i < list.count; i++) {
        list.block[i] = realloc(list.block[i], 10000);
        REQUIRE(list.block[i] != NULL);
    }
    int failures = judge("blocks that shrank", before, test_resident(), ceiling);
    give(&list);
    return failures;
}

/* The second burst must find what the first gave back: no growth over many of them. */
/* What is free of a block for which there was another use goes too: at its end, and beside it. */
static int part_part(char **arguments)
{
    static const size_t smaller[] = {263 * MIB, 200 * MIB + 12345, 9 * MIB};
    int failures = 0;
    (void)arguments;

    size_t before = test_resident();
    for (size_t i = 0; i < COUNT_OF(smaller); i++) {
        for (int round = 0; round < 4; round++) {
            char *whole = malloc(burst);
            memset(whole, 1, burst);
            free(whole);
        }
        char *block = malloc(smaller[i]);
        memset(block, 2, smaller[i]);
        REQUIRE(test_foreign() || malloc_usable_size(block) < smaller[i] + 64 * KIB);
        malloc_trim(0);
        failures += judge("a block that another use left", before + smaller[i], test_resident(),
                          trimmed_ceiling);
        free(block);
    }
    /* Blocks of medium size that shrank by less than one size to the next. */
    enum { COUNT = 700, SMALLER = 98000 };
    size_t live = COUNT * ((SMALLER + test_page() - 1) / test_page() * test_page());
    char **list = calloc(COUNT, sizeof *list);
    before = test_resident();
    for (size_t i = 0; i < COUNT; i++) {
        list[i] = malloc(128 * KIB);
        memset(list[i], 3, 128 * KIB);
    }
    for (size_t i = 0; i < COUNT; i++)
        list[i] = realloc(list[i], SMALLER);
    malloc_trim(0);
    failures += judge("medium blocks that shrank", before + live, test_resident(),
                      COUNT * SMALLER / 11 + trimmed_ceiling);
    return failures;
}

static int part_again(char **arguments)
{
    static const size_t sizes[] = {5000, 64, 100000, 700, 30000000, 20000};
    void **room = map_list(burst / 64);
    (void)arguments;

    size_t before = test_resident();
    int failures = 0;
    for (size_t round = 0; round < COUNT_OF(sizes); round++) {
        struct list list = {room, 60 * MIB / sizes[round], sizes[round]};
        take(&list);
        give(&list);
        malloc_trim(0);
        failures += judge("burst after burst", before, test_resident(), trimmed_ceiling * 2);
    }
    return failures;
}

/*
 * A large table of which little is used, zeroed anew again and again, as many programs have one:
 * what was never touched does not become resident, and what was is zero again.
 */
static int part_sparse(char **arguments)
{
    enum { ROUNDS = 10, TOUCHED = 50 };
    size_t bytes = 256 * MIB, step = bytes / TOUCHED;
    int failures = 0;
    (void)arguments;

    free(calloc(1, 100));
    size_t before = test_resident();
    for (size_t round = 0; round < ROUNDS; round++) {
        char *table = calloc(1, bytes);
        REQUIRE(table != NULL);
        for (size_t i = 0; i < TOUCHED; i++)
            for (size_t k = 0; k <= round; k++)
                REQUIRE(table[i * step + k * 5000] == 0);
        for (size_t i = 0; i < TOUCHED; i++)
            table[i * step + round * 5000] = (char)(round + 1);
        failures += judge("a table of which little is used", before, test_resident(), ceiling);
        free(table);
    }
    return failures;
}

/* Freed blocks that are still locked, among a burst of others: they go, and hold up nothing. */
static int part_locked(char **arguments)
{
    enum { LOCKED = 20 };
    size_t size = (size_t)strtoull(arguments[0], NULL, 10);
    struct list list = {NULL, 20000, 5000};
    char *locked[LOCKED];

    list.block = map_list(list.count);
    free(malloc(100));
    size_t before = test_resident();
    for (size_t i = 0; i < LOCKED; i++) {
        struct list some = {list.block + i * (list.count / LOCKED), list.count / LOCKED, 5000};
        take(&some);
        locked[i] = malloc(size);
        REQUIRE(locked[i] != NULL);
        memset(locked[i], 1, size);
        if (mlock(locked[i], size) != 0)
            return TEST_SKIP;
    }
    for (size_t i = 0; i < LOCKED; i++)
        free(locked[i]);
    give(&list);
    int failures = judge("beside locked blocks", before, test_resident(), ceiling);
    sleep(2);
    failures += judge("two seconds later", before, test_resident(), trimmed_ceiling);
    return failures;
}

/*
 * Everything is locked.  Then the kernel populates each mapping as a whole: a started one of each
 * kind is in memory before anything is in it.
 */
static int part_all_locked(char **arguments)
{
    struct list list = {NULL, 20000, 5000};
    (void)arguments;

    list.block = map_list(list.count);
    free(malloc(100));
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        return TEST_SKIP;
    size_t before = test_resident();
    char *first = malloc(100 * MIB); /* a limit, if there is one */
    if (first == NULL)
        return TEST_SKIP;
    free(first);
    take(&list);
    REQUIRE(test_resident() >= before + 95 * MIB);
    give(&list);
    int failures = judge("all locked, freed", before, test_resident(), 2 * ceiling);
    sleep(3);
    failures += judge("all locked, later", before, test_resident(), ceiling / 2);
    return failures;
}

static void check_locked(const char *name, const char *argument)
{
    test_watch(100, name);
    int status = test_run_part(name, argument, NULL);
    test_unwatch();
    if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIP)
        skip();
    assert_true(test_exited_well(status));
}

static void test_locked_blocks(void **state)
{
    (void)state;
    check_locked("locked", "100");
    check_locked("locked", "4096");
    check_locked("locked", "200000");
}

static void test_everything_locked(void **state)
{
    (void)state;
    check_locked("all-locked", NULL);
}

static void check_part(const char *name)
{
    test_watch(100, name);
    int status = test_run_part(name, NULL, NULL);
    test_unwatch();
    assert_true(test_exited_well(status));
}

static void test_sparse_tables(void **state)
{
    (void)state;
    check_part("sparse");
}

static void test_mixed_sizes(void **state)
{
    (void)state;
    check_part("mixed");
}

static void test_what_only_hits_have_freed(void **state)
{
    (void)state;
    check_part("hits");
}

static void test_freed_by_another_thread(void **state)
{
    (void)state;
    check_part("other-thread");
}

static void test_four_threads(void **state)
{
    static const char *const sizes[] = {"64", "5000", "1000000"};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        test_watch(100, "four threads");
        int status = test_run_part("threads", sizes[i], NULL);
        test_unwatch();
        if (!test_exited_well(status))
            print_error("four threads, blocks of %s B\n", sizes[i]);
        assert_true(test_exited_well(status));
    }
}

static void test_survivors_hold_only_their_pages(void **state)
{
    (void)state;
    check_part("survivors");
}

static void test_shrinking(void **state)
{
    (void)state;
    check_part("shrink");
}

static void test_what_is_left_of_a_block(void **state)
{
    (void)state;
    check_part("part");
}

static void test_burst_after_burst(void **state)
{
    (void)state;
    check_part("again");
}

int main(int argc, char **argv)
{
    static const struct test_part parts[] = {
        {"burst", part_burst},     {"mixed", part_mixed},
        {"hits", part_hits},       {"other-thread", part_other_thread},
        {"threads", part_threads}, {"survivors", part_survivors},
        {"shrink", part_shrink},   {"part", part_part},
        {"again", part_again},     {"sparse", part_sparse},
        {"locked", part_locked},   {"all-locked", part_all_locked},
    };
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_of_64_bytes),
        cmocka_unit_test(test_burst_of_5_kilobytes),
        cmocka_unit_test(test_burst_of_100_kilobytes),
        cmocka_unit_test(test_burst_of_30_megabytes),
        cmocka_unit_test(test_mixed_sizes),
        cmocka_unit_test(test_what_only_hits_have_freed),
        cmocka_unit_test(test_freed_by_another_thread),
        cmocka_unit_test(test_four_threads),
        cmocka_unit_test(test_survivors_hold_only_their_pages),
        cmocka_unit_test(test_shrinking),
        cmocka_unit_test(test_what_is_left_of_a_block),
        cmocka_unit_test(test_burst_after_burst),
        cmocka_unit_test(test_sparse_tables),
        cmocka_unit_test(test_locked_blocks),
        cmocka_unit_test(test_everything_locked),
    };

    if (test_is_part(argc, argv))
        return test_main_part(parts, COUNT_OF(parts), argv);
    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
