/* SPDX-License-Identifier: MIT */
/*
 * interrupt.c - threads stopped in the middle of malloc and free while others empty their caches.
 *
 * Each owner thread allocates, checks and frees as fast as it can.  Two timers of its own, one on
 * the clock and one on its processor time, interrupt it at moments that have nothing to do with
 * what it is doing, and the handler sleeps for 2 to 50 ms: an owner that stands still in the
 * middle of an operation.  Meanwhile the main thread calls malloc_trim(0) again and again, and
 * the allocator's own helper may come as well.  What must hold:
 *
 *   - a live block keeps its content, and no address is given out while it is alive;
 *   - nothing is lost: when all is freed, the driver finds the resident memory where it began;
 *   - nobody waits for ever (the driver's timeout).
 *
 * The run proves that it tested something: it counts the interrupts that hit an operation.
 *
 *   --threads N, --seconds N, --seed S, --report FILE
 *
 * Stops: start (threads exist and have warmed up), done (all freed, threads asleep).
 */
#include "report.h"

#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
    MAX_THREADS = 64,
    SLOTS = 256,        /* blocks one thread holds, at most            */
    EXCHANGE = 512,     /* places through which blocks change threads  */
    SHADOW_BITS = 17,   /* places for live addresses: mostly empty     */
    SHADOW_WINDOW = 64, /* how far an address may lie from its place   */
};

/* Written at the front of every block; the rest is filled from the tag. */
struct stamp {
    uint32_t size;
    uint32_t tag;
};

static _Atomic uint64_t *shadow; /* address of each live block, open addressing      */
static _Atomic uintptr_t exchange[EXCHANGE];
static atomic_bool stop_now;
static atomic_ulong interrupts, interrupts_in_operation, operations;
static pthread_barrier_t ready, go, done, leave;
static uint64_t seconds, first_seed;

/* Of the running thread: set around each call, read by its signal handler. */
static _Thread_local volatile sig_atomic_t in_operation;
static _Thread_local uint64_t handler_seed;
static _Thread_local timer_t clock_timer, cpu_timer;

/*
 * Sets the timer of one signal, once: 20 us to 2 ms from now.  A periodic one would be due again
 * by the time the handler has slept, and the thread would never get to work in between.
 */
static void arm_timer(int sig)
{
    timer_t t = sig == SIGALRM ? clock_timer : cpu_timer;
    long ns = 20000 + (long)(report_random(&handler_seed) % 2000000);
    timer_settime(t, 0, &(struct itimerspec){.it_value = {0, ns}}, NULL);
}

static void on_timer(int sig)
{
    int saved = errno;
    atomic_fetch_add(&interrupts, 1);
    if (in_operation)
        atomic_fetch_add(&interrupts_in_operation, 1);
    /* 2 to 50 ms, the short ones more often, so that there are many interrupts too */
    uint64_t r = report_random(&handler_seed);
    long ms = 2 + (long)(r % 49) * (long)((r >> 20) % 49) / 48;
    if (r >> 63) {
        struct timespec t = {0, ms * 1000000};
        nanosleep(&t, NULL);
    } else {
        poll(NULL, 0, (int)ms);
    }
    arm_timer(sig);
    errno = saved;
}

static size_t shadow_place(uint64_t addr)
{
    uint64_t seed = addr;
    return report_random(&seed) >> (64 - SHADOW_BITS);
}

static _Atomic uint64_t *shadow_at(size_t place, size_t step)
{
    return &shadow[(place + step) & ((1u << SHADOW_BITS) - 1)];
}

/*
 * Enters an address that malloc just returned.  Two threads that are given the same one may both
 * find it absent and both enter it; then each finds two when it counts afterwards.
 */
static void shadow_enter(uint64_t addr)
{
    size_t place = shadow_place(addr), step = 0;
    for (; step < SHADOW_WINDOW; step++) {
        uint64_t empty = 0;
        if (atomic_compare_exchange_strong(shadow_at(place, step), &empty, addr))
            break;
    }
    if (step == SHADOW_WINDOW)
        report_die(REPORT_UNUSABLE, "the table of live addresses is full");
    unsigned copies = 0;
    for (step = 0; step < SHADOW_WINDOW; step++)
        copies += atomic_load(shadow_at(place, step)) == addr;
    if (copies != 1)
        report_die(REPORT_FAILED, "an address was given out that is alive");
}

static void shadow_leave(uint64_t addr)
{
    size_t place = shadow_place(addr);
    for (size_t step = 0; step < SHADOW_WINDOW; step++) {
        uint64_t expected = addr;
        if (atomic_compare_exchange_strong(shadow_at(place, step), &expected, 0))
            return;
    }
    report_die(REPORT_FAILED, "a live address vanished");
}

/* Mostly sizes that sit in thread caches; the larger ones make a lost block visible. */
static size_t any_size(uint64_t r)
{
    switch (r % 8) {
    case 0:
        return 4096 + (r >> 8) % 8192;
    case 1:
        return 512 + (r >> 8) % 3000;
    default:
        return 16 + (r >> 8) % 200;
    }
}

static struct stamp *get_block(uint64_t *seed)
{
    uint64_t r = report_random(seed);
    size_t size = any_size(r);
    in_operation = 1;
    struct stamp *b = malloc(size);
    in_operation = 0;
    if (b == NULL)
        report_die(REPORT_FAILED, "malloc returned NULL");
    shadow_enter((uint64_t)(uintptr_t)b);
    *b = (struct stamp){(uint32_t)size, (uint32_t)(r >> 32)};
    report_fill(b + 1, size - sizeof *b, b->tag);
    return b;
}

static void give_back(struct stamp *b)
{
    if (b->size < 16 || !report_intact(b + 1, b->size - sizeof *b, b->tag))
        report_die(REPORT_FAILED, "a live block lost its content");
    shadow_leave((uint64_t)(uintptr_t)b);
    in_operation = 1;
    free(b);
    in_operation = 0;
}

/* One block in sixteen changes hands, so that blocks are freed by threads that did not get them. */
static struct stamp *swap_block(struct stamp *b, uint64_t r)
{
    if (r % 16 != 0)
        return b;
    return (struct stamp *)atomic_exchange(&exchange[(r >> 8) % EXCHANGE], (uintptr_t)b);
}

static void work(struct stamp **slots, uint64_t *seed)
{
    uint64_t n = 0;
    for (; !atomic_load_explicit(&stop_now, memory_order_relaxed); n++) {
        uint64_t r = report_random(seed);
        struct stamp **slot = &slots[(r >> 40) % SLOTS];
        *slot = swap_block(*slot, r);
        if (*slot != NULL) {
            give_back(*slot);
            *slot = NULL;
        } else {
            *slot = get_block(seed);
        }
    }
    atomic_fetch_add(&operations, n);
}

/* A timer that interrupts this thread and no other. */
static timer_t make_timer(clockid_t clock, int sig)
{
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = sig};
    ev.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    timer_t t;
    if (timer_create(clock, &ev, &t) != 0)
        report_die(REPORT_UNUSABLE, "timer_create");
    return t;
}

static void *owner_main(void *arg)
{
    uint64_t seed = first_seed + (uintptr_t)arg;
    handler_seed = ~seed;
    struct stamp *slots[SLOTS] = {NULL};
    for (size_t i = 0; i < SLOTS; i++)
        slots[i] = get_block(&seed);
    for (size_t i = 0; i < SLOTS; i++) {
        give_back(slots[i]);
        slots[i] = NULL;
    }
    clock_timer = make_timer(CLOCK_MONOTONIC, SIGALRM);
    cpu_timer = make_timer(CLOCK_THREAD_CPUTIME_ID, SIGPROF);
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&go);
    arm_timer(SIGALRM);
    arm_timer(SIGPROF);
    work(slots, &seed);
    timer_delete(clock_timer);
    timer_delete(cpu_timer);
    for (size_t i = 0; i < SLOTS; i++) {
        if (slots[i] != NULL)
            give_back(slots[i]);
    }
    pthread_barrier_wait(&done);
    pthread_barrier_wait(&leave);
    return NULL;
}

static void catch_timers(void)
{
    struct sigaction sa = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaddset(&sa.sa_mask, SIGALRM);
    sigaddset(&sa.sa_mask, SIGPROF);
    if (sigaction(SIGALRM, &sa, NULL) != 0 || sigaction(SIGPROF, &sa, NULL) != 0)
        report_die(REPORT_UNUSABLE, "sigaction");
}

/* Empties everybody's caches until the time is up; returns how often. */
static uint64_t trim_meanwhile(void)
{
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += (time_t)seconds;
    uint64_t seed = first_seed, n = 0;
    do {
        malloc_trim(0);
        n++;
        /* up to a millisecond, so that the owners refill their caches in between */
        struct timespec pause = {0, (long)(report_random(&seed) % 1000000)};
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
    return n;
}

int main(int argc, char **argv)
{
    uint64_t threads = report_arg_number(argc, argv, "--threads", "16");
    seconds = report_arg_number(argc, argv, "--seconds", "4");
    first_seed = report_arg_number(argc, argv, "--seed", "1");
    if (threads < 1 || threads > MAX_THREADS)
        report_die(REPORT_UNUSABLE, "--threads 1..64");
    report_open(report_arg(argc, argv, "--report", NULL), 1);
    shadow = report_own(sizeof *shadow << SHADOW_BITS);
    catch_timers();
    pthread_barrier_init(&ready, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&go, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&done, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&leave, NULL, (unsigned)threads + 1);
    pthread_t id[MAX_THREADS];
    for (uint64_t i = 0; i < threads; i++) {
        if (pthread_create(&id[i], NULL, owner_main, (void *)(uintptr_t)(i + 1)) != 0)
            report_die(REPORT_UNUSABLE, "pthread_create");
    }
    pthread_barrier_wait(&ready);
    malloc_trim(0);
    report_stop("start");

    pthread_barrier_wait(&go);
    uint64_t trims = trim_meanwhile();
    atomic_store(&stop_now, true);
    pthread_barrier_wait(&done);
    for (size_t i = 0; i < EXCHANGE; i++) {
        if (exchange[i] != 0)
            give_back((struct stamp *)exchange[i]);
    }
    char line[160];
    snprintf(line, sizeof line, "done trims=%llu operations=%lu interrupts=%lu in_operation=%lu",
             (unsigned long long)trims, atomic_load(&operations), atomic_load(&interrupts),
             atomic_load(&interrupts_in_operation));
    report_stop(line);
    pthread_barrier_wait(&leave);
    for (uint64_t i = 0; i < threads; i++)
        pthread_join(id[i], NULL);
    return 0;
}
