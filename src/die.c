/* SPDX-License-Identifier: MIT */
/* die.c - see die.h. */
#include "die.h"

#include "os.h"
#include "out.h"

#include <stdlib.h>
#include <string.h>

RCL_EXPORT void (*malloc_message)(void *, const char *) = NULL;

static bool warnings_are_fatal;

/* To the program's function where it has one; there a text ends with NUL. */
static void to_message(void *arg, const char *text, size_t bytes)
{
    (void)arg;
    if (malloc_message == NULL)
        rcl_os_write(2, text, bytes);
    else if (bytes > 0)
        malloc_message(NULL, text);
}

static void die_line(const char *format, va_list args)
{
    char text[512];
    /* One byte stays zero: behind the last one written, whenever the buffer is handed on. */
    struct rcl_out o = {.buf = text, .size = sizeof text - 1, .sink = to_message};
    memset(text, 0, sizeof text);
    rcl_out_print(&o, "libreclaim: ");
    rcl_out_vprint(&o, format, args);
    rcl_out_print(&o, "\n");
    text[o.used] = '\0';
    rcl_out_flush(&o);
}

void rcl_warn_fatal(bool fatal)
{
    warnings_are_fatal = fatal;
}

void rcl_tell(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    die_line(format, args);
    va_end(args);
}

void rcl_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    die_line(format, args);
    va_end(args);
    if (warnings_are_fatal)
        rcl_die("abort: stopped because of the warning above");
}

bool rcl_die_pending;
void (*rcl_die_let_go)(void);

void rcl_die(const char *format, ...)
{
    va_list args;
    if (rcl_die_let_go != NULL)
        rcl_die_let_go();
    va_start(args, format);
    die_line(format, args);
    va_end(args);
    if (!rcl_os_thread_is_bare())
        abort();
    __atomic_store_n(&rcl_die_pending, true, __ATOMIC_RELAXED);
    rcl_os_abort_unhandled();
    rcl_os_thread_exit();
}

void rcl_die_late(void)
{
    if (!__atomic_exchange_n(&rcl_die_pending, false, __ATOMIC_RELAXED))
        return; /* somebody else does */
    if (rcl_die_let_go != NULL)
        rcl_die_let_go();
    abort();
}

void rcl_die_of_bug(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    die_line(format, args);
    va_end(args);
    abort();
}
