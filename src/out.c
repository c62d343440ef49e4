/* SPDX-License-Identifier: MIT */
/* out.c - a formatter that can be used where malloc is broken; see out.h. */
#include "out.h"

#include "os.h"

static void out_to_fd(void *arg, const char *text, size_t bytes)
{
    rcl_os_write(*(int *)arg, text, bytes);
}

struct rcl_out *rcl_out_to_fd(struct rcl_out_fd *o, int fd)
{
    o->fd = fd;
    o->out = (struct rcl_out){
        .buf = o->text, .size = sizeof o->text, .sink = out_to_fd, .arg = &o->fd};
    return &o->out;
}

void rcl_out_flush(struct rcl_out *o)
{
    if (o->sink != NULL) {
        o->sink(o->arg, o->buf, o->used);
        o->used = 0;
    }
}

static void out_char(struct rcl_out *o, char c)
{
    if (o->used == o->size) {
        if (o->sink == NULL)
            return;
        rcl_out_flush(o);
    }
    o->buf[o->used++] = c;
}

static void out_string(struct rcl_out *o, const char *s)
{
    for (; *s != '\0'; s++)
        out_char(o, *s);
}

static void out_number(struct rcl_out *o, uint64_t n, unsigned base)
{
    char digits[20]; /* 2^64 has 20 decimal digits */
    unsigned len = 0;
    do {
        digits[len++] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n != 0);
    while (len > 0)
        out_char(o, digits[--len]);
}

void rcl_out_vprint(struct rcl_out *o, const char *format, va_list args)
{
    for (const char *f = format; *f != '\0'; f++) {
        if (*f != '%') {
            out_char(o, *f);
            continue;
        }
        f++;
        unsigned longs = 0;
        while (*f == 'l' || *f == 'z') {
            longs++;
            f++;
        }
        switch (*f) {
        case 's':
            out_string(o, va_arg(args, const char *));
            break;
        case 'c':
            out_char(o, (char)va_arg(args, int));
            break;
        case 'd': {
            int n = va_arg(args, int);
            if (n < 0)
                out_char(o, '-');
            out_number(o, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, 10);
            break;
        }
        case 'u':
            out_number(o, longs != 0 ? va_arg(args, uint64_t) : va_arg(args, unsigned), 10);
            break;
        case 'x':
            out_number(o, longs != 0 ? va_arg(args, uint64_t) : va_arg(args, unsigned), 16);
            break;
        case 'p':
            out_string(o, "0x");
            out_number(o, (uintptr_t)va_arg(args, void *), 16);
            break;
        case '%':
            out_char(o, '%');
            break;
        default:
            return; /* a format this file does not know: stop rather than guess */
        }
    }
}

void rcl_out_print(struct rcl_out *o, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    rcl_out_vprint(o, format, args);
    va_end(args);
}
