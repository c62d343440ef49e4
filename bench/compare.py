#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""compare - every benchmark row under every allocator, side by side.  `bench/run` starts it.

    bench/run [options]              all rows, about fifty minutes
    bench/run --quick                two short rounds: is everything there, what order of figures
    bench/run --only 'pair|python'   rows whose name has a match of this expression
    bench/run --with NAME=LIBRARY    one more allocator (libreclaim-SOMETHING: no peer, another of ours)
    bench/run --report FILE.json     the tables of an earlier run again
    bench/run --list | --self-test

Within a round, a row is run under one allocator after the other, and the next round begins with the
next allocator; each run is a process of its own.  Medians over the rounds are compared.  Rounds for
memory come first: there, programs wait at their end for 1.2 s and are then looked at.

Writes PREFIX.json (all single figures), PREFIX.md (the tables) and PREFIX.png.
"""
import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(TOP, "test", "reclaim")]
sys.dont_write_bytecode = True

import macro  # noqa: E402
import micro  # noqa: E402
import outside  # noqa: E402
import report  # noqa: E402

KNOWN = ("jemalloc", "glibc", "mimalloc", "tcmalloc", "libreclaim")
IDLE_SECONDS = 1.2
REST_GUESS = 1.3
# Processes that wait hold memory; more than this share of the machine's is not left to them.
WAITING_SHARE = 0.25
# Settings of allocators and of Python in the caller's environment would be measured along.
FOREIGN = re.compile(r"^(LD_PRELOAD$|MALLOC_|_RJEM_|RECLAIM_|MIMALLOC_|TCMALLOC_|GLIBC_TUNABLES$|PYTHON)")


# ---- what is compared --------------------------------------------------------------------------


def chosen_allocators(options):
    found = []
    for text in list(options.alloc or KNOWN) + options.beside:
        one = outside.allocator(text, options.so)
        if one is None and (options.alloc or text not in KNOWN):
            sys.exit("bench: %s is not there" % text)
        if one is None:
            print("bench: without %s, which is not there" % text)
            continue
        if not loads(one):
            sys.exit("bench: %s cannot be preloaded: %s" % (one.name, one.path))
        found.append(one)
    return found


def loads(allocator):
    """Whether the dynamic linker takes it: an error there would be a line on stderr, and glibc."""
    if allocator.path is None:
        return True
    with outside.Run(allocator, ["/bin/cat", "/proc/self/maps"], clean_environment()) as run:
        line = run.line()
        while line is not None:
            if allocator.path in line:
                return True
            line = run.line()
    return False


def clean_environment():
    env = {key: value for key, value in os.environ.items() if not FOREIGN.match(key)}
    env["LC_ALL"] = "C.UTF-8"
    return env


def chosen_rows(options, folder, work):
    rows = micro.rows(folder, options.seconds)
    programs, missing = macro.rows(folder, work)
    for name in missing:
        print("bench: without the rows of %s, which is not there" % name)
    rows += programs
    if options.only:
        rows = [row for row in rows if re.search(options.only, row.name)]
    if options.skip:
        rows = [row for row in rows if not re.search(options.skip, row.name)]
    if not rows:
        sys.exit("bench: no row has that name; --list names them")
    return rows


# ---- how long it takes -------------------------------------------------------------------------


class Progress:
    """Says what is being run and how long the rest will take, from what runs have taken so far."""

    def __init__(self, rows, allocators, rounds, rest_rounds):
        self.took = {}
        self.guess = {row.name: row.guess for row in rows}
        self.left = {}
        for row in rows:
            self.left[row.name] = rounds * len(allocators)
            if row.rests:
                self.left[row.name] += rest_rounds * len(allocators)
        self.waits = rest_rounds * sum(row.rests for row in rows)
        self.said, self.begun = 0.0, time.monotonic()

    def seconds_left(self):
        found = self.waits * REST_GUESS
        for name, count in self.left.items():
            times = self.took.get(name)
            found += count * (sum(times) / len(times) if times else self.guess[name])
        return found

    def say(self, text):
        line = "%s; %s to go" % (text, clock(self.seconds_left()))
        if sys.stderr.isatty():
            outside.progress(line)
        elif time.monotonic() - self.said > 30:
            self.said = time.monotonic()
            print("    " + line, flush=True)

    def note(self, row, seconds):
        self.took.setdefault(row.name, []).append(seconds)
        self.left[row.name] -= 1

    def note_wait(self):
        self.waits -= 1


def clock(seconds):
    return "%d min" % round(seconds / 60) if seconds >= 90 else "%d s" % seconds


# ---- runs --------------------------------------------------------------------------------------


def turned(things, by):
    by %= len(things)
    return things[by:] + things[:by]


class Benchmark:
    def __init__(self, options, rows, allocators):
        self.options, self.rows, self.allocators = options, rows, allocators
        self.env = clean_environment()
        self.progress = Progress(rows, allocators, options.rounds, options.rest_rounds)
        self.failed = {}
        self.results = {
            "machine": machine(), "options": vars(options),
            "allocators": {one.name: one.path for one in allocators},
            "rows": {row.name: {"kind": row.kind, "measured": {one.name: [] for one in allocators},
                                "rested": {one.name: [] for one in allocators}} for row in rows}}

    def attempt(self, row, allocator, action):
        """Runs it once; an allocator that cannot finish a row is left out of the row from then on."""
        if (row.name, allocator.name) in self.failed:
            self.progress.note(row, 0)
            return None
        begun = time.monotonic()
        try:
            return action(allocator, self.env)
        except (outside.Failure, OSError, subprocess.SubprocessError) as fault:
            self.failed[row.name, allocator.name] = str(fault)
            print("\nbench: %s under %s: %s" % (row.name, allocator.name, fault), file=sys.stderr)
            self.results["rows"][row.name]["measured"].pop(allocator.name)
            self.results["rows"][row.name]["rested"].pop(allocator.name)
            return None
        finally:
            self.progress.note(row, time.monotonic() - begun)

    def measure(self, row, number):
        for allocator in turned(self.allocators, number):
            self.progress.say("round %d of %d: %s, %s" % (number + 1, self.options.rounds, row.name,
                                                          allocator.name))
            found = self.attempt(row, allocator, row.measure)
            if found:
                self.results["rows"][row.name]["measured"][allocator.name].append(found)

    def rest(self, row, number):
        """All allocators' processes wait at the same time: the clock is not what counts here."""
        waiting = []
        limit = memory_of_machine() * WAITING_SHARE
        for allocator in turned(self.allocators, number):
            self.progress.say("memory, round %d of %d: %s, %s" % (
                number + 1, self.options.rest_rounds, row.name, allocator.name))
            found = self.attempt(row, allocator, row.begin_rest)
            if found:
                waiting.append((time.monotonic() + IDLE_SECONDS, allocator) + found)
            if sum(outside.resident_quick(run.pid) for _, _, run, _ in waiting) > limit:
                self.settle(row, waiting)
        self.settle(row, waiting)
        self.progress.note_wait()

    def settle(self, row, waiting):
        for due, allocator, run, found in waiting:
            time.sleep(max(0, due - time.monotonic()))
            found["end"] = outside.resident(run.pid)
            run.go()
            run.finish()
            self.results["rows"][row.name]["rested"][allocator.name].append(found)
        waiting.clear()

    def run(self):
        begun = time.monotonic()
        try:
            for number in range(self.options.rest_rounds):
                for row in self.rows:
                    if row.rests:
                        self.rest(row, number)
            for number in range(self.options.rounds):
                for row in self.rows:
                    self.measure(row, number)
                self.write()
        except KeyboardInterrupt:
            print("\nbench: interrupted; what follows is of the runs until here", file=sys.stderr)
        outside.progress("")
        self.results["seconds"] = time.monotonic() - begun
        self.write()

    def write(self):
        with open(self.options.out + ".json.new", "w") as out:
            json.dump(self.results, out, indent=1)
        os.rename(self.options.out + ".json.new", self.options.out + ".json")


def memory_of_machine():
    return os.sysconf("SC_PHYS_PAGES") * outside.PAGE


def machine():
    """What the figures were measured on."""
    found = {"kernel": platform.release(), "machine": platform.machine(),
             "processors": os.cpu_count(), "memory": memory_of_machine(), "load": os.getloadavg()}
    with open("/proc/cpuinfo") as info:
        model = re.search(r"^model name\s*: (.*)$", info.read(), re.M)
    found["model"] = model.group(1) if model else "unknown"
    return found


# ---- main --------------------------------------------------------------------------------------


def parse(arguments):
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="runs of each row and allocator (7)")
    parser.add_argument("--rest-rounds", type=int, default=1,
                        help="rounds in which memory is looked at in idle programs (1)")
    parser.add_argument("--seconds", type=float, help="of a micro row's run (0.2)")
    parser.add_argument("--quick", action="store_true", help="--rounds 2 --seconds 0.1")
    parser.add_argument("--only", metavar="REGEX", help="rows to run")
    parser.add_argument("--skip", metavar="REGEX", help="rows to leave out")
    parser.add_argument("--alloc", action="append", metavar="NAME[=PATH]",
                        help="instead of those found: %s, or NAME=LIBRARY" % ", ".join(KNOWN))
    parser.add_argument("--with", dest="beside", action="append", default=[], metavar="NAME=PATH",
                        help="beside those found")
    parser.add_argument("--so", metavar="PATH", help="libreclaim.so (default: the newest built here)")
    parser.add_argument("--by", choices=("wall", "cpu"), default="wall",
                        help="the clock of the ratios; cpu (of all threads) where others use the machine")
    parser.add_argument("--work", metavar="FOLDER", help="for what is compiled and written",
                        default=os.path.join(TOP, "build", "bench"))
    parser.add_argument("--out", metavar="PREFIX", help="default: FOLDER/results")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--report", metavar="FILE", help="no run: the tables of this JSON file")
    parser.add_argument("--no-picture", action="store_true")
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 2 if options.quick else 7
    if options.seconds is None:
        options.seconds = 0.1 if options.quick else 0.2
    if options.rounds < 1 or options.rest_rounds < 0:
        parser.error("at least one round")
    options.work = os.path.abspath(options.work)
    options.out = os.path.abspath(options.out or os.path.join(options.work, "results"))
    return options


def show(results, options):
    text = report.text(results, options.by)
    with open(options.out + ".md", "w") as out:
        out.write(text)
    print(text)
    if not options.no_picture:
        import picture
        if picture.draw(options.out + ".png", results, options.by):
            print("%s.png" % options.out)
    print("%s.json\n%s.md" % (options.out, options.out))


def main():
    options = parse(sys.argv[1:])
    if options.report:
        with open(options.report) as source:
            results = json.load(source)
        options.out = os.path.splitext(os.path.abspath(options.report))[0]
        show(results, options)
        return
    folder = os.path.join(options.work, "programs")
    try:
        micro.build(folder)
    except (micro.BuildFault, OSError) as fault:
        sys.exit("bench: the rows do not compile (libbenchmark-dev is needed):\n%s" % fault)
    with tempfile.TemporaryDirectory(prefix="reclaim-bench-") as work:
        rows = chosen_rows(options, folder, work)
        if options.list:
            for row in rows:
                print("%-8s %s" % (row.kind, row.name))
            return
        allocators = chosen_allocators(options)
        benchmark = Benchmark(options, rows, allocators)
        print("bench: %d rows, %d allocators, %d rounds: about %s" % (
            len(rows), len(allocators), options.rounds,
            clock(benchmark.progress.seconds_left())), flush=True)
        benchmark.run()
    show(benchmark.results, options)


if __name__ == "__main__":
    main()
