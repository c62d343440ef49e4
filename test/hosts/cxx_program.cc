// SPDX-License-Identifier: MIT
//
// What cxx.sh links in several ways: a program that asks its C++ library for as little as it
// can, so that nothing but operator new brings in what it needs when it fails.  With -DREPLACE
// it brings operators of its own, the two that are enough.

#include <cstdio>
#include <cstdlib>
#include <new>

static int calls, live;

static void give_up_at_third()
{
    if (++calls == 3)
        std::set_new_handler(nullptr);
}

#ifdef REPLACE
void *operator new(std::size_t size)
{
    char *block = static_cast<char *>(std::malloc(size + 16));
    if (block == nullptr)
        throw std::bad_alloc();
    live++;
    return block + 16;
}

void operator delete(void *block) noexcept
{
    if (block == nullptr)
        return;
    live--;
    std::free(static_cast<char *>(block) - 16);
}
#endif

struct thing {
    int words[10];
};

template <typename T> static T opaque(T value)
{
    __asm__ volatile("" : "+r"(value) : : "memory");
    return value;
}

static int failed(const char *what)
{
    std::fprintf(stderr, "FAILED: %s\n", what);
    return 1;
}

int main()
{
    std::size_t much = opaque(static_cast<std::size_t>(-1) / 4);
    bool caught = false;

    for (int i = 0; i < 3000; i++) {
        thing *one = opaque(new thing), *many = opaque(new thing[3]);
        thing *quiet = opaque(new (std::nothrow) thing);
#ifdef REPLACE
        if (live != 3)
            return failed("another operator new does not end in the program's");
#endif
        delete one;
        delete[] many;
        delete quiet;
        if (live != 0)
            return failed("another operator delete does not end in the program's");
    }

#ifndef REPLACE
    std::set_new_handler(give_up_at_third);
#else
    calls = 3;
#endif
    try {
        opaque(new char[much]);
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    if (!caught || calls != 3)
        return failed("no bad_alloc after three calls of the new-handler");
    if (opaque(new (std::nothrow) char[much]) != nullptr)
        return failed("nothrow");
    (void)give_up_at_third;
    return 0;
}
