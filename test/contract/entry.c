/* SPDX-License-Identifier: MIT */
/*
 * Every door leads to the same allocator: the plain names, libc's internal ones, C++'s;
 * and the door is open from the first instruction of the process to its last.
 */
#include "../testlib.h"

#include <link.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* ---- before main ------------------------------------------------------------------------- */

enum { EARLY_BLOCKS = 40 };

struct early {
    void *block[EARLY_BLOCKS];
    bool ran;
};

static struct early from_preinit, from_constructor;

/* 1 B, 2 B .. 512 KiB: small, large and huge, mixed with realloc and an aligned block */
static void allocate_early(struct early *early)
{
    for (size_t i = 0; i < EARLY_BLOCKS; i++) {
        size_t size = (size_t)1 << i % 20;
        char *block = i % 2 == 0 ? malloc(size / 2 + 1) : calloc(1, size);

        REQUIRE(block != NULL);
        block = realloc(block, size);
        REQUIRE(block != NULL);
        test_fill(block, size, i);
        early->block[i] = block;
        void *aligned = NULL;
        REQUIRE(posix_memalign(&aligned, 256, size) == 0);
        free(aligned);
    }
    early->ran = true;
}

/* Runs before the constructor of any library, the allocator's own included. */
static void run_preinit(int argc, char **argv, char **environment)
{
    (void)argc, (void)argv, (void)environment;
    allocate_early(&from_preinit);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const preinit)(int, char **, char **) = run_preinit;

__attribute__((constructor(101))) static void construct(void)
{
    allocate_early(&from_constructor);
}

/* Runs after the exit handlers and after most other destructors. */
__attribute__((destructor(101))) static void destruct(void)
{
    struct early late = {{NULL}, false};

    allocate_early(&late);
    for (size_t i = 0; i < EARLY_BLOCKS; i++) {
        size_t size = (size_t)1 << i % 20;
        REQUIRE(test_intact(late.block[i], size, size, i));
        free(late.block[i]);
    }
}

static void check_early(struct early *early)
{
    assert_true(early->ran);
    for (size_t i = 0; i < EARLY_BLOCKS; i++) {
        size_t size = (size_t)1 << i % 20;

        assert_true(malloc_usable_size(early->block[i]) >= size);
        assert_true(test_intact(early->block[i], size, size, i));
        early->block[i] = realloc(early->block[i], size + 100);
        assert_non_null(early->block[i]);
        assert_true(test_intact(early->block[i], size, size, i));
        free(early->block[i]);
    }
}

static void test_blocks_from_preinit_array(void **state)
{
    (void)state;
    check_early(&from_preinit);
}

static void test_blocks_from_a_constructor(void **state)
{
    (void)state;
    check_early(&from_constructor);
}

static int part_exit(char **arguments)
{
    (void)arguments;
    exit(0); /* the destructor ends the process with 1 if something is wrong */
}

static void test_destructors_may_allocate(void **state)
{
    (void)state;
    assert_true(test_exited_well(test_run_part("exit", NULL, NULL)));
}

/* ---- libc's internal names --------------------------------------------------------------- */

static void *find(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

static void test_libc_names_are_the_same_heap(void **state)
{
    typedef void *malloc_fn(size_t);
    typedef void *calloc_fn(size_t, size_t);
    typedef void *realloc_fn(void *, size_t);
    typedef void *memalign_fn(size_t, size_t);
    typedef void free_fn(void *);
    malloc_fn *libc_malloc = (malloc_fn *)find("__libc_malloc");
    calloc_fn *libc_calloc = (calloc_fn *)find("__libc_calloc");
    realloc_fn *libc_realloc = (realloc_fn *)find("__libc_realloc");
    memalign_fn *libc_memalign = (memalign_fn *)find("__libc_memalign");
    free_fn *libc_free = (free_fn *)find("__libc_free");
    (void)state;

    if (libc_malloc == NULL)
        skip(); /* a libc without them */
    assert_non_null(libc_calloc);
    assert_non_null(libc_realloc);
    assert_non_null(libc_memalign);
    assert_non_null(libc_free);
    for (size_t size = 1; size <= 4 * MIB; size *= 3) {
        struct mallinfo2 before = mallinfo2();
        char *block = libc_malloc(size);
        assert_non_null(block);
        assert_true(malloc_usable_size(block) >= size);
        test_fill(block, size, 1);
        block = realloc(block, size * 2);
        assert_true(test_intact(block, size, size, 1));
        libc_free(block);

        block = libc_calloc(size, 1);
        assert_true(test_all_zero(block, size));
        free(block);

        block = libc_memalign(4096, size);
        assert_int_equal((uintptr_t)block % 4096, 0);
        free(block);

        block = libc_realloc(malloc(size), size + 1);
        assert_non_null(block);
        free(block);
        libc_free(NULL);

        /* the same books: a second heap would not show in ours */
        block = libc_malloc(8 * MIB);
        struct mallinfo2 during = mallinfo2();
        assert_true(during.uordblks + during.hblkhd >= before.uordblks + before.hblkhd + 8 * MIB);
        free(block);
    }
}

static void test_cfree_where_libc_has_it(void **state)
{
    typedef void free_fn(void *);
    free_fn *cfree = (free_fn *)find("cfree");
    (void)state;

    if (cfree == NULL)
        skip();
    size_t before = test_resident();
    for (size_t round = 0; round < 2000; round++) {
        char *block = malloc(100000);
        assert_non_null(block);
        memset(block, 1, 100000);
        errno = TEST_ERRNO;
        cfree(block);
        assert_int_equal(errno, TEST_ERRNO);
    }
    cfree(NULL);
    assert_true(test_resident() <= before + 10 * MIB);
}

/* libc's own users of malloc give blocks that the program frees, and the other way round. */
static void test_libc_calls_give_our_blocks(void **state)
{
    char *line = NULL, *text = NULL;
    size_t room = 0;
    (void)state;

    for (size_t round = 0; round < 100; round++) {
        char *copy = strdup("a string that libc copies");
        assert_true(malloc_usable_size(copy) >= strlen(copy) + 1);
        free(copy);
        assert_true(asprintf(&text, "%0*d", (int)(round * 1000 + 1), 7) > 0);
        assert_true(malloc_usable_size(text) >= strlen(text) + 1);
        free(text);
        char *path = realpath("/proc/self/../self/exe", NULL);
        assert_non_null(path);
        free(path);
        char *directory = getcwd(NULL, 0);
        assert_non_null(directory);
        free(directory);
    }
    FILE *file = fopen("/proc/self/maps", "r");
    assert_non_null(file);
    line = malloc(1); /* getline grows a block of ours */
    room = 1;
    while (getline(&line, &room, file) > 0)
        assert_true(malloc_usable_size(line) >= room);
    free(line);
    fclose(file);
}

/* ---- C++ without C++ --------------------------------------------------------------------- */

static int count_libstdcxx(struct dl_phdr_info *info, size_t size, void *count)
{
    (void)size;
    if (strstr(info->dlpi_name, "libstdc++") != NULL || strstr(info->dlpi_name, "libc++") != NULL)
        ++*(int *)count;
    return 0;
}

static void test_no_cxx_library_is_needed(void **state)
{
    int count = 0;
    (void)state;

    dl_iterate_phdr(count_libstdcxx, &count);
    assert_int_equal(count, 0);
}

/* operator new(size_t), operator new(size_t, nothrow), operator delete(void *) */
void *_Znwm(size_t size) __attribute__((weak));
void *_ZnwmRKSt9nothrow_t(size_t size, const void *tag) __attribute__((weak));
void _ZdlPv(void *block) __attribute__((weak));

typedef void *new_fn(size_t);
typedef void *new_nothrow_fn(size_t, const void *);
typedef void delete_fn(void *);

static void find_operators(new_fn **make, new_nothrow_fn **make_nothrow, delete_fn **drop)
{
    *make = _Znwm != NULL ? _Znwm : (new_fn *)find("_Znwm");
    *make_nothrow = _ZnwmRKSt9nothrow_t != NULL ? _ZnwmRKSt9nothrow_t
                                                : (new_nothrow_fn *)find("_ZnwmRKSt9nothrow_t");
    *drop = _ZdlPv != NULL ? _ZdlPv : (delete_fn *)find("_ZdlPv");
}

static int part_new_too_large(char **arguments)
{
    struct rlimit no_core = {0, 0};
    new_fn *make;
    new_nothrow_fn *make_nothrow;
    delete_fn *drop;
    (void)arguments;

    setrlimit(RLIMIT_CORE, &no_core);
    find_operators(&make, &make_nothrow, &drop);
    return make(opaque_size(SIZE_MAX / 2)) == NULL ? 10 : 11;
}

static void test_operators_work_without_the_cxx_library(void **state)
{
    new_fn *make;
    new_nothrow_fn *make_nothrow;
    delete_fn *drop;
    char tag = 0; /* std::nothrow is an empty object: its address is all there is to it */
    (void)state;

    find_operators(&make, &make_nothrow, &drop);
    /* Carried in the program they are reclaim-cxx.o, which needs the C++ library. */
    if (make == NULL && (test_foreign() || strstr(test_malloc_file(), "libreclaim") == NULL))
        skip();
    assert_non_null(make);
    assert_non_null(make_nothrow);
    assert_non_null(drop);
    for (size_t size = 0; size <= MIB; size = size * 3 + 1) {
        void *block = make(size);
        assert_non_null(block);
        assert_true(malloc_usable_size(block) >= size);
        test_fill(block, size, 1);
        drop(block);
        block = make_nothrow(size, &tag);
        assert_non_null(block);
        drop(block);
    }
    drop(NULL);
    assert_null(make_nothrow(opaque_size(SIZE_MAX / 2), &tag));

    /* nobody there to throw: the only honest end is abort, NULL would break the promise */
    int status = test_run_part("new-too-large", NULL, NULL);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(int argc, char **argv)
{
    static const struct test_part parts[] = {
        {"exit", part_exit},
        {"new-too-large", part_new_too_large},
    };
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_from_preinit_array),
        cmocka_unit_test(test_blocks_from_a_constructor),
        cmocka_unit_test(test_destructors_may_allocate),
        cmocka_unit_test(test_libc_names_are_the_same_heap),
        cmocka_unit_test(test_cfree_where_libc_has_it),
        cmocka_unit_test(test_libc_calls_give_our_blocks),
        cmocka_unit_test(test_no_cxx_library_is_needed),
        cmocka_unit_test(test_operators_work_without_the_cxx_library),
    };

    if (test_is_part(argc, argv))
        return test_main_part(parts, COUNT_OF(parts), argv);
    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
