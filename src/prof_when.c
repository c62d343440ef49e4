/* SPDX-License-Identifier: MIT */
/* prof_when.c - see prof_when.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "prof_when.h"

#include "account.h"
#include "cgroup.h"
#include "die.h"
#include "options.h"
#include "os.h"
#include "prof_dump.h"
#include "prof_stack.h"

#include <errno.h>
#include <signal.h>

enum { PERCENT = 100 };
#define GROW_FROM (16 * MIB) /* of live bytes: less is not worth a dump */
#define FAILURE_PAUSE_NS 10000000000u
/*
 * Two looks at the cgroup's files are so far apart in time, unless the process takes half of what
 * was left to the mark meanwhile (or this part of the mark, where that is more).
 */
#define CGROUP_PAUSE_NS 20000000u
enum { CGROUP_STEPS = 256 };
/* By time: as far apart as a process needs for what is left that takes so much each ns. */
enum { CGROUP_BYTES_PER_NS = 4 };
#define CGROUP_PAUSE_MAX_NS 1000000000u
#define RETRY_PAUSE_NS 100000000u /* a mark whose dump was refused: tried again */

static struct {
    uint64_t next_interval; /* of cumulative bytes */
    uint64_t most_mapped;
    uint64_t next_grow; /* of live bytes */
    uint64_t mark;      /* prof_at in bytes, 0: none */
    unsigned percent;   /* prof_at in percent of the cgroup's limit, 0: none */
    uint32_t passed;    /* the mark is passed, and usage has not fallen below half of it */
    uint64_t next_look;
    uint64_t next_used; /* of our own bytes: looked at whatever the time is */
    uint64_t next_mark; /* a time: the dump of the mark was refused, see RETRY_PAUSE_NS */
    uint64_t next_failure;
    bool gdump;
    struct sigaction before; /* who had the signal */
} when;

/* One of those who see `value` reach *mark moves it to `next`. */
static bool reaches(uint64_t *mark, uint64_t value, uint64_t next)
{
    uint64_t old = __atomic_load_n(mark, __ATOMIC_RELAXED);
    return value >= old &&
           __atomic_compare_exchange_n(mark, &old, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void watch_interval(uint64_t all_bytes)
{
    int64_t lg = rcl_opt.lg_prof_interval;
    if (lg < 0)
        return;
    uint64_t step = (uint64_t)1 << lg;
    uint64_t next = (all_bytes / step + 1) * step;
    if (__atomic_load_n(&when.next_interval, __ATOMIC_RELAXED) == 0)
        reaches(&when.next_interval, all_bytes, step);
    if (reaches(&when.next_interval, all_bytes, next))
        rcl_prof_dump(NULL, RCL_PROF_INTERVAL);
}

static void watch_mapped(void)
{
    uint64_t mapped = rcl_account_read(&rcl_account.mapped_bytes);
    if (__atomic_load_n(&when.gdump, __ATOMIC_RELAXED) &&
        reaches(&when.most_mapped, mapped, mapped + 1))
        rcl_prof_dump(NULL, RCL_PROF_GDUMP);
}

static void watch_growth(uint64_t live_bytes)
{
    uint64_t step = live_bytes / PERCENT * (uint64_t)rcl_opt.prof_grow;
    if (rcl_opt.prof_grow != 0 && live_bytes >= GROW_FROM &&
        reaches(&when.next_grow, live_bytes, live_bytes + step))
        rcl_prof_dump(NULL, RCL_PROF_GROW);
}

/* --- the mark ----------------------------------------------------------------------------- */

static uint64_t own_bytes(void)
{
    return (uint64_t)rcl_account_get(&rcl_account.used_pages) << rcl_page_shift();
}

/* What counts against a percentage, and its mark; false: not known. */
static bool group_usage(uint64_t *used, uint64_t *mark)
{
    uint64_t limit;
    if (!rcl_cgroup_memory(used, &limit))
        return false;
    *mark = limit / PERCENT * when.percent;
    uint64_t left = *mark > *used ? (*mark - *used) / 2 : 0, least = *mark / CGROUP_STEPS;
    __atomic_store_n(&when.next_used, own_bytes() + (left > least ? left : least),
                     __ATOMIC_RELAXED);
    return true;
}

/* The same of whatever mark there is, after a sample; false: or not looked at. */
static bool usage(uint64_t *used, uint64_t *mark)
{
    uint64_t now = rcl_os_coarse_ns();
    if (when.mark != 0) {
        *used = own_bytes();
        *mark = when.mark;
        return true;
    }
    bool due = reaches(&when.next_look, now, now + CGROUP_PAUSE_NS) ||
               own_bytes() >= __atomic_load_n(&when.next_used, __ATOMIC_RELAXED);
    return due && group_usage(used, mark);
}

static void judge(uint64_t used, uint64_t mark)
{
    if (used < mark / 2)
        __atomic_store_n(&when.passed, 0, __ATOMIC_RELAXED);
    if (used < mark || __atomic_load_n(&when.passed, __ATOMIC_RELAXED) != 0)
        return;
    uint64_t now = rcl_os_coarse_ns();
    if (now < __atomic_load_n(&when.next_mark, __ATOMIC_RELAXED) ||
        __atomic_exchange_n(&when.passed, 1, __ATOMIC_RELAXED) != 0)
        return;
    int error = rcl_prof_dump(NULL, RCL_PROF_AT);
    if (error == 0)
        return;
    if (error != EBUSY)
        __atomic_store_n(&when.next_mark, now + RETRY_PAUSE_NS, __ATOMIC_RELAXED);
    __atomic_store_n(&when.passed, 0, __ATOMIC_RELAXED);
}

static void watch_mark(void)
{
    uint64_t used, mark;
    if ((when.mark != 0 || when.percent != 0) && usage(&used, &mark))
        judge(used, mark);
}

bool rcl_prof_watches_time(void)
{
    return when.percent != 0;
}

uint64_t rcl_prof_watch_time(void)
{
    uint64_t used, mark;
    struct rcl_stacks_total t;
    rcl_stacks_total(&t);
    if (t.all_samples == 0 || !group_usage(&used, &mark))
        return CGROUP_PAUSE_MAX_NS;
    judge(used, mark);
    uint64_t ns = used < mark ? (mark - used) / CGROUP_BYTES_PER_NS : CGROUP_PAUSE_NS;
    return rcl_min(rcl_max(ns, CGROUP_PAUSE_NS), CGROUP_PAUSE_MAX_NS);
}

/* --- a signal ----------------------------------------------------------------------------- */

/* Those a program that does not catch them is ended by, and is meant to be. */
static bool is_end(int number)
{
    return number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT;
}

static void on_dump_signal(int number, siginfo_t *info, void *context)
{
    int error = errno;
    if (when.before.sa_handler == SIG_DFL && is_end(number))
        rcl_prof_dump_end();
    rcl_prof_dump(NULL, RCL_PROF_SIGNAL);
    if (when.before.sa_flags & SA_SIGINFO) {
        when.before.sa_sigaction(number, info, context);
    } else if (when.before.sa_handler == SIG_DFL && is_end(number)) {
        signal(number, SIG_DFL);
        raise(number); /* when this handler returns */
    } else if (when.before.sa_handler != SIG_DFL && when.before.sa_handler != SIG_IGN) {
        when.before.sa_handler(number);
    }
    errno = error;
}

static void catch_signal(int number)
{
    struct sigaction a = {.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    if (number == 0)
        return;
    a.sa_sigaction = on_dump_signal;
    sigemptyset(&a.sa_mask);
    if (sigaction(number, NULL, &when.before) != 0 || sigaction(number, &a, NULL) != 0)
        rcl_warn("prof_signal: signal %d cannot be caught; no profile will be written on it",
                 number);
}

/* --- all together ------------------------------------------------------------------------- */

void rcl_prof_watch(void)
{
    struct rcl_stacks_total t;
    rcl_stacks_total(&t);
    watch_interval(t.all_bytes);
    watch_mapped();
    watch_growth(t.live_bytes);
    watch_mark();
}

void rcl_prof_watch_failure(void)
{
    struct rcl_stacks_total t;
    rcl_stacks_total(&t);
    if (!rcl_opt.prof_failure || t.all_samples == 0)
        return;
    uint64_t now = rcl_os_coarse_ns();
    if (reaches(&when.next_failure, now, now + FAILURE_PAUSE_NS))
        rcl_prof_dump(NULL, RCL_PROF_FAILURE);
}

void rcl_prof_watch_reset(void)
{
    __atomic_store_n(&when.next_interval, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&when.next_grow, 0, __ATOMIC_RELAXED);
}

void rcl_prof_watch_forked(void)
{
    when.next_failure = 0;
}

bool rcl_prof_gdump(void)
{
    return __atomic_load_n(&when.gdump, __ATOMIC_RELAXED);
}

void rcl_prof_set_gdump(bool on)
{
    __atomic_store_n(&when.gdump, on, __ATOMIC_RELAXED);
}

void rcl_prof_watch_boot(void)
{
    when.gdump = rcl_opt.prof_gdump != 0;
    rcl_options_mark(rcl_opt.prof_at, &when.mark, &when.percent);
    if (when.percent != 0) {
        uint64_t used, limit;
        rcl_cgroup_find();
        if (!rcl_cgroup_memory(&used, &limit))
            rcl_warn("prof_at: %s of what?  The control group of this process has no limit of "
                     "memory, so no profile will be written at that mark",
                     rcl_opt.prof_at);
    }
    catch_signal((int)rcl_opt.prof_signal);
}
