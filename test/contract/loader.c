/* SPDX-License-Identifier: MIT */
/*
 * The dynamic loader calls malloc while it holds its own locks, and sets up thread-local
 * storage through it: dlopen, dlsym and dlclose in loops beside threads that allocate.
 */
#include "../testlib.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/*
 * Libraries that most systems have and this program is not linked to; at least
 * LIBRARIES_NEEDED must load.  Some have thread-local storage, constructors or
 * dependencies, which is what makes the loader allocate.
 */
static const char *const candidates[] = {
    "libz.so.1",          "libstdc++.so.6",       "libresolv.so.2",  "libthread_db.so.1",
    "libnss_compat.so.2", "libBrokenLocale.so.1", "libanl.so.1",     "libgmp.so.10",
    "liblzma.so.5",       "libexpat.so.1",        "libbz2.so.1.0",   "libncursesw.so.6",
    "libcrypto.so.3",     "libgomp.so.1",         "libsqlite3.so.0", "libperl.so.5.36",
};

enum { LIBRARIES_NEEDED = 3, THREADS = 4, ROUNDS = 300 };

static const char *library[COUNT_OF(candidates)];
static size_t libraries;
static volatile int stop;

static int find_libraries(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(candidates); i++) {
        void *handle = dlopen(candidates[i], RTLD_NOW | RTLD_LOCAL);

        if (handle == NULL)
            continue;
        library[libraries++] = candidates[i];
        dlclose(handle);
    }
    return libraries >= LIBRARIES_NEEDED ? 0 : -1;
}

static void *load_and_unload(void *argument)
{
    struct test_random random = {(uintptr_t)argument};

    for (size_t round = 0; round < ROUNDS; round++) {
        void *handle[3];

        for (size_t i = 0; i < COUNT_OF(handle); i++) {
            int now = test_below(&random, 2) == 0 ? RTLD_NOW : RTLD_LAZY;
            handle[i] = dlopen(library[test_below(&random, libraries)], now | RTLD_LOCAL);
            REQUIRE(handle[i] != NULL);
            REQUIRE(dlsym(RTLD_DEFAULT, "malloc") != NULL);
            REQUIRE(dlsym(handle[i], "a name that no library has") == NULL);
            REQUIRE(dlerror() != NULL); /* allocated per thread, freed at its end */
        }
        for (size_t i = 0; i < COUNT_OF(handle); i++)
            REQUIRE(dlclose(handle[i]) == 0);
    }
    return NULL;
}

static void *allocate(void *argument)
{
    struct {
        void *block;
        size_t size;
    } held[200] = {{0}};
    struct test_random random = {(uintptr_t)argument};

    while (!stop) {
        size_t i = test_below(&random, COUNT_OF(held));

        REQUIRE(test_intact(held[i].block, held[i].size, held[i].size, i));
        free(held[i].block);
        held[i].size = test_log_size(&random, test_below(&random, 100) == 0 ? 21 : 12);
        held[i].block = malloc(held[i].size);
        REQUIRE(held[i].block != NULL);
        test_fill(held[i].block, held[i].size, i);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        free(held[i].block);
    return NULL;
}

static void *copy_text(void *argument)
{
    (void)argument;
    return strdup("what a thread leaves");
}

/* New threads get their thread-local storage from the loader, which asks malloc for it. */
static void *start_threads(void *argument)
{
    while (!stop) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, copy_text, NULL) == 0);
        void *text = NULL;
        REQUIRE(pthread_join(thread, &text) == 0);
        free(text);
    }
    return argument;
}

static void test_loading_beside_allocating(void **state)
{
    pthread_t loader[THREADS], worker[2], starter;
    (void)state;

    test_watch(120, "dlopen and dlclose from several threads");
    stop = 0;
    for (size_t i = 0; i < COUNT_OF(worker); i++)
        REQUIRE(pthread_create(&worker[i], NULL, allocate, (void *)(i + 1)) == 0);
    REQUIRE(pthread_create(&starter, NULL, start_threads, NULL) == 0);
    for (size_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&loader[i], NULL, load_and_unload, (void *)(i + 10)) == 0);
    for (size_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(loader[i], NULL) == 0);
    stop = 1;
    REQUIRE(pthread_join(starter, NULL) == 0);
    for (size_t i = 0; i < COUNT_OF(worker); i++)
        REQUIRE(pthread_join(worker[i], NULL) == 0);
    test_unwatch();
}

/* What the loader takes for one library it gives back, again and again. */
static void test_loading_leaks_nothing(void **state)
{
    size_t before = 0;
    (void)state;

    test_watch(120, "dlopen and dlclose in a loop");
    for (size_t round = 0; round < 400; round++) {
        void *handle = dlopen(library[round % libraries], RTLD_NOW | RTLD_LOCAL);

        assert_non_null(handle);
        assert_int_equal(dlclose(handle), 0);
        if (round == 100)
            before = test_resident();
    }
    test_unwatch();
    assert_true(test_resident() <= before + 4 * MIB);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loading_beside_allocating),
        cmocka_unit_test(test_loading_leaks_nothing),
    };

    test_begin();
    return cmocka_run_group_tests(tests, find_libraries, NULL);
}
