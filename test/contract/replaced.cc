// SPDX-License-Identifier: MIT
//
// A program that replaces operator new and delete in their basic forms alone, the plain and
// the aligned one: each other form must end in one of these two, or the heap gets a pointer that
// is none of its.  The program's own put a header before the block, as leak counters do.

#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include <unistd.h>

extern "C" {
#include <cmocka.h>
}

namespace
{

const std::size_t sizes[] = {0, 1, 16, 48, 1000, 5000, 40000, 3000000};
const std::size_t header = 64;
const std::align_val_t wide{64};

int made, gone, made_aligned, gone_aligned;
bool refuse;

void *make(std::size_t size)
{
    if (refuse)
        throw std::bad_alloc();
    char *block = static_cast<char *>(std::aligned_alloc(64, (size + header + 63) / 64 * 64));
    if (block == nullptr)
        throw std::bad_alloc();
    std::memset(block, 'h', header);
    return block + header;
}

void drop(void *block)
{
    char *start = static_cast<char *>(block) - header;
    for (std::size_t i = 0; i < header; i++) {
        if (start[i] != 'h')
            fail_msg("the header of %p has been written to", block);
    }
    std::free(start);
}

template <typename T> T opaque(T value)
{
    __asm__ volatile("" : "+r"(value) : : "memory");
    return value;
}

} // namespace

// That the sized form is not replaced too is what is tested.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wsized-deallocation"
#endif

void *operator new(std::size_t size)
{
    void *block = make(size);
    made++;
    return block;
}

void operator delete(void *block) noexcept
{
    if (block == nullptr)
        return;
    gone++;
    drop(block);
}

void *operator new(std::size_t size, std::align_val_t align)
{
    if (align != wide)
        fail_msg("asked for an alignment of %zu", static_cast<std::size_t>(align));
    void *block = make(size);
    made_aligned++;
    return block;
}

void operator delete(void *block, std::align_val_t align) noexcept
{
    if (block == nullptr)
        return;
    if (align != wide)
        fail_msg("told an alignment of %zu", static_cast<std::size_t>(align));
    gone_aligned++;
    drop(block);
}

namespace
{

// One allocation by `take` and its end by `give`: the program's own have been called once.
template <typename Take, typename Give> void once(std::size_t size, Take take, Give give)
{
    int before = made, before_gone = gone;
    void *block = opaque(take(opaque(size)));

    assert_non_null(block);
    assert_int_equal(made, before + 1);
    std::memset(block, 0x5a, size);
    give(block, opaque(size));
    assert_int_equal(gone, before_gone + 1);
}

template <typename Take, typename Give> void once_aligned(std::size_t size, Take take, Give give)
{
    int before = made_aligned, before_gone = gone_aligned;
    void *block = opaque(take(opaque(size)));

    assert_non_null(block);
    assert_int_equal(made_aligned, before + 1);
    std::memset(block, 0x5a, size);
    give(block, opaque(size));
    assert_int_equal(gone_aligned, before_gone + 1);
}

void plain_forms(std::size_t size)
{
    const auto one = [](std::size_t n) { return operator new(n); };
    const auto many = [](std::size_t n) { return operator new[](n); };

    once(size, one, [](void *p, std::size_t) { operator delete(p); });
    once(size, one, [](void *p, std::size_t n) { operator delete(p, n); });
    once(size, one, [](void *p, std::size_t) { operator delete(p, std::nothrow); });
    once(size, many, [](void *p, std::size_t) { operator delete[](p); });
    once(size, many, [](void *p, std::size_t n) { operator delete[](p, n); });
    once(size, many, [](void *p, std::size_t) { operator delete[](p, std::nothrow); });
    once(
        size, [](std::size_t n) { return operator new(n, std::nothrow); },
        [](void *p, std::size_t) { operator delete(p); });
    once(
        size, [](std::size_t n) { return operator new[](n, std::nothrow); },
        [](void *p, std::size_t) { operator delete[](p); });
}

void aligned_forms(std::size_t size)
{
    const auto one = [](std::size_t n) { return operator new(n, wide); };
    const auto many = [](std::size_t n) { return operator new[](n, wide); };

    once_aligned(size, one, [](void *p, std::size_t) { operator delete(p, wide); });
    once_aligned(size, one, [](void *p, std::size_t n) { operator delete(p, n, wide); });
    once_aligned(size, one, [](void *p, std::size_t) { operator delete(p, wide, std::nothrow); });
    once_aligned(size, many, [](void *p, std::size_t) { operator delete[](p, wide); });
    once_aligned(size, many, [](void *p, std::size_t n) { operator delete[](p, n, wide); });
    once_aligned(size, many,
                 [](void *p, std::size_t) { operator delete[](p, wide, std::nothrow); });
    once_aligned(
        size, [](std::size_t n) { return operator new(n, wide, std::nothrow); },
        [](void *p, std::size_t) { operator delete(p, wide); });
    once_aligned(
        size, [](std::size_t n) { return operator new[](n, wide, std::nothrow); },
        [](void *p, std::size_t) { operator delete[](p, wide); });
}

void test_every_form_ends_in_the_programs_own(void **)
{
    // More than once, so that blocks come from where freed ones are kept.
    for (int round = 0; round < 100; round++) {
        for (std::size_t size : sizes) {
            plain_forms(size);
            aligned_forms(size);
        }
    }
}

void test_null_may_be_deleted(void **)
{
    const auto null = [] { return opaque<void *>(nullptr); };
    int before = gone + gone_aligned;

    operator delete[](null());
    operator delete(null(), std::size_t(8));
    operator delete[](null(), std::size_t(8));
    operator delete(null(), std::nothrow);
    operator delete[](null(), std::size_t(8), wide);
    assert_int_equal(gone + gone_aligned, before);
}

// What the program's own throws, nothrow forms turn into NULL.
void test_nothrow_catches(void **)
{
    refuse = true;
    void *one = operator new(opaque(std::size_t(100)), std::nothrow);
    void *many = operator new[](opaque(std::size_t(100)), std::nothrow);
    void *aligned = operator new(opaque(std::size_t(100)), wide, std::nothrow);
    void *many_aligned = operator new[](opaque(std::size_t(100)), wide, std::nothrow);
    refuse = false;
    assert_null(one);
    assert_null(many);
    assert_null(aligned);
    assert_null(many_aligned);
}

// The C++ library's own calls are such as well.
void test_containers(void **)
{
    int before = made - gone;
    {
        std::vector<std::string> lines;
        for (std::size_t i = 0; i < 5000; i++)
            lines.push_back(std::string(i % 300, 'x'));
        assert_true(made - gone > before + 4000);
    }
    assert_int_equal(made - gone, before);
}

} // namespace

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form_ends_in_the_programs_own),
        cmocka_unit_test(test_null_may_be_deleted),
        cmocka_unit_test(test_nothrow_catches),
        cmocka_unit_test(test_containers),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
