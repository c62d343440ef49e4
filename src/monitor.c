/* SPDX-License-Identifier: MIT */
/* monitor.c - see monitor.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "monitor.h"

#include "conf.h"
#include "die.h"
#include "file.h"
#include "gate.h"
#include "options.h"
#include "os.h"
#include "out.h"
#include "prof_when.h"
#include "purge.h"
#include "report.h"
#include "snapshot.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

/* What is wanted of the thread. */
enum want {
    WANT_REPORT = 1,
    WANT_PURGE = 2,
};

enum presence {
    ABSENT,
    BEGINNING, /* somebody is making it */
    PRESENT,
    BARRED, /* fork is under way */
};

enum {
    MONITOR_STACK_BYTES = 64 * 1024,
    MONITOR_TLS_BYTES = 4 * 1024,
    PATH_BYTES = 512,
    FILE_BUFFER_BYTES = 8 * 1024,
};
#define RESTART_NS 100000000u /* after a fork: whoever counts threads then has done so */
#define AGAIN_NS 1000000000u  /* after the kernel refused a thread */

uint32_t rcl_monitor_missing;

static struct {
    uint32_t state;
    uint32_t wanted; /* enum want, or'ed */
    uint32_t bell;   /* futex word: changes when there is something to look at */
    uint32_t stop;
    uint32_t tid_word;
    int tid;
    int pid;
    uint64_t not_before; /* for rcl_monitor_restart */
    /* About a file that cannot be written: where all processes of the program see it. */
    uint32_t *complained;
    uint32_t complained_here; /* for want of such a place */
    struct rcl_gate_pass gate;
    struct sigaction report_before, purge_before; /* handlers of the program */
    char *room; /* stack, then what stands for thread-local memory; made with the first thread */
} monitor;

static bool turn(enum presence from, enum presence to)
{
    uint32_t expected = from;
    return __atomic_compare_exchange_n(&monitor.state, &expected, to, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

static uint64_t interval_ns(void)
{
    return (uint64_t)rcl_opt.stats_interval_ms * 1000000u;
}

/* Is there something to do without being asked? */
static bool stays(void)
{
    return interval_ns() != 0 || rcl_prof_watches_time();
}

/* --- reports ------------------------------------------------------------------------------ */

bool rcl_monitor_path(char *to, size_t size, const char *path)
{
    struct rcl_out o = {.buf = to, .size = size};
    for (; *path != '\0'; path++) {
        if (path[0] == '%' && path[1] == 'p') {
            rcl_out_print(&o, "%d", rcl_os_pid());
            path++;
        } else {
            rcl_out_print(&o, "%c", *path);
        }
    }
    if (o.used == size)
        return false;
    to[o.used] = '\0';
    return true;
}

static bool ends_in(const char *text, const char *ending)
{
    size_t n = 0, m = 0;
    while (text[n] != '\0')
        n++;
    while (ending[m] != '\0')
        m++;
    for (size_t i = 1; i <= m; i++)
        if (n < i || text[n - i] != ending[m - i])
            return false;
    return true;
}

static void print_report(const struct rcl_snapshot *s, const char *path, struct rcl_out *o)
{
    const char *opts = rcl_opt.stats_print_opts;
    if (ends_in(path, ".prom"))
        rcl_report_prometheus(s, o);
    else if (ends_in(path, ".json"))
        rcl_report_json(s, opts, o);
    else if (path[0] == '\0' && rcl_report_omits(opts, 'J'))
        rcl_report_json(s, opts, o);
    else
        rcl_report_text(s, opts, o);
}

struct file {
    int fd, err;
};

static void to_file(void *arg, const char *text, size_t bytes)
{
    struct file *f = arg;
    if (f->err == 0)
        f->err = rcl_os_write(f->fd, text, bytes);
}

/* Beside the path first, then under its name: a reader sees an old report or a new one. */
static int write_file(const struct rcl_snapshot *s, const char *path)
{
    char buffer[FILE_BUFFER_BYTES], beside[PATH_BYTES + 32];
    struct rcl_out name = {.buf = beside, .size = sizeof beside - 1};
    rcl_out_print(&name, "%s.%d.tmp", path, rcl_os_pid());
    beside[name.used] = '\0';

    struct file f = {.fd = rcl_file_create(beside)};
    if (f.fd < 0)
        return -f.fd;
    struct rcl_out o = {.buf = buffer, .size = sizeof buffer, .sink = to_file, .arg = &f};
    print_report(s, path, &o);
    rcl_out_flush(&o);
    int err = rcl_os_close(f.fd);
    err = f.err != 0 ? f.err : err;
    err = err != 0 ? err : rcl_os_rename(beside, path);
    if (err != 0)
        rcl_os_unlink(beside);
    return err;
}

static void print_to_stderr(const struct rcl_snapshot *s)
{
    struct rcl_out_fd fd;
    print_report(s, "", rcl_out_to_fd(&fd, 2));
    rcl_out_flush(&fd.out);
}

static const char *reason(int err)
{
    static const struct {
        int err;
        const char *text;
    } reasons[] = {
        {EACCES, "permission denied"},
        {ENOENT, "no such folder"},
        {ENOSPC, "no space left"},
        {EROFS, "read-only file system"},
        {EISDIR, "it is a folder"},
        {ENOTDIR, "not a folder"},
        {ENAMETOOLONG, "the name is too long"},
        {ENXIO, "not a regular file"},
        {EMFILE, "too many open files"},
        {EDQUOT, "over quota"},
    };
    for (size_t i = 0; i < array_len(reasons); i++)
        if (reasons[i].err == err)
            return reasons[i].text;
    return "the system refused";
}

/* One line for a program, not for each of its children. */
static bool first_complaint(void)
{
    uint32_t *flag = monitor.complained != NULL ? monitor.complained : &monitor.complained_here;
    return __atomic_exchange_n(flag, 1, __ATOMIC_RELAXED) == 0;
}

int rcl_monitor_report(struct rcl_gate_pass *me)
{
    char path[PATH_BYTES];
    int err = rcl_monitor_path(path, sizeof path, rcl_opt.stats_path) ? 0 : ENAMETOOLONG;
    struct rcl_snapshot *s = rcl_snapshot_take(me);
    if (s == NULL)
        return ENOMEM;
    if (err == 0 && path[0] == '\0')
        print_to_stderr(s);
    else if (err == 0)
        err = write_file(s, path);
    rcl_snapshot_free(s);
    if (err != 0 && first_complaint())
        rcl_warn("stats_path: cannot write %s: %s (error %d); tried again in silence",
                 rcl_opt.stats_path, reason(err), err);
    return err;
}

/* --- the thread --------------------------------------------------------------------------- */

static void purge_everything(void)
{
    rcl_gate_enter_patient(&monitor.gate);
    rcl_purge_all(NULL);
    rcl_gate_leave(&monitor.gate);
    rcl_conf_note_purge();
}

/* When the thread has something to do of itself; UINT64_MAX: never. */
struct timetable {
    uint64_t report, look;
};

/* What is due is noted as wanted, or done; false: by another thread. */
static bool keep_time(struct timetable *t, uint64_t now, uint32_t *wanted)
{
    if (now < t->report && now < t->look)
        return true;
    /* The program has changed its user: another thread has to write its files. */
    if (!rcl_os_same_user())
        return false;
    if (now >= t->report) {
        *wanted |= WANT_REPORT;
        t->report = now + interval_ns();
    }
    if (now >= t->look)
        t->look = now + rcl_prof_watch_time();
    return true;
}

/* Runs as the bare thread: no libc call, nothing thread-local. */
static void serve(void *arg)
{
    (void)arg;
    while (__atomic_load_n(&monitor.state, __ATOMIC_ACQUIRE) == BEGINNING)
        rcl_os_yield();
    struct timetable t = {
        .report = interval_ns() != 0 ? rcl_os_now_ns() + interval_ns() : UINT64_MAX,
        .look = rcl_prof_watches_time() ? 0 : UINT64_MAX,
    };
    for (;;) {
        uint32_t bell = __atomic_load_n(&monitor.bell, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&monitor.stop, __ATOMIC_SEQ_CST))
            break;
        uint32_t wanted = __atomic_exchange_n(&monitor.wanted, 0, __ATOMIC_SEQ_CST);
        uint64_t now = rcl_os_now_ns();
        if (!keep_time(&t, now, &wanted)) {
            __atomic_store_n(&rcl_monitor_missing, 1, __ATOMIC_RELAXED);
            break;
        }
        if (wanted & WANT_PURGE)
            purge_everything();
        if (wanted & WANT_REPORT)
            rcl_monitor_report(&monitor.gate);
        if (wanted != 0)
            continue;
        if (stays()) {
            rcl_os_futex_wait(&monitor.bell, bell, (t.report < t.look ? t.report : t.look) - now);
            continue;
        }
        __atomic_store_n(&monitor.state, ABSENT, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&monitor.wanted, __ATOMIC_SEQ_CST) == 0 || !turn(ABSENT, PRESENT))
            return;
    }
    __atomic_store_n(&monitor.state, ABSENT, __ATOMIC_SEQ_CST);
}

/* Signals are blocked: the thread inherits that, and no handler may come between two states. */
static void begin_thread(void)
{
    if (!turn(ABSENT, BEGINNING))
        return;
    if (__atomic_load_n(&monitor.tid_word, __ATOMIC_ACQUIRE) != 0)
        rcl_os_thread_join(&monitor.tid_word, monitor.tid);
    monitor.stop = 0;
    if (monitor.room == NULL)
        monitor.room = rcl_os_map(MONITOR_STACK_BYTES + MONITOR_TLS_BYTES);
    int err = ENOMEM;
    if (monitor.room != NULL)
        err = rcl_os_thread_start(serve, NULL, monitor.room, MONITOR_STACK_BYTES,
                                  monitor.room + MONITOR_STACK_BYTES, MONITOR_TLS_BYTES,
                                  &monitor.tid_word, &monitor.tid);
    if (err != 0 && stays()) {
        __atomic_store_n(&monitor.not_before, rcl_os_now_ns() + AGAIN_NS, __ATOMIC_RELAXED);
        __atomic_store_n(&rcl_monitor_missing, 1, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&monitor.state, err == 0 ? PRESENT : ABSENT, __ATOMIC_SEQ_CST);
}

static void ring(void)
{
    __atomic_fetch_add(&monitor.bell, 1, __ATOMIC_SEQ_CST);
    rcl_os_futex_wake(&monitor.bell, 1);
    begin_thread();
}

void rcl_monitor_restart(void)
{
    if (rcl_os_coarse_ns() < __atomic_load_n(&monitor.not_before, __ATOMIC_RELAXED))
        return;
    uint64_t signals = rcl_os_block_signals();
    __atomic_store_n(&rcl_monitor_missing, 0, __ATOMIC_RELAXED);
    begin_thread();
    rcl_os_restore_signals(signals);
}

/* --- signals ------------------------------------------------------------------------------ */

static void pass_on(const struct sigaction *before, int number, siginfo_t *info, void *context)
{
    if (before->sa_flags & SA_SIGINFO)
        before->sa_sigaction(number, info, context);
    else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
        before->sa_handler(number);
}

/* All signals are blocked in it. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    uint32_t want = 0;
    if (number == (int)rcl_opt.stats_signal)
        want |= WANT_REPORT;
    if (number == (int)rcl_opt.purge_signal)
        want |= WANT_PURGE;
    /* The child of a vfork has our memory and must not have our thread. */
    if (rcl_os_pid() == monitor.pid) {
        __atomic_fetch_or(&monitor.wanted, want, __ATOMIC_SEQ_CST);
        ring();
    }
    pass_on(want & WANT_REPORT ? &monitor.report_before : &monitor.purge_before, number, info,
            context);
}

static void catch (int64_t number, struct sigaction *before)
{
    struct sigaction how = {.sa_sigaction = on_signal,
                            .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigfillset(&how.sa_mask);
    if (number != 0 && sigaction((int)number, &how, before) != 0)
        rcl_warn("signal %d cannot be caught", (int)number);
}

/* --- fork --------------------------------------------------------------------------------- */

static void before_fork(void)
{
    uint64_t signals = rcl_os_block_signals();
    while (!turn(ABSENT, BARRED)) {
        __atomic_store_n(&monitor.stop, 1, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&monitor.bell, 1, __ATOMIC_SEQ_CST);
        rcl_os_futex_wake(&monitor.bell, 1);
        if (__atomic_load_n(&monitor.state, __ATOMIC_SEQ_CST) == PRESENT)
            rcl_os_thread_join(&monitor.tid_word, monitor.tid);
        else
            rcl_os_yield();
    }
    rcl_os_thread_join(&monitor.tid_word, monitor.tid);
    rcl_os_restore_signals(signals);
}

/* What was asked for meanwhile is done now; the interval goes on a little later. */
static void after_fork(void)
{
    uint64_t signals = rcl_os_block_signals();
    __atomic_store_n(&monitor.state, ABSENT, __ATOMIC_SEQ_CST);
    if (stays()) {
        __atomic_store_n(&monitor.not_before, rcl_os_now_ns() + RESTART_NS, __ATOMIC_RELAXED);
        __atomic_store_n(&rcl_monitor_missing, 1, __ATOMIC_RELAXED);
    }
    if (__atomic_load_n(&monitor.wanted, __ATOMIC_SEQ_CST) != 0)
        ring();
    rcl_os_restore_signals(signals);
}

static void in_child(void)
{
    monitor.pid = rcl_os_pid();
    monitor.tid_word = 0;
    monitor.wanted = 0;
    monitor.gate = (struct rcl_gate_pass){0};
    after_fork();
}

/* --- life --------------------------------------------------------------------------------- */

void rcl_monitor_boot(void)
{
    monitor.pid = rcl_os_pid();
    bool caught = rcl_opt.stats_signal != 0 || rcl_opt.purge_signal != 0;
    if (!caught && !stays())
        return;
    if (rcl_opt.stats_path[0] != '\0')
        monitor.complained = rcl_os_map_shared(rcl_page_size());
    pthread_atfork(before_fork, after_fork, in_child);
    catch (rcl_opt.stats_signal, &monitor.report_before);
    if (rcl_opt.purge_signal != rcl_opt.stats_signal)
        catch (rcl_opt.purge_signal, &monitor.purge_before);
    if (stays()) {
        uint64_t signals = rcl_os_block_signals();
        begin_thread();
        rcl_os_restore_signals(signals);
    }
}

void rcl_monitor_exit(struct rcl_gate_pass *me)
{
    if (!stays() && rcl_opt.stats_signal == 0 && rcl_opt.purge_signal == 0)
        return;
    before_fork(); /* so that no report is left half written */
    if (interval_ns() != 0 || (monitor.wanted & WANT_REPORT) != 0)
        rcl_monitor_report(me);
}
