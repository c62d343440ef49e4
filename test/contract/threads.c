/* SPDX-License-Identifier: MIT */
/*
 * Threads: any thread frees any block, a thread's end leaves nothing behind, not even
 * when destructors of thread-specific data go on allocating; a minimal stack is enough.
 */
#include "../testlib.h"

#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <cmocka.h>

static pthread_t start(void *(*run)(void *), void *argument)
{
    pthread_t thread;

    REQUIRE(pthread_create(&thread, NULL, run, argument) == 0);
    return thread;
}

static void finish(pthread_t thread)
{
    REQUIRE(pthread_join(thread, NULL) == 0);
}

/* ---- freeing what another thread allocated ----------------------------------------------- */

enum { BATCH = 4000 };

struct batch {
    void *block[BATCH];
    size_t size[BATCH];
};

static void *fill_batch(void *argument)
{
    struct batch *batch = argument;
    struct test_random random = {51};

    for (size_t i = 0; i < BATCH; i++) {
        batch->size[i] = test_log_size(&random, i % 100 == 0 ? 21 : 13);
        batch->block[i] = malloc(batch->size[i]);
        REQUIRE(batch->block[i] != NULL);
        test_fill(batch->block[i], batch->size[i], i);
    }
    return NULL;
}

/* A thread that runs only this has never allocated when it frees its first block. */
static void *free_batch(void *argument)
{
    struct batch *batch = argument;

    for (size_t i = 0; i < BATCH; i++) {
        REQUIRE(test_intact(batch->block[i], batch->size[i], batch->size[i], i));
        free(batch->block[i]);
    }
    return NULL;
}

/* A batch is about 10 MB, and 30 of them come: what is lost of any shows. */
static size_t batch_slack(void)
{
    return (test_page() > 4096 ? 30 : 12) * MIB;
}

/* The main thread allocates, each block is freed by a thread that never allocated. */
static void test_free_by_a_thread_that_never_allocated(void **state)
{
    static struct batch batch;
    (void)state;

    fill_batch(&batch);
    finish(start(free_batch, &batch));
    size_t before = test_resident();
    for (size_t round = 0; round < 30; round++) {
        fill_batch(&batch);
        finish(start(free_batch, &batch));
    }
    assert_true(test_resident() <= before + batch_slack());
}

/* One thread ends with its blocks alive, the next frees them, and it goes round. */
static void test_blocks_outlive_their_thread(void **state)
{
    static struct batch batch;
    (void)state;

    finish(start(fill_batch, &batch));
    finish(start(free_batch, &batch));
    size_t before = test_resident();
    for (size_t round = 0; round < 30; round++) {
        finish(start(fill_batch, &batch));
        if (round % 2 == 0)
            finish(start(free_batch, &batch));
        else
            free_batch(&batch);
    }
    assert_true(test_resident() <= before + batch_slack());
}

/* ---- many short lives -------------------------------------------------------------------- */

static void *short_life(void *argument)
{
    void *block[64];

    for (size_t i = 0; i < COUNT_OF(block); i++) {
        size_t size = 16 + i * i * 11;
        block[i] = malloc(size);
        REQUIRE(block[i] != NULL);
        memset(block[i], 1, size);
    }
    for (size_t i = 0; i < COUNT_OF(block); i++)
        free(block[i]);
    return argument;
}

static void live_short_lives(size_t count)
{
    for (size_t done = 0; done < count; done += 4) {
        pthread_t thread[4];

        for (size_t i = 0; i < COUNT_OF(thread); i++)
            thread[i] = start(short_life, NULL);
        for (size_t i = 0; i < COUNT_OF(thread); i++)
            finish(thread[i]);
    }
}

static void test_ten_thousand_threads_leak_nothing(void **state)
{
    (void)state;
    live_short_lives(400); /* libc keeps some stacks, we keep some pages: reach that state */
    size_t before = test_resident();
    live_short_lives(10000);
    size_t after = test_resident();

    if (after > before + 4 * MIB)
        print_error("resident: %zu kB before, %zu kB after\n", before / KIB, after / KIB);
    /* 4 MiB over 10,000 threads: a leak of 420 bytes per thread is seen */
    assert_true(after <= before + 4 * MIB);
}

static void *detached_life(void *argument)
{
    short_life(NULL);
    __atomic_sub_fetch((size_t *)argument, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Detached threads clean up after nobody looks any more. */
static void test_detached_threads_leak_nothing(void **state)
{
    pthread_attr_t attributes;
    size_t before = 0;
    (void)state;

    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED), 0);
    for (size_t round = 0; round < 110; round++) {
        static size_t running;

        running = 20;
        for (size_t i = 0; i < 20; i++) {
            pthread_t thread;
            assert_int_equal(pthread_create(&thread, &attributes, detached_life, &running), 0);
        }
        while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) > 0)
            sched_yield();
        if (round == 10)
            before = test_resident();
    }
    pthread_attr_destroy(&attributes);
    assert_true(test_resident() <= before + 6 * MIB);
}

/* ---- a free when all else is done --------------------------------------------------------- */

static void *end_with_the_others(void *barrier)
{
    pthread_barrier_wait(barrier);
    return NULL;
}

/*
 * glibc keeps the stacks of dead threads, up to 40 MB.  A detached thread that ends beyond that
 * frees what belonged to others, when its own destructors are done; it has never called malloc.
 * Whatever we knew of that thread then would be written to where its stack had been.
 */
static void test_the_last_free_of_a_thread_leaves_nothing_behind(void **state)
{
    enum { BURST = 8, ROUNDS = 40, BLOCKS = 4000 };
    size_t mapped = 256 * MIB, written = 0;
    pthread_attr_t attributes;
    (void)state;

    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, 8 * MIB), 0);
    for (size_t round = 0; round < ROUNDS; round++) {
        pthread_barrier_t barrier;
        assert_int_equal(pthread_barrier_init(&barrier, NULL, BURST + 1), 0);
        for (size_t i = 0; i < BURST; i++) {
            pthread_t thread;
            REQUIRE(pthread_create(&thread, &attributes, end_with_the_others, &barrier) == 0);
        }
        pthread_barrier_wait(&barrier);
        usleep(10 * 1000); /* their stacks are to be dead before the next ones are made */
        pthread_barrier_destroy(&barrier);
    }
    pthread_attr_destroy(&attributes);

    uint64_t *where = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(where != MAP_FAILED);
    for (int round = 0; round < 2; round++) { /* enough for the helper to look at all caches */
        void *block[BLOCKS];
        for (size_t i = 0; i < BLOCKS; i++)
            block[i] = memset(malloc(3000), 1, 3000);
        for (size_t i = 0; i < BLOCKS; i++)
            free(block[i]);
        usleep(1200 * 1000);
    }
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_true(test_exited_well(test_wait(child)));
    for (size_t i = 0; i < mapped / sizeof *where; i++)
        written += where[i] != 0;
    assert_int_equal(written, 0);
    munmap(where, mapped);
}

/* ---- destructors of thread-specific data ------------------------------------------------- */

enum { KEYS = 6 };

static pthread_key_t key[KEYS];
static size_t destructor_calls;

/*
 * Allocates and frees in every one of the rounds that POSIX promises, after the
 * allocator's own destructor may have run, and leaves a value so that a next round
 * comes.  What a thread cache took anew in the last round must not be lost.
 */
static void destroy(void *value)
{
    void *block[24];
    uintptr_t rounds_left = (uintptr_t)value;
    static const size_t sizes[] = {16, 100, 1000, 3000, 8000, 20000};

    for (size_t i = 0; i < COUNT_OF(block); i++) {
        block[i] = malloc(sizes[i % COUNT_OF(sizes)]);
        REQUIRE(block[i] != NULL);
        memset(block[i], 1, sizes[i % COUNT_OF(sizes)]);
    }
    for (size_t i = 0; i < COUNT_OF(block); i++)
        free(block[i]);
    __atomic_add_fetch(&destructor_calls, 1, __ATOMIC_RELAXED);
    if (rounds_left > 1) {
        for (size_t i = 0; i < KEYS; i++) {
            if (pthread_getspecific(key[i]) == NULL) {
                pthread_setspecific(key[i], (void *)(rounds_left - 1));
                break;
            }
        }
    }
}

static void *live_with_data(void *argument)
{
    for (size_t i = 0; i < KEYS; i++)
        pthread_setspecific(key[i], (void *)(uintptr_t)PTHREAD_DESTRUCTOR_ITERATIONS);
    free(malloc(100));
    return argument;
}

/* All that this thread does with memory, it does in destructors. */
static void *live_without_allocating(void *argument)
{
    for (size_t i = 0; i < KEYS; i++)
        pthread_setspecific(key[i], (void *)(uintptr_t)PTHREAD_DESTRUCTOR_ITERATIONS);
    return argument;
}

static void test_destructors_that_allocate_leak_nothing(void **state)
{
    enum { WARM = 200, THREADS = 5000 };
    (void)state;

    for (size_t i = 0; i < KEYS; i++)
        assert_int_equal(pthread_key_create(&key[i], destroy), 0);
    for (size_t i = 0; i < WARM; i++)
        finish(start(i % 2 == 0 ? live_with_data : live_without_allocating, NULL));
    size_t before = test_resident();
    for (size_t i = 0; i < THREADS; i++)
        finish(start(i % 2 == 0 ? live_with_data : live_without_allocating, NULL));
    size_t after = test_resident();
    for (size_t i = 0; i < KEYS; i++)
        pthread_key_delete(key[i]);

    if (after > before + 4 * MIB)
        print_error("resident: %zu kB before, %zu kB after\n", before / KIB, after / KIB);
    assert_true(destructor_calls >= (size_t)(WARM + THREADS) * KEYS * 2);
    assert_true(after <= before + 4 * MIB);
}

/* ---- the smallest stack ------------------------------------------------------------------ */

static void *live_on_little_stack(void *argument)
{
    struct {
        char *block;
        size_t size;
    } held[8] = {{0}};
    struct test_random random = {52};

    for (size_t step = 0; step < 3000; step++) {
        size_t i = test_below(&random, COUNT_OF(held));
        size_t size = test_log_size(&random, step % 20 == 0 ? 22 : 12);
        void *aligned = NULL;

        if (step % 4 == 0) {
            free(held[i].block);
            held[i].block = calloc(1, size);
        } else {
            held[i].block = realloc(held[i].block, size);
        }
        REQUIRE(held[i].block != NULL);
        held[i].block[0] = held[i].block[size - 1] = 1;
        REQUIRE(posix_memalign(&aligned, 8192, 100) == 0);
        free(aligned);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        free(held[i].block);
    return argument;
}

/* The first calls of a thread, with all their set-up, and the slow ways fit in it too. */
static void test_minimal_stack(void **state)
{
    pthread_attr_t attributes;
    (void)state;

    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN), 0);
    for (size_t round = 0; round < 5; round++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, &attributes, live_on_little_stack, NULL), 0);
        finish(thread);
    }
    pthread_attr_destroy(&attributes);
}

/* ---- all at once ------------------------------------------------------------------------- */

static void *work(void *argument)
{
    struct {
        void *block;
        size_t size;
    } held[200] = {{0}};
    struct test_random random = {(uintptr_t)argument};

    for (size_t step = 0; step < 60000; step++) {
        size_t i = test_below(&random, COUNT_OF(held));

        REQUIRE(test_intact(held[i].block, held[i].size, held[i].size, i));
        free(held[i].block);
        held[i].size = test_log_size(&random, 12);
        held[i].block = malloc(held[i].size);
        REQUIRE(held[i].block != NULL);
        test_fill(held[i].block, held[i].size, i);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        free(held[i].block);
    return NULL;
}

/* More threads than the machine has processors, so that they are stopped anywhere. */
static void test_many_threads_at_once(void **state)
{
    pthread_t thread[16];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(thread); i++)
        thread[i] = start(work, (void *)(i + 1));
    for (size_t i = 0; i < COUNT_OF(thread); i++)
        finish(thread[i]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_free_by_a_thread_that_never_allocated),
        cmocka_unit_test(test_blocks_outlive_their_thread),
        cmocka_unit_test(test_ten_thousand_threads_leak_nothing),
        cmocka_unit_test(test_detached_threads_leak_nothing),
        cmocka_unit_test(test_the_last_free_of_a_thread_leaves_nothing_behind),
        cmocka_unit_test(test_destructors_that_allocate_leak_nothing),
        cmocka_unit_test(test_minimal_stack),
        cmocka_unit_test(test_many_threads_at_once),
    };

    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
