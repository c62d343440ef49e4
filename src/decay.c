/* SPDX-License-Identifier: MIT */
/* decay.c - see decay.h. */
#include "decay.h"

enum {
    LEAST_SHARE = 4,     /* of what regret may come to, without any */
    REGRET_SHARE = 16,   /* forgotten per step, */
    REGRET_STEPS = 1024, /* and nothing of any amount is left after so many */
};

void rcl_decay_init(struct rcl_decay *d, uint64_t window_ns, uint64_t now_ns)
{
    *d = (struct rcl_decay){.step_ns = window_ns / RCL_DECAY_STEPS, .start_ns = now_ns};
}

static void one_step(struct rcl_decay *d)
{
    for (unsigned i = RCL_DECAY_STEPS - 1; i > 0; i--) {
        d->gone[i] = d->gone[i - 1];
        d->high[i] = d->high[i - 1];
    }
    d->gone[0] = 0;
    d->high[0] = 0;
    d->regret -= rcl_min(d->regret, d->regret / REGRET_SHARE + 1);
}

/* Bring step 0 up to `now_ns`.  Time that goes backwards stands still. */
static void advance(struct rcl_decay *d, uint64_t now_ns)
{
    if (d->step_ns == 0 || now_ns < d->start_ns + d->step_ns)
        return;
    uint64_t steps = (now_ns - d->start_ns) / d->step_ns;
    d->start_ns += steps * d->step_ns;
    for (uint64_t i = 0; i < steps && i < REGRET_STEPS; i++)
        one_step(d);
    /* Nothing taken for a window: the next swing starts from the ground. */
    bool quiet = true;
    for (unsigned i = 0; i < RCL_DECAY_STEPS; i++)
        quiet = quiet && d->high[i] == 0;
    if (quiet)
        d->swing = 0;
}

void rcl_decay_free(struct rcl_decay *d, uint64_t now_ns, size_t pages)
{
    advance(d, now_ns);
    d->swing -= rcl_min(d->swing, pages);
}

size_t rcl_decay_take(struct rcl_decay *d, uint64_t now_ns, size_t resident, size_t clean)
{
    advance(d, now_ns);
    if (d->step_ns == 0)
        return 0;
    size_t refaulted = 0;
    for (unsigned i = 0; i < RCL_DECAY_STEPS && refaulted < clean; i++) {
        size_t n = rcl_min(clean - refaulted, d->gone[i]);
        d->gone[i] -= n;
        refaulted += n;
    }
    d->regret += refaulted;
    d->swing += resident + refaulted;
    d->high[0] = rcl_max(d->high[0], d->swing);
    return refaulted;
}

void rcl_decay_purged(struct rcl_decay *d, uint64_t now_ns, size_t pages)
{
    advance(d, now_ns);
    if (d->step_ns != 0)
        d->gone[0] += pages;
}

size_t rcl_decay_demand(struct rcl_decay *d, uint64_t now_ns)
{
    advance(d, now_ns);
    size_t demand = 0;
    for (unsigned i = 0; i < RCL_DECAY_STEPS; i++)
        demand = rcl_max(demand, d->high[i]);
    return demand;
}

size_t rcl_decay_regret(const struct rcl_decay *d)
{
    return d->regret;
}

size_t rcl_decay_ceiling(size_t minimum, size_t live, size_t share, size_t demand, size_t regret)
{
    size_t ceiling = rcl_max(minimum, demand + demand / 8);
    if (share == 0)
        return ceiling;
    size_t most = live / share, least = most / LEAST_SHARE;
    return rcl_max(ceiling, rcl_min(rcl_max(regret, least), most));
}
