#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cores - what happens to the slow paths and to purging on more processors than there are here.

    bench/model/cores.py [--transfer NS] [--hold NS] [--program NS] [--initiate US] [--each US] [--victim US]

First table: a simulation, event by event.  Every processor runs a thread that makes a number of
malloc/free pairs (all hits, which share nothing) and then takes a slow path:

    gate in      an atomic add on one of 64 counters, given out to threads in turn
    bin          a lock, held for a batch; of the thread's arena, or of another one for a cross free
    counters     atomic adds on the arena's, told to the process's in one of so many batches
    gate out     the first counter again

A cache line is a server that takes one request after the other: a few ns when the same processor comes
again, a transfer when it is another one.  Shown is the throughput for each processor as a share of
that of one processor alone.

Second table: what a page costs that is returned.  A system call that returns pages of a process that
runs on n processors interrupts them, once for each call, and waits for all.

The costs are those that costs.c measures where it runs, and are options here.  Other machines have others:
what counts is where a curve bends, and which design moves that.
"""
import argparse
import heapq
import random
import sys

SHARDS = 64
STEPS = 5
HIT_NS = 10.0
OWN_NS = 6.0
PROCESSORS = (1, 2, 8, 16, 64, 256)
# Pairs between slow paths: batches larger than any cache, a busy program, one that mostly hits.
LOADS = (("batches", 64), ("busy", 500), ("mostly hits", 5000))


class Line:
    """A cache line with a counter or a lock: free at some time, owned by some processor."""

    def __init__(self, costs):
        self.costs, self.free_at, self.owner = costs, 0.0, None

    def use(self, now, processor, hold=0.0):
        """When a request of this processor at `now` is done."""
        begin = max(now, self.free_at)
        move = OWN_NS if self.owner in (None, processor) else self.costs.transfer
        self.owner, self.free_at = processor, begin + move + hold
        return self.free_at


class Design:
    def __init__(self, name, arenas_for, told_each):
        self.name, self.arenas_for, self.told_each = name, arenas_for, told_each


DESIGNS = (
    Design("one arena", lambda n: 1, 1),
    Design("an arena for each processor", lambda n: n, 1),
    Design("and the process told by every fourth batch", lambda n: n, 4),
    Design("by every sixteenth", lambda n: n, 16),
)


class Processors:
    """The simulation: each processor goes round the steps of a slow path and its hits."""

    def __init__(self, count, design, pairs, crossing, costs, rng):
        self.count, self.pairs, self.crossing = count, pairs, crossing
        self.costs, self.rng = costs, rng
        self.gate = [Line(costs) for _ in range(SHARDS)]
        self.bins = [Line(costs) for _ in range(design.arenas_for(count))]
        self.arenas = [Line(costs) for _ in self.bins]
        self.process, self.told_each = Line(costs), design.told_each

    def step(self, number, processor, now):
        """One of the four, or the hits; when it is done."""
        if number in (0, 3):
            return self.gate[processor % SHARDS].use(now, processor)
        if number == 1:
            arena = processor % len(self.bins)
            if self.rng.random() < self.crossing:
                arena = self.rng.randrange(len(self.bins))
            return self.bins[arena].use(now, processor, self.costs.hold)
        if number == 2:
            now = self.arenas[processor % len(self.arenas)].use(now, processor)
            told = self.told_each == 1 or self.rng.random() * self.told_each < 1
            return self.process.use(now, processor) if told else now
        # Not all in step: one in four of the hits' time is different each time.
        hits = self.pairs * (HIT_NS + self.costs.program)
        return now + hits * (0.875 + 0.25 * self.rng.random())

    def run(self, rounds):
        """Pairs per ns of one processor, on the average, without the first fifth."""
        waiting = [(self.rng.random() * self.pairs * (HIT_NS + self.costs.program), one, 0)
                   for one in range(self.count)]
        heapq.heapify(waiting)
        steps_left = self.count * rounds * STEPS
        warm, begun, done, now = steps_left // 5, 0.0, 0, 0.0
        while steps_left > 0:
            now, processor, number = heapq.heappop(waiting)
            ended = self.step(number, processor, now)
            heapq.heappush(waiting, (ended, processor, (number + 1) % STEPS))
            steps_left -= 1
            if warm > 0:
                warm -= 1
                begun = now
            else:
                done += 1
        return done / STEPS * self.pairs / (now - begun) / self.count


def efficiency(count, design, pairs, crossing, costs, rounds=60):
    def rate(processors):
        return Processors(processors, design, pairs, crossing, costs, random.Random(1)).run(rounds)
    return rate(count) / rate(1)


def contention_table(costs):
    print("| pairs for each slow path | crossing | design |%s" % "".join(" %d |" % n for n in PROCESSORS))
    print("|---|---:|---|%s" % ("---:|" * len(PROCESSORS)))
    for name, pairs in LOADS:
        for crossing in (0.0, 0.5):
            for design in DESIGNS:
                found = [efficiency(n, design, pairs, crossing, costs) for n in PROCESSORS]
                print("| %d (%s) | %.0f %% | %s |%s" % (
                    pairs, name, 100 * crossing, design.name, "".join(" %.2f |" % one for one in found)))
    print()


# ---- purging -----------------------------------------------------------------------------------

# name, pages of a call, ranges of a call, calls
BATCHES = (("a call for each page", 1, 1), ("64 ranges of a page, one call", 64, 64),
           ("a run of 256 pages, one call", 256, 1))


def page_cost_us(pages, ranges, processors, costs):
    """(what the caller pays, what all processors together pay) for one page."""
    work = pages * costs.page + ranges * costs.range
    others = processors - 1
    shoot = (costs.initiate + others * costs.each) if others else 0.0
    return (work + shoot) / pages, (work + shoot + others * costs.victim) / pages


def purge_table(costs):
    counts = [n for n in PROCESSORS if n in (1, 2, 16, 64, 256)]
    print("| us for a page: the caller's (everybody's) |%s" % "".join(" %d |" % n for n in counts))
    print("|---|%s" % ("---:|" * len(counts)))
    for name, pages, ranges in BATCHES:
        cells = ["%.2f (%.2f)" % page_cost_us(pages, ranges, n, costs) for n in counts]
        print("| %s | %s |" % (name, " | ".join(cells)))
    print()


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfer", type=float, default=60.0, help="ns: a line to another processor")
    parser.add_argument("--hold", type=float, default=400.0, help="ns: a bin's lock for a batch")
    parser.add_argument("--program", type=float, default=30.0, help="ns of its own for each pair")
    parser.add_argument("--page", type=float, default=0.09, help="us to return a page")
    parser.add_argument("--range", type=float, default=0.12, help="us for each range")
    parser.add_argument("--initiate", type=float, default=2.0, help="us to interrupt the others")
    parser.add_argument("--each", type=float, default=0.1, help="us more for each of them")
    parser.add_argument("--victim", type=float, default=1.0, help="us that each of them loses")
    return parser.parse_args(arguments)


def main():
    costs = parse()
    contention_table(costs)
    purge_table(costs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
