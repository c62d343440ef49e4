# SPDX-License-Identifier: MIT
"""figures.py - from what was measured to what is said: medians, ratios, means, percentiles.

Numbers in, numbers out; nothing here runs a program or knows where a number comes from, so that it
can be tested with made-up ones (selftest.py).  In all of it smaller is better.
"""
import math
import statistics

OURS = "libreclaim"
BASELINE = "jemalloc"
# As in rows/latency.c.
SUB_BITS = 4


def median(values):
    return statistics.median(values)


def spread(values):
    """Half the distance of the quartiles, as a share of the median: what the ± in tables says."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    middle = median(values)
    return (high - low) / 2 / middle if middle else 0.0


def geometric_mean(values):
    """None of nothing; a value that is not above 0 has no place in a ratio."""
    values = list(values)
    if not values:
        return None
    return math.exp(sum(math.log(value) for value in values) / len(values))


def is_ours(name):
    """Also of other builds that were named: libreclaim-old is no peer."""
    return name.startswith(OURS)


def best_peer(of_allocator):
    """(name, value) of the smallest value among the peers; None without a peer."""
    peers = [(value, name) for name, value in of_allocator.items()
             if not is_ours(name) and value is not None]
    if not peers:
        return None
    value, name = min(peers)
    return name, value


def ratio_to_best(of_allocator, ours=OURS):
    """Ours by the best peer's; None when one of them is missing or nothing was taken."""
    best = best_peer(of_allocator)
    mine = of_allocator.get(ours)
    if best is None or mine is None or best[1] <= 0:
        return None
    return mine / best[1]


def ratios(of_allocator, to):
    """{allocator: value by the value of `to`}; empty when that is missing."""
    base = of_allocator.get(to)
    if not base:
        return {}
    return {name: value / base for name, value in of_allocator.items() if value is not None}


# ---- histograms --------------------------------------------------------------------------------


def parse_histogram(text):
    """{step: count} of "31:5,32:7"."""
    return {int(step): int(count)
            for step, count in (pair.split(":") for pair in text.split(",") if pair)}


def merged(histograms):
    total = {}
    for one in histograms:
        for step, count in one.items():
            total[step] = total.get(step, 0) + count
    return total


def ns_of_step(step):
    """The upper end of a step, in ns: nothing in it took longer."""
    if step < 1 << SUB_BITS:
        return float(step)
    shift = (step >> SUB_BITS) - 1
    within = (step & (1 << SUB_BITS) - 1) + (1 << SUB_BITS)
    return float((within + 1 << shift) - 1)


def percentile(histogram, share):
    """The time that `share` (0.99) of the calls did not exceed; None of an empty histogram."""
    total = sum(histogram.values())
    if total == 0:
        return None
    need, seen = share * total, 0
    for step in sorted(histogram):
        seen += histogram[step]
        if seen >= need * (1 - 1e-12):
            return ns_of_step(step)
    return ns_of_step(max(histogram))


def longest(histogram):
    return ns_of_step(max(histogram)) if histogram else None


# ---- rows --------------------------------------------------------------------------------------


class Row:
    """What was measured of one row: {allocator: [a dict for each round]}."""

    def __init__(self, name, data):
        self.name, self.kind = name, data["kind"]
        self.measured, self.rested = data["measured"], data.get("rested", {})

    def values(self, allocator, key):
        return [one[key] for one in self.measured.get(allocator, []) if key in one]

    def medians(self, key):
        """{allocator: median} of those that have it."""
        found = {name: self.values(name, key) for name in self.measured}
        return {name: median(values) for name, values in found.items() if values}

    def rest(self, key):
        """The same of the rounds in which the program was looked at while idle."""
        found = {name: [one[key] for one in rounds if key in one]
                 for name, rounds in self.rested.items()}
        return {name: median(values) for name, values in found.items() if values}

    def histogram(self, allocator, key):
        """Of all rounds together."""
        return merged(parse_histogram(text) for text in self.values(allocator, key))

    def histograms(self, allocator, key):
        return [parse_histogram(text) for text in self.values(allocator, key)]


def rows_of(results, *kinds):
    return [Row(name, data) for name, data in results["rows"].items()
            if not kinds or data["kind"] in kinds]


def mean_ratio(rows, key, ours=OURS):
    """Geometric mean over rows of ours by the best peer of each row."""
    found = [ratio_to_best(row.medians(key), ours) for row in rows]
    return geometric_mean(value for value in found if value is not None)


def mean_to(rows, key, allocator, base):
    """Geometric mean over rows of one allocator by another."""
    found = [ratios(row.medians(key), base).get(allocator) for row in rows]
    return geometric_mean(value for value in found if value is not None)
