/* SPDX-License-Identifier: MIT */
/* ctlact.c - the names of mallctl that set something or do something. */
#include "ctl.h"

#include "arena.h"
#include "background.h"
#include "control.h"
#include "ctlstat.h"
#include "gate.h"
#include "huge.h"
#include "options.h"
#include "prof.h"
#include "prof_dump.h"
#include "prof_when.h"
#include "pagemap.h"
#include "span.h"
#include "thread.h"
#include "xcache.h"

#include <errno.h>
#include <string.h>

enum { LG_SAMPLE_MAX = 62 };

/* --- inside the gate ---------------------------------------------------------------------- */

static struct rcl_tls *gate_in(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    return &rcl_tls;
}

static void gate_out(void)
{
    rcl_gate_leave(&rcl_tls.gate);
}

/* --- the process -------------------------------------------------------------------------- */

int rcl_ctl_epoch(struct ctl *c)
{
    if (c->in != NULL && !rcl_ctlstat_refresh())
        return EAGAIN;
    c->old.u64 = rcl_ctlstat_epoch();
    return 0;
}

int rcl_ctl_background(struct ctl *c)
{
    c->old.b = rcl_background_enabled();
    return c->in == NULL || c->in->b == c->old.b || rcl_control_background(c->in->b) ? 0 : EFAULT;
}

int rcl_ctl_max_background(struct ctl *c)
{
    c->old.z = 1;
    return c->in == NULL || c->in->z > 0 ? 0 : EINVAL;
}

/* --- the thread --------------------------------------------------------------------------- */

int rcl_ctl_thread_arena(struct ctl *c)
{
    struct rcl_tls *self = gate_in();
    const struct rcl_tcache *tc = rcl_thread_cache(self);
    int err = 0;
    c->old.u = self->bound != NULL ? self->bound->index
               : tc->arena != NULL ? tc->arena->index
                                   : rcl_thread_arena(self)->index;
    if (c->in != NULL && c->in->u != c->old.u) {
        struct rcl_arena *a = rcl_arena_find(c->in->u, true);
        if (a != NULL)
            rcl_thread_bind(self, a);
        else
            err = c->in->u < rcl_arena_limit() ? EAGAIN : EFAULT;
    }
    gate_out();
    rcl_thread_register(self);
    return err;
}

static struct rcl_tls *tallying(void)
{
    struct rcl_tls *self = gate_in();
    rcl_thread_start_tally(self);
    gate_out();
    rcl_thread_register(self);
    return self;
}

int rcl_ctl_thread_bytes(struct ctl *c)
{
    struct rcl_tls *self = tallying();
    c->old.u64 = c->row->argument == THREAD_IN ? self->bytes_in : self->bytes_out;
    return 0;
}

int rcl_ctl_thread_bytes_at(struct ctl *c)
{
    struct rcl_tls *self = tallying();
    c->old.p = c->row->argument == THREAD_IN ? &self->bytes_in : &self->bytes_out;
    return 0;
}

int rcl_ctl_thread_peak(struct ctl *c)
{
    struct rcl_tls *self = tallying();
    c->old.u64 = self->peak > 0 ? (uint64_t)self->peak : 0;
    return 0;
}

int rcl_ctl_thread_peak_reset(struct ctl *c)
{
    (void)c;
    struct rcl_tls *self = tallying();
    self->peak_base = self->bytes_in - self->bytes_out;
    self->peak = 0;
    return 0;
}

int rcl_ctl_thread_cache(struct ctl *c)
{
    struct rcl_tls *self = gate_in();
    c->old.b = !self->no_cache && rcl_options_caching();
    if (c->in != NULL)
        rcl_thread_use_cache(self, c->in->b);
    gate_out();
    return 0;
}

static bool drop_cache(void)
{
    struct rcl_tls *self = gate_in();
    bool caches = !self->no_cache && rcl_options_caching();
    rcl_thread_drop_cache(self);
    gate_out();
    return caches;
}

int rcl_ctl_thread_flush(struct ctl *c)
{
    (void)c;
    return drop_cache() ? 0 : EFAULT;
}

int rcl_ctl_thread_idle(struct ctl *c)
{
    (void)c;
    struct rcl_tls *self = gate_in();
    struct rcl_arena *a = rcl_thread_arena(self);
    if (self->bound == NULL && self->arena != NULL)
        a = self->arena;
    gate_out();
    drop_cache();
    rcl_control_purge_arena(a, false);
    return 0;
}

/* --- explicit caches ---------------------------------------------------------------------- */

int rcl_ctl_cache_create(struct ctl *c)
{
    gate_in();
    bool made = rcl_xcache_create(&c->old.u);
    gate_out();
    return made ? 0 : EAGAIN;
}

int rcl_ctl_cache_flush(struct ctl *c)
{
    if (c->in == NULL)
        return EINVAL;
    gate_in();
    bool known = rcl_xcache_flush(c->in->u);
    gate_out();
    return known ? 0 : EFAULT;
}

int rcl_ctl_cache_destroy(struct ctl *c)
{
    if (c->in == NULL)
        return EINVAL;
    gate_in();
    bool known = rcl_xcache_destroy(c->in->u);
    gate_out();
    return known ? 0 : EFAULT;
}

/* --- heap profiles ------------------------------------------------------------------------ */

int rcl_ctl_prof_active(struct ctl *c)
{
    c->old.b = rcl_prof_active();
    if (c->in != NULL)
        rcl_prof_set_active(c->in->b);
    /* No memory for the tables: it has said so. */
    return c->in == NULL || rcl_prof_active() == c->in->b ? 0 : EAGAIN;
}

int rcl_ctl_prof_thread_init(struct ctl *c)
{
    c->old.b = true;
    return c->in == NULL || c->in->b ? 0 : EFAULT;
}

/* NULL, or nothing written: a name is made. */
int rcl_ctl_prof_dump(struct ctl *c)
{
    return rcl_prof_dump(c->in != NULL ? c->in->text : NULL, RCL_PROF_MANUAL) == 0 ? 0 : EFAULT;
}

int rcl_ctl_prof_prefix(struct ctl *c)
{
    if (c->in == NULL || c->in->text == NULL)
        return EINVAL;
    return rcl_prof_set_prefix(c->in->text) == 0 ? 0 : EFAULT;
}

int rcl_ctl_prof_gdump(struct ctl *c)
{
    c->old.b = rcl_prof_gdump();
    if (c->in != NULL)
        rcl_prof_set_gdump(c->in->b);
    return 0;
}

/* Nothing written: the rate stays. */
int rcl_ctl_prof_reset(struct ctl *c)
{
    rcl_prof_reset(c->in == NULL ? -1 : (int)rcl_min(c->in->z, LG_SAMPLE_MAX));
    return 0;
}

/* --- arenas ------------------------------------------------------------------------------- */

/* arena.<i>: all of them, by either number. */
static bool names_all(size_t index)
{
    return index == CTL_ARENAS_ALL || index == rcl_arena_indexes();
}

static struct rcl_arena *arena_named(const struct ctl *c)
{
    return c->number[0] < RCL_ARENA_INDEXES ? rcl_arena_find((unsigned)c->number[0], false) : NULL;
}

static bool any_destroyed(void)
{
    bool any = false;
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        any |= __atomic_load_n(&rcl_arena_get(i)->destroyed, __ATOMIC_ACQUIRE);
    return any;
}

int rcl_ctl_arena_initialized(struct ctl *c)
{
    if (c->number[0] == CTL_ARENAS_DESTROYED)
        c->old.b = any_destroyed();
    else
        c->old.b = names_all(c->number[0]) || arena_named(c) != NULL;
    return 0;
}

static void purge_arenas(const struct ctl *c, bool old_only)
{
    if (!names_all(c->number[0])) {
        struct rcl_arena *a = arena_named(c);
        if (a != NULL)
            rcl_control_purge_arena(a, old_only);
    } else if (!old_only) {
        rcl_control_purge();
    } else {
        for (unsigned i = 0; i < rcl_arena_count(); i++)
            rcl_control_purge_arena(rcl_arena_get(i), true);
    }
}

int rcl_ctl_arena_decay(struct ctl *c)
{
    purge_arenas(c, true);
    return 0;
}

int rcl_ctl_arena_purge(struct ctl *c)
{
    purge_arenas(c, false);
    return 0;
}

static int reset_arena(const struct ctl *c, bool destroy)
{
    struct rcl_arena *a = arena_named(c);
    return a != NULL && rcl_control_reset(a, destroy) ? 0 : EFAULT;
}

int rcl_ctl_arena_reset(struct ctl *c)
{
    return reset_arena(c, false);
}

int rcl_ctl_arena_destroy(struct ctl *c)
{
    return reset_arena(c, true);
}

int rcl_ctl_arena_dss(struct ctl *c)
{
    static const char disabled[] = "disabled";
    if (!names_all(c->number[0]) && arena_named(c) == NULL)
        return EFAULT;
    c->old.text = disabled;
    if (c->in == NULL)
        return 0;
    if (c->in->text == NULL)
        return EINVAL;
    return strcmp(c->in->text, disabled) == 0 ? 0 : EFAULT;
}

static bool is_decay_ms(ssize_t ms)
{
    return ms >= -1 && ms <= RCL_DECAY_MS_MAX;
}

int rcl_ctl_arena_dirty_decay(struct ctl *c)
{
    struct rcl_arena *a = arena_named(c);
    if (a == NULL)
        return EFAULT;
    c->old.s = rcl_arena_decay_ms(a);
    if (c->in == NULL)
        return 0;
    if (!is_decay_ms(c->in->s))
        return EFAULT;
    rcl_control_decay(a, c->in->s);
    return 0;
}

int rcl_ctl_arena_muzzy_decay(struct ctl *c)
{
    if (arena_named(c) == NULL)
        return EFAULT;
    c->old.s = 0;
    return c->in == NULL || is_decay_ms(c->in->s) ? 0 : EFAULT;
}

int rcl_ctl_arenas_dirty_decay(struct ctl *c)
{
    c->old.s = rcl_arena_next_decay_ms();
    if (c->in == NULL)
        return 0;
    if (!is_decay_ms(c->in->s))
        return EFAULT;
    rcl_arena_set_next_decay_ms(c->in->s);
    return 0;
}

int rcl_ctl_arenas_muzzy_decay(struct ctl *c)
{
    c->old.s = 0;
    return c->in == NULL || is_decay_ms(c->in->s) ? 0 : EFAULT;
}

int rcl_ctl_arenas_create(struct ctl *c)
{
    if (c->in != NULL && c->in->p != NULL)
        return EFAULT; /* hooks: memory from elsewhere would be taken for the kernel's */
    gate_in();
    struct rcl_arena *a = rcl_arena_create();
    gate_out();
    if (a == NULL)
        return EAGAIN;
    c->old.u = a->index;
    return 0;
}

static const struct rcl_arena *arena_of_huge(const struct rcl_huge *h)
{
    return h->group != NULL ? h->group->arena : NULL; /* or taken while every lock was frozen */
}

int rcl_ctl_arenas_lookup(struct ctl *c)
{
    if (c->in == NULL)
        return EINVAL;
    const struct rcl_arena *a = NULL;
    unsigned cls = rcl_block_class(c->in->p);
    if (cls == RCL_CLASS_NONE)
        return EINVAL;
    if (cls == RCL_CLASS_HUGE)
        a = arena_of_huge(rcl_pagemap_desc(c->in->p));
    else
        a = ((const struct rcl_span *)rcl_pagemap_desc(c->in->p))->arena;
    c->old.u = a != NULL ? a->index : 0;
    return 0;
}
