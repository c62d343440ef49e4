// SPDX-License-Identifier: MIT
//
// The extension that cxx.sh loads into a program in C.

#include <new>
#include <vector>

extern "C" int out_of_memory(unsigned long much)
{
    int caught = 0;
    try {
        char *block = new char[much];
        delete[] block;
    } catch (const std::bad_alloc &) {
        caught++;
    }
    try {
        std::vector<char> block(much);
    } catch (const std::bad_alloc &) {
        caught++;
    }
    return caught;
}
