# SPDX-License-Identifier: MIT
"""Reads heap profiles: heap_v2 text (libreclaim, jemalloc) and gperftools' legacy text.

Sampled counts are scaled up as jeprof does it, once per stack.  doc/profiling.md has the formats.
Whatever is wrong with a file is one Unreadable that names it.
"""
import bisect
import math
import os
import re
import stat

from reclaim.prof import Unreadable
from reclaim.prof.model import MOST, Named, Native, Profile, Segment, number_of, seconds_of

NUMBER = r"(\d{1,20})"
COUNTS = re.compile(r"^\s*t(\*|\d{1,9}):\s*%s:\s*%s\s*\[\s*%s:\s*%s\]$" % ((NUMBER,) * 4))
LEGACY = re.compile(r"^\s*%s:\s*%s\s*\[\s*%s:\s*%s\]\s*@((?:\s+(?:0x)?[0-9a-fA-F]{1,16})*)\s*$"
                    % ((NUMBER,) * 4))
STACK = re.compile(r"^@((?:\s+(?:0x)?[0-9a-fA-F]{1,16})*)\s*$")
HEAP_V2 = re.compile(r"^heap_v2/%s$" % NUMBER)
HEAP = re.compile(r"^heap profile:\s*%s:\s*%s\s*\[\s*%s:\s*%s\]\s*(?:@\s*([^/\s]*)(?:/%s)?)?\s*$"
                  % ((NUMBER,) * 5))
HEX = r"([0-9a-fA-F]{1,16})"
MAPPING = re.compile(r"^%s-%s ([-r][-w][-x][-sp]) %s (\S+) (\d+)\s*(.*)$" % ((HEX,) * 3))
DEVICE = re.compile(r"^([0-9a-f]{1,8}):([0-9a-f]{1,8})$")
OLD_MAPPING = re.compile(r"^\s*%s-%s:\s+(\S.*)$" % (HEX, HEX))
MAPPINGS = ("MAPPED_LIBRARIES:", "--- Memory map:")
FRAME = re.compile(r"^# frame 0x%s (\d{1,12}) ([^\t]*)(?:\t(.*))?$" % HEX)
NO_MAPPINGS = "# no mappings"  # in place of the list: the library could not read its own
OURS = re.compile(r"^# reclaim (\d{1,9})$")
BUILD_AT = re.compile(r"^0x%s (\S+)$" % HEX)
NO_BUILD_ID = "-"
SEVERAL = "several"  # no binary has such a build id
END, WITH_END = "# end", 2  # the last line of the library's files, from this version on
WORDS = ("program", "pid", "time", "reason", "profile", "live", "merged", "parent", "inherited",
         "resident")
NAMED_FROM = 1 << 63
LEGACY_RATE = 128 << 10  # of gperftools' first kind of samples, where the file does not say


def scale_v2(count, size, rate):
    """What samples of a Poisson process stand for: a block of s bytes is sampled with probability
    1 - exp(-s / rate)."""
    if not count or not size or not rate:
        return 1.0
    return -1 / math.expm1(-size / count / rate)


def scale_v1(count, size, rate):
    """gperftools before heap_v2: a sample each `rate` bytes."""
    if not count or not size or not rate:
        return 1.0
    return max(1.0, count * rate / size)


def scale_none(count, size, rate):
    return 1.0


class Reader:
    def __init__(self, name, text, modified=None):
        self.name, self.modified = name, modified
        self.lines = text.split("\n")
        # What follows the last newline: nothing, unless the file ends in the middle of a line.
        self.whole = self.lines[-1] == ""
        if self.whole:
            self.lines.pop()
        self.number = 0
        self.scale, self.rate = scale_none, 0
        self.stacks = []  # (addresses, {thread number or "*": counts}, where: the line's number)
        self.named = {}
        self.threads = {}
        self.builds = {}     # path: build id
        self.builds_at = {}  # where a mapping starts: build id, where that of its path does not do
        self.mappings = []  # (start, end, offset, path, executable), sorted
        self.files = {}
        self.bare = False  # it says that it has no list of mapped files
        self.open = False  # its last line, which says so, is still to come
        self.info = {}
        self.mean = None  # of a merged one: what its dumps were sampled at
        self.pids, self.parents = None, None  # of a merged one

    def fail(self, text):
        raise Unreadable("%s: %s" % (self.name, text))

    def bad_line(self):
        line = self.lines[self.number]
        if self.number == len(self.lines) - 1 and not self.whole:
            self.fail("cut off in line %d: not all of it was written" % (self.number + 1))
        shown = "".join(char if char.isprintable() else "?" for char in line[:60])
        self.fail("line %d does not belong in a heap profile: %s" % (self.number + 1, shown))

    def read(self):
        self.header()
        legacy = self.lines[0].startswith("heap profile:")
        for self.number in range(1, len(self.lines)):
            line = self.lines[self.number].rstrip("\r")
            if line.startswith("#"):
                self.comment(line)
            elif line in MAPPINGS:
                break
            elif line.strip() and not (self.legacy(line) if legacy else self.v2(line)):
                self.bad_line()
        else:
            if not self.bare:
                self.fail("cut off: it ends before its list of mapped files")
        for self.number in range(self.number + 1, len(self.lines)):
            self.mapping(self.lines[self.number].rstrip("\r"))
        if not self.whole:
            self.fail("cut off in its last line")
        if not self.mappings and not self.bare:
            self.fail("cut off: it ends before its list of mapped files")
        if self.open:
            self.fail("cut off: it ends in its list of mapped files")
        self.mappings.sort()
        return self.profile()

    def header(self):
        line = self.lines[0].rstrip("\r") if self.lines else ""
        v2, heap = HEAP_V2.match(line), HEAP.match(line)
        if v2:
            self.scale, self.rate = scale_v2, self.counts(v2.group(1))[0]
        elif heap:
            kind, rate = heap.group(5), self.counts(*heap.group(1, 2, 3, 4), heap.group(6) or "0")[4]
            if kind is None:
                # Of the oldest samples it is only known that nothing in them was ever freed.
                kind = "heap" if heap.group(1, 2) == heap.group(3, 4) else "heapprofile"
            if kind.endswith("heap_v2"):
                self.scale, self.rate = scale_v2, rate or LEGACY_RATE
            elif "heap" in kind and kind != "heapprofile":
                # Its number is twice the mean.
                self.scale, self.rate = scale_v1, rate // 2 or LEGACY_RATE
        elif len(self.lines) == 1 and not self.whole and (
                any(begin.startswith(line[:len(begin)]) for begin in ("heap_v2/", "heap profile:"))):
            self.fail("cut off in line 1: not all of it was written")
        else:
            self.fail("not a heap profile (a text that begins with heap_v2/ or heap profile:)")

    def comment(self, line):
        frame = FRAME.match(line)
        if frame:
            self.named[int(frame.group(1), 16)] = Named(
                frame.group(3) or "?", frame.group(4) or "", int(frame.group(2)))
            return
        if line == NO_MAPPINGS:
            self.bare = True
        elif line == END:
            self.open = False
        ours = OURS.match(line)
        if ours:
            self.open = int(ours.group(1)) >= WITH_END
        words = line.split(" ", 2)
        if len(words) != 3:
            return
        if words[1] == "thread":
            number, _, name = words[2].partition(" ")
            self.threads[number] = name
        elif words[1] == "build-id":
            path, _, build = words[2].rpartition(" ")
            # Which of two a stack is of is not known then: no names are better than wrong ones.
            self.builds[path] = SEVERAL if self.builds.get(path, build) != build else build
        elif words[1] == "build-at":
            at = BUILD_AT.match(words[2])
            if at:
                build = at.group(2)
                self.builds_at[int(at.group(1), 16)] = "" if build == NO_BUILD_ID else build
        elif words[1] == "mean":
            self.mean = number_of(words[2])
        elif words[1] == "pids":
            self.pids = words[2].split()
        elif words[1] == "parents":
            self.parents = words[2].split()
        elif words[1] in WORDS:
            self.info[words[1]] = words[2].strip()

    def counts(self, *words):
        """The numbers of the current line.  What no memory can hold was not written by an allocator."""
        numbers = [int(word) for word in words]
        if max(numbers) > MOST:
            self.too_many(self.number)
        return numbers

    def too_many(self, number):
        self.fail("damaged: line %d counts more than 2^63" % (number + 1))

    def v2(self, line):
        stack = STACK.match(line)
        if stack:
            self.stacks.append(([int(word, 16) for word in stack.group(1).split()], {}, self.number))
            return True
        counts = COUNTS.match(line)
        if counts:
            numbers = self.counts(*counts.group(2, 3, 4, 5))
            if self.stacks:
                self.stacks[-1][1][counts.group(1)] = numbers
        return counts is not None

    def legacy(self, line):
        entry = LEGACY.match(line)
        if entry:
            self.stacks.append(([int(word, 16) for word in entry.group(5).split()],
                                {"*": self.counts(*entry.group(1, 2, 3, 4))}, self.number))
        return entry is not None

    def mapping(self, line):
        where, old = MAPPING.match(line), OLD_MAPPING.match(line)
        if where:
            # A newline in it is \012 there, and stays so: a line must remain one.  Whoever opens the
            # file undoes it.
            path = where.group(7)
            self.mappings.append((int(where.group(1), 16), int(where.group(2), 16),
                                  int(where.group(4), 16), path, "x" in where.group(3)))
            device, inode = DEVICE.match(where.group(5)), int(where.group(6))
            if path.startswith("/") and device and inode:
                self.files.setdefault(path, set()).add(
                    (int(device.group(1), 16), int(device.group(2), 16), inode))
        elif old:
            self.mappings.append((int(old.group(1), 16), int(old.group(2), 16), 0, old.group(3),
                                  True))
        elif line.startswith("#"):
            self.comment(line)
        elif line.strip() and not line.lstrip().startswith("build="):
            self.bad_line()

    # ---- what was read, as a profile ---------------------------------------------------------

    def build_id(self, start, path):
        """Of what is mapped there."""
        found = self.builds_at.get(start)
        return self.builds.get(path, "") if found is None else found

    def place(self, address, first):
        named = self.named.get(address)
        if named is not None:
            return named
        if address >= NAMED_FROM:
            return Named("[unknown 0x%x]" % address, "", 0)
        # All but the first are return addresses: the call is before.
        address -= 0 if first or address == 0 else 1
        if not self.mappings:
            # Not "in no file": which it was in is not known.  As a name it stays the same wherever the
            # files of other processes lie.
            return Named("0x%x" % address, "", 0)
        at = bisect.bisect_right(self.starts, address) - 1
        if at >= 0:
            start, end, offset, path, executable = self.mappings[at]
            if address < end and path:
                key = path, self.build_id(start, path)
                self.used.add(key)
                return Native(*key, address - start + offset)
        return Native("", "", address)

    def profile(self):
        self.starts = [mapping[0] for mapping in self.mappings]
        self.used = set()
        known = {}
        result = Profile(self.name, self.mean or self.rate)
        result.info = self.info
        result.files = self.files
        result.written = self.written()
        result.pids = self.pids or [self.info[word] for word in ("pid",) if word in self.info]
        result.parents = self.parents or [
            self.info[word] for word in ("parent",) if word in self.info]
        if not self.mappings:
            result.notes.append("%s has no list of mapped files (there was no /proc): it shows addresses "
                                "only" % self.name)
        for addresses, by_thread, line in self.stacks:
            if not by_thread:
                self.fail("cut off: a stack without counts")
            places = []
            for index, address in enumerate(addresses):
                key = address, index == 0
                if key not in known:
                    known[key] = self.place(*key)
                places.append(known[key])
            self.add(result, tuple(places), by_thread, line)
        for key in sorted(self.used):
            result.binaries[key] = []
        for start, end, offset, path, _ in self.mappings:
            segments = result.binaries.get((path, self.build_id(start, path)))
            if segments is not None:
                segments.append(Segment(start, end, offset))
        return result

    def written(self):
        """Seconds: no later than that.  The dump says its second, and its file when that was over; a
        file's own time alone may be that of a copy, and so later."""
        at = seconds_of(self.info.get("time", ""))
        if at is None or self.modified is not None and at <= self.modified < at + 1:
            return self.modified
        return at + 0.999999

    def add(self, result, stack, by_thread, line):
        """The stack's sums decide how much a sample stands for; threads share it as they share
        the samples."""
        threads = {name: counts for name, counts in by_thread.items() if name != "*"}
        whole = by_thread.get("*") or [sum(column) for column in zip(*threads.values())]
        live = self.scale(whole[0], whole[1], self.rate)
        ever = self.scale(whole[2], whole[3], self.rate)
        if max(whole[0] * live, whole[1] * live, whole[2] * ever, whole[3] * ever) > float(MOST):
            self.too_many(line)
        if [sum(column) for column in zip(*threads.values())] != whole:
            threads = {"": whole}
        for number, counts in threads.items():
            name = self.threads.get("t" + number, self.threads.get(number, ""))
            result.add_stack(name or (number and "thread " + number), stack,
                             [counts[0] * live, counts[1] * live,
                              counts[2] * ever, counts[3] * ever])


def parse(name, data, modified=None):
    """The Profile in these bytes, of a file that was last written then."""
    if not data:
        raise Unreadable("%s: empty: no heap profile" % name)
    if data[:2] == b"\x1f\x8b":
        raise Unreadable("%s: a gzip'ed file (pprof's profile.proto?), not a heap profile in text"
                         % name)
    if b"\0" in data[:4096]:
        raise Unreadable("%s: a binary file, not a heap profile in text" % name)
    # Paths are bytes: what is no UTF-8 must come out again as it was to be found.
    return Reader(name, data.decode("utf-8", "surrogateescape"), modified).read()


def read(path):
    """The Profile in a file."""
    try:
        with open(path, "rb") as file:
            data, status = file.read(), os.fstat(file.fileno())
    except OSError as error:
        raise Unreadable("%s: %s" % (path, error.strerror)) from None
    except ValueError:
        raise Unreadable("%r: no name of a file" % path) from None
    return parse(path, data, status.st_mtime if stat.S_ISREG(status.st_mode) else None)
