/* SPDX-License-Identifier: MIT */
/* ctlstat.c - see ctlstat.h. */
#include "ctlstat.h"

#include "boot.h"
#include "gate.h"
#include "lock.h"
#include "thread.h"

static struct {
    struct rcl_lock lock;
    struct rcl_moment *now;
    uint64_t epoch;
} ctlstat;

/* Inside the gate, or fork could leave it locked in the child. */
static void moment_lock(void)
{
    rcl_gate_enter_patient(&rcl_tls.gate);
    rcl_lock(&ctlstat.lock);
}

static void moment_unlock(void)
{
    rcl_unlock(&ctlstat.lock);
    rcl_gate_leave(&rcl_tls.gate);
}

static struct rcl_moment *take_moment(void)
{
    struct rcl_gate_pass *me = &rcl_tls.gate;
    /* A handler that interrupted a slow path: that one may hold what would be waited for. */
    if (me->inside > 0 || me->crossing)
        return NULL;
    struct rcl_moment *m = rcl_boot() ? rcl_moment_new() : NULL;
    if (m == NULL)
        return NULL;
    rcl_gate_enter_patient(me);
    rcl_moment_fill(m);
    rcl_gate_leave(me);
    return m;
}

static bool replace_moment(bool first)
{
    struct rcl_moment *fresh = take_moment();
    if (fresh == NULL)
        return false;
    moment_lock();
    struct rcl_moment *old = ctlstat.now;
    if (first && old != NULL) { /* another thread had the same first question */
        old = fresh;
    } else {
        __atomic_store_n(&ctlstat.now, fresh, __ATOMIC_RELAXED);
        __atomic_store_n(&ctlstat.epoch, ctlstat.epoch + 1, __ATOMIC_RELAXED);
    }
    moment_unlock();
    rcl_moment_free(old);
    return true;
}

bool rcl_ctlstat_refresh(void)
{
    return replace_moment(false);
}

uint64_t rcl_ctlstat_epoch(void)
{
    uint64_t epoch = __atomic_load_n(&ctlstat.epoch, __ATOMIC_RELAXED);
    return epoch != 0 ? epoch : 1;
}

/* The moment, locked; NULL: there is none, and nothing is. */
static const struct rcl_moment *moment_begin(void)
{
    if (__atomic_load_n(&ctlstat.now, __ATOMIC_RELAXED) == NULL && !replace_moment(true))
        return NULL;
    moment_lock();
    return ctlstat.now;
}

bool rcl_ctlstat_knows(size_t index)
{
    const struct rcl_moment *m = moment_begin();
    if (m == NULL)
        return false;
    bool known = rcl_moment_knows(m, index);
    moment_unlock();
    return known;
}

bool rcl_ctlstat(enum ctl_stat what, uint64_t *value)
{
    const struct rcl_moment *m = moment_begin();
    if (m == NULL)
        return false;
    rcl_moment_total(m, what, value);
    moment_unlock();
    return true;
}

bool rcl_ctlstat_arena(size_t index, enum ctl_arena_stat what, uint64_t *value)
{
    const struct rcl_moment *m = moment_begin();
    if (m == NULL)
        return false;
    bool known = rcl_moment_arena(m, index, what, value);
    moment_unlock();
    return known;
}

bool rcl_ctlstat_bin(size_t index, size_t bin, enum ctl_bin_stat what, uint64_t *value)
{
    const struct rcl_moment *m = moment_begin();
    if (m == NULL)
        return false;
    bool known = rcl_moment_bin(m, index, bin, what, value);
    moment_unlock();
    return known;
}

bool rcl_ctlstat_extent(size_t index, size_t extent, enum ctl_extent_stat what, uint64_t *value)
{
    const struct rcl_moment *m = moment_begin();
    if (m == NULL)
        return false;
    bool known = rcl_moment_extent(m, index, extent, what, value);
    moment_unlock();
    return known;
}
