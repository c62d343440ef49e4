/* SPDX-License-Identifier: MIT */
/*
 * A C program, an interpreter say, gets its C++ run time with an extension that it loads: operator
 * new must throw from there and call the new-handler that was set there.  C cannot catch, so the
 * one that calls it here is the C++ library's own nothrow form: what is thrown it makes NULL.
 */
#include "../testlib.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

typedef void *nothrow_new(size_t, const void *);
typedef void *nothrow_aligned_new(size_t, size_t, const void *);
typedef void handler_fn(void);
typedef handler_fn *set_handler_fn(handler_fn *);

static const char tag[8];
static void *library;

static void *find(const char *name)
{
    void *found = dlsym(library, name);
    assert_non_null(found);
    return found;
}

static void test_bad_alloc_is_thrown(void **state)
{
    nothrow_new *make = (nothrow_new *)find("_ZnwmRKSt9nothrow_t");
    nothrow_new *make_array = (nothrow_new *)find("_ZnamRKSt9nothrow_t");
    nothrow_aligned_new *make_aligned = (nothrow_aligned_new *)find(
        "_ZnwmSt11align_val_tRKSt9nothrow_t");
    (void)state;
    test_watch(60, "operator new of the impossible");
    assert_null(make(SIZE_MAX / 2, tag));
    assert_null(make_array(SIZE_MAX / 2, tag));
    assert_null(make_aligned(SIZE_MAX / 2, 64, tag));
    void *block = make(100, tag);
    assert_non_null(block);
    free(block); /* one heap */
    test_unwatch();
}

static set_handler_fn *set_handler;
static int calls;

static void give_up_at_third(void)
{
    if (++calls == 3)
        set_handler(NULL);
}

/* The form that everybody finds first: ours where the library is shared or preloaded. */
static void test_handler_is_called(void **state)
{
    set_handler = (set_handler_fn *)find("_ZSt15set_new_handlerPFvvE");
    nothrow_new *first = (nothrow_new *)dlsym(RTLD_DEFAULT, "_ZnwmRKSt9nothrow_t");
    nothrow_new *theirs = (nothrow_new *)find("_ZnwmRKSt9nothrow_t");
    (void)state;
    test_watch(60, "the new-handler");
    calls = 0;
    set_handler(give_up_at_third);
    assert_null(theirs(SIZE_MAX / 2, tag));
    assert_int_equal(calls, 3);
    if (first != NULL) {
        calls = 0;
        set_handler(give_up_at_third);
        assert_null(first(SIZE_MAX / 2, tag));
        assert_int_equal(calls, 3);
    }
    test_unwatch();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_alloc_is_thrown),
        cmocka_unit_test(test_handler_is_called),
    };

    test_begin();
    if (dlsym(RTLD_DEFAULT, "_ZSt15set_new_handlerPFvvE") != NULL) {
        print_error("this program has a C++ run time from its start\n");
        return TEST_HARD_ERROR;
    }
    library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        print_message("skipped: %s\n", dlerror());
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
