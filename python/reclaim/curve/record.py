# SPDX-License-Identifier: MIT
"""Looks at a running program at intervals: resident bytes from /proc, live and dirty bytes from the
reports that libreclaim writes in each of its processes (stats_path).

    Sample.seconds    since the start
    .resident         bytes, children included
    .live             what the program holds; None while no report is there
    .dirty            freed and still resident, on its way back; likewise
    .processes        how many
"""
import json
import os
import time
from collections import namedtuple

from reclaim.curve import family

Sample = namedtuple("Sample", "seconds resident live dirty processes")
COLUMNS = ("seconds", "resident_bytes", "live_bytes", "dirty_bytes", "processes")


def reported(path):
    """(live, dirty) of a report; None: there is none that can be read."""
    try:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        return (int(report["jemalloc"]["stats"]["allocated"]),
                int(report["libreclaim"]["resident"]["dirty"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def time_of(path):
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


class Recorder:
    def __init__(self, pid, path_of=None):
        """path_of(pid): where that process writes its report; None: none does."""
        self.pid, self.path_of = pid, path_of
        self.start = time.monotonic()
        self.samples = []
        self.images = {}  # process: what runs in it, when the report was written that was another's

    def look(self):
        at = time.monotonic() - self.start
        # What is about to run another program has no memory of its own yet.
        pids = {pid: parent for pid, parent in family.family(self.pid).items()
                if parent is None or not family.borrows(pid, parent)}
        parts = family.resident_parts(pids)
        resident = sum(part[0] for part in parts.values())
        if not resident:
            return  # it is ending
        live = dirty = None
        for pid, report in self.reports(pids).items():
            # A child counts what it has inherited as its own, like its parent.
            own = parts[pid][1]
            live = (live or 0) + int(report[0] * own)
            dirty = (dirty or 0) + int(report[1] * own)
        self.samples.append(Sample(at, resident, live, dirty, len(pids)))

    def reports(self, pids):
        """{process: its report}; of a fork that has written none yet, its parent's: what it has
        inherited."""
        found = {}
        for pid, parent in pids.items() if self.path_of is not None else ():
            image = family.Image(pid)
            report = self.report(pid, image)
            if report is None and parent in found and image.forked:
                report = found[parent]
            if report is not None:
                found[pid] = report
        return found

    def report(self, pid, image):
        """Its own; None: there is none of what runs there now."""
        path = self.path_of(pid)
        written = time_of(path)
        before, _ = self.images.get(pid, (image, None))
        if before != image:  # another program: what is there is the last one's
            self.images[pid] = image, written
        else:
            self.images.setdefault(pid, (image, None))
        return None if written is None or written == self.images[pid][1] else reported(path)

    def follow(self, ended, interval):
        """Until ended(seconds) says so, which is called to wait."""
        due = self.start
        while True:
            self.look()
            due = max(due + interval, time.monotonic() + interval / 10)
            if ended(max(due - time.monotonic(), 0)):
                return


def csv_head():
    return ",".join(COLUMNS)


def csv_lines(samples):
    lines = []
    for sample in samples:
        lines.append("%.3f,%d,%s,%s,%d" % (
            sample.seconds, sample.resident, "" if sample.live is None else sample.live,
            "" if sample.dirty is None else sample.dirty, sample.processes))
    return lines
