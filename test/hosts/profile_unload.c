/* SPDX-License-Identifier: MIT */
/*
 * profile_unload ACTION... - what profile_unload.sh runs; with -DNAME=F the library that has F.
 *
 *     LIBRARY:FUNCTION:BLOCKS   load it, have FUNCTION allocate BLOCKS of 1 MiB, keep them; unload
 *     OLD=NEW                   the file NEW is called OLD from now on
 *
 * Exit code 77 if two libraries have not come to lie at the same place.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef NAME

void *NAME(size_t bytes)
{
    char *volatile p = malloc(bytes);
    return p; /* not a jump to malloc */
}

#else

enum { BLOCK = 1 << 20 };

/* One place for all calls: only the library tells the stacks apart. */
static uintptr_t allocate(const char *path, const char *function, int blocks)
{
    void *library = dlopen(path, RTLD_NOW);
    void *(*f)(size_t) = library != NULL ? (void *(*)(size_t))dlsym(library, function) : NULL;

    if (f == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    for (int i = 0; i < blocks; i++)
        if (f(BLOCK) == NULL)
            exit(1);
    dlclose(library);
    return (uintptr_t)f;
}

int main(int argc, char **argv)
{
    uintptr_t place = 0;

    for (int i = 1; i < argc; i++) {
        char *path = argv[i], *to = strchr(path, '='), *function = strchr(path, ':');
        if (to != NULL) {
            *to = '\0';
            if (rename(to + 1, path) != 0)
                return 1;
            continue;
        }
        char *blocks = strrchr(path, ':');
        *function = *blocks = '\0';
        uintptr_t here = allocate(path, function + 1, atoi(blocks + 1));
        if (place != 0 && here != place)
            return 77;
        place = here;
    }
    return 0;
}

#endif
