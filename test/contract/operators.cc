// SPDX-License-Identifier: MIT
//
// The C++ operators: every form of new with every form of delete that fits it, the
// new-handler, std::bad_alloc, nothrow.  Linked with the C++ library, as programs are;
// contract/entry.c shows that libreclaim itself does not need it.

#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <malloc.h>
#include <unistd.h>

extern "C" {
#include <cmocka.h>
}

namespace
{

const std::size_t sizes[] = {0, 1, 8, 16, 24, 100, 1000, 4096, 5000, 40000, 100000, 3000000};
const std::size_t impossible[] = {PTRDIFF_MAX, SIZE_MAX / 2 + 1, SIZE_MAX - 4096, SIZE_MAX};

// The compiler may drop a new-expression with its delete-expression; calls of the
// operator functions through an unknown value stay.
template <typename T> T opaque(T value)
{
    __asm__ volatile("" : "+r"(value) : : "memory");
    return value;
}

void check(void *block, std::size_t size, std::size_t alignment)
{
    assert_non_null(block);
    assert_int_equal(reinterpret_cast<std::uintptr_t>(block) % alignment, 0);
    assert_true(malloc_usable_size(block) >= size);
    std::memset(block, 0x5a, size);
}

void test_plain_forms(void **)
{
    for (std::size_t size : sizes) {
        void *block = operator new(opaque(size));
        check(block, size, 16);
        operator delete(block);
        block = operator new(opaque(size));
        operator delete(block, size);
        block = operator new(opaque(size));
        operator delete(block, std::nothrow);

        block = operator new[](opaque(size));
        check(block, size, 16);
        operator delete[](block);
        block = operator new[](opaque(size));
        operator delete[](block, size);
        block = operator new[](opaque(size));
        operator delete[](block, std::nothrow);

        block = operator new(opaque(size), std::nothrow);
        check(block, size, 16);
        operator delete(block);
        block = operator new[](opaque(size), std::nothrow);
        check(block, size, 16);
        operator delete[](block);
    }
}

void test_aligned_forms(void **)
{
    for (std::size_t bytes = 8; bytes <= (std::size_t(1) << 22); bytes *= 2) {
        std::align_val_t alignment{bytes};
        for (std::size_t size : sizes) {
            void *block = operator new(opaque(size), alignment);
            check(block, size, bytes);
            operator delete(block, alignment);
            block = operator new(opaque(size), alignment);
            operator delete(block, size, alignment);
            block = operator new(opaque(size), alignment);
            operator delete(block, alignment, std::nothrow);

            block = operator new[](opaque(size), alignment);
            check(block, size, bytes);
            operator delete[](block, alignment);
            block = operator new[](opaque(size), alignment);
            operator delete[](block, size, alignment);
            block = operator new[](opaque(size), alignment);
            operator delete[](block, alignment, std::nothrow);

            block = operator new(opaque(size), alignment, std::nothrow);
            check(block, size, bytes);
            operator delete(block, alignment);
            block = operator new[](opaque(size), alignment, std::nothrow);
            check(block, size, bytes);
            operator delete[](block, alignment);
        }
    }
}

void test_null_may_be_deleted(void **)
{
    const auto null = [] { return opaque<void *>(nullptr); };

    operator delete(null());
    operator delete[](null());
    operator delete(null(), std::size_t(8));
    operator delete[](null(), std::size_t(8));
    operator delete(null(), std::align_val_t(64));
    operator delete[](null(), std::align_val_t(64));
    operator delete(null(), std::size_t(8), std::align_val_t(64));
    operator delete[](null(), std::size_t(8), std::align_val_t(64));
    operator delete(null(), std::nothrow);
    operator delete[](null(), std::align_val_t(64), std::nothrow);
    void *block = operator new(1);
    check(block, 1, 16);
    operator delete(block);
}

// malloc and new are one heap here: C libraries hand out what C++ deletes, and it goes unnoticed.
void test_the_heap_is_mallocs(void **)
{
    for (std::size_t size : sizes) {
        std::free(opaque(operator new(opaque(size))));
        operator delete(opaque(std::malloc(size)));
        operator delete(opaque(aligned_alloc(64, size)), std::align_val_t(64));
    }
}

template <typename F> bool throws_bad_alloc(F call)
{
    try {
        opaque(call());
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

void test_too_large_throws(void **)
{
    for (std::size_t size : impossible) {
        assert_true(throws_bad_alloc([=] { return operator new(opaque(size)); }));
        assert_true(throws_bad_alloc([=] { return operator new[](opaque(size)); }));
        assert_true(
            throws_bad_alloc([=] { return operator new(opaque(size), std::align_val_t(64)); }));
        assert_true(
            throws_bad_alloc([=] { return operator new[](opaque(size), std::align_val_t(4096)); }));
    }
}

void test_nothrow_gives_null(void **)
{
    for (std::size_t size : impossible) {
        assert_null(operator new(opaque(size), std::nothrow));
        assert_null(operator new[](opaque(size), std::nothrow));
        assert_null(operator new(opaque(size), std::align_val_t(64), std::nothrow));
        assert_null(operator new[](opaque(size), std::align_val_t(64), std::nothrow));
    }
}

int handler_calls;

// Called until it gives up: the third call takes the handler away.
void count_and_give_up()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

void test_new_handler_is_called(void **)
{
    std::size_t size = SIZE_MAX / 2;

    handler_calls = 0;
    std::set_new_handler(count_and_give_up);
    assert_true(throws_bad_alloc([=] { return operator new(opaque(size)); }));
    assert_int_equal(handler_calls, 3);

    handler_calls = 0;
    std::set_new_handler(count_and_give_up);
    assert_null(operator new(opaque(size), std::nothrow));
    assert_int_equal(handler_calls, 3);

    handler_calls = 0;
    std::set_new_handler(count_and_give_up);
    assert_true(throws_bad_alloc([=] { return operator new[](opaque(size)); }));
    assert_int_equal(handler_calls, 3);

    handler_calls = 0;
    std::set_new_handler(count_and_give_up);
    assert_true(
        throws_bad_alloc([=] { return operator new(opaque(size), std::align_val_t(256)); }));
    assert_int_equal(handler_calls, 3);

    handler_calls = 0;
    std::set_new_handler(count_and_give_up);
    assert_null(operator new[](opaque(size), std::align_val_t(256), std::nothrow));
    assert_int_equal(handler_calls, 3);
}

struct out_of_reserve : std::bad_alloc {
};

// A handler may throw its own exception; nothrow forms turn it into NULL.
void test_new_handler_may_throw(void **)
{
    std::size_t size = SIZE_MAX / 2;
    bool caught = false;

    std::set_new_handler([] { throw out_of_reserve(); });
    try {
        opaque(operator new(opaque(size)));
    } catch (const out_of_reserve &) {
        caught = true;
    }
    assert_true(caught);
    assert_null(operator new(opaque(size), std::nothrow));
    std::set_new_handler(nullptr);
}

void test_containers_and_expressions(void **)
{
    struct alignas(128) wide {
        char bytes[200];
    };
    std::map<std::string, std::vector<int>> words;

    for (int i = 0; i < 20000; i++)
        words["the key of number " + std::to_string(i % 997)].push_back(i);
    std::size_t total = 0;
    for (const auto &entry : words)
        total += entry.second.size();
    assert_int_equal(total, 20000);

    for (int i = 0; i < 1000; i++) {
        wide *one = opaque(new wide), *many = opaque(new wide[7]);
        assert_int_equal(reinterpret_cast<std::uintptr_t>(one) % 128, 0);
        assert_int_equal(reinterpret_cast<std::uintptr_t>(many) % 128, 0);
        delete one;
        delete[] many;
    }
}

// thread_local objects die before the thread's own data does: they may still allocate.
struct keeper {
    std::vector<std::string> lines;
    ~keeper()
    {
        for (int i = 0; i < 20; i++)
            lines.push_back(std::string(std::size_t(1) << i % 14, 'x'));
    }
};

void test_thread_local_objects(void **)
{
    for (int round = 0; round < 300; round++) {
        std::thread worker([] {
            thread_local keeper kept;
            kept.lines.push_back("a line that is too long for the small string buffer");
        });
        worker.join();
    }
}

} // namespace

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_forms),
        cmocka_unit_test(test_aligned_forms),
        cmocka_unit_test(test_null_may_be_deleted),
        cmocka_unit_test(test_the_heap_is_mallocs),
        cmocka_unit_test(test_too_large_throws),
        cmocka_unit_test(test_nothrow_gives_null),
        cmocka_unit_test(test_new_handler_is_called),
        cmocka_unit_test(test_containers_and_expressions),
        cmocka_unit_test(test_thread_local_objects),
        cmocka_unit_test(test_new_handler_may_throw), // last: the failure is std::terminate
    };
    Dl_info info;

    // The operators must be ours, not those of the C++ library calling our malloc.
    if (std::getenv("RECLAIM_TEST_FOREIGN") == nullptr &&
        dladdr(dlsym(RTLD_DEFAULT, "_Znwm"), &info) != 0 &&
        std::strstr(info.dli_fname, "libstdc++") != nullptr) {
        print_error("operator new comes from %s: libreclaim is not in this process\n",
                    info.dli_fname);
        return 99;
    }
    alarm(120); // an endless loop is a failure too
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
