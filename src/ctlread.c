/* SPDX-License-Identifier: MIT */
/* ctlread.c - the names of mallctl that only tell: constants, options, statistics. */
#include "ctl.h"

#include "account.h"
#include "arena.h"
#include "background.h"
#include "conf.h"
#include "ctlstat.h"
#include "options.h"
#include "os.h"
#include "prof.h"
#include "purge.h"
#include "sizeclass.h"

#include <errno.h>

enum { WORDS_MAX = 16 }; /* options with words */

/* --- constants ---------------------------------------------------------------------------- */

int rcl_ctl_text(struct ctl *c)
{
    c->old.text = (const char *)c->row->argument;
    return 0;
}

int rcl_ctl_flag(struct ctl *c)
{
    c->old.b = c->row->argument != 0;
    return 0;
}

/* Little-endian: the low bytes of the widest are the value of the narrower. */
int rcl_ctl_number(struct ctl *c)
{
    c->old.u64 = c->row->argument;
    return 0;
}

int rcl_ctl_page(struct ctl *c)
{
    c->old.z = rcl_page_size();
    return 0;
}

int rcl_ctl_tcache_max(struct ctl *c)
{
    c->old.z = rcl_min((size_t)rcl_opt.tcache_max, RCL_MEDIUM_MAX);
    return 0;
}

int rcl_ctl_built_in_conf(struct ctl *c)
{
    c->old.text = rcl_conf_built_in;
    return 0;
}

/* --- options ------------------------------------------------------------------------------ */

/* An option, by its place in struct rcl_options. */
int rcl_ctl_opt_flag(struct ctl *c)
{
    c->old.b = *(const int64_t *)((const char *)&rcl_opt + c->row->argument) != 0;
    return 0;
}

int rcl_ctl_opt_number(struct ctl *c)
{
    if (c->row->argument == offsetof(struct rcl_options, narenas)) {
        c->old.u = rcl_arena_limit(); /* programs size their tables by it: what was chosen */
        return 0;
    }
    c->old.u64 = (uint64_t) * (const int64_t *)((const char *)&rcl_opt + c->row->argument);
    return 0;
}

int rcl_ctl_opt_text(struct ctl *c)
{
    c->old.text = (const char *)&rcl_opt + c->row->argument;
    return 0;
}

/* A word or a signal, by name. */
int rcl_ctl_opt_word(struct ctl *c)
{
    /* Constant once written, as options are; so it does not matter who writes it. */
    static char shown[WORDS_MAX][RCL_OPTION_TEXT];
    size_t n = 0;
    for (size_t i = 0; i < rcl_options_count(); i++) {
        if (!rcl_options_is_word(i))
            continue;
        const char *text = rcl_options_text(&rcl_opt, i, shown[n]);
        if (rcl_options_place(i) == c->row->argument)
            c->old.text = text;
        n++;
    }
    return 0;
}

/* --- statistics --------------------------------------------------------------------------- */

int rcl_ctl_background_now(struct ctl *c)
{
    c->old.z = rcl_background_running();
    return 0;
}

int rcl_ctl_background_step(struct ctl *c)
{
    c->old.u64 = rcl_purge_step_ns();
    return 0;
}

int rcl_ctl_zero_reallocs(struct ctl *c)
{
    c->old.z = rcl_account_read(&rcl_account.zero_reallocs);
    return 0;
}

int rcl_ctl_arenas_count(struct ctl *c)
{
    c->old.u = rcl_arena_indexes();
    return 0;
}

int rcl_ctl_bin_shape(struct ctl *c)
{
    const struct rcl_class *class = &rcl_classes[c->number[0] + RCL_CLASS_FIRST];
    switch (c->row->argument) {
    case SHAPE_SIZE:
        c->old.z = class->size;
        break;
    case SHAPE_SLOTS:
        c->old.u = class->slots;
        break;
    default:
        c->old.z = (size_t) class->slab_pages << rcl_page_shift();
    }
    return 0;
}

int rcl_ctl_extent_size(struct ctl *c)
{
    c->old.z = rcl_extent_size((unsigned)c->number[0]);
    return 0;
}

int rcl_ctl_stat(struct ctl *c)
{
    enum ctl_stat what = (enum ctl_stat)c->row->argument;
    if (c->moment == NULL)
        return rcl_ctlstat(what, &c->old.u64) ? 0 : EAGAIN;
    rcl_moment_total(c->moment, what, &c->old.u64);
    return 0;
}

int rcl_ctl_arena_stat(struct ctl *c)
{
    enum ctl_arena_stat what = (enum ctl_arena_stat)c->row->argument;
    bool known = c->moment != NULL ? rcl_moment_arena(c->moment, c->number[0], what, &c->old.u64)
                                   : rcl_ctlstat_arena(c->number[0], what, &c->old.u64);
    return known ? 0 : ENOENT;
}

int rcl_ctl_bin_stat(struct ctl *c)
{
    enum ctl_bin_stat what = (enum ctl_bin_stat)c->row->argument;
    bool known = c->moment != NULL
                     ? rcl_moment_bin(c->moment, c->number[0], c->number[1], what, &c->old.u64)
                     : rcl_ctlstat_bin(c->number[0], c->number[1], what, &c->old.u64);
    return known ? 0 : ENOENT;
}

int rcl_ctl_extent_stat(struct ctl *c)
{
    enum ctl_extent_stat what = (enum ctl_extent_stat)c->row->argument;
    bool known = c->moment != NULL
                     ? rcl_moment_extent(c->moment, c->number[0], c->number[1], what, &c->old.u64)
                     : rcl_ctlstat_extent(c->number[0], c->number[1], what, &c->old.u64);
    return known ? 0 : ENOENT;
}

/* --- heap profiles ------------------------------------------------------------------------ */

int rcl_ctl_prof_lg_sample(struct ctl *c)
{
    c->old.z = rcl_prof_lg_sample();
    return 0;
}

int rcl_ctl_prof_interval(struct ctl *c)
{
    c->old.u64 = rcl_opt.lg_prof_interval < 0 ? 0 : (uint64_t)1 << rcl_opt.lg_prof_interval;
    return 0;
}
