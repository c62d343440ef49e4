# SPDX-License-Identifier: MIT
"""curve_runs.py - runs a program, samples its memory, and works out what the curve says."""
import contextlib
import csv
import fcntl
import os
import re
import select
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time

import outside

MB = 1000000.0
FREES = re.compile(r"free|\bdel\b|drop", re.I)
# A sample below this share of the highest is after the peak.
PEAK_SHARE = 0.95
# The last moments of a process are its own clearing up; "at the end" means before them.
LAST_MOMENTS = 0.1
# What ends before that may not have been seen at all.
SOON, SOON_SAMPLES = 0.1, 5
# The number of read() where the kernel's view of a blocked thread can tell it.
READ_CALL = {"x86_64": 0, "aarch64": 63}.get(os.uname().machine)


class Settings:
    def __init__(self, interval, pss, hold):
        self.interval, self.pss, self.hold = interval, pss, hold


class Event:
    """A line of the program's output: when, what, and what it told of live memory."""

    def __init__(self, line, arrived, started):
        self.seconds, self.label, self.told = arrived - started, line, {}
        found = re.match(r"@ (\d+(?:\.\d+)?)((?: \w+=\d+)*)(?: label=(.*))?$", line)
        if found:
            stamp = float(found.group(1))
            # A program that has run for a minute may say 60; the system's clock says more.
            self.seconds = stamp - started if stamp >= started - 1 else stamp
            self.told = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", found.group(2))}
            self.label = found.group(3) or ""


class Curve:
    """One run: samples of (seconds, RSS, PSS or None) and events."""

    def __init__(self, allocator):
        self.allocator, self.samples, self.events = allocator, [], []

    @property
    def peak(self):
        return max(rss for _, rss, _ in self.samples)

    @property
    def end(self):
        """Resident at last, before the process clears up and ends."""
        return self.at(self.wall - LAST_MOMENTS)

    @property
    def wall(self):
        return self.samples[-1][0]

    @property
    def area(self):
        """Byte-seconds below the curve."""
        return sum((b[0] - a[0]) * (a[1] + b[1]) / 2
                   for a, b in zip(self.samples, self.samples[1:]))

    def freed_at(self):
        """When the memory could first have begun to come back."""
        high = self.peak * PEAK_SHARE
        end_of_peak = max(at for at, rss, _ in self.samples if rss >= high)
        frees = [event.seconds for event in self.events if FREES.search(event.label)]
        return min([end_of_peak] + frees[:1])

    def floor(self, lowest):
        """
        What cannot be returned: what was resident at "start", and what the program says to be alive
        after it freed.  From a program that says nothing, the lowest end of all curves.
        """
        start = [event for event in self.events if event.label.startswith("start")]
        if not start:
            return lowest
        # "start 10012 kB": it looked itself, at that very moment; the last sample may be older.
        own = re.search(r"(\d+) kB$", start[0].label)
        begin = int(own.group(1)) * outside.KIB if own else self.at(start[0].seconds)
        freed = [event.told for event in self.events if FREES.search(event.label)]
        told = freed[0] if freed else {}
        return begin + told.get("pages", told.get("live", 0))

    def at(self, seconds):
        """Resident memory at a moment: the last sample until then."""
        before = [rss for at, rss, _ in self.samples if at <= seconds]
        return before[-1] if before else self.samples[0][1]

    def time_to_return(self, lowest):
        """Seconds until it is down at the floor; None: never."""
        limit = self.floor(lowest) * 1.10 + outside.MIB
        if self.peak <= limit:
            return 0.0  # it never was above
        begin = self.freed_at()
        for at, rss, _ in self.samples:
            if begin <= at <= self.wall - LAST_MOMENTS and rss <= limit:
                return at - begin
        return None

    def live(self):
        """[(seconds, bytes)] as the program told them."""
        return [(e.seconds, e.told["live"]) for e in self.events if "live" in e.told]


# ---- one run -----------------------------------------------------------------------------------


def sample(pid, pss):
    """(RSS, PSS or None) of the process and its descendants; None when it has gone."""
    rss, share, seen = 0, 0, False
    for one in outside.family(pid):
        try:
            if pss:
                rolled = outside.rollup(one)
                rss, share = rss + rolled["Rss"], share + rolled["Pss"]
            else:
                rss += outside.resident_quick(one)
            seen = seen or rss > 0
        except (OSError, KeyError, IndexError):
            continue
    return (rss, share if pss else None) if seen else None


def waits_for_input(pid):
    """True while the process's first thread is blocked reading standard input."""
    try:
        call = outside.read_proc(pid, "syscall").split()
    except OSError:
        return False
    return len(call) > 1 and call[0] == str(READ_CALL) and int(call[1], 16) == 0


def unread(pipe):
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))[0]


class Prompt:
    """Presses Enter when the program has waited for input long enough."""

    def __init__(self, process, hold):
        self.process, self.hold, self.since = process, hold, None

    def look(self, now):
        if self.hold is None or not waits_for_input(self.process.pid) or unread(self.process.stdin):
            self.since = None
        elif self.since is None:
            self.since = now
        elif now - self.since >= self.hold:
            self.process.stdin.write(b"\n")
            self.since = None


def watch(allocator, command, settings):
    """Runs the command once and returns its curve."""
    curve = Curve(allocator)
    env = dict(allocator.environment(), PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
    with tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        try:
            process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=errors, bufsize=0)
        except OSError as error:
            sys.exit("curve: cannot run %s: %s" % (command[0], error.strerror))
        prompt, pending, due, open_output = Prompt(process, settings.hold), b"", started, True
        proven = allocator.path is None
        while process.poll() is None:
            now = time.monotonic()
            if now >= due:
                found = sample(process.pid, settings.pss)
                if found:
                    curve.samples.append((now - started,) + found)
                    proven = proven or was_preloaded(process.pid, allocator)
                prompt.look(now)
                due = max(due + settings.interval, time.monotonic())
            if open_output:
                if select.select([process.stdout], [], [], max(0, due - time.monotonic()))[0]:
                    got = os.read(process.stdout.fileno(), 65536)
                    open_output = bool(got)
                    lines = (pending + got).split(b"\n")
                    pending = lines.pop()
                    now = time.monotonic()
                    curve.events += [Event(line.decode(errors="replace"), now, started)
                                     for line in lines]
            else:
                time.sleep(max(0, due - time.monotonic()))
        process.stdin.close()
        process.stdout.close()
        took = time.monotonic() - started
        if process.returncode != 0 or not curve.samples or not proven:
            errors.seek(0)
            sys.stderr.write(errors.read().decode(errors="replace"))
            sys.exit("curve: under %s: %s" % (allocator.name, why_not(process, took, settings)))
    return curve


def why_not(process, took, settings):
    if process.returncode:
        return "exit code %d" % process.returncode
    if took < max(SOON, SOON_SAMPLES * settings.interval):
        return ("it ended after %.3f s, before it could be looked at: that needs a program that runs "
                "longer, or a shorter --interval" % took)
    return ("the library was not preloaded, or not in a process that could be seen (a static or "
            "set-user-ID program? one that left its work to another process?)")


def was_preloaded(pid, allocator):
    try:
        return any(outside.is_mapped(one, allocator.path) for one in outside.family(pid))
    except OSError:
        return False


# ---- all runs --------------------------------------------------------------------------------------


class Result:
    """All rounds of one allocator."""

    def __init__(self, allocator):
        self.allocator, self.rounds, self.lowest = allocator, [], 0

    @property
    def median(self):
        """The round whose area is the median: a curve that was really measured."""
        return sorted(self.rounds, key=lambda curve: curve.area)[(len(self.rounds) - 1) // 2]

    def time_to_return(self):
        return self.median.time_to_return(self.lowest)

    def area(self):
        return statistics.median(curve.area for curve in self.rounds)


def compare(allocators, command, rounds, settings):
    results = [Result(allocator) for allocator in allocators]
    for number in range(rounds):
        for result in results:
            outside.progress("round %d of %d: %s" % (number + 1, rounds, result.allocator.name))
            result.rounds.append(watch(result.allocator, command, settings))
    outside.progress("")
    lowest = min(result.median.end for result in results)
    for result in results:
        result.lowest = lowest
    return results


def back_text(seconds):
    return "never" if seconds is None else "%.2f s" % seconds


def print_table(results):
    print("| allocator | peak MB | end MB | area MB*s | time to return | wall s |")
    print("|---|---:|---:|---:|---:|---:|")
    for result in results:
        curve = result.median
        print("| %s | %.1f | %.1f | %.0f | %s | %.2f |" % (
            result.allocator.name, curve.peak / MB, curve.end / MB, result.area() / MB,
            back_text(result.time_to_return()), curve.wall))


def write_csv(path, results):
    with open(path, "w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["allocator", "round", "seconds", "rss_bytes", "pss_bytes", "live_bytes",
                        "event"])
        for result in results:
            for number, curve in enumerate(result.rounds, 1):
                rows = [(at, rss, pss, None, None) for at, rss, pss in curve.samples]
                rows += [(e.seconds, None, None, e.told.get("live"), e.label) for e in curve.events]
                for at, *rest in sorted(rows, key=lambda row: row[0]):
                    table.writerow([result.allocator.name, number, "%.4f" % at] + rest)


@contextlib.contextmanager
def compiled(name):
    """A folder with that program of test/reclaim, compiled."""
    folder = tempfile.mkdtemp(prefix="reclaim-bench-")
    try:
        subprocess.check_call(
            os.environ.get("CC", "cc").split()
            + ["-std=c11", "-D_GNU_SOURCE", "-O2", "-fno-builtin", "-pthread",
               os.path.join(outside.HERE, name + ".c"), "-o", os.path.join(folder, name)])
        yield folder
    finally:
        shutil.rmtree(folder)
