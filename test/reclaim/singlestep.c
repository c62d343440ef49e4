/* SPDX-License-Identifier: MIT */
/*
 * singlestep.c - a thread stopped at every instruction of an operation while another one runs.
 *
 * Timers hit the windows of a few instructions only by luck.  Here a tracer drives: it lets the
 * owner thread enter an operation, steps it k instructions into it, leaves it standing there,
 * has a second thread of the same process act (malloc_trim(0), say), and then lets the owner go
 * on.  Then the same with k + 1, until the operation ends within k steps.  What must hold after
 * each cut:
 *
 *   - the block that comes out is not alive already, and every live block keeps its content;
 *   - the other thread finishes: at once while the owner stands on the hit path (that is what
 *     --no-wait demands), or else when the owner has gone on;
 *   - in the end, every address that the first blocks had is given out again or still alive:
 *     a block that fell between the two threads would be missing.
 *
 *   --op malloc|free|calloc|realloc|refill|flush|large|huge|trim   what is stepped through
 *   --other trim|use|nap      what the other thread does at the cut: malloc_trim(0); some mallocs
 *                             and frees of its own; nothing, for 60 ms, in which the allocator's
 *                             own helper may act
 *   --cuts N                  at most N cuts, evenly spread (0: at every instruction)
 *   --no-wait                 the other thread may never have to wait for the owner
 *   --size N                  block size of the operation (64)
 *
 * Prints: steps of the operation, cuts made, cuts at which the other thread had to wait.
 */
#include "report.h"

#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
    FIRST_BLOCKS = 2048, /* blocks allocated before the first cut, nearly all freed again    */
    PIN_BYTES = 6400,    /* one of the first in so many bytes stays alive: no slab gets empty */
    HELD = 48,           /* blocks alive, with content, while cuts are made                  */
    BURST = 400,         /* frees among which one flushes the cache, in any sensible one     */
    DRAIN_FACTOR = 12,   /* how many blocks may be drawn to see all first addresses again    */
    WAITING_MS = 60,     /* the other thread waits for the owner if it takes longer than this */
    NO_WAIT_MS = 1000,   /* with --no-wait, where it must not: a busy machine is no failure   */
    HANG_MS = 20000,
    MAX_STEPS = 3000000,
    NAP_MS = 60,
};

enum phase { PREPARING, STEPPING, OVER, FINISHED };

/* Between tracer and traced process; the futex words are waited for from both sides. */
struct shared {
    _Atomic int phase;  /* of the owner thread                                              */
    _Atomic int go;     /* counts the cuts at which the other thread shall act              */
    _Atomic int done;   /* counts the cuts at which it has finished                         */
    _Atomic int before; /* "flush": how many frees come before the one that is stepped      */
};

static struct shared *shared;
static const char *op, *other;
static size_t size;

/* ---- both sides ------------------------------------------------------------------------ */

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void announce(_Atomic int *word, int value)
{
    atomic_store(word, value);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/*
 * Tracer and owner take turns at every step, and handing over is several times cheaper within
 * one core than between two.  The other thread may run anywhere.
 */
static void share_core(void)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all)) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    sched_setaffinity(0, sizeof one, &one);
}

/* Waits until the word has reached the value; false when the time is up first. */
static bool await(_Atomic int *word, int value, long ms)
{
    long end = now_ms() + ms;
    for (int seen = atomic_load(word); seen < value; seen = atomic_load(word)) {
        long left = end - now_ms();
        if (left <= 0)
            return false;
        struct timespec t = {left / 1000, left % 1000 * 1000000};
        syscall(SYS_futex, word, FUTEX_WAIT, seen, &t, NULL, 0);
    }
    return true;
}

/* ---- the traced process ---------------------------------------------------------------- */

static struct report_block *first; /* the first blocks: address, and size 1 once seen again  */
static struct report_block *held;  /* alive, with content                                    */
static unsigned next_held;
static void **burst;
static uint64_t tags;

static void act_once(uint64_t *seed)
{
    if (strcmp(other, "trim") == 0) {
        malloc_trim(0);
    } else if (strcmp(other, "nap") == 0) {
        usleep(NAP_MS * 1000);
    } else {
        void *mine[32];
        for (unsigned i = 0; i < 32; i++) {
            mine[i] = malloc(16 + report_random(seed) % 2000);
            if (mine[i] != NULL)
                memset(mine[i], 0xee, 16);
        }
        for (unsigned i = 0; i < 32; i++)
            free(mine[i]);
    }
}

/* The other thread: acts when told, for ever. */
static void *other_main(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    for (int n = 1;; n++) {
        await(&shared->go, n, 1L << 30);
        act_once(&seed);
        announce(&shared->done, n);
    }
    return NULL;
}

static void check_all_held(void)
{
    for (unsigned i = 0; i < HELD; i++) {
        if (held[i].addr != 0 &&
            !report_intact((void *)(uintptr_t)held[i].addr, size, held[i].size))
            report_die(REPORT_FAILED, "a live block lost its content");
    }
}

/* Takes in a block that the allocator handed out, and lets the oldest go. */
static void hold(void *p)
{
    if (p == NULL)
        report_die(REPORT_FAILED, "malloc returned NULL");
    for (unsigned i = 0; i < HELD; i++) {
        if (held[i].addr == (uint64_t)(uintptr_t)p)
            report_die(REPORT_FAILED, "a block was given out that is alive");
    }
    check_all_held();
    unsigned place = next_held++ % HELD;
    free((void *)(uintptr_t)held[place].addr);
    held[place] = (struct report_block){(uint64_t)(uintptr_t)p, ++tags};
    report_fill(p, size, tags);
}

static void *take_oldest(void)
{
    unsigned place = next_held % HELD;
    void *p = (void *)(uintptr_t)held[place].addr;
    held[place].addr = 0;
    return p;
}

/* A few pairs: afterwards the cache holds blocks of this size. */
static void warm_cache(void)
{
    void *p[8];
    for (unsigned i = 0; i < 8; i++)
        p[i] = malloc(size);
    for (unsigned i = 0; i < 8; i++)
        free(p[i]);
}

/* The tracer takes over at the signal; it steps until the phase says that the operation ended. */
static void begin_steps(void)
{
    shared->phase = STEPPING;
    raise(SIGTRAP);
}

static void end_steps(void)
{
    shared->phase = OVER;
    raise(SIGTRAP);
}

static void one_block_operation(void)
{
    void *given = NULL, *got = NULL;
    bool is_free = strcmp(op, "free") == 0, is_realloc = strcmp(op, "realloc") == 0;
    if (is_free || is_realloc)
        given = take_oldest();
    if (strcmp(op, "refill") == 0)
        malloc_trim(0);
    else
        warm_cache();
    begin_steps();
    if (is_free)
        free(given);
    else if (is_realloc)
        got = realloc(given, size * 3);
    else if (strcmp(op, "calloc") == 0)
        got = calloc(1, size);
    else
        got = malloc(size);
    end_steps();
    if (strcmp(op, "calloc") == 0) {
        for (size_t i = 0; i < size; i++) {
            if (((unsigned char *)got)[i] != 0)
                report_die(REPORT_FAILED, "calloc returned a block that is not zero");
        }
    }
    if (is_realloc) {
        free(got);
        got = NULL;
    }
    if (is_free || is_realloc)
        got = malloc(size);
    hold(got);
}

/* Of a row of frees into an empty cache, one is stepped: the tracer looks for the longest. */
static void flush_operation(void)
{
    unsigned before = (unsigned)shared->before;
    malloc_trim(0);
    for (unsigned i = 0; i < BURST; i++)
        burst[i] = malloc(size);
    for (unsigned i = 0; i < before; i++)
        free(burst[i]);
    begin_steps();
    free(burst[before]);
    end_steps();
    for (unsigned i = before + 1; i < BURST; i++)
        free(burst[i]);
    hold(malloc(size));
}

/* Large and huge: one pair, and its content while the other thread acts. */
static void pair_operation(size_t bytes)
{
    begin_steps();
    unsigned char *p = malloc(bytes);
    if (p != NULL)
        p[0] = p[bytes - 1] = 7;
    bool kept = p != NULL && p[0] == 7 && p[bytes - 1] == 7;
    free(p);
    end_steps();
    if (!kept)
        report_die(REPORT_FAILED, "malloc returned NULL, or the block lost its content");
}

static void trim_operation(void)
{
    warm_cache();
    begin_steps();
    malloc_trim(0);
    end_steps();
    hold(malloc(size));
}

/* Gives addresses to look for at the end; a few stay alive and keep their slabs in use. */
static void allocate_first_blocks(void)
{
    for (unsigned i = 0; i < FIRST_BLOCKS; i++) {
        first[i].addr = (uint64_t)(uintptr_t)malloc(size);
        if (first[i].addr == 0)
            report_die(REPORT_FAILED, "malloc returned NULL");
    }
    size_t pin_every = size < PIN_BYTES / 2 ? PIN_BYTES / size : 2;
    for (unsigned i = 0; i < FIRST_BLOCKS; i++) {
        if (i % pin_every == 0)
            first[i].size = 1;
        else
            free((void *)(uintptr_t)first[i].addr);
    }
}

static unsigned mark_seen(uint64_t addr)
{
    for (unsigned i = 0; i < FIRST_BLOCKS; i++) {
        if (first[i].addr == addr && first[i].size == 0) {
            first[i].size = 1;
            return 1;
        }
    }
    return 0;
}

/* Draws blocks until every first address has been seen again; whatever never comes is lost. */
static void look_for_lost_blocks(void)
{
    unsigned missing = 0;
    for (unsigned i = 0; i < FIRST_BLOCKS; i++)
        missing += first[i].size == 0;
    for (unsigned i = 0; i < HELD; i++)
        missing -= held[i].addr != 0 && mark_seen(held[i].addr);
    for (unsigned n = 0; missing > 0 && n < DRAIN_FACTOR * FIRST_BLOCKS; n++)
        missing -= mark_seen((uint64_t)(uintptr_t)malloc(size));
    if (missing > 0) {
        char line[80];
        snprintf(line, sizeof line, "%u blocks were lost", missing);
        report_die(REPORT_FAILED, line);
    }
}

static void owner_main(int cuts)
{
    first = report_own(FIRST_BLOCKS * sizeof *first);
    held = report_own(HELD * sizeof *held);
    burst = report_own(BURST * sizeof *burst);
    pthread_t id;
    if (pthread_create(&id, NULL, other_main, (void *)1) != 0)
        report_die(REPORT_UNUSABLE, "pthread_create");
    share_core();
    allocate_first_blocks();
    for (unsigned i = 0; i < HELD; i++)
        hold(malloc(size));
    for (int i = 0; i < cuts || cuts == 0; i++) {
        shared->phase = PREPARING;
        if (strcmp(op, "flush") == 0)
            flush_operation();
        else if (strcmp(op, "large") == 0)
            pair_operation(100000);
        else if (strcmp(op, "huge") == 0)
            pair_operation(4 << 20);
        else if (strcmp(op, "trim") == 0)
            trim_operation();
        else
            one_block_operation();
        if (shared->phase == FINISHED)
            break;
    }
    check_all_held();
    look_for_lost_blocks();
    _exit(0);
}

/* ---- the tracer ------------------------------------------------------------------------ */

static void tracer_die(pid_t pid, int code, const char *what)
{
    kill(pid, SIGKILL);
    report_die(code, what);
}

/*
 * Waits for the owner to stop; ends everything when it ended instead.  A child that stands still
 * for long is one that waits for a thread that waits for it.
 */
static void wait_for_stop(pid_t pid)
{
    int status;
    for (long end = now_ms() + HANG_MS;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid)
            break;
        if (got < 0 || now_ms() > end)
            tracer_die(pid, REPORT_FAILED, "the owner thread hangs after a cut");
        usleep(20);
    }
    if (WIFEXITED(status))
        _exit(WEXITSTATUS(status) == 0 ? REPORT_FAILED : WEXITSTATUS(status));
    if (WIFSIGNALED(status))
        report_die(REPORT_FAILED, strsignal(WTERMSIG(status)));
    if (WSTOPSIG(status) != SIGTRAP)
        tracer_die(pid, REPORT_FAILED, strsignal(WSTOPSIG(status)));
}

static void resume(pid_t pid)
{
    if (ptrace(PTRACE_CONT, pid, NULL, NULL) != 0)
        tracer_die(pid, REPORT_UNUSABLE, "PTRACE_CONT");
}

/* Steps are waited for without a nap in between: there are many of them. */
static void step(pid_t pid)
{
    int status;
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0)
        tracer_die(pid, REPORT_UNUSABLE, "PTRACE_SINGLESTEP");
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
        tracer_die(pid, REPORT_FAILED, "the owner thread died while it was stepped");
}

/* Goes k steps into the operation; false when it ends before. */
static bool step_into(pid_t pid, int k)
{
    for (int i = 0; i < k; i++) {
        step(pid);
        if (shared->phase == OVER)
            return false;
    }
    return true;
}

/* Resumes the owner until it is about to begin an operation. */
static void run_to_operation(pid_t pid)
{
    do {
        resume(pid);
        wait_for_stop(pid);
    } while (shared->phase != STEPPING);
}

/* How many steps the operation takes; leaves the owner at its end. */
static int count_steps(pid_t pid)
{
    int n = 0;
    for (; shared->phase != OVER; n++) {
        if (n == MAX_STEPS)
            tracer_die(pid, REPORT_FAILED, "the operation does not end");
        step(pid);
    }
    resume(pid);
    wait_for_stop(pid); /* at the signal that ends the operation */
    return n;
}

/* Measures the operation; of the frees of a "flush", picks the one that takes longest. */
static int operation_steps(pid_t pid)
{
    int steps = 0, longest = 0;
    for (int i = 0; i < 3; i++) { /* the first times also bind symbols */
        run_to_operation(pid);
        steps = count_steps(pid);
    }
    for (int i = 0; i < BURST && strcmp(op, "flush") == 0; i++) {
        shared->before = i;
        run_to_operation(pid);
        int n = count_steps(pid);
        if (n > steps) {
            steps = n;
            longest = i;
        }
    }
    shared->before = longest;
    return steps;
}

/* One cut: the owner stands still k steps into the operation.  Returns 1 if the other waited. */
static int cut(pid_t pid, int k, int number, bool no_wait)
{
    run_to_operation(pid);
    bool inside = step_into(pid, k);
    announce(&shared->go, number);
    long patience = strcmp(other, "nap") == 0 ? NAP_MS : 0;
    patience += no_wait || !inside ? NO_WAIT_MS : WAITING_MS;
    bool waited = !await(&shared->done, number, patience);
    resume(pid);
    wait_for_stop(pid);
    if (waited && !inside)
        tracer_die(pid, REPORT_FAILED, "the other thread waits for an owner that does nothing");
    if (!await(&shared->done, number, HANG_MS))
        tracer_die(pid, REPORT_FAILED, "the other thread hangs after a cut");
    return waited;
}

static void trace(pid_t pid, int cuts, bool no_wait)
{
    wait_for_stop(pid); /* after exec */
    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL);
    share_core();
    int steps = operation_steps(pid);
    if (cuts == 0 || cuts > steps)
        cuts = steps;
    int waits = 0, first_wait = -1;
    for (int i = 0; i < cuts; i++) {
        int k = (int)((long)steps * i / cuts);
        int waited = cut(pid, k, i + 1, no_wait);
        if (waited && first_wait < 0)
            first_wait = k;
        waits += waited;
    }
    shared->phase = FINISHED;
    resume(pid);
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        tracer_die(pid, REPORT_FAILED, "the traced process did not end well");
    if (WEXITSTATUS(status) != 0)
        _exit(WEXITSTATUS(status));
    char line[160];
    int n = snprintf(line, sizeof line, "steps=%d cuts=%d waits=%d first_wait=%d\n", steps, cuts,
                     waits, first_wait);
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(REPORT_UNUSABLE);
    if (no_wait && waits > 0)
        report_die(REPORT_FAILED, "the other thread had to wait for an owner on the hit path");
}

static void map_shared(int fd)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        report_die(REPORT_UNUSABLE, "mmap of the shared words");
}

int main(int argc, char **argv)
{
    op = report_arg(argc, argv, "--op", "malloc");
    other = report_arg(argc, argv, "--other", "trim");
    size = report_arg_number(argc, argv, "--size", "64");
    int cuts = (int)report_arg_number(argc, argv, "--cuts", "0");
    int fd = (int)report_arg_number(argc, argv, "--shared-fd", "0");
    if (fd > 0) { /* the process to be traced: same program, started anew below */
        map_shared(fd);
        owner_main(0);
    }
    fd = memfd_create("singlestep", 0);
    if (fd < 0 || ftruncate(fd, sizeof *shared) != 0)
        report_die(REPORT_UNUSABLE, "memfd_create");
    map_shared(fd);
    char fd_text[16];
    snprintf(fd_text, sizeof fd_text, "%d", fd);
    char *args[32];
    int n = 0;
    for (; n < argc && n < 28; n++)
        args[n] = argv[n];
    args[n++] = "--shared-fd";
    args[n++] = fd_text;
    args[n] = NULL;
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            report_die(REPORT_UNUSABLE, "PTRACE_TRACEME");
        execv("/proc/self/exe", args);
        _exit(REPORT_UNUSABLE);
    }
    if (pid < 0)
        report_die(REPORT_UNUSABLE, "fork");
    trace(pid, cuts, report_flag(argc, argv, "--no-wait"));
    return 0;
}
