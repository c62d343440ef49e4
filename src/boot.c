/* SPDX-License-Identifier: MIT */
/* boot.c - see boot.h. */
#include "boot.h"

#include "arena.h"
#include "die.h"
#include "fork.h"
#include "huge.h"
#include "options.h"
#include "os.h"
#include "out.h"
#include "prof.h"
#include "purge.h"
#include "sizeclass.h"
#include "thread.h"

enum { NOT_BOOTED, BOOTING };

uint32_t rcl_boot_state;
static bool options_read;

/* --- options ------------------------------------------------------------------------------ */

struct source {
    const char *name; /* of the variable */
    bool wrong;       /* it held an error */
};

/* A piece of the variable, fit for a line: control characters and what is too long left out. */
static const char *printable(char *to, size_t size, const char *from, size_t bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < bytes && used + 1 < size; i++)
        to[used++] = from[i] < ' ' || from[i] > '~' ? '?' : from[i];
    to[used] = '\0';
    return to;
}

static void complain(const struct rcl_option_error *e, void *arg)
{
    struct source *from = arg;
    char key_text[48], value_text[48], line[256];
    const char *key = printable(key_text, sizeof key_text, e->key, e->key_bytes);
    const char *value = printable(value_text, sizeof value_text, e->value, e->value_bytes);
    struct rcl_out o;

    o = (struct rcl_out){.buf = line, .size = sizeof line - 1};
    if (e->value_bytes > 0 && e->nearest == NULL && e->max != 0)
        rcl_out_print(&o, "%s: %s: \"%s\" %s", from->name, key, value, e->what);
    else
        rcl_out_print(&o, "%s: \"%s\" %s", from->name, key, e->what);
    if (e->nearest != NULL)
        rcl_out_print(&o, "; did you mean \"%s\"?", e->nearest);
    else if (e->max > 1)
        rcl_out_print(&o, " (%s%zu to %zu)", e->min < 0 ? "-" : "",
                      (size_t)(e->min < 0 ? -e->min : e->min), (size_t)e->max);
    rcl_out_print(&o, "; ignored");
    line[o.used] = '\0';
    rcl_warn("%s", line);
    from->wrong = true;
}

static void confirm(void)
{
    struct rcl_out_fd fd;
    struct rcl_out *o = rcl_out_to_fd(&fd, 2);
    rcl_out_print(o, "libreclaim: page size %zu, at most %u arenas; options in effect:\n",
                  rcl_page_size(), rcl_arena_limit());
    for (size_t i = 0; i < rcl_options_count(); i++) {
        char text[RCL_OPTION_TEXT];
        rcl_out_print(o, "  %s:%s\n", rcl_options_name(i), rcl_options_text(&rcl_opt, i, text));
    }
    rcl_out_flush(o);
}

static void read_options(void)
{
    struct source from[] = {{"MALLOC_CONF", false}, {"RECLAIM_CONF", false}};
    for (size_t i = 0; i < array_len(from); i++) {
        const char *text = rcl_os_getenv(from[i].name, &options_read);
        if (text != NULL)
            rcl_options_parse(&rcl_opt, text, i == 0, complain, &from[i]);
    }
    if ((from[0].wrong || from[1].wrong) && rcl_opt.abort_conf)
        rcl_die("abort_conf: stopped because of the wrong option above");
}

/* --- stage 1 ------------------------------------------------------------------------------ */

static bool first_stage(void)
{
    rcl_os_init();
    rcl_sizeclass_init(rcl_page_size());
    read_options();
    rcl_huge_init(rcl_arena_window_ns());
    if (!rcl_arena_boot())
        return false;
    rcl_os_process_barrier(); /* registers for it: instantaneous with one thread */
    if (rcl_opt.confirm_conf)
        confirm();
    return true;
}

static bool boot(void)
{
    for (;;) {
        uint32_t state = NOT_BOOTED;
        if (__atomic_compare_exchange_n(&rcl_boot_state, &state, BOOTING, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_ACQUIRE)) {
            bool done = first_stage();
            __atomic_store_n(&rcl_boot_state, done ? RCL_BOOT_DONE : NOT_BOOTED, __ATOMIC_RELEASE);
            return done;
        }
        if (state == RCL_BOOT_DONE)
            return true;
        rcl_os_yield();
    }
}

bool rcl_boot_slow(void)
{
    /* A handler that allocates would wait for the thread it has interrupted. */
    uint64_t signals = rcl_os_block_signals();
    bool done = boot();
    rcl_os_restore_signals(signals);
    return done;
}

/* --- stage 2 ------------------------------------------------------------------------------ */

__attribute__((constructor(101))) static void second_stage(void)
{
    rcl_boot();
    if (!options_read) {
        /* The first allocation came before the environment; what is made keeps its defaults. */
        read_options();
        rcl_arena_boot();
    }
    rcl_thread_boot();
    rcl_fork_boot();
    rcl_prof_boot();
}
