/* SPDX-License-Identifier: MIT */
/* demand.c - see demand.h. */
#include "demand.h"

#include "account.h"
#include "die.h"
#include "options.h"
#include "os.h"

static size_t drift_pages;

void rcl_demand_boot(void)
{
    drift_pages = RCL_DRIFT_BYTES >> rcl_page_shift();
}

void rcl_demand_init(struct rcl_demand *d, uint64_t window_ns)
{
    rcl_lock_init(&d->lock);
    rcl_decay_init(&d->decay, window_ns, rcl_os_coarse_ns());
    d->drift = (struct rcl_drift){0};
    d->demand = d->regret = d->grown = 0;
}

/* More than `most` of it, either way, goes to the process. */
static void publish_drift(int64_t *all, int64_t *ours, int64_t most)
{
    if (*ours > most || *ours < -most) {
        rcl_account_add(all, *ours);
        *ours = 0;
    }
}

static void publish_one(int64_t *all, size_t *ours, size_t now, int64_t most)
{
    int64_t more = (int64_t)now - (int64_t)*ours;
    if (more > most || more < -most) {
        rcl_account_add(all, more);
        *ours = now;
    }
}

/* The lock is held. */
static void publish_pages(struct rcl_demand *d, size_t most)
{
    publish_drift(&rcl_account.used_pages, &d->drift.used_pages, (int64_t)most);
    publish_drift(&rcl_account.dirty_pages, &d->drift.dirty_pages, (int64_t)most);
    publish_drift(&rcl_account.slab_pages, &d->drift.slab_pages, (int64_t)most);
    publish_drift(&rcl_account.hole_bytes, &d->drift.hole_bytes,
                  (int64_t)(most << rcl_page_shift()));
}

/* The lock is held. */
static void publish_demand(struct rcl_demand *d, uint64_t now, size_t most)
{
    int64_t few = (int64_t)most;
    publish_one(&rcl_account.demand_pages, &d->demand, rcl_decay_demand(&d->decay, now), few);
    publish_one(&rcl_account.regret_pages, &d->regret, rcl_decay_regret(&d->decay), few);
    publish_one(&rcl_account.grown_pages, &d->grown, rcl_decay_grown(&d->decay), few);
}

static void publish_all(struct rcl_demand *d, uint64_t now)
{
    publish_pages(d, 0);
    publish_demand(d, now, 0);
}

void rcl_demand_set_window(struct rcl_demand *d, uint64_t window_ns)
{
    uint64_t now = rcl_os_coarse_ns();
    rcl_lock(&d->lock);
    rcl_decay_init(&d->decay, window_ns, now);
    publish_all(d, now);
    rcl_unlock(&d->lock);
}

static struct {
    bool set;
    int64_t ms;
} process_decay; /* relaxed */

int64_t rcl_demand_decay_ms(void)
{
    return unlikely(__atomic_load_n(&process_decay.set, __ATOMIC_RELAXED))
               ? __atomic_load_n(&process_decay.ms, __ATOMIC_RELAXED)
               : rcl_opt.dirty_decay_ms;
}

void rcl_demand_set_decay_ms(int64_t ms)
{
    __atomic_store_n(&process_decay.ms, ms, __ATOMIC_RELAXED);
    __atomic_store_n(&process_decay.set, true, __ATOMIC_RELAXED);
}

/* Where nothing is to be kept no page may be forgotten, and what goes back is told at once. */
static size_t drift_of(const struct rcl_demand *d, const struct rcl_demand_note *note)
{
    return note->purged != 0 || d->decay.step_ns == 0 ? 0 : drift_pages;
}

void rcl_demand_tell(struct rcl_demand *d, const struct rcl_demand_note *note)
{
    size_t taken = note->taken_dirty + note->taken_clean, refaulted = 0;
    rcl_assert(note->taken_new <= note->taken_clean);
    if (unlikely(note->found != 0))
        rcl_account_add(&rcl_account.dirty_pages, (int64_t)note->found);
    bool moved = (note->freed | taken | note->purged) != 0;
    if (!moved && note->handed == 0)
        return;
    int64_t used = (int64_t)taken - (int64_t)note->freed;
    uint64_t now = moved ? rcl_os_coarse_ns() : 0;

    rcl_lock(&d->lock);
    size_t most = drift_of(d, note);
    if (note->slab) {
        d->drift.slab_pages += used;
        d->drift.hole_bytes += used * (int64_t)rcl_page_size() - note->handed;
    }
    d->drift.used_pages += used;
    d->drift.dirty_pages += (int64_t)note->freed - (int64_t)note->taken_dirty -
                            (int64_t)note->purged;
    publish_pages(d, most);
    if (note->freed != 0)
        rcl_decay_free(&d->decay, now, note->freed);
    if (taken != 0)
        refaulted = rcl_decay_take(&d->decay, now, note->taken_dirty,
                                   note->taken_clean - note->taken_new, note->taken_new);
    if (note->purged != 0) {
        rcl_decay_purged(&d->decay, now, note->purged, note->aged);
        d->purged_pages += note->purged;
        d->purge_calls++;
        d->purge_runs += !note->goes_on;
    }
    if (moved)
        publish_demand(d, now, most);
    rcl_unlock(&d->lock);

    if (note->purged != 0)
        rcl_account_count(&rcl_account.purged_pages, note->purged);
    if (refaulted != 0)
        rcl_account_count(&rcl_account.refaulted_pages, refaulted);
}

void rcl_demand_tick(struct rcl_demand *d)
{
    rcl_lock(&d->lock);
    publish_all(d, rcl_os_coarse_ns());
    rcl_unlock(&d->lock);
}

static size_t positive(int64_t n)
{
    return n > 0 ? (size_t)n : 0;
}

size_t rcl_demand_ceiling(void)
{
    int64_t ms = rcl_demand_decay_ms();
    if (unlikely(ms <= 0))
        return ms == 0 ? 0 : RCL_NO_CEILING;
    /* The share is one of what is in use, not of the pages that survivors pin. */
    int64_t holes = rcl_account_get(&rcl_account.hole_bytes) >> rcl_page_shift();
    return rcl_decay_ceiling(&(struct rcl_decay_sum){
        .minimum = (size_t)rcl_opt.dirty_min >> rcl_page_shift(),
        .live = positive(rcl_account_get(&rcl_account.used_pages) - holes),
        .share = (size_t)rcl_opt.dirty_share,
        .demand = positive(rcl_account_get(&rcl_account.demand_pages)),
        .regret = positive(rcl_account_get(&rcl_account.regret_pages)),
        .grown = positive(rcl_account_get(&rcl_account.grown_pages)),
    });
}
