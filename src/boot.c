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

static void complain(const struct rcl_option_error *e, void *arg)
{
    struct source *from = arg;
    char key[48], value[48], line[256];
    struct rcl_out o = {.buf = key, .size = sizeof key - 1};
    for (size_t i = 0; i < e->key_bytes; i++)
        rcl_out_print(&o, "%c", e->key[i]);
    key[o.used] = '\0';
    o = (struct rcl_out){.buf = value, .size = sizeof value - 1};
    for (size_t i = 0; i < e->value_bytes; i++)
        rcl_out_print(&o, "%c", e->value[i]);
    value[o.used] = '\0';

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
        int64_t v = rcl_options_value(&rcl_opt, i);
        if (rcl_options_is_bool(i))
            rcl_out_print(o, "  %s:%s\n", rcl_options_name(i), v ? "true" : "false");
        else
            rcl_out_print(o, "  %s:%s%zu\n", rcl_options_name(i), v < 0 ? "-" : "",
                          (size_t)(v < 0 ? -v : v));
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
    rcl_huge_init(rcl_purge_step_ns() * RCL_DECAY_STEPS);
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
}
