/* SPDX-License-Identifier: MIT */
/* os.c - raw system calls; see os.h for the contract. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "os.h"

#include "sys.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
enum {
    OS_MEMBARRIER_PRIVATE = 1 << 3,
    OS_MEMBARRIER_REGISTER_PRIVATE = 1 << 4,
    OS_KEPT_FD = 200,    /* programs that count on low numbers do not count so far */
    OS_JOIN_SPINS = 200, /* system calls of 0.2 us */
    OS_JOIN_NS = 20000000,
    OS_CLONE_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                     CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
};

unsigned rcl_os_page_shift = RCL_GRANULE_SHIFT;

/* What the kernel turned out not to have; each flips once, from 1 to 0. */
static struct {
    int barrier; /* 0: no; 1: not registered yet; 2: registered */
    int vma_name;
} os_can = {1, 1};

static uint64_t os_returns; /* relaxed */

/* --- the page ----------------------------------------------------------------------------- */

void rcl_os_init(void)
{
#ifdef RCL_TEST_PAGE_SIZE
    size_t page = RCL_TEST_PAGE_SIZE;
#else
    size_t page = getauxval(AT_PAGESZ);
#endif
    unsigned shift = RCL_GRANULE_SHIFT;
    while (((size_t)1 << shift) < page)
        shift++;
    rcl_os_page_shift = shift;
}

/* --- memory ------------------------------------------------------------------------------- */

static void *os_mmap(void *hint, size_t bytes, int whose)
{
    long p = sys6(SYS_mmap, (long)hint, (long)bytes, PROT_READ | PROT_WRITE, whose | MAP_ANONYMOUS,
                  -1, 0);
    return sys_failed(p) ? NULL : (void *)p;
}

void *rcl_os_map_aligned(size_t bytes, size_t align)
{
    /* The kernel aligns to its own page, which a pretended page may exceed. */
    char *p = os_mmap(NULL, bytes, MAP_PRIVATE);
    if (p == NULL || ((uintptr_t)p & (align - 1)) == 0)
        return p;
    rcl_os_unmap(p, bytes);
    if (bytes + align < bytes)
        return NULL;
    p = os_mmap(NULL, bytes + align, MAP_PRIVATE);
    if (p == NULL)
        return NULL;
    size_t head = rcl_align_up((uintptr_t)p, align) - (uintptr_t)p;
    if (head > 0)
        rcl_os_unmap(p, head);
    if (align - head > 0)
        rcl_os_unmap(p + head + bytes, align - head);
    return p + head;
}

void *rcl_os_map(size_t bytes)
{
    return rcl_os_map_aligned(bytes, rcl_page_size());
}

void *rcl_os_map_shared(size_t bytes)
{
    return os_mmap(NULL, bytes, MAP_SHARED);
}

void rcl_os_count_return(void)
{
    __atomic_fetch_add(&os_returns, 1, __ATOMIC_RELAXED);
}

uint64_t rcl_os_returns(void)
{
    return __atomic_load_n(&os_returns, __ATOMIC_RELAXED);
}

int rcl_os_unmap(void *addr, size_t bytes)
{
    return sys_errno(sys2(SYS_munmap, addr, bytes));
}

int rcl_os_return(void *addr, size_t bytes)
{
    rcl_os_count_return();
    return rcl_os_unmap(addr, bytes);
}

void *rcl_os_remap(void *addr, size_t old_bytes, size_t new_bytes)
{
    long p = sys4(SYS_mremap, addr, old_bytes, new_bytes, MREMAP_MAYMOVE);
    return sys_failed(p) ? NULL : (void *)p;
}

void *rcl_os_remap_in_place(void *addr, size_t old_bytes, size_t new_bytes)
{
    long p = sys4(SYS_mremap, addr, old_bytes, new_bytes, 0);
    return sys_failed(p) ? NULL : (void *)p;
}

int rcl_os_remap_to(void *addr, size_t old_bytes, size_t new_bytes, void *target)
{
    return sys_errno(
        sys5(SYS_mremap, addr, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target));
}

bool rcl_os_is_resident(void *addr)
{
    unsigned char in = 0;
    return sys3(SYS_mincore, addr, 1, &in) == 0 && (in & 1) != 0;
}

void rcl_os_no_hugepage(void *addr, size_t bytes)
{
    sys3(SYS_madvise, addr, bytes, MADV_NOHUGEPAGE);
}

bool rcl_os_wipe_on_fork(void *addr, size_t bytes)
{
    return sys3(SYS_madvise, addr, bytes, MADV_WIPEONFORK) == 0;
}

void rcl_os_hugepage(void *addr, size_t bytes)
{
    sys3(SYS_madvise, addr, bytes, MADV_HUGEPAGE);
}

void rcl_os_name(void *addr, size_t bytes, const char *name)
{
    if (!__atomic_load_n(&os_can.vma_name, __ATOMIC_RELAXED))
        return;
    if (sys_failed(sys5(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, bytes, name)))
        __atomic_store_n(&os_can.vma_name, 0, __ATOMIC_RELAXED);
}

bool rcl_os_readable(const void *addr)
{
    /* The kernel copies the new mask in before it looks at `how`, which is impossible. */
    return addr != NULL && sys4(SYS_rt_sigprocmask, -1, addr, NULL, sizeof(uint64_t)) != -EFAULT;
}

bool rcl_os_copy(void *to, const void *from, size_t bytes)
{
    struct iovec local = {to, bytes}, remote = {(void *)from, bytes};
    return sys6(SYS_process_vm_readv, rcl_os_pid(), (long)&local, 1, (long)&remote, 1, 0) ==
           (long)bytes;
}

/* --- threads and time --------------------------------------------------------------------- */

/* libc's clock_gettime is the vDSO: no system call, no errno on success, no lock. */
static uint64_t os_clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + 1;
}

uint64_t rcl_os_now_ns(void)
{
    return os_clock_ns(CLOCK_MONOTONIC);
}

uint64_t rcl_os_coarse_ns(void)
{
    return os_clock_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t rcl_os_wall_s(void)
{
    struct timespec ts = {0};
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec;
}

void rcl_os_futex_wait(uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                          .tv_nsec = (long)(timeout_ns % 1000000000u)};
    sys6(SYS_futex, (long)word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, (long)expected,
         timeout_ns != 0 ? (long)&ts : 0, 0, 0);
}

void rcl_os_futex_wake(uint32_t *word, int count)
{
    sys3(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count);
}

void rcl_os_yield(void)
{
    sys0(SYS_sched_yield);
}

int rcl_os_pid(void)
{
    return (int)sys0(SYS_getpid);
}

int rcl_os_tid(void)
{
    return (int)sys0(SYS_gettid);
}

void rcl_os_thread_name(char name[16])
{
    name[0] = '\0';
    sys2(SYS_prctl, PR_GET_NAME, name);
}

uint64_t rcl_os_block_signals(void)
{
    uint64_t all = ~(uint64_t)0, old = 0;
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof all);
    return old;
}

void rcl_os_restore_signals(uint64_t old)
{
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof old);
}

bool rcl_os_process_barrier(void)
{
    int can = __atomic_load_n(&os_can.barrier, __ATOMIC_RELAXED);
    if (can == 1) {
        can = sys_failed(sys2(SYS_membarrier, OS_MEMBARRIER_REGISTER_PRIVATE, 0)) ? 0 : 2;
        __atomic_store_n(&os_can.barrier, can, __ATOMIC_RELAXED);
    }
    return can == 2 && !sys_failed(sys2(SYS_membarrier, OS_MEMBARRIER_PRIVATE, 0));
}

/* The second number, the effective one, of a line "Uid:\t1000\t1000\t..." in a status file. */
static long os_effective(const char *text, const char *key)
{
    for (const char *line = text; *line != '\0'; line++) {
        if (line[0] == key[0] && line[1] == key[1] && line[2] == key[2] && line[3] == ':') {
            long n = 0;
            for (line += 5; *line >= '0' && *line <= '9';)
                line++;
            for (line++; *line >= '0' && *line <= '9'; line++)
                n = n * 10 + (*line - '0');
            return n;
        }
        while (line[0] != '\0' && line[1] != '\0' && *line != '\n')
            line++;
    }
    return -1;
}

bool rcl_os_same_user(void)
{
    char text[1024];
    long n = rcl_os_read_file("/proc/self/status", text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return os_effective(text, "Uid") == sys0(SYS_geteuid) &&
           os_effective(text, "Gid") == sys0(SYS_getegid);
}

struct os_thread_start {
    void (*fn)(void *);
    void *arg;
};

static uint32_t *os_bare_tid; /* of the last one; relaxed */

bool rcl_os_thread_is_bare(void)
{
    const uint32_t *tid = __atomic_load_n(&os_bare_tid, __ATOMIC_RELAXED);
    return tid != NULL && __atomic_load_n(tid, __ATOMIC_RELAXED) == (uint32_t)rcl_os_tid();
}

void rcl_os_thread_exit(void)
{
    for (;;)
        sys1(SYS_exit, 0);
}

void rcl_os_abort_unhandled(void)
{
    long action[8] = {0}; /* the kernel's structure begins with the handler */
    sys4(SYS_rt_sigaction, SIGABRT, NULL, action, sizeof(uint64_t));
    if (action[0] == (long)SIG_DFL)
        sys2(SYS_kill, rcl_os_pid(), SIGABRT);
}

/*
 * Runs on the new stack; returns only by ending the thread, before which AddressSanitizer would ask
 * libc for things that this thread does not have.
 */
__attribute__((noreturn, used, no_sanitize_address)) static void os_thread_main(
    struct os_thread_start *start)
{
    start->fn(start->arg);
    rcl_os_thread_exit();
}

/*
 * The new thread must not return into the frame of its parent, which lives on
 * another stack: so clone, switch and call are one piece of assembly.
 */
static long os_clone(void *stack_top, void *tls, uint32_t *tid_word, struct os_thread_start *start)
{
#if defined(__x86_64__)
    long ret;
    register long r10 __asm__("r10") = (long)tid_word; /* child_tid */
    register long r8 __asm__("r8") = (long)tls;
    register struct os_thread_start *r12 __asm__("r12") = start;
    register void (*r13)(struct os_thread_start *) __asm__("r13") = os_thread_main;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r12, %%rdi\n\t"
                     "call *%%r13\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(ret)
                     : "a"((long)SYS_clone), "D"((long)OS_CLONE_FLAGS), "S"(stack_top),
                       "d"(tid_word), "r"(r10), "r"(r8), "r"(r12), "r"(r13)
                     : "rcx", "r11", "memory");
    return ret;
#else
    register long x8 __asm__("x8") = SYS_clone;
    register long x0 __asm__("x0") = OS_CLONE_FLAGS;
    register void *x1 __asm__("x1") = stack_top;
    register uint32_t *x2 __asm__("x2") = tid_word;
    register void *x3 __asm__("x3") = tls;
    register uint32_t *x4 __asm__("x4") = tid_word;
    register struct os_thread_start *x9 __asm__("x9") = start;
    register void (*x10)(struct os_thread_start *) __asm__("x10") = os_thread_main;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x30, xzr\n\t"
                     "mov x0, x9\n\t"
                     "blr x10\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x9), "r"(x10)
                     : "memory");
    return x0;
#endif
}

int rcl_os_thread_start(void (*fn)(void *), void *arg, void *stack, size_t stack_bytes,
                        void *tls_block, size_t tls_bytes, uint32_t *tid_word, int *tid)
{
    struct os_thread_start *start = (struct os_thread_start *)rcl_align_down(
        (uintptr_t)stack + stack_bytes - sizeof *start, 64);
    start->fn = fn;
    start->arg = arg;

    /* The thread pointer stands in the middle: compilers address both sides of it. */
    char *tp = (char *)rcl_align_down((uintptr_t)tls_block + tls_bytes / 2, 64);
    *(void **)tp = tp; /* x86-64: %fs:0 holds the thread pointer itself */

    __atomic_store_n(&os_bare_tid, tid_word, __ATOMIC_RELAXED);
    long ret = os_clone(start, tp, tid_word, start);
    *tid = sys_failed(ret) ? 0 : (int)ret;
    return sys_errno(ret);
}

void rcl_os_thread_join(uint32_t *tid_word, int tid)
{
    uint32_t now;
    while ((now = __atomic_load_n(tid_word, __ATOMIC_ACQUIRE)) != 0) {
        /* The kernel's wake at thread end is a shared one: no FUTEX_PRIVATE_FLAG here. */
        sys6(SYS_futex, (long)tid_word, FUTEX_WAIT, (long)now, 0, 0, 0);
    }
    /* The word clears some microseconds before the thread leaves the process's thread count. */
    int pid = rcl_os_pid();
    uint64_t start = rcl_os_now_ns();
    for (unsigned tries = 0; tid != 0 && sys3(SYS_tgkill, pid, tid, 0) == 0; tries++) {
        if (tries < OS_JOIN_SPINS)
            continue;
        /* So late it is another thread that has been given the same id. */
        if (rcl_os_now_ns() - start > OS_JOIN_NS)
            break;
        rcl_os_yield();
    }
}

/* --- files and the environment ------------------------------------------------------------ */

int rcl_os_open(const char *path, int *fd)
{
    long ret = sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    *fd = sys_failed(ret) ? -1 : (int)ret;
    return sys_errno(ret);
}

const char *rcl_os_proc(char buf[RCL_OS_PROC_BYTES], const char *name)
{
    bool new = sys4(SYS_faccessat, AT_FDCWD, "/proc/thread-self", F_OK, 0) == 0;
    const char *folder = new ? "/proc/thread-self/" : "/proc/self/";
    size_t length = strlen(folder);
    memcpy(buf, folder, length);
    memcpy(buf + length, name, strlen(name) + 1);
    return buf;
}

long rcl_os_read(int fd, char *buf, size_t size)
{
    long n;
    do {
        n = sys3(SYS_read, fd, buf, size);
    } while (n == -EINTR);
    return sys_failed(n) ? -1 : n;
}

void rcl_os_rewind(int fd)
{
    sys3(SYS_lseek, fd, 0, SEEK_SET);
}

int rcl_os_create_new(const char *path, int *fd)
{
    long ret = sys4(SYS_openat, AT_FDCWD, path,
                    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    *fd = sys_failed(ret) ? -1 : (int)ret;
    return sys_errno(ret);
}

int rcl_os_create_unnamed(const char *folder, int *fd)
{
    long ret = sys4(SYS_openat, AT_FDCWD, folder, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
    *fd = sys_failed(ret) ? -1 : (int)ret;
    return sys_errno(ret);
}

int rcl_os_link(const char *from, const char *to)
{
    return sys_errno(sys5(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW));
}

/*
 * Beyond RLIMIT_FSIZE the kernel sends SIGXFSZ, and to a pipe without a reader SIGPIPE: to this
 * thread, at once.  Neither must end a program that does not write itself.
 */
static long os_write_quietly(int fd, const char *text, size_t bytes)
{
    const uint64_t limit = (uint64_t)1 << (SIGXFSZ - 1), pipe = (uint64_t)1 << (SIGPIPE - 1);
    const uint64_t both = limit | pipe;
    const struct timespec now = {0};
    uint64_t old = 0, waiting = 0;
    sys4(SYS_rt_sigprocmask, SIG_BLOCK, &both, &old, sizeof old);
    sys2(SYS_rt_sigpending, &waiting, sizeof waiting);
    long n = sys3(SYS_write, fd, text, bytes);
    uint64_t sent = n == -EFBIG ? limit : n == -EPIPE ? pipe : 0;
    if ((sent & ~waiting) != 0)
        sys4(SYS_rt_sigtimedwait, &sent, NULL, &now, sizeof sent);
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof old);
    return n;
}

int rcl_os_write(int fd, const char *text, size_t bytes)
{
    while (bytes > 0) {
        long n = os_write_quietly(fd, text, bytes);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? ENOSPC : sys_errno(n);
        text += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int rcl_os_close(int fd)
{
    return sys_errno(sys1(SYS_close, fd));
}

int rcl_os_rename(const char *from, const char *to)
{
    /* What is not a file shall not become one: a device, a pipe, a link such as /dev/stderr. */
    struct statx there;
    if (sys5(SYS_statx, AT_FDCWD, to, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &there) == 0 &&
        !S_ISREG(there.stx_mode) && !S_ISDIR(there.stx_mode))
        return ENXIO;
    return sys_errno(sys5(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int rcl_os_unlink(const char *path)
{
    return sys_errno(sys3(SYS_unlinkat, AT_FDCWD, path, 0));
}

long rcl_os_read_file(const char *path, char *buf, size_t size)
{
    int fd;
    size_t total = 0;
    if (rcl_os_open(path, &fd) != 0)
        return -1;
    for (long n; total < size && (n = rcl_os_read(fd, buf + total, size - total)) > 0;)
        total += (size_t)n;
    rcl_os_close(fd);
    return (long)total;
}

long rcl_os_read_link(const char *path, char *buf, size_t size)
{
    long n = sys4(SYS_readlinkat, AT_FDCWD, path, buf, size - 1);
    if (sys_failed(n))
        return -1;
    buf[n] = '\0';
    return n;
}

extern char **environ;

const char *rcl_os_getenv(const char *name, bool *known)
{
    *known = environ != NULL;
    if (environ == NULL || getauxval(AT_SECURE) != 0)
        return NULL;
    for (char **e = environ; *e != NULL; e++) {
        const char *a = *e, *b = name;
        while (*b != '\0' && *a == *b) {
            a++;
            b++;
        }
        if (*b == '\0' && *a == '=')
            return a + 1;
    }
    return NULL;
}

/* The quota of a cgroup v2 or v1 file in processors, rounded up; 0: no limit known. */
static unsigned os_cgroup_cpus(void)
{
    char buf[64];
    long n = rcl_os_read_file("/sys/fs/cgroup/cpu.max", buf, sizeof buf - 1);
    if (n <= 0 || buf[0] < '0' || buf[0] > '9')
        return 0;
    buf[n] = '\0';
    uint64_t value[2] = {0, 0};
    const char *p = buf;
    for (int i = 0; i < 2; i++) {
        while (*p >= '0' && *p <= '9')
            value[i] = value[i] * 10 + (uint64_t)(*p++ - '0');
        while (*p == ' ')
            p++;
    }
    return value[1] != 0 ? (unsigned)((value[0] + value[1] - 1) / value[1]) : 0;
}

unsigned rcl_os_ncpu(void)
{
    uint64_t mask[128]; /* 8192 processors, the most Linux is configured for */
    long n = sys3(SYS_sched_getaffinity, 0, sizeof mask, mask);
    unsigned cpus = 0;
    for (long i = 0; i < n / 8; i++)
        cpus += (unsigned)__builtin_popcountll(mask[i]);
    unsigned quota = os_cgroup_cpus();
    if (quota != 0 && quota < cpus)
        cpus = quota;
    return cpus == 0 ? 1 : cpus;
}
