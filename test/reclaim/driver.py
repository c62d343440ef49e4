#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""driver.py - does memory that is freed go back to the system?  Measured from outside.

    driver.py                       all cases, with libreclaim
    driver.py --quick               the part that `make check` runs
    driver.py --only frag           cases whose name holds "frag" (repeatable)
    driver.py --alloc jemalloc      the same cases and bounds, with a peer
    driver.py --list                the names
    driver.py --thp                 with transparent huge pages set to `always` for the whole system
                                    meanwhile (root)
    driver.py --commit              some of them, and what happens without memory, with
                                    vm.overcommit_memory=2 for the whole system meanwhile (root)
    driver.py --self-test           the tests must fail where they should

The library: --so PATH, or RECLAIM_SO, or the newest one built in this tree.  The C programs are
compiled into a temporary folder with $CC.  Exit codes: 0 passed, 1 failed, 77 nothing to test with.
"""
import argparse
import concurrent.futures
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import cases
import cases_python
import outside
from cases import MIB, Context, Row, Skip

PROGRAMS = ("survivors", "idle_threads", "plateaus", "turns", "hugeblocks", "interrupt", "singlestep",
            "nocommit")
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-fno-builtin", "-pthread"]
# Settings of allocators that a user may have set: the contract is about the defaults.
SETTINGS = ("RECLAIM_CONF", "MALLOC_CONF", "_RJEM_MALLOC_CONF", "GLIBC_TUNABLES", "PYTHONMALLOC")


class Case:
    """A function, its arguments, and when it runs.  busy: keeps the processors busy, so that it
    runs by itself after the others."""

    def __init__(self, name, function, quick=False, busy=False, **arguments):
        self.name, self.function, self.arguments = name, function, arguments
        self.quick, self.busy = quick, busy


class Result:
    def __init__(self, name):
        self.name, self.rows, self.skipped, self.failure, self.seconds = name, [], None, None, 0

    @property
    def verdict(self):
        if self.skipped:
            return "skipped"
        return "FAILED" if self.failure or not all(row.ok for row in self.rows) else "ok"


# ---- the cases -------------------------------------------------------------------------------


def survivor_cases():
    found = []
    quick = {("small", 50, "random", "self"), ("medium", 20, "same", "self"),
             ("medium", 200, "reverse", "other"), ("large", 50, "random", "fresh"),
             ("medium", 50, "random", "eight")}
    for by in ("self", "other", "fresh", "eight"):
        for sizes in cases.SIZES:
            for keep in (20, 50, 200):
                for order in ("same", "reverse", "random"):
                    found.append(Case(
                        "survivors %s 1/%d %s by-%s" % (sizes, keep, order, by), cases.survivors,
                        quick=(sizes, keep, order, by) in quick,
                        sizes=sizes, keep=keep, order=order, by=by))
    for sizes in cases.SIZES:
        found.append(Case("peak survivors %s" % sizes, cases.survivors_peak, quick=True, sizes=sizes))
        for by in ("self", "eight"):
            found.append(Case("trim survivors %s by-%s" % (sizes, by), cases.survivors_trim,
                              quick=sizes == "medium", sizes=sizes, keep=50, by=by))
    return found


def thread_and_block_cases():
    found = [
        Case("idle-threads 500", cases.idle_threads, quick=True),
        Case("idle-threads 200 together", cases.idle_threads, threads=200,
             options=("--together",), late=2 * MIB),
        # Few blocks each: no cache is ever counted, and all frees are hits.
        Case("idle-threads 64 mixed", cases.idle_threads, quick=True, threads=64, each=420000,
             options=("--together", "--sizes", "16:60000"), more=1.5 * MIB),
        Case("idle-threads 200 mixed", cases.idle_threads, threads=200, each=420000,
             options=("--together", "--sizes", "16:60000"), more=2 * MIB),
        Case("idle-threads 64 medium", cases.idle_threads, threads=64, each=250000,
             options=("--together", "--sizes", "1000:16000"), more=1.5 * MIB),
        Case("idle-threads 200 of a size", cases.idle_threads, threads=200, each=500000,
             options=("--together", "--sizes", "1000:1000"), more=2 * MIB),
        # A block each: what remains are the caches themselves.
        Case("idle-threads 900 tiny", cases.idle_threads, quick=True, threads=900, each=16,
             more=1 * MIB),
        Case("idle-threads 64 no decay", cases.idle_threads, threads=64, each=420000,
             options=("--together", "--sizes", "16:60000"), more=1.5 * MIB,
             conf="dirty_decay_ms:0"),
        Case("trim idle-threads", cases.idle_threads_trim, quick=True),
        Case("plateaus small", cases.plateaus, sizes="small"),
        Case("plateaus medium", cases.plateaus, sizes="medium"),
        Case("plateaus short", cases.plateaus, quick=True, sizes="small", rounds=3,
             high=150000000, low=15000000),
        Case("turns replaced", cases.turns, quick=True, mode="--replace", rounds=400,
             alive=21 * MIB),
        Case("turns of eight sizes", cases.turns, quick=True, mode="--rotate", alive=5 * MIB),
        Case("huge growth one", cases.huge_growth, quick=True),
        Case("huge growth two", cases.huge_growth, quick=True, blocks=2),
        Case("huge described 8 MB", cases.huge_described, quick=True, blocks=1000, size=8000000),
        Case("huge described 1.2 MB", cases.huge_described, blocks=5000, size=1200000),
        Case("wake-ups", cases.wake_ups, quick=True),
    ]
    for size in (2, 4, 8, 64):
        for shrink in (False, True):
            found.append(Case("huge advice %d MiB%s" % (size, " shrunk" if shrink else ""),
                              cases.huge_advice, quick=size in (4, 8), size=size * MIB,
                              shrink=shrink))
    return found


def stopped_owner_cases():
    found = [
        Case("interrupted", cases.interrupted, quick=True, busy=True, seconds=3),
        Case("interrupted quick-decay", cases.interrupted, quick=True, busy=True, seconds=3,
             decay_ms=5),
        Case("interrupted long", cases.interrupted, busy=True, seconds=15, seed=2),
        Case("interrupted long quick-decay", cases.interrupted, busy=True, seconds=15, seed=3,
             decay_ms=5),
    ]
    for op in ("malloc", "free", "calloc", "realloc"):
        found.append(Case("single-step %s" % op, cases.single_step, quick=True, busy=True, op=op,
                          no_wait=op in ("malloc", "free")))
        found.append(Case("single-step %s helper" % op, cases.single_step, busy=True, op=op,
                          other="nap"))
        found.append(Case("single-step %s 2000 bytes" % op, cases.single_step, busy=True, op=op,
                          size=2000))
    for op in ("refill", "flush", "large", "huge"):
        found.append(Case("single-step %s" % op, cases.single_step, quick=True, busy=True, op=op,
                          cuts=40))
        found.append(Case("single-step %s all" % op, cases.single_step, busy=True, op=op, cuts=250))
    found.append(Case("single-step trim", cases.single_step, quick=True, busy=True, op="trim",
                      other="use", cuts=40))
    found.append(Case("single-step trim all", cases.single_step, busy=True, op="trim", other="use",
                      cuts=250))
    return found


def python_cases():
    found = []
    pythons = outside.pythons()
    system = next((path for _, path in pythons if path.startswith("/usr/bin/")), None)
    newest = pythons[-1][1] if pythons else None
    for version, path in pythons:
        text = "%d.%d.%d%s" % (version + (" system" if path == system else "",))
        for program in ("frag.py", "lists.py"):
            found.append(Case("%s %s" % (program, text), cases_python.example,
                              quick=path in (system, newest), python=path, program=program))
        if version >= (3, 6):
            found.append(Case("small-objects %s" % text, cases_python.small_objects, python=path))
        if version >= (3, 12):
            found.append(Case("forks %s" % text, cases_python.forks, python=path))
            found.append(Case("forks short %s" % text, cases_python.forks,
                              quick=path == newest, python=path, count=100))
    if system:
        found.append(Case("small-objects short", cases_python.small_objects, quick=True,
                          python=system, count=400000))
        for pymalloc in (True, False):
            found.append(Case("pandas%s" % ("" if pymalloc else " PYTHONMALLOC=malloc"),
                              cases_python.pandas_frame, python=system, pymalloc=pymalloc))
    return found


def all_cases():
    return survivor_cases() + thread_and_block_cases() + python_cases() + stopped_owner_cases()


def quiet_cases():
    """Those about resident memory, but for the longest: 1,000 forks tell no more than 100."""
    return [case for case in all_cases()
            if not case.busy and not ("forks" in case.name and "short" not in case.name)]


def commit_cases():
    """Where memory is promised to the last page, what does not count as used must not be asked for."""
    names = ("survivors medium 1/50 random by-eight", "plateaus short", "idle-threads 500",
             "huge growth one", "trim idle-threads")
    first = ("frag.py", "forks short")
    return [Case("no commit %s" % text, cases.no_commit, size=size)
            for text, size in (("100 B", 100), ("100 kB", 100000), ("8 MB", 8000000))] + [
                case for case in all_cases()
                if case.name in names or case.quick and case.name.startswith(first)]


# ---- running -----------------------------------------------------------------------------------


def compile_programs(folder):
    """Compiles the C programs; returns the complaint when that fails."""
    cc = os.environ.get("CC", "cc").split()
    jobs = [(name, []) for name in PROGRAMS] + [("broken_alloc", ["-shared", "-fPIC"])]
    for name, more in jobs:
        command = cc + FLAGS + more + [os.path.join(outside.HERE, name + ".c"), "-o",
                                       os.path.join(folder, name)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            return " ".join(command) + "\n" + done.stdout.decode(errors="replace")
    return None


def run_case(context, case):
    result = Result(case.name)
    begin = time.monotonic()
    try:
        result.rows = case.function(context, **case.arguments)
    except Skip as reason:
        result.skipped = str(reason)
    except outside.Failure as failure:
        result.failure = str(failure)
    except Exception:  # pylint: disable=broad-except
        result.failure = traceback.format_exc()
    result.seconds = time.monotonic() - begin
    return result


def show(result):
    tail = result.skipped or result.failure or ""
    print("%-8s %-40s %5.1f s  %s" % (result.verdict, result.name, result.seconds, tail))
    for row in result.rows:
        print("         %-36s %12s %-12s %-6s %-7s %s" % (
            row.what, row.text(row.measured), row.limit, row.unit, row.verdict, row.note))
    sys.stdout.flush()


def run_cases(context, chosen, jobs):
    """Quiet cases side by side, each in a process of its own, then the busy ones one by one."""
    results = []
    quiet = [case for case in chosen if not case.busy]
    with concurrent.futures.ProcessPoolExecutor(max_workers=jobs) as pool:
        waiting = [pool.submit(run_case, context, case) for case in quiet]
        for done in concurrent.futures.as_completed(waiting):
            results.append(done.result())
            show(results[-1])
    for case in chosen:
        if case.busy:
            results.append(run_case(context, case))
            show(results[-1])
    order = {case.name: number for number, case in enumerate(chosen)}
    return sorted(results, key=lambda result: order[result.name])


def show_table(results, allocator):
    print("\n%s: %s" % (allocator.name, allocator.path or "the libc's own malloc"))
    print("| case | what | measured | bound | unit | verdict |")
    print("|---|---|---:|---:|---|---|")
    for result in results:
        if not result.rows:
            print("| %s | %s | | | | %s |" % (
                result.name, (result.skipped or result.failure or "").split("\n")[0],
                result.verdict))
        for row in result.rows:
            print("| %s | %s | %s | %s | %s | %s |" % (
                result.name, row.what, row.text(row.measured), row.limit, row.unit, row.verdict))
    count = {name: sum(result.verdict == name for result in results)
             for name in ("ok", "FAILED", "skipped")}
    print("\n%d passed, %d failed, %d skipped" % (count["ok"], count["FAILED"], count["skipped"]))
    return 1 if count["FAILED"] else 0 if count["ok"] else 77


# ---- the whole system -----------------------------------------------------------------------------


# always: every fault may take a huge page.  The other two make the kernel's collector, which joins
# pages to huge ones afterwards and would fill returned holes again, as quick as it gets.
THP_SETTINGS = (("/sys/kernel/mm/transparent_hugepage/enabled", "always"),
                ("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "10"),
                ("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan", "100000"))
# Promise no more than there is.
COMMIT_SETTINGS = (("/proc/sys/vm/overcommit_memory", "2"),)


def read_setting(name):
    with open(name) as source:
        text = source.read().strip()
    chosen = re.search(r"\[(\w+)\]", text)
    return chosen.group(1) if chosen else text


def write_setting(name, value):
    with open(name, "w") as out:
        out.write(value)


@contextlib.contextmanager
def system_set(settings):
    """The whole system's settings, put back afterwards."""
    try:
        saved = [(name, read_setting(name)) for name, _ in settings]
        for name, value in saved:
            write_setting(name, value)
    except OSError as error:
        raise Skip("this takes the whole system's settings: %s" % error)
    try:
        for name, value in settings:
            write_setting(name, value)
        yield
    finally:
        for name, value in saved:
            write_setting(name, value)


# ---- self-test -----------------------------------------------------------------------------------------


def must_fail(allocator, case, context, what="", settings=None):
    """True when the case fails, at a row whose name holds `what`."""
    os.environ.update(settings or {})
    result = run_case(Context(allocator, context.programs, context.page), case)
    for name in settings or {}:
        del os.environ[name]
    caught = bool(result.failure) or any(not row.ok and what in row.what for row in result.rows)
    why = result.failure or ", ".join("%s %s, not %s" % (row.what, row.text(row.measured), row.limit)
                                      for row in result.rows if not row.ok)
    print("%-8s %-40s under %-10s %s" % ("ok" if caught else "FAILED", case.name, allocator.name,
                                         why.split("\n")[0][:150]))
    sys.stdout.flush()
    return caught


def self_test(context):
    """Every kind of bound must be broken by an allocator known to break it."""
    broken = outside.Allocator("broken", os.path.join(context.programs, "broken_alloc"))
    named = {case.name: case for case in all_cases()}
    wanted = [
        (context.glibc, "survivors medium 1/50 random by-eight", "at once"),
        (context.glibc, "survivors medium 1/50 random by-eight", "1.2 s later"),
        (context.glibc, "survivors small 1/50 random by-self", "empty"),
        (context.glibc, "trim idle-threads", "malloc_trim"),
        (context.glibc, "idle-threads 500", "1.2 s later"),
        (context.glibc, "plateaus short", "plateau 3"),
        (context.glibc, "small-objects short", "1.2 s later"),
        (broken, "interrupted", ""),
        (broken, "single-step malloc", ""),
        (broken, "single-step free", "")]
    jemalloc = outside.allocator("jemalloc")
    if jemalloc:
        wanted += [(jemalloc, "huge growth one", "highest"),
                   (jemalloc, "huge advice 8 MiB", "under the next"),
                   (jemalloc, "huge advice 8 MiB", "after the end")]
    frag = [name for name in named if name.startswith("frag.py")][-1:]
    wanted += [(context.glibc, name, "after del, 1.2 s later") for name in frag]
    passed = [must_fail(allocator, named[name], context, what) for allocator, name, what in wanted
              if name in named]
    forks = [case for case in named.values() if case.name.startswith("forks short")][-1:]
    if jemalloc and forks:  # a helper thread that is seen
        passed.append(must_fail(jemalloc, forks[0], context, "stderr",
                                {"MALLOC_CONF": "background_thread:true"}))
    passed.append(outside.live_pages([(4095, 2), (8192, 1), (8200, 5)], 4096) == 3)
    passed.append(outside.live_pages([(4096, 4096), (8192, 0)], 4096) == 2)
    print("%d passed, %d failed" % (sum(passed), len(passed) - sum(passed)))
    return 0 if all(passed) else 1


# ---- the command -------------------------------------------------------------------------------------------


def page_of_build():
    """What the library takes for a page: the kernel's, or what configure --with-test-page said."""
    found = re.search(r"\bpage=(\d+)", os.environ.get("RECLAIM_BUILD", ""))
    return max(outside.PAGE, int(found.group(1)) if found else 0)


def choose(options):
    chosen = [case for case in all_cases() if case.quick or not options.quick]
    if options.thp:
        chosen = quiet_cases()
    if options.commit:
        chosen = commit_cases()
    if options.only:
        among = chosen if options.thp or options.commit else all_cases()
        chosen = [case for case in among if any(part in case.name for part in options.only)]
    return chosen


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the part that make check runs")
    parser.add_argument("--only", action="append", metavar="NAME", help="part of a case's name")
    parser.add_argument("--alloc", default="libreclaim", help="glibc, jemalloc, ..., or NAME=PATH")
    parser.add_argument("--so", help="libreclaim.so to test")
    parser.add_argument("--conf", help="options for libreclaim, instead of the defaults")
    parser.add_argument("--jobs", type=int, default=2, help="quiet cases side by side (2)")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    parser.add_argument("--thp", action="store_true", help="with huge pages for everybody")
    parser.add_argument("--commit", action="store_true", help="with no more memory than there is")
    parser.add_argument("--self-test", action="store_true", help="must the tests fail, they do")
    return parser.parse_args()


def run(options, context):
    if options.self_test:
        return self_test(context)
    chosen = choose(options)
    if not chosen:
        print("no case is named like that; --list shows the names")
        return 1
    settings = THP_SETTINGS if options.thp else COMMIT_SETTINGS if options.commit else ()
    # Who takes all memory does so alone.
    jobs = 1 if options.commit else options.jobs
    try:
        with system_set(settings):
            results = run_cases(context, chosen, jobs)
    except Skip as reason:
        print("skipped: %s" % reason)
        return 77
    return show_table(results, context.allocator)


def main():
    options = parse()
    # Ended from outside, it still puts the system's settings back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in SETTINGS:
        os.environ.pop(name, None)
    if options.conf:
        os.environ["RECLAIM_CONF"] = options.conf
    if options.list:
        for case in choose(options):
            print("%s%s" % (case.name, "  (quick)" if case.quick else ""))
        return 0
    allocator = outside.allocator(options.alloc, options.so)
    if allocator is None and options.self_test:
        allocator = outside.allocator("glibc")
    if allocator is None:
        print("skipped: %s is not there" % options.alloc)
        return 77
    folder = tempfile.mkdtemp(prefix="reclaim-test-")
    try:
        complaint = compile_programs(folder)
        if complaint:
            print(complaint)
            return 1
        return run(options, Context(allocator, folder, page_of_build()))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
