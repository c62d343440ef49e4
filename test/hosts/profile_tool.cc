// SPDX-License-Identifier: MIT
//
// profile_tool.cc [less] - holds 60 MB by an inlined template in a method, 2 MB by another
// function; `less`: a tenth of the first.
#include <cstdlib>
#include <cstring>

namespace store
{

template <class T> __attribute__((always_inline)) static inline T *grab(int count)
{
    void *block = malloc(sizeof(T) * (size_t)count);
    if (block == NULL)
        abort();
    return (T *)memset(block, 1, sizeof(T) * (size_t)count);
}

struct shelf {
    void *books[600];
    __attribute__((noinline)) void fill(int count);
};

void shelf::fill(int count)
{
    for (int i = 0; i < count; i++)
        books[i] = grab<long>(12800);
}

} // namespace store

__attribute__((noinline)) static void *other()
{
    return memset(malloc(2 << 20), 1, 2 << 20);
}

static void *volatile keep;

int main(int argc, char **)
{
    static store::shelf shelf;
    shelf.fill(argc > 1 ? 60 : 600);
    keep = other();
    return 0;
}
