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


class Recorder:
    def __init__(self, pid, path_of=None):
        """path_of(pid): where that process writes its report; None: none does."""
        self.pid, self.path_of = pid, path_of
        self.start = time.monotonic()
        self.samples = []

    def look(self):
        at = time.monotonic() - self.start
        pids = family.family(self.pid)
        resident = family.resident_together(pids)
        if not resident:
            return  # it is ending
        reports = []
        if self.path_of is not None:
            reports = [report for report in (reported(self.path_of(pid)) for pid in pids) if report]
        live = sum(report[0] for report in reports) if reports else None
        dirty = sum(report[1] for report in reports) if reports else None
        self.samples.append(Sample(at, resident, live, dirty, len(pids)))

    def follow(self, ended, interval):
        """Until ended(seconds) says so, which is called to wait."""
        due = self.start
        while True:
            self.look()
            due = max(due + interval, time.monotonic() + interval / 10)
            if ended(max(due - time.monotonic(), 0)):
                return


def csv_lines(samples):
    lines = [",".join(COLUMNS)]
    for sample in samples:
        lines.append("%.3f,%d,%s,%s,%d" % (
            sample.seconds, sample.resident, "" if sample.live is None else sample.live,
            "" if sample.dirty is None else sample.dirty, sample.processes))
    return lines
