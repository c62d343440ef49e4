# SPDX-License-Identifier: MIT
"""reclaim stat PID"""
import json
import os
import re
import time

from reclaim.cli import Failure, duration, process

DESCRIPTION = """Where the resident memory of a running process is. A process that was started with
the options stats_signal and stats_path is asked, wherever they came from; one with stats_interval_ms has written a report
lately, in JSON, for Prometheus or as text; of others only what /proc says is known."""

PARTS = (("asked", "asked for"), ("rounding", "rounding"), ("holes", "holes between blocks in use"),
         ("cached", "thread caches"), ("dirty", "freed, not yet due"), ("metadata", "metadata"),
         ("other", "not malloc: other anonymous memory"), ("files", "files"))
COUNTERS = (("purged", "purged_bytes_total"), ("purge_calls", "purge_calls_total"),
            ("refaulted", "refaulted_bytes_total"))
SERIES = re.compile(r'^libreclaim_(\w+)\{pid="(\d+)",program="(?:[^"\\]|\\.)*"(?:,part="(\w+)")?\} '
                    r'(\d+)$', re.M)


def add(commands):
    parser = commands.add_parser("stat", help="where the memory of a process is",
                                 description=DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="the report in JSON, of a process that writes it so")
    parser.add_argument("--wait", metavar="SECONDS", type=duration, default=5,
                        help="how long to wait for the answer (default 5)")
    parser.add_argument("pid", metavar="PID")
    parser.set_defaults(run=run)


def kilobytes(count):
    return "%14s kB" % format(count // 1024, ",")


def from_prometheus(text):
    """What show() needs, as the JSON has it.  None: this is no whole file for Prometheus."""
    pid, value = None, {}
    for name, pid, part, number in SERIES.findall(text):
        value[name, part] = int(number)
    resident = {part: number for (name, part), number in value.items()
                if name == "resident_bytes" and part}
    verdict = re.search(r"^# Verdict: (.*)$", text, re.M)
    try:
        return {"pid": int(pid), "resident": dict(resident, total=value["resident_total_bytes", ""]),
                "counters": {name: value[metric, ""] for name, metric in COUNTERS},
                "verdict": verdict.group(1) if verdict else "none in the file (an older library)"}
    except (KeyError, TypeError):
        return None


def figures(text):
    """What show() needs, of a report in JSON or Prometheus's; None: it is text for people."""
    try:
        return json.loads(text)["libreclaim"]
    except ValueError:
        return from_prometheus(text)


def writer_of_text(text):
    """Who wrote a report for people; None: an older library, which does not say."""
    found = re.search(r"^Version: [^,]*, process (\d+),", text, re.M)
    return found.group(1) if found else None


def show(ours):
    """The lines for a report."""
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


def interval(subject):
    """Seconds from one report to the next; 0: the clock does not ask for any."""
    text = subject.conf.get("stats_interval_ms", "0")
    return int(text) / 1000 if text.isdigit() else 0


def silence(subject):
    """Why there is no report, in a few words."""
    if subject.unsure():
        return subject.unsure()
    path, every = subject.conf.get("stats_path"), interval(subject)
    if not path and (every or subject.signal_for("stats_signal")):
        return "writes its statistics to its stderr, for want of stats_path"
    if not path or not every:
        return subject.taken_back("stats_signal") or "writes no statistics"
    left = every - subject.age()
    if left > -1:
        return "writes statistics every %g s, and the first are due in %.0f s" % (every, max(left, 0))
    return "has not written %s yet, due every %g s; its stderr may say why" % (path, every)


def from_proc(subject):
    """What can be said without the process's help."""
    rollup = subject.read("smaps_rollup")
    value = {key: int(number) * 1024
             for key, number in re.findall(r"^(\w+):\s*(\d+) kB$", rollup, re.M)}
    total, anonymous = value.get("Rss", 0), value.get("Anonymous", 0)
    lines = ["process %d (%s) %s; /proc alone says:" % (subject.pid, subject.name, silence(subject))]
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
    # Not one that the program wants for itself.
    lines.append("for more, start it with:  reclaim run --conf stats_signal:%s,stats_path:/tmp/%%p.json ..."
                 % ("SIGRTMIN+5" if subject.taken_back("stats_signal") else "SIGUSR2"))
    return "\n".join(lines)


def run(options):
    subject = process.Process(process.pid_of(options.pid))
    text, since = subject.fresh_report(options.wait), None
    if text is None:
        path = subject.stats_path()
        if path is not None and interval(subject) and os.path.exists(path):
            age = time.time() - os.stat(path).st_mtime
            text = process.read_file(path)
            since = "as of %.1f s ago:" % max(age, 0)
    if text is None:
        if options.json:
            why = silence(subject)
            raise Failure("process %d (%s) %s%s" % (
                subject.pid, subject.name, why, ": start it with stats_signal and stats_path"
                if why == "writes no statistics" else ""))
        print(from_proc(subject))
        return 0
    ours = figures(text)
    writer = str(ours["pid"]) if ours is not None else writer_of_text(text)
    if writer not in (None, subject.inner):
        raise Failure("%s is the report of process %s, another one with the same stats_path: put a %%p in it"
                      % (subject.conf["stats_path"], writer))
    if since is not None and not options.json:
        print(since)
    if options.json:
        if ours is None or not text.startswith("{"):
            raise Failure("process %d (%s) writes %s, which is not JSON: start it with a stats_path that "
                          "ends in .json" % (subject.pid, subject.name, subject.conf["stats_path"]))
        print(text, end="")
    elif ours is None:
        print(text, end="")  # for people; the verdict is in it
    else:
        version = " " + ours["version"] if "version" in ours else ""
        print("process %d (%s), libreclaim%s" % (subject.pid, subject.name, version))
        print(show(ours))
    return 0
