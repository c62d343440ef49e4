/* SPDX-License-Identifier: MIT */
/*
 * lua-host - a program that embeds Lua and carries libreclaim in itself.
 *
 *     lua-host burst.lua [--wait SECONDS]
 *
 * Linked with libreclaim.a, so that malloc is part of this executable: nothing to
 * preload and nothing to install.  The host first proves that, then runs the script and
 * prints what the script asks for: resident memory, one line per step.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <reclaim/reclaim.h>

/* The linker's names for the first byte of the executable and the first one behind it. */
extern const char __executable_start[];
extern const char _end[];

static int in_executable(void *address)
{
    return (uintptr_t)address >= (uintptr_t)__executable_start &&
           (uintptr_t)address < (uintptr_t)_end;
}

/*
 * Two questions: does this file's malloc lie in the executable, and is it the one that
 * libc and liblua reach as well?  They ask the dynamic linker, as dlsym does here.
 */
static int malloc_is_ours(void)
{
    void *ours = (void *)(uintptr_t)malloc;
    void *theirs = dlsym(RTLD_DEFAULT, "malloc");

    printf("libreclaim %s, malloc at %p, executable from %p to %p\n", reclaim_version(), ours,
           (const void *)__executable_start, (const void *)_end);
    if (!in_executable(ours)) {
        fprintf(stderr, "lua-host: malloc is not in this executable\n");
        return 0;
    }
    if (theirs != ours) {
        fprintf(stderr, "lua-host: shared libraries use another malloc, at %p\n", theirs);
        return 0;
    }

    /* A block that libc allocated is one that our malloc_usable_size() knows. */
    char *from_libc = strdup("allocated by libc");
    int known = from_libc != NULL && malloc_usable_size(from_libc) >= sizeof "allocated by libc";
    free(from_libc);
    if (!known)
        fprintf(stderr, "lua-host: libc's strdup() returned a block we do not know\n");
    return known;
}

/* No stdio: a FILE would take memory of its own while memory is measured. */
static long resident_kb(void)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    if (length < 0)
        return -1;
    text[length] = '\0';
    const char *line = strstr(text, "VmRSS:");
    return line == NULL ? -1 : strtol(line + strlen("VmRSS:"), NULL, 10);
}

static void show(const char *step)
{
    printf("%s %ld kB\n", step, resident_kb());
    fflush(stdout);
}

/* resident(step), for the script. */
static int lua_resident(lua_State *lua)
{
    show(luaL_checkstring(lua, 1));
    return 0;
}

int main(int argc, char **argv)
{
    int waits = argc == 4 && strcmp(argv[2], "--wait") == 0;

    if (argc != 2 && !waits) {
        fprintf(stderr, "usage: lua-host SCRIPT [--wait SECONDS]\n");
        return 2;
    }
    if (!malloc_is_ours())
        return 1;

    lua_State *lua = luaL_newstate();
    if (lua == NULL) {
        fprintf(stderr, "lua-host: no memory for Lua\n");
        return 1;
    }
    luaL_openlibs(lua);
    lua_register(lua, "resident", lua_resident);
    if (luaL_dofile(lua, argv[1]) != LUA_OK) {
        fprintf(stderr, "lua-host: %s\n", lua_tostring(lua, -1));
        return 1;
    }
    if (waits) {
        char step[64];
        snprintf(step, sizeof step, "%s s later", argv[3]);
        usleep((useconds_t)(strtod(argv[3], NULL) * 1e6));
        show(step);
    }
    lua_close(lua);
    show("after close");
    return 0;
}
