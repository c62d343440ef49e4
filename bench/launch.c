/* SPDX-License-Identifier: MIT */
/*
 * launch.c - runs a program and tells what it cost: launch [-p LIBRARY] [-i FILE] PROGRAM [ARG...]
 *
 *     done wall=NS cpu=NS maxrss=BYTES minor=FAULTS switches=COUNT code=EXIT
 *
 * cpu and minor are of the program and of all it started and waited for; maxrss is that of the
 * biggest of these processes.  A small program of its own, because the kernel begins a process's
 * maxrss with what its parent had at the fork, and a Python would be more than many a row is.
 * LIBRARY is preloaded into the program only; its output is thrown away, its complaints are not.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t ns_of(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

static void redirect(const char *path, int flags, int to)
{
    int file = open(path, flags);
    if (file < 0 || dup2(file, to) < 0) {
        fprintf(stderr, "launch: %s: %s\n", path, strerror(errno));
        _exit(127);
    }
    close(file);
}

static void become(char **command, const char *library, const char *input)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* whoever ends us wants the program ended too */
    redirect(input, O_RDONLY, STDIN_FILENO);
    redirect("/dev/null", O_WRONLY, STDOUT_FILENO);
    if (library != NULL)
        setenv("LD_PRELOAD", library, 1);
    execvp(command[0], command);
    fprintf(stderr, "launch: %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

int main(int argc, char **argv)
{
    const char *library = NULL, *input = "/dev/null";
    int option;
    while ((option = getopt(argc, argv, "+p:i:")) != -1) {
        if (option == 'p')
            library = optarg;
        else if (option == 'i')
            input = optarg;
        else
            return 2;
    }
    if (optind == argc) {
        fprintf(stderr, "launch [-p LIBRARY] [-i FILE] PROGRAM [ARG...]\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* nor do we outlive whoever wants to know */
    uint64_t begun = now_ns();
    pid_t child = fork();
    if (child == 0)
        become(argv + optind, library, input);
    struct rusage used;
    int status;
    if (child < 0 || wait4(child, &status, 0, &used) != child) {
        fprintf(stderr, "launch: %s\n", strerror(errno));
        return 1;
    }
    uint64_t wall = now_ns() - begun;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    printf("done wall=%llu cpu=%llu maxrss=%llu minor=%ld switches=%ld code=%d\n",
           (unsigned long long)wall,
           (unsigned long long)(ns_of(used.ru_utime) + ns_of(used.ru_stime)),
           (unsigned long long)used.ru_maxrss * 1024u, used.ru_minflt, used.ru_nivcsw, code);
    return code != 0;
}
