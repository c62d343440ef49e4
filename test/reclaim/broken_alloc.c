/* SPDX-License-Identifier: MIT */
/*
 * broken_alloc.c - an allocator that is wrong on purpose, to see the tests of this folder fail.
 *
 * Thread caches are stacks of free blocks, and malloc_trim(0) empties the caches of all threads
 * without asking their owners: the very mistake that interrupt.c and singlestep.c look for.  An
 * owner that stands between reading the top of its stack and writing the new height hands out a
 * block that the purger has taken as well, or loses one.  `driver.py --self-test` preloads this
 * and is content only when the tests are not.  It never gives memory back either.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    GRAIN = 16,
    CLASSES = 1024, /* blocks of up to 16 KiB, one class per 16 bytes */
    CACHED = 64,    /* blocks one thread keeps of one class           */
    CHUNK = 1 << 22,
    MAX_CACHES = 128,
};

/* In front of every block. */
struct header {
    size_t cls; /* 0: never re-used */
    size_t usable;
};

struct free_block {
    struct free_block *next;
};

struct cache {
    unsigned height[CLASSES];
    void *stack[CLASSES][CACHED];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct free_block *shared_free[CLASSES];
static char *chunk, *chunk_end;
static struct cache *caches[MAX_CACHES];
static unsigned cache_count;
static _Thread_local struct cache *own __attribute__((tls_model("initial-exec")));

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static struct cache *own_cache(void)
{
    if (own == NULL) {
        struct cache *c = map(sizeof *c);
        pthread_mutex_lock(&lock);
        if (c != NULL && cache_count < MAX_CACHES)
            caches[cache_count++] = c;
        pthread_mutex_unlock(&lock);
        own = c;
    }
    return own;
}

static void *carve(size_t cls)
{
    size_t bytes = cls * GRAIN + sizeof(struct header);
    if (chunk == NULL || (size_t)(chunk_end - chunk) < bytes) {
        chunk = map(CHUNK);
        if (chunk == NULL)
            return NULL;
        chunk_end = chunk + CHUNK;
    }
    struct header *h = (struct header *)chunk;
    chunk += bytes;
    *h = (struct header){cls, cls * GRAIN};
    return h + 1;
}

static void *take_shared(size_t cls)
{
    pthread_mutex_lock(&lock);
    struct free_block *b = shared_free[cls];
    if (b != NULL)
        shared_free[cls] = b->next;
    void *p = b != NULL ? (void *)b : carve(cls);
    pthread_mutex_unlock(&lock);
    return p;
}

static void give_shared(size_t cls, void *p)
{
    struct free_block *b = p;
    b->next = shared_free[cls];
    shared_free[cls] = b;
}

void *malloc(size_t size)
{
    size_t cls = (size + GRAIN - 1) / GRAIN + (size == 0);
    if (cls >= CLASSES) {
        struct header *h = map(size + sizeof *h);
        if (h == NULL) {
            errno = ENOMEM;
            return NULL;
        }
        *h = (struct header){0, size};
        return h + 1;
    }
    struct cache *c = own_cache();
    if (c != NULL && c->height[cls] > 0)
        return c->stack[cls][--c->height[cls]];
    return take_shared(cls);
}

void free(void *p)
{
    if (p == NULL)
        return;
    struct header *h = (struct header *)p - 1;
    if (h->cls == 0)
        return;
    struct cache *c = own_cache();
    if (c != NULL && c->height[h->cls] < CACHED) {
        c->stack[h->cls][c->height[h->cls]++] = p;
        return;
    }
    pthread_mutex_lock(&lock);
    give_shared(h->cls, p);
    pthread_mutex_unlock(&lock);
}

/* The mistake: other threads' heights and stacks are read and written while they use them. */
int malloc_trim(size_t pad)
{
    (void)pad;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < cache_count; i++) {
        for (size_t cls = 1; cls < CLASSES; cls++) {
            while (caches[i]->height[cls] > 0)
                give_shared(cls, caches[i]->stack[cls][--caches[i]->height[cls]]);
        }
    }
    pthread_mutex_unlock(&lock);
    return 1;
}

void *calloc(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    void *p = malloc(bytes);
    return p == NULL ? NULL : memset(p, 0, bytes);
}

size_t malloc_usable_size(void *p)
{
    return p == NULL ? 0 : ((struct header *)p - 1)->usable;
}

void *realloc(void *p, size_t size)
{
    void *q = malloc(size);
    if (p == NULL || q == NULL)
        return q;
    size_t old = malloc_usable_size(p);
    memcpy(q, p, old < size ? old : size);
    free(p);
    return q;
}

int posix_memalign(void **out, size_t align, size_t size)
{
    char *p = map(size + align + sizeof(struct header));
    if (p == NULL)
        return ENOMEM;
    uintptr_t at = ((uintptr_t)p + sizeof(struct header) + align - 1) & ~(align - 1);
    ((struct header *)at)[-1] = (struct header){0, size};
    *out = (void *)at;
    return 0;
}

void *aligned_alloc(size_t align, size_t size)
{
    void *p = NULL;
    errno = posix_memalign(&p, align, size);
    return p;
}

void *memalign(size_t align, size_t size)
{
    return aligned_alloc(align, size);
}
