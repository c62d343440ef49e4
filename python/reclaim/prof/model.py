# SPDX-License-Identifier: MIT
"""A heap profile: what each stack holds and has allocated.

Counts are estimates of the truth: what a sampled dump says has been scaled up when it was read.
A place in a stack is independent of the process it was seen in, so that profiles can be added:

    Native   an offset in a binary, or an address that lies in no file (path "")
    Named    a function that the dump itself names: Python's
"""
import calendar
import itertools
import time
from collections import namedtuple

Native = namedtuple("Native", "path build_id offset")
Named = namedtuple("Named", "function file line")
Segment = namedtuple("Segment", "start end offset")

# The places of a stack's counts, in the order in which pprof users expect them.
INUSE_OBJECTS, INUSE_BYTES, ALLOC_OBJECTS, ALLOC_BYTES = range(4)
COUNTS = 4
MOST = (1 << 63) - 1  # a count beyond it is none


class Profile:
    """stacks: {(thread name, leaf-first tuple of places): [the four counts]}
    binaries: {(path, build id): its Segments, as one process had them mapped}
    info: what the dump says of itself (program, pid, time, reason, profile, live)
    files: {path: {(device's two numbers, inode)}} of the mapped files
    written: seconds, not before the (oldest) dump was; None: not known
    pids, parents: of the processes, and of those that they were forked from while profiled
    notes: what a user must know of it"""

    def __init__(self, source="", rate=0):
        self.sources = [source] if source else []
        self.rate = rate
        self.stacks = {}
        self.binaries = {}
        self.info = {}
        self.files = {}
        self.written = None
        self.pids, self.parents = [], []
        self.notes = []

    def add_stack(self, thread, stack, counts):
        mine = self.stacks.get((thread, stack))
        if mine is None:
            self.stacks[thread, stack] = list(counts)
        else:
            for place in range(COUNTS):
                mine[place] += counts[place]

    def add(self, other, factor=1):
        """Count another profile in, or with -1 take it off."""
        for (thread, stack), counts in other.stacks.items():
            self.add_stack(thread, stack, [count * factor for count in counts])
        for key, segments in other.binaries.items():
            self.binaries.setdefault(key, segments)
        for path, identities in other.files.items():
            self.files[path] = self.files.get(path, set()) | identities
        # A file that is newer than any of them is not the one that this one saw.
        self.written = min((at for at in (self.written, other.written) if at is not None), default=None)
        if factor > 0:
            self.sources += other.sources
            self.pids += [pid for pid in other.pids if pid not in self.pids]
            self.parents += [pid for pid in other.parents if pid not in self.parents]
            self.notes += other.notes
            self.rate = max(self.rate, other.rate)

    def without(self, base):
        """What has come since another one, which the readers of places can tell."""
        result = Profile()
        result.add(self)
        result.add(base, -1)
        result.info = self.info
        return result

    def total(self, place):
        return sum(counts[place] for counts in self.stacks.values())

    def has_alloc(self):
        """Whether it says what was allocated and freed again (jemalloc: only with prof_accum)."""
        return any(counts[ALLOC_OBJECTS] or counts[ALLOC_BYTES] for counts in self.stacks.values())

    def places(self):
        return {place for _, stack in self.stacks for place in stack}


def summed(profiles):
    """One profile of many; of one, itself."""
    profiles = list(profiles)
    if len(profiles) == 1:
        return profiles[0]
    result = Profile()
    for profile in profiles:
        result.add(profile)
    if profiles:
        result.info = summed_info([profile.info for profile in profiles])
    return result


def summed_info(infos):
    """What all say, but for what adds up or is one process's own affair."""
    result = {key: value for key, value in infos[0].items()
              if key not in ("live", "time", "parent", "inherited", "resident")
              and all(info.get(key) == value for info in infos)}
    live = [number_of(info.get("live")) for info in infos]
    if None not in live:
        result["live"] = str(sum(live))
    # Of the oldest: what has been changed since is not what it saw.
    times = [info.get("time", "") for info in infos]
    if all(seconds_of(text) is not None for text in times):
        result["time"] = min(times, key=seconds_of)
    return result


def number_of(text):
    """None: it is no number that a dump can hold."""
    return int(text) if text and len(text) < 20 and text.isdecimal() and int(text) <= MOST else None


def real_path(path):
    """Of a file as a list of mapped ones names it: a newline is written as \\012 there, and nothing else
    is."""
    return path.replace("\\012", "\n")


def seconds_of(text):
    """Since 1970, of the time in a dump; None: that is none."""
    try:
        return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return None


def counted_twice(profiles):
    """Processes of which there may be more than one dump: what they hold would be counted again."""
    by_pid = {}
    for profile in profiles:
        for pid in set(profile.pids):
            by_pid.setdefault(pid, []).append(profile)
    found = [pid for pid, same in by_pid.items()
             if any(may_be_one(*pair) for pair in itertools.combinations(same, 2))]
    return sorted(found, key=str)


def may_be_one(one, other):
    """Whether two dumps of one number may be of one process: each container has a process 1.  What
    a process runs stays where it is, and lies elsewhere in the next one.  A merged dump does not
    say where it was."""
    if "merged" in one.info or "merged" in other.info:
        return True
    shared = set(one.binaries) & set(other.binaries)
    return not shared or any(one.binaries[key][0] == other.binaries[key][0] for key in shared)


def inherited_twice(profiles):
    """Of forked processes among these whose parent is there too, or another child of it: what each had
    inherited, None where its dump does not say.  That much is counted for each of them."""
    found = []
    for profile in profiles:
        parents = set(profile.parents)
        if parents and any(parents.intersection(other.pids) or parents.intersection(other.parents)
                           for other in profiles
                           if other is not profile and set(other.pids) != set(profile.pids)):
            found.append(number_of(profile.info.get("inherited")))
    return found
