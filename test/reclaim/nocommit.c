/* SPDX-License-Identifier: MIT */
/*
 * nocommit.c - the system has promised all the memory it will (vm.overcommit_memory=2).
 *
 * Blocks of --size bytes until malloc says no.  Each kind of request says no then, with ENOMEM and
 * nothing lost; what is freed can be had again, all of it.  Only the first page of each block is
 * touched: what counts is what was promised.
 *
 * Stops: start, full blocks=N, empty, again blocks=N, end.
 */
#include "report.h"

#include <errno.h>
#include <malloc.h>

struct link {
    struct link *next;
    uint64_t number;
};

static uint64_t take_all(size_t size, struct link **head)
{
    uint64_t n = 0;
    for (;;) {
        errno = 0;
        struct link *l = malloc(size);
        if (l == NULL)
            break;
        *l = (struct link){*head, n++};
        *head = l;
    }
    if (errno != ENOMEM)
        report_die(REPORT_FAILED, "malloc said no without ENOMEM");
    return n;
}

static void give_all(uint64_t n, struct link *head)
{
    while (head != NULL) {
        struct link *next = head->next;
        if (head->number != --n)
            report_die(REPORT_FAILED, "a block has lost its content");
        free(head);
        head = next;
    }
}

static void expect_no(const void *p, const char *what)
{
    if (p != NULL || errno != ENOMEM)
        report_die(REPORT_FAILED, what);
    errno = 0;
}

/* Larger than all that could be left when blocks of `size` cannot be had. */
static void everybody_says_no(size_t size, struct link *kept)
{
    size_t much = size < ((size_t)64 << 20) ? (size_t)64 << 20 : 2 * size;
    void *p = kept;
    errno = 0;
    expect_no(malloc(much), "malloc");
    expect_no(calloc(1, much), "calloc");
    expect_no(realloc(kept, much), "realloc");
    expect_no(aligned_alloc(4096, much), "aligned_alloc");
    expect_no(memalign(64, much), "memalign");
    if (posix_memalign(&p, 64, much) != ENOMEM || p != kept)
        report_die(REPORT_FAILED, "posix_memalign");
}

static void stop_with(const char *name, uint64_t blocks)
{
    char line[80];
    snprintf(line, sizeof line, "%s blocks=%llu", name, (unsigned long long)blocks);
    report_stop(line);
}

int main(int argc, char **argv)
{
    size_t size = report_arg_number(argc, argv, "--size", "100000");
    struct link *head = NULL;
    report_free_running = report_flag(argc, argv, "--run");
    report_open(report_arg(argc, argv, "--report", NULL), 1);
    report_stop("start");
    uint64_t n = take_all(size, &head);
    if (head == NULL)
        report_die(REPORT_FAILED, "not one block");
    everybody_says_no(size, head);
    stop_with("full", n);
    give_all(n, head);
    report_stop("empty");
    head = NULL;
    n = take_all(size, &head);
    stop_with("again", n);
    give_all(n, head);
    report_stop("end");
    return 0;
}
