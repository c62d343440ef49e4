# SPDX-License-Identifier: MIT
"""frames.py - a pandas job: a report over days of which only the last is wanted, but a cache of
frames meant to be small keeps each day's."""
import sys

import numpy
import pandas

DAYS, ROWS = 60, 40000
cache = {}


def read_day(day):
    made = numpy.random.default_rng(day)
    return pandas.DataFrame({"shop": made.integers(0, 50, ROWS), "price": made.random(ROWS),
                             "count": made.integers(1, 9, ROWS)})


def enriched(day):
    if day not in cache:
        frame = read_day(day)
        frame["turnover"] = frame["price"] * frame["count"]
        cache[day] = frame  # for ever: the key is a new one each day
    return cache[day]


def summary(day):
    return enriched(day).groupby("shop")["turnover"].sum()


def main():
    best = [summary(day).idxmax() for day in range(DAYS)]
    print("best shops: %s" % sorted(set(best))[:5], file=sys.stderr)


main()
