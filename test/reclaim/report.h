/* SPDX-License-Identifier: MIT */
/*
 * report.h - how a test program tells the driver what is alive, without malloc.
 *
 * The programs of this folder are watched from outside: the driver samples their resident
 * memory and holds it against the pages that carry a live byte.  Only the program knows
 * which blocks are alive, and it must not say so through malloc, or the telling would change
 * what is told.  So the program's own table of blocks lives in a file mapped by both sides:
 *
 *     struct report_head | struct report_block[capacity]
 *
 * A block that is freed gets address 0; whatever has an address is alive.  Everything else the
 * program needs for itself (orders, seeds) comes from report_own(): mapped and touched before
 * the first stop, and taken off the resident memory on both sides of the comparison.
 *
 * The program stops at named points: it writes the name to stdout and waits for one byte on
 * stdin.  While it waits it makes no call into the allocator, which is what a program blocked
 * in input() looks like.  With --run it does not stop but prints marker lines for bench/curve.
 */
#ifndef TEST_RECLAIM_REPORT_H
#define TEST_RECLAIM_REPORT_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct report_block {
    uint64_t addr; /* 0: no live block in this place                          */
    uint64_t size; /* bytes asked for                                         */
};

struct report_head {
    uint64_t magic;
    uint64_t capacity;  /* places in the table that follows                   */
    uint64_t own_bytes; /* resident bytes that are this machinery's, not malloc's */
};

static const uint64_t REPORT_MAGIC = 0x4d49414c434552; /* "RECLAIM" */

/* Exit codes the driver knows: 1 a check failed, 2 used wrongly or the system said no. */
enum { REPORT_FAILED = 1, REPORT_UNUSABLE = 2 };

static struct report_head *report_head;
static struct report_block *report_blocks;
static bool report_free_running;

/* Ends the program with one line; snprintf of a short line takes no heap. */
_Noreturn static inline void report_die(int code, const char *what)
{
    char line[256];
    int n = snprintf(line, sizeof line, "FAILED: %s\n", what);
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        code = REPORT_UNUSABLE;
    _exit(code);
}

/* Memory of the program's own, resident from now on. */
static inline void *report_own(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                   -1, 0);
    if (p == MAP_FAILED)
        report_die(REPORT_UNUSABLE, "mmap of the program's own table");
    /* No huge pages here: a table must not grow behind the driver's back under thp=always. */
    madvise(p, bytes, MADV_NOHUGEPAGE);
    long page = sysconf(_SC_PAGESIZE);
    if (report_head != NULL)
        report_head->own_bytes += (bytes + (size_t)page - 1) & ~((size_t)page - 1);
    return p;
}

/* Maps the table; path NULL (a run by hand or under bench/curve) takes anonymous memory. */
static inline void report_open(const char *path, size_t capacity)
{
    size_t bytes = sizeof(struct report_head) + capacity * sizeof(struct report_block);
    void *p;
    if (path == NULL) {
        p = report_own(bytes);
    } else {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
            report_die(REPORT_UNUSABLE, "the report file");
        p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (p == MAP_FAILED)
            report_die(REPORT_UNUSABLE, "mmap of the report file");
        close(fd);
    }
    memset(p, 0, bytes);
    report_head = p;
    report_blocks = (struct report_block *)(report_head + 1);
    report_head->capacity = capacity;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    report_head->own_bytes = (bytes + page - 1) & ~(page - 1);
    report_head->magic = REPORT_MAGIC;
}

/* splitmix64: one word of state, good enough and the same on every machine. */
static inline uint64_t report_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static inline uint64_t report_live_bytes(void)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < report_head->capacity; i++)
        sum += report_blocks[i].addr != 0 ? report_blocks[i].size : 0;
    return sum;
}

/*
 * Bytes of all pages that hold a live byte.  The set of page numbers is a hash table in memory
 * that is mapped for this call only and large enough to stay half empty.
 */
static inline uint64_t report_live_page_bytes(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), touched = 0, pages = 0, places = 1024;
    for (size_t i = 0; i < report_head->capacity; i++) {
        if (report_blocks[i].addr != 0)
            touched += report_blocks[i].size / page + 2;
    }
    while (places < 2 * touched)
        places *= 2;
    uint64_t *set = mmap(NULL, places * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                         0);
    if (set == MAP_FAILED)
        report_die(REPORT_UNUSABLE, "mmap of the set of pages");
    for (size_t i = 0; i < report_head->capacity; i++) {
        struct report_block b = report_blocks[i];
        if (b.addr == 0 || b.size == 0)
            continue;
        for (uint64_t no = b.addr / page; no <= (b.addr + b.size - 1) / page; no++) {
            uint64_t seed = no;
            size_t at = report_random(&seed) & (places - 1);
            while (set[at] != 0 && set[at] != no)
                at = (at + 1) & (places - 1);
            pages += set[at] == 0;
            set[at] = no;
        }
    }
    munmap(set, places * 8);
    return pages * page;
}

/* A marker line for bench/curve: when, how much is alive, on how many pages, what happened. */
static inline void report_marker(const char *name)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char line[200];
    int n = snprintf(line, sizeof line, "@ %lld.%09ld live=%llu pages=%llu own=%llu label=%s\n",
                     (long long)now.tv_sec, now.tv_nsec, (unsigned long long)report_live_bytes(),
                     (unsigned long long)report_live_page_bytes(),
                     (unsigned long long)report_head->own_bytes, name);
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(REPORT_UNUSABLE);
}

/* One named point of the run; returns when the driver has looked. */
static inline void report_stop(const char *name)
{
    if (report_free_running) {
        /* A moment of quiet, so that a sampler sees what the program itself takes. */
        if (strcmp(name, "start") == 0)
            nanosleep(&(struct timespec){0, 100000000}, NULL);
        report_marker(name);
        return;
    }
    char line[80];
    int n = snprintf(line, sizeof line, "%s\n", name);
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(REPORT_UNUSABLE);
    char c;
    ssize_t got;
    do
        got = read(STDIN_FILENO, &c, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1)
        _exit(REPORT_UNUSABLE); /* the driver has gone */
}

/* Fills a block with bytes that belong to this block and no other. */
static inline void report_fill(void *p, size_t size, uint64_t tag)
{
    unsigned char *b = p;
    uint64_t word = tag * 0x9e3779b97f4a7c15 + size;
    size_t i = 0;
    for (; i + 8 <= size; i += 8)
        memcpy(b + i, &word, 8);
    for (; i < size; i++)
        b[i] = (unsigned char)word;
}

/* True when the block still holds what report_fill wrote. */
static inline bool report_intact(const void *p, size_t size, uint64_t tag)
{
    const unsigned char *b = p;
    uint64_t word = tag * 0x9e3779b97f4a7c15 + size;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        if (memcmp(b + i, &word, 8) != 0)
            return false;
    }
    for (; i < size; i++) {
        if (b[i] != (unsigned char)word)
            return false;
    }
    return true;
}

/* Allocates into place i of the table, filled with its own pattern. */
static inline void report_alloc(size_t i, size_t size)
{
    void *p = malloc(size);
    if (p == NULL)
        report_die(REPORT_FAILED, "malloc returned NULL");
    report_fill(p, size, i);
    report_blocks[i] = (struct report_block){(uint64_t)(uintptr_t)p, size};
}

static inline void report_check(size_t i)
{
    struct report_block b = report_blocks[i];
    if (b.addr != 0 && !report_intact((void *)(uintptr_t)b.addr, b.size, i))
        report_die(REPORT_FAILED, "a live block lost its content");
}

/* Frees place i of the table, if it holds anything. */
static inline void report_release(size_t i)
{
    struct report_block b = report_blocks[i];
    report_blocks[i].addr = 0;
    free((void *)(uintptr_t)b.addr);
}

/* The value after `name` on the command line, or the default. */
static inline const char *report_arg(int argc, char **argv, const char *name, const char *dflt)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    }
    return dflt;
}

static inline uint64_t report_arg_number(int argc, char **argv, const char *name, const char *dflt)
{
    const char *text = report_arg(argc, argv, name, dflt);
    char *end;
    errno = 0;
    uint64_t v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        report_die(REPORT_UNUSABLE, name);
    return v;
}

static inline bool report_flag(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0)
            return true;
    }
    return false;
}

/* Reads "16:600" into its two ends. */
static inline void report_arg_range(int argc, char **argv, const char *name, const char *dflt,
                                    size_t *low, size_t *high)
{
    const char *text = report_arg(argc, argv, name, dflt);
    char *colon;
    *low = strtoull(text, &colon, 10);
    *high = *colon == ':' ? strtoull(colon + 1, NULL, 10) : 0;
    if (*low == 0 || *high < *low)
        report_die(REPORT_UNUSABLE, name);
}

#endif
