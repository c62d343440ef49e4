/* SPDX-License-Identifier: MIT */
/*
 * profile.h - for the tests of heap profiles: this program runs itself with profiling on, and
 * reads what that has written.
 */
#ifndef TEST_PROFILE_H
#define TEST_PROFILE_H

#include "../testlib.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { CHILD_SECONDS = 60 };

/* For each test its own. */
static char folder[] = "/tmp/rcl-profile-XXXXXX";

/* --- in the child ------------------------------------------------------------------------- */

static void *kept[1 << 17];
static size_t keeping;

static inline void keep(void *p)
{
    REQUIRE(p != NULL);
    kept[keeping++] = p;
}

/* --- running it --------------------------------------------------------------------------- */

static char output[64 * 1024]; /* of the child */
static char *profile;          /* what it has written */

static inline int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/rcl-profile-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    char command[64];

    (void)state;
    free(profile);
    profile = NULL;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* How many have `part` in their name; the path of one of them. */
static inline unsigned profiles(const char *part, char *path, size_t size)
{
    unsigned n = 0;
    DIR *d = opendir(folder);

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strstr(e->d_name, part) == NULL)
            continue;
        snprintf(path, size, "%s/%s", folder, e->d_name);
        n++;
    }
    closedir(d);
    return n;
}

static inline unsigned written(const char *part)
{
    char path[512];

    return profiles(part, path, sizeof path);
}

static inline void read_profile(const char *part)
{
    char path[512] = "";

    assert_int_equal(profiles(part, path, sizeof path), 1);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    free(profile);
    profile = malloc((size_t)size + 1);
    assert_int_equal(fread(profile, 1, (size_t)size, f), size);
    profile[size] = '\0';
    fclose(f);
}

/* This program again, for `part`, with profiles in the folder and these options; how it ended. */
static inline int run_with(const char *part, const char *more)
{
    char options[512];
    int ends[2];
    size_t length = 0;

    snprintf(options, sizeof options, "prof_prefix:%s/p,%s", folder, more);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        setenv("RECLAIM_CONF", options, 1);
        alarm(CHILD_SECONDS);
        execl("/proc/self/exe", "profile", "--part", part, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], output + length, sizeof output - 1 - length)) > 0;)
        length += (size_t)n;
    output[length] = '\0';
    close(ends[0]);
    return test_wait_watched(child);
}

/* It ends well. */
static inline void run_well(const char *part, const char *more)
{
    int status = run_with(part, more);

    if (!test_exited_well(status))
        print_message("%s, %s: status %x, said: %s\n", part, more, status, output);
    assert_true(test_exited_well(status));
}

/* Every allocation sampled, and read at the end. */
static inline void run_child(const char *part, const char *more)
{
    char options[256];

    snprintf(options, sizeof options, "prof:true,lg_prof_sample:0,prof_final:true%s", more);
    run_well(part, options);
    read_profile(".final.heap");
}

static inline size_t stacks(void)
{
    size_t n = 0;

    for (const char *at = profile; (at = strstr(at, "\n@ ")) != NULL; at++)
        n++;
    return n;
}

#define TESTED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
