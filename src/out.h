/* SPDX-License-Identifier: MIT */
/*
 * out.h - formatted text without allocation, lock or libc.
 *
 * A struct rcl_out collects text in a buffer of the caller's and hands it to a
 * sink when the buffer is full and at rcl_out_flush().  The formats are the few
 * that are needed:  %s  %u (unsigned)  %d (int)  %zu (size_t)  %llu (uint64_t)
 * %x (size_t, hex digits)  %p (pointer)  %c  %%.  No widths.
 * Not thread-safe: one object, one thread.
 */
#ifndef RCL_OUT_H
#define RCL_OUT_H

#include "base.h"

#include <stdarg.h>

struct rcl_out {
    char *buf;
    size_t size;
    size_t used;
    void (*sink)(void *arg, const char *text, size_t bytes); /* NULL: overflow is cut off */
    void *arg;
};

/* A buffer of its own, written to file descriptor `fd`. */
struct rcl_out_fd {
    struct rcl_out out;
    int fd;
    char text[512];
};

struct rcl_out *rcl_out_to_fd(struct rcl_out_fd *o, int fd);

void rcl_out_print(struct rcl_out *o, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void rcl_out_vprint(struct rcl_out *o, const char *format, va_list args);
void rcl_out_flush(struct rcl_out *o);

#endif
