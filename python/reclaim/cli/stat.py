# SPDX-License-Identifier: MIT
"""reclaim stat PID"""
import json
import os
import re
import time

from reclaim.cli import Failure, process

DESCRIPTION = """Where the resident memory of a running process is. A process that was started with
the options stats_signal and stats_path is asked, wherever they came from; one with stats_interval_ms has written a report
lately; of others only what /proc says is known."""

PARTS = (("asked", "asked for"), ("rounding", "rounding"), ("holes", "holes between blocks in use"),
         ("cached", "thread caches"), ("dirty", "freed, not yet due"), ("metadata", "metadata"),
         ("other", "not malloc: other anonymous memory"), ("files", "files"))


def add(commands):
    parser = commands.add_parser("stat", help="where the memory of a process is",
                                 description=DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="the report as the process writes it")
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=5,
                        help="how long to wait for the answer (default 5)")
    parser.add_argument("pid", metavar="PID")
    parser.set_defaults(run=run)


def kilobytes(count):
    return "%14s kB" % format(count // 1024, ",")


def show(report):
    """The lines for a report in JSON."""
    ours = report["libreclaim"]
    resident = ours["resident"]
    lines = ["%s  %s" % (kilobytes(resident[name]), label)
             for name, label in PARTS if name in resident]
    lines.append("%s  resident" % kilobytes(resident["total"]))
    counters = ours["counters"]
    lines.append("%s  returned since the start, in %s system calls"
                 % (kilobytes(counters["purged"]), format(counters["purge_calls"], ",")))
    lines.append("%s  of it taken again soon" % kilobytes(counters["refaulted"]))
    lines.append("verdict: " + ours["verdict"])
    return "\n".join(lines)


def from_proc(subject):
    """What can be said without the process's help."""
    rollup = subject.read("smaps_rollup")
    value = {key: int(number) * 1024
             for key, number in re.findall(r"^(\w+):\s*(\d+) kB$", rollup, re.M)}
    total, anonymous = value.get("Rss", 0), value.get("Anonymous", 0)
    lines = ["process %d (%s) writes no statistics; /proc alone says:" % (subject.pid, subject.name)]
    if subject.signal_for("stats_signal") and not subject.stats_path():
        lines = ["process %d (%s) writes its statistics to its stderr, for want of stats_path; /proc "
                 "alone says:" % (subject.pid, subject.name)]
    elif subject.unsure():
        lines = ["process %d (%s) %s; /proc alone says:"
                 % (subject.pid, subject.name, subject.unsure())]
    named, stacks = 0, 0
    inside = None
    for line in subject.read("smaps").splitlines():
        where = process.MAPPING.match(line)
        if where:
            inside = where.group(1)
        elif line.startswith("Anonymous:"):
            count = int(line.split()[1]) * 1024
            named += count if inside.startswith("[anon:libreclaim") else 0
            stacks += count if inside.startswith("[stack") else 0
    if named:
        lines.append("%s  libreclaim's mappings: metadata, and blocks up to 1 MiB, in use and free"
                     % kilobytes(named))
    lines.append("%s  the main thread's stack" % kilobytes(stacks))
    lines.append("%s  %sanonymous memory%s" % (
        kilobytes(anonymous - named - stacks), "other " if named else "",
        ", larger blocks among it" if named else ", libreclaim's among it"))
    lines.append("%s  files" % kilobytes(total - anonymous))
    lines.append("%s  resident" % kilobytes(total))
    if value.get("Swap"):
        lines.append("%s  swapped out" % kilobytes(value["Swap"]))
    lines.append("for more, start it with:  reclaim run --conf "
                 "stats_signal:SIGUSR2,stats_path:/tmp/%p.json ...")
    return "\n".join(lines)


def run(options):
    subject = process.Process(process.pid_of(options.pid))
    text = subject.fresh_report(options.wait)
    if text is None:
        path = subject.stats_path()
        if path is not None and subject.conf.get("stats_interval_ms", "0") != "0" \
                and os.path.exists(path):
            age = time.time() - os.stat(path).st_mtime
            text = process.read_file(path)
            if not options.json:
                print("as of %.1f s ago:" % max(age, 0))
    if text is None:
        if options.json:
            raise Failure("process %d (%s) %s" % (
                subject.pid, subject.name, subject.unsure() or
                "writes no statistics: start it with stats_signal and stats_path"))
        print(from_proc(subject))
        return 0
    if options.json:
        print(text, end="")
        return 0
    try:
        report = json.loads(text)
    except ValueError:
        print(text, end="")  # text or Prometheus's: fit to be read as it is
        return 0
    if str(report["libreclaim"]["pid"]) != subject.inner_pid():
        raise Failure("%s is the report of process %s, another one with the same stats_path: put a %%p in it"
                      % (subject.conf["stats_path"], report["libreclaim"]["pid"]))
    print("process %d (%s), libreclaim %s"
          % (subject.pid, subject.name, report["libreclaim"]["version"]))
    print(show(report))
    return 0
