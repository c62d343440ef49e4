/* SPDX-License-Identifier: MIT */
/*
 * malloc_stats_print in programs of several shapes: the parts of its snapshot add up to the
 * resident memory that the kernel reports, and each is what the program has done.
 */
#include "../testlib.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <cmocka.h>

typedef void print_call(void (*write_cb)(void *, const char *), void *arg, const char *opts);

/* Linked to it, or preloaded. */
__attribute__((weak)) print_call malloc_stats_print;
__attribute__((weak)) int reclaim_owns(const void *p);
static print_call *print_stats;

enum {
    THREADS = 40,
    SLACK = 1536 * 1024, /* stacks of new threads, code that runs for the first time */
};

/* ---- the snapshot -------------------------------------------------------------------------- */

static char text[8 * MIB]; /* a large machine has many arenas */
static size_t used;

static void collect(void *arg, const char *piece)
{
    size_t length = strlen(piece);

    assert_ptr_equal(arg, text);
    assert_true(used + length < sizeof text);
    memcpy(text + used, piece, length + 1);
    used += length;
}

static void print(const char *opts)
{
    used = 0;
    text[0] = '\0';
    print_stats(collect, text, opts);
    assert_true(used > 0);
}

struct snapshot {
    size_t total, asked, rounding, holes, cached, dirty, metadata, other, files, untouched;
};

static size_t value(const char *from, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(from, quoted);

    assert_non_null(at);
    return (size_t)strtoull(at + strlen(quoted), NULL, 10);
}

static size_t kernel_rss(void)
{
    char line[256];
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    size_t rss = 0;

    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Rss: %zu", &rss) == 1)
            break;
    fclose(f);
    return rss * 1024;
}

static size_t distance(size_t a, size_t b)
{
    return a > b ? a - b : b - a;
}

static struct snapshot take(void)
{
    struct snapshot s;
    size_t rss = kernel_rss();

    print("Jgmdabl");
    const char *at = strstr(text, "\"resident\":{\"total\"");
    assert_non_null(at);
    s.total = value(at, "total");
    s.asked = value(at, "asked");
    s.rounding = value(at, "rounding");
    s.holes = value(at, "holes");
    s.cached = value(at, "cached");
    s.dirty = value(at, "dirty");
    s.metadata = value(at, "metadata");
    s.other = value(at, "other");
    s.files = value(at, "files");
    s.untouched = value(at, "untouched");
    assert_int_equal(s.total, s.asked + s.rounding + s.holes + s.cached + s.dirty + s.metadata +
                                  s.other + s.files);
    if (rss != 0)
        assert_true(distance(s.total, rss) <= SLACK);
    return s;
}

/* Whatever was done with blocks, what is not ours has not changed. */
static void assert_others_alike(struct snapshot before, struct snapshot after)
{
    if (distance(before.other, after.other) > SLACK)
        print_message("not malloc: %zu, then %zu\n", before.other, after.other);
    assert_true(distance(before.other, after.other) <= SLACK);
}

static void assert_near(const char *what, size_t grown, size_t wanted, size_t slack)
{
    if (distance(grown, wanted) > slack)
        print_message("%s: %zu, not %zu\n", what, grown, wanted);
    assert_true(distance(grown, wanted) <= slack);
}

/* ---- shapes -------------------------------------------------------------------------------- */

static int begin(void **state)
{
    (void)state;
    malloc_trim(0);
    take(); /* the code of reporting */
    malloc_trim(0);
    return 0;
}

/* Small blocks of mixed sizes, then one survivor in fifty. */
static void test_survivors(void **state)
{
    enum { BLOCKS = 40000 };
    static char *block[BLOCKS];
    size_t asked = 0, left = 0;
    (void)state;

    memset(block, 0xff, sizeof block);
    struct snapshot before = take();
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = 600 + i * 7 % 1400;
        block[i] = malloc(size);
        assert_non_null(block[i]);
        memset(block[i], 1, size);
        asked += size;
        left += i % 50 == 0 ? size : 0;
    }
    struct snapshot full = take();
    /* Sizes are spread over the classes as they are over the blocks: the estimate is good. */
    assert_near("asked for", full.asked - before.asked, asked, asked / 50 + SLACK);
    assert_others_alike(before, full);

    for (size_t i = 0; i < BLOCKS; i++)
        if (i % 50 != 0)
            free(block[i]);
    malloc_trim(0);
    struct snapshot few = take();
    assert_others_alike(before, few);
    assert_near("survivors", few.asked - before.asked, left, left / 20 + SLACK);
    assert_true(few.dirty <= SLACK && few.cached <= SLACK);
    /* A survivor of 1300 bytes on a page of 4096: twice as much is free beside it. */
    size_t holes = few.holes - before.holes;
    assert_true(holes >= left && holes <= (size_t)BLOCKS / 50 * 3 * (size_t)sysconf(_SC_PAGESIZE));
    for (size_t i = 0; i < BLOCKS; i += 50)
        free(block[i]);
}

static void test_huge(void **state)
{
    size_t bytes = 40 << 20;
    (void)state;

    struct snapshot before = take();
    char *full = malloc(bytes), *empty = malloc(bytes), *half = calloc(1, bytes);
    memset(full, 1, bytes);
    memset(half, 1, bytes / 2);
    assert_non_null(empty);
    struct snapshot after = take();
    assert_near("asked for", after.asked - before.asked, bytes + bytes / 2, SLACK);
    assert_near("untouched", after.untouched - before.untouched, bytes + bytes / 2, SLACK);
    assert_others_alike(before, after);
    free(full);
    free(empty);
    free(half);
}

/* Blocks at the middle of everything: page runs. */
static void test_large(void **state)
{
    enum { BLOCKS = 100 };
    char *block[BLOCKS];
    size_t asked = 0;
    (void)state;

    struct snapshot before = take();
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = 40000 + i * 5000;
        block[i] = malloc(size);
        memset(block[i], 1, size);
        asked += size;
    }
    struct snapshot after = take();
    assert_near("asked for", after.asked - before.asked, asked, asked / 50 + SLACK);
    assert_others_alike(before, after);
    for (size_t i = 0; i < BLOCKS; i++)
        free(block[i]);
}

static pthread_barrier_t filled, looked;

static void *fill(void *arg)
{
    char *block[500];

    for (size_t i = 0; i < COUNT_OF(block); i++)
        memset(block[i] = malloc(1000), 1, 1000);
    pthread_barrier_wait(&filled); /* or one's free blocks would be the next one's */
    for (size_t i = 1; i < COUNT_OF(block); i += 2)
        free(block[i]);
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&looked);
    for (size_t i = 0; i < COUNT_OF(block); i += 2)
        free(block[i]);
    return arg;
}

static void test_threads(void **state)
{
    pthread_t thread[THREADS];
    size_t asked = (size_t)THREADS * 250 * 1000;
    (void)state;

    pthread_barrier_init(&filled, NULL, THREADS + 1);
    pthread_barrier_init(&looked, NULL, THREADS + 1);
    struct snapshot before = take();
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, fill, NULL), 0);
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&filled);
    struct snapshot after = take();
    assert_near("asked for", after.asked - before.asked, asked, asked / 50 + SLACK);
    size_t free = after.holes + after.cached + after.dirty;
    assert_true(free >= asked / 4 && free <= 2 * asked + 8 * SLACK);
    /* Their stacks are not ours: a few pages each. */
    assert_true(after.other - before.other <= THREADS * (size_t)65536 + SLACK);
    pthread_barrier_wait(&looked);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&filled);
    pthread_barrier_destroy(&looked);
}

static void test_others(void **state)
{
    size_t bytes = 30 << 20;
    (void)state;

    struct snapshot before = take();
    char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    memset(map, 1, bytes);
    struct snapshot after = take();
    assert_near("not malloc", after.other - before.other, bytes, SLACK);
    assert_near("asked for", after.asked, before.asked, SLACK);
    assert_non_null(strstr(text, "\"verdict\":\"not malloc: "));
    munmap(map, bytes);
}

/* ---- the call ------------------------------------------------------------------------------ */

static void test_text_and_letters(void **state)
{
    (void)state;
    print(NULL);
    assert_non_null(strstr(text, "Begin libreclaim statistics"));
    assert_non_null(strstr(text, "\nVerdict: "));
    size_t all = used;
    print("gmdablxeh");
    assert_true(used < all);
    assert_non_null(strstr(text, "\nAllocated: "));
    print("J");
    assert_int_equal(text[0], '{');
}

static void test_owns(void **state)
{
    int (*owns)(const void *) = reclaim_owns;
    int on_the_stack;
    (void)state;

    if (owns == NULL)
        *(void **)&owns = dlsym(RTLD_DEFAULT, "reclaim_owns");
    assert_non_null(owns);
    for (size_t size = 1; size <= 8 << 20; size *= 5) {
        char *p = malloc(size);
        assert_true(owns(p));
        free(p);
    }
    assert_false(owns(NULL));
    assert_false(owns(&on_the_stack));
    assert_false(owns(text));
    assert_false(owns((void *)8));
    assert_false(owns((void *)UINTPTR_MAX));
    assert_false(owns((void *)(uintptr_t)test_owns));
}

static void allocate_and_collect(void *arg, const char *piece)
{
    void *p = malloc(100000);

    assert_non_null(p);
    free(p);
    collect(arg, piece);
}

static void test_the_callback_may_allocate(void **state)
{
    (void)state;
    used = 0;
    print_stats(allocate_and_collect, text, "");
    assert_non_null(strstr(text, "End libreclaim statistics"));
}

static void *churn(void *stop)
{
    for (size_t i = 0; !__atomic_load_n((int *)stop, __ATOMIC_RELAXED); i++) {
        void *p = malloc(i * 577 % 300000), *q = malloc(i % 1000);
        free(p);
        free(q);
    }
    return NULL;
}

static void test_while_others_are_at_work(void **state)
{
    pthread_t thread[4];
    int stop = 0;
    (void)state;

    for (size_t i = 0; i < COUNT_OF(thread); i++)
        assert_int_equal(pthread_create(&thread[i], NULL, churn, &stop), 0);
    for (int i = 0; i < 50; i++) {
        print("J");
        const char *at = strstr(text, "\"resident\":{\"total\"");
        assert_true(value(at, "total") > 0);
        if (i % 10 == 0) {
            pid_t child = fork();
            if (child == 0) {
                print("J");
                _exit(value(text, "pid") == (size_t)getpid() ? 0 : 1);
            }
            assert_true(test_exited_well(test_wait(child)));
        }
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        pthread_join(thread[i], NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_survivors, begin),
        cmocka_unit_test_setup(test_huge, begin),
        cmocka_unit_test_setup(test_large, begin),
        cmocka_unit_test_setup(test_threads, begin),
        cmocka_unit_test_setup(test_others, begin),
        cmocka_unit_test(test_text_and_letters),
        cmocka_unit_test(test_owns),
        cmocka_unit_test(test_the_callback_may_allocate),
        cmocka_unit_test(test_while_others_are_at_work),
    };

    test_begin();
    print_stats = malloc_stats_print;
    if (print_stats == NULL)
        *(void **)&print_stats = dlsym(RTLD_DEFAULT, "malloc_stats_print");
    if (print_stats == NULL) {
        test_say("the allocator under test has no malloc_stats_print\n");
        return test_foreign() ? 77 : TEST_HARD_ERROR;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
