/* SPDX-License-Identifier: MIT */
/* conf.c - see conf.h. */
#include "conf.h"

#include "die.h"
#include "options.h"
#include "os.h"
#include "out.h"

#ifndef RCL_MALLOC_CONF
#define RCL_MALLOC_CONF ""
#endif

enum {
    LINK_BYTES = 4096, /* the longest a link's text can be */
    RECORD_LAYOUT = 1,
    RECORD_BYTES = 8192,
};

const char rcl_conf_built_in[] = RCL_MALLOC_CONF;

RCL_EXPORT __attribute__((weak)) const char *malloc_conf = NULL;

static const char *built_in(char *buf)
{
    (void)buf;
    return rcl_conf_built_in;
}

static const char *of_program(char *buf)
{
    (void)buf;
    return malloc_conf;
}

static const char *link_text(const char *path, char *buf)
{
    return rcl_os_read_link(path, buf, LINK_BYTES) >= 0 ? buf : NULL;
}

static const char *jemalloc_link(char *buf)
{
    return link_text("/etc/malloc.conf", buf);
}

static const char *own_link(char *buf)
{
    return link_text("/etc/reclaim.conf", buf);
}

static const char *variable(const char *name)
{
    bool known;
    return rcl_os_getenv(name, &known);
}

static const char *jemalloc_variable(char *buf)
{
    (void)buf;
    return variable("MALLOC_CONF");
}

static const char *own_variable(char *buf)
{
    (void)buf;
    return variable("RECLAIM_CONF");
}

static const struct source {
    const char *name;
    const char *(*text)(char *buf); /* NULL: there is none */
} sources[] = {
    {"configure", built_in},
    {"malloc_conf", of_program},
    {"/etc/malloc.conf", jemalloc_link},
    {"/etc/reclaim.conf", own_link},
    {"MALLOC_CONF", jemalloc_variable},
    {"RECLAIM_CONF", own_variable},
};

/* --- complaints --------------------------------------------------------------------------- */

struct complaint {
    const char *source;
    bool any;
};

/* A piece of the text, fit for a line: control characters and what is too long left out. */
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
    struct complaint *c = arg;
    char key_text[48], value_text[48], line[256];
    const char *key = printable(key_text, sizeof key_text, e->key, e->key_bytes);
    const char *value = printable(value_text, sizeof value_text, e->value, e->value_bytes);
    struct rcl_out o = {.buf = line, .size = sizeof line - 1};

    if (!e->of_value)
        rcl_out_print(&o, "%s: \"%s\" %s", c->source, key, e->what);
    else if (e->key_bytes == 0)
        rcl_out_print(&o, "%s: \":%s\" %s", c->source, value, e->what);
    else
        rcl_out_print(&o, "%s: %s: \"%s\" %s", c->source, key, value, e->what);
    if (e->nearest != NULL)
        rcl_out_print(&o, "; did you mean \"%s\"?", e->nearest);
    else if (e->words != NULL)
        rcl_out_print(&o, " (%s)", e->words);
    else if (e->max > 0)
        rcl_out_print(&o, " (%s%zu to %zu)", e->min < 0 ? "-" : "",
                      (size_t)(e->min < 0 ? -e->min : e->min), (size_t)e->max);
    rcl_out_print(&o, "; ignored");
    line[o.used] = '\0';
    rcl_tell("%s", line);
    c->any = true;
}

/* --- for who looks from outside ----------------------------------------------------------- */

static char conf_record_text[RECORD_BYTES];

/*
 * The options in effect, where another process finds them: the mark stands in the writable data
 * of the library or the program, and what is found there is this record if `self` says so.
 * The environment does not tell them: programs overwrite it, and it is one source of several.
 */
static struct {
    char mark[16];
    uintptr_t self; /* its own address, once the text is whole */
    const char *text;
    uint32_t layout;
    uint32_t bytes;
    uint32_t purges; /* that were asked for from outside and are done */
} conf_record __attribute__((used)) = {.mark = "libreclaim conf", .layout = RECORD_LAYOUT};

/* name:value for each option, each ended by a zero: a value may hold anything else. */
static void write_record(void)
{
    struct rcl_out o = {.buf = conf_record_text, .size = sizeof conf_record_text};
    for (size_t i = 0; i < rcl_options_count(); i++) {
        char value[RCL_OPTION_TEXT];
        rcl_out_print(&o, "%s:%s%c", rcl_options_name(i), rcl_options_text(&rcl_opt, i, value), 0);
    }
    conf_record.text = conf_record_text;
    conf_record.bytes = (uint32_t)o.used;
    __atomic_store_n(&conf_record.self, (uintptr_t)&conf_record, __ATOMIC_RELEASE);
}

void rcl_conf_note_purge(void)
{
    __atomic_fetch_add(&conf_record.purges, 1, __ATOMIC_RELEASE);
}

/* --- reading and telling ------------------------------------------------------------------ */

bool rcl_conf_read(void)
{
    struct complaint c = {NULL, false};
    char buf[LINK_BYTES];
    bool known;
    rcl_os_getenv("RECLAIM_CONF", &known);
    if (!known)
        return false; /* all at once later, so that complaints come once and the order is kept */
    for (size_t i = 0; i < array_len(sources); i++) {
        const char *text = sources[i].text(buf);
        c.source = sources[i].name;
        if (text != NULL)
            rcl_options_parse(&rcl_opt, text, complain, &c);
    }
    write_record();
    if (c.any && rcl_opt.abort_conf)
        rcl_die("abort_conf: stopped because of the wrong option above");
    rcl_warn_fatal(rcl_opt.abort);
    return true;
}

/* A text of any length on one line. */
static void print_line(struct rcl_out *o, const char *name, const char *text)
{
    rcl_out_print(o, "libreclaim: options from %s: ", name);
    for (; *text != '\0'; text++)
        rcl_out_print(o, "%c", *text < ' ' || *text > '~' ? '?' : *text);
    rcl_out_print(o, "\n");
}

void rcl_conf_confirm(unsigned arenas)
{
    struct rcl_out_fd fd;
    struct rcl_out *o = rcl_out_to_fd(&fd, 2);
    char buf[LINK_BYTES];
    for (size_t i = 0; i < array_len(sources); i++) {
        const char *text = sources[i].text(buf);
        if (text != NULL && *text != '\0')
            print_line(o, sources[i].name, text);
    }
    rcl_out_print(o, "libreclaim: page size %zu, at most %u arenas; options in effect:\n",
                  rcl_page_size(), arenas);
    for (size_t i = 0; i < rcl_options_count(); i++) {
        char shown[RCL_OPTION_TEXT];
        rcl_out_print(o, "  %s:%s\n", rcl_options_name(i), rcl_options_text(&rcl_opt, i, shown));
    }
    bool any = false;
    for (size_t i = 0; i < rcl_options_idle_count(); i++) {
        const char *reason, *name = rcl_options_idle_name(i, &reason);
        if (!rcl_options_idle_given(&rcl_opt, i))
            continue;
        if (!any)
            rcl_out_print(o, "libreclaim: accepted, without effect here:\n");
        any = true;
        rcl_out_print(o, "  %s: %s\n", name, reason);
    }
    rcl_out_flush(o);
}
