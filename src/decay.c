/* SPDX-License-Identifier: MIT */
/* decay.c - see decay.h. */
#include "decay.h"

enum {
    LEAST_SHARE = 4,      /* of the share of live pages: what may stay without any regret */
    REGRET_SHARE = 16,    /* forgotten per step, */
    MINIMUM_SHARE = 4,    /* of the minimum, beside it: what regret may come to in any case */
    DEMAND_SHARE = 8,     /* of it beside it, without any regret */
    REGRET_STEPS = 1024,  /* and nothing of any amount is left after so many */
    GROWN_SHARE = 8,      /* of the growth: so much less may regret come to */
    GROWN_OUTWEIGHED = 2, /* new pages, by one that is taken again */
};

void rcl_decay_init(struct rcl_decay *d, uint64_t window_ns, uint64_t now_ns)
{
    *d = (struct rcl_decay){.step_ns = window_ns / RCL_DECAY_STEPS, .start_ns = now_ns};
}

static void one_step(struct rcl_decay *d)
{
    for (unsigned i = RCL_DECAY_STEPS - 1; i > 0; i--) {
        d->gone[i] = d->gone[i - 1];
        d->aged[i] = d->aged[i - 1];
        d->high[i] = d->high[i - 1];
        d->grown[i] = d->grown[i - 1];
    }
    d->gone[0] = 0;
    d->aged[0] = 0;
    d->high[0] = 0;
    d->grown[0] = 0;
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

/* Up to so many of those that were purged, the latest first. */
static size_t take_back(size_t purged[RCL_DECAY_STEPS], size_t pages)
{
    size_t taken = 0;
    for (unsigned i = 0; i < RCL_DECAY_STEPS && taken < pages; i++) {
        size_t n = rcl_min(pages - taken, purged[i]);
        purged[i] -= n;
        taken += n;
    }
    return taken;
}

size_t rcl_decay_take(struct rcl_decay *d, uint64_t now_ns, size_t resident, size_t clean,
                      size_t fresh)
{
    advance(d, now_ns);
    if (d->step_ns == 0)
        return 0;
    size_t early = take_back(d->gone, clean);
    d->regret += early;
    d->swing += resident + early;
    take_back(d->grown, GROWN_OUTWEIGHED * early);
    d->grown[0] += fresh;
    d->high[0] = rcl_max(d->high[0], d->swing);
    return early + take_back(d->aged, clean - early);
}

void rcl_decay_purged(struct rcl_decay *d, uint64_t now_ns, size_t pages, bool aged)
{
    advance(d, now_ns);
    if (d->step_ns != 0)
        (aged ? d->aged : d->gone)[0] += pages;
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

size_t rcl_decay_grown(const struct rcl_decay *d)
{
    size_t grown = 0;
    for (unsigned i = 0; i < RCL_DECAY_STEPS; i++)
        grown += d->grown[i];
    return grown;
}

size_t rcl_decay_ceiling(const struct rcl_decay_sum *s)
{
    size_t part = s->share == 0 ? 0 : s->live / s->share;
    size_t least = rcl_max(s->minimum, part / LEAST_SHARE);
    size_t most = rcl_max(part, rcl_max(s->minimum + s->minimum / MINIMUM_SHARE, s->demand));
    size_t regret = s->share == 0
                        ? 0
                        : rcl_min(s->regret, most - rcl_min(most, s->grown / GROWN_SHARE));
    return rcl_max(least, s->demand + rcl_max(s->demand / DEMAND_SHARE, regret));
}
