/* SPDX-License-Identifier: MIT */
/* die.c - see die.h. */
#include "die.h"

#include "out.h"

#include <stdlib.h>

static void die_line(const char *format, va_list args)
{
    struct rcl_out_fd o;
    rcl_out_to_fd(&o, 2);
    rcl_out_print(&o.out, "libreclaim: ");
    rcl_out_vprint(&o.out, format, args);
    rcl_out_print(&o.out, "\n");
    rcl_out_flush(&o.out);
}

void rcl_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    die_line(format, args);
    va_end(args);
}

void rcl_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    die_line(format, args);
    va_end(args);
    abort();
}
