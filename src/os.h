/* SPDX-License-Identifier: MIT */
/*
 * os.h - everything libreclaim asks of the kernel, and nothing else does.
 *
 * All calls are raw system calls: they go around libc, so they can be made
 * before libc is initialised, cannot be intercepted by another preloaded
 * library, never touch errno, and never call back into malloc.  Calls that can
 * fail return 0 or a positive errno value.  Addresses and lengths passed to the
 * memory calls must be multiples of the page size unless stated otherwise.
 * Every function may be called by any thread at any time.
 */
#ifndef RCL_OS_H
#define RCL_OS_H

#include "base.h"

struct rcl_os_range {
    void *addr;
    size_t bytes;
};

/* --- the page ----------------------------------------------------------------------------- */

extern unsigned rcl_os_page_shift; /* log2 of the page size; set by rcl_os_init() */

static inline unsigned rcl_page_shift(void)
{
    return rcl_os_page_shift;
}

static inline size_t rcl_page_size(void)
{
    return (size_t)1 << rcl_os_page_shift;
}

/* Learn page size and processor count.  Idempotent; first call of boot. */
void rcl_os_init(void);

/* --- memory ------------------------------------------------------------------------------- */

/* Fresh zeroed private memory, or NULL when the kernel has none to give. */
void *rcl_os_map(size_t bytes);

/* The same, of this process and of those that it will fork. */
void *rcl_os_map_shared(size_t bytes);

/* As rcl_os_map, aligned to `align` (a power of two >= the page size). */
void *rcl_os_map_aligned(size_t bytes, size_t align);

/* Give address space back.  ENOMEM is possible (mapping count): the memory then stays mapped. */
int rcl_os_unmap(void *addr, size_t bytes);

/* The same of memory that the program had, counted in rcl_os_returns. */
int rcl_os_return(void *addr, size_t bytes);

/* Resize a mapping, moving it where needed; NULL when the kernel refuses (old mapping intact). */
void *rcl_os_remap(void *addr, size_t old_bytes, size_t new_bytes);

/* The same where it stands. */
void *rcl_os_remap_in_place(void *addr, size_t old_bytes, size_t new_bytes);

/* Move a mapping to `target`, replacing what is there.  errno. */
int rcl_os_remap_to(void *addr, size_t old_bytes, size_t new_bytes, void *target);

/* Whether the page at `addr` has memory now, for one that nobody has touched: mlockall. */
bool rcl_os_is_resident(void *addr);

/* System calls that have returned memory since the start: rcl_os_return and those of release.h. */
uint64_t rcl_os_returns(void);
void rcl_os_count_return(void);

/* Ask the kernel not to back the range with huge pages, or to do so.  Advice: failure is silent. */
void rcl_os_no_hugepage(void *addr, size_t bytes);
void rcl_os_hugepage(void *addr, size_t bytes);

/* A child finds these pages full of zeros, however it was made.  False: before Linux 4.14. */
bool rcl_os_wipe_on_fork(void *addr, size_t bytes);

/* Show `name` for the mapping in /proc/PID/maps where the kernel supports it. */
void rcl_os_name(void *addr, size_t bytes, const char *name);

/*
 * May the 8 bytes at `addr`, a multiple of 8, be read?  True until somebody unmaps them.  No
 * signal, no change of state, allowed under every seccomp filter that lets libc work.
 */
bool rcl_os_readable(const void *addr);

/* Copy what may have been unmapped meanwhile.  False: not readable, or not allowed. */
bool rcl_os_copy(void *to, const void *from, size_t bytes);

/* --- threads and time --------------------------------------------------------------------- */

uint64_t rcl_os_now_ns(void);    /* monotonic; never 0 */
uint64_t rcl_os_coarse_ns(void); /* the same clock, some milliseconds behind, cheaper */
uint64_t rcl_os_wall_s(void);    /* seconds since 1970 */

/* Wait while *word == expected, at most timeout_ns (0: no limit).  Spurious wake-ups happen. */
void rcl_os_futex_wait(uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void rcl_os_futex_wake(uint32_t *word, int count);
void rcl_os_yield(void);

int rcl_os_pid(void);
int rcl_os_tid(void);
void rcl_os_thread_name(char name[16]);

/* Processors this process may really use: affinity mask, capped by the cgroup's cpu quota. */
unsigned rcl_os_ncpu(void);

/* Block every signal for the calling thread; put back what was blocked before. */
uint64_t rcl_os_block_signals(void);
void rcl_os_restore_signals(uint64_t old);

/*
 * A full memory barrier executed by every running thread of the process.
 * False: not available, nothing was ordered.
 */
bool rcl_os_process_barrier(void);

/*
 * Whether the calling thread acts for the same user and group as the main thread.  A bare
 * thread keeps what it had when libc changes them in all threads it knows.
 */
bool rcl_os_same_user(void);

/*
 * Start `fn(arg)` as a bare kernel thread of this process on the given stack:
 * the caller's blocked signals, no libc state, a thread pointer of its own (tls_block:
 * zeroed memory of at least 512 bytes).  *tid_word holds the thread's id while
 * it lives and is set to 0 (with a futex wake) by the kernel at its very end;
 * *tid gets the id too.  fn must use no libc call and no thread-local variable.
 */
int rcl_os_thread_start(void (*fn)(void *), void *arg, void *stack, size_t stack_bytes,
                        void *tls_block, size_t tls_bytes, uint32_t *tid_word, int *tid);

/* Whether the caller is the one that was started last; and its end. */
bool rcl_os_thread_is_bare(void);
__attribute__((noreturn)) void rcl_os_thread_exit(void);

/* SIGABRT for the process, if the program does not handle it. */
void rcl_os_abort_unhandled(void);

/* Wait until the thread of *tid_word has ended and the kernel no longer counts it. */
void rcl_os_thread_join(uint32_t *tid_word, int tid);

/* --- files and the environment ------------------------------------------------------------ */

/*
 * Write all of it, without a signal at a size limit or where nobody reads.  errno; often nobody is
 * there to be told.
 */
int rcl_os_write(int fd, const char *text, size_t bytes);

int rcl_os_close(int fd);

/* ENXIO where `to` is a device or the like; a link is replaced, not followed. */
int rcl_os_rename(const char *from, const char *to);
int rcl_os_unlink(const char *path);

/* The start of a file: bytes read (at most `size`), or -1. */
long rcl_os_read_file(const char *path, char *buf, size_t size);

/* The same piece by piece.  open: errno, and *fd is -1; read: bytes, 0 at the end, -1. */
int rcl_os_open(const char *path, int *fd);
long rcl_os_read(int fd, char *buf, size_t size);
void rcl_os_rewind(int fd); /* what is read next is the start again */

/*
 * The name, of up to 24 bytes, of a file of this process in /proc, into buf.  By the calling
 * thread: what /proc/self tells is empty once the first thread has ended (but for Linux before
 * 3.17).
 */
#define RCL_OS_PROC_BYTES 48
const char *rcl_os_proc(char buf[RCL_OS_PROC_BYTES], const char *name);

/*
 * A new file, which must not exist; one in a folder that has no name, and is gone with the process,
 * and a name for it, by that of its descriptor in /proc.  errno.
 */
int rcl_os_create_new(const char *path, int *fd);
int rcl_os_create_unnamed(const char *folder, int *fd);
int rcl_os_link(const char *from, const char *to);

/* Text of a symbolic link, NUL-terminated; -1 when there is none. */
long rcl_os_read_link(const char *path, char *buf, size_t size);

/*
 * The value of an environment variable, NULL when unset.  *known is false when
 * libc has not set up the environment yet.  NULL in a set-user-ID program.
 */
const char *rcl_os_getenv(const char *name, bool *known);

#endif
