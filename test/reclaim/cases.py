# SPDX-License-Identifier: MIT
"""cases.py - what a case is, and the cases whose programs are in C.

A case is a function of this module or of cases_python.py with its arguments.  It runs programs
under the allocator of the context and returns rows: what was measured, the bound, the verdict.

Bounds, in words (R: resident memory; own: the test program's own tables, on both sides):
  floor        R at the start + the pages that hold a live byte
  1.2 s later  floor * 1.10 + 1 MiB: nothing that is free is kept
  at once      floor + max(8 MiB, live bytes / 8): the ceiling on what may be kept
               for a moment, 2 MiB for the interpreter's or program's own changes
  empty        R at the start + 2.5 MiB: nothing is alive, and 1.2 s have passed
  mappings     fewer than 100 in the process
"""
import os
import re
import subprocess
import time

import outside
from outside import MIB, Failure, Report, Run

# The contract: a second after the last free.  The rest is for the helper thread's work.
IDLE_SECONDS = 1.2
MAX_MAPPINGS = 100
CEILING = 8 * MIB

SIZES = {"small": ("16:600", 400000), "medium": ("600:5000", 120000), "large": ("4096:204800", 3000)}


class Skip(Exception):
    """The case cannot run here, and why."""


class Row:
    """One measured figure.  bound None: shown, not judged; at_least: a bound from below."""

    def __init__(self, what, measured, bound=None, unit="MiB", note="", at_least=False):
        self.what, self.measured, self.bound = what, measured, bound
        self.unit, self.note, self.at_least = unit, note, at_least

    @property
    def ok(self):
        if self.bound is None:
            return True
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    @property
    def verdict(self):
        return "shown" if self.bound is None else "ok" if self.ok else "FAILED"

    @property
    def limit(self):
        if self.bound is None:
            return "-"
        return (">= " if self.at_least else "<= ") + self.text(self.bound)

    def text(self, value):
        if value is None:
            return "-"
        if self.unit == "MiB":
            return "%.2f" % (value / MIB)
        return "%.3f" % value if isinstance(value, float) else "%d" % value


class Context:
    """What a case runs with."""

    def __init__(self, allocator, programs, page, time_bounds=True):
        self.allocator = allocator
        self.programs = programs  # folder of the compiled C programs
        self.page = page          # bytes the allocator can return at the least
        self.glibc = outside.Allocator("glibc", None)
        self.time_bounds = time_bounds

    def c(self, name, *args, allocator=None, report=None, env=None, timeout=120):
        command = [os.path.join(self.programs, name)] + [str(arg) for arg in args]
        if report:
            command += ["--report", report.path]
        return Run(allocator or self.allocator, command, env=env, timeout=timeout)


class Look:
    """What is resident at one stop, and what must be."""

    def __init__(self, run, report=None):
        self.resident = outside.resident(run.pid)
        self.mappings = len(outside.mappings(run.pid))
        self.own, self.blocks = report.read() if report else (0, [])
        self.bytes = self.resident - self.own

    def live_bytes(self):
        return sum(size for _, size in self.blocks)


def idle(run, report=None):
    """The look after the contract's second in which the program does nothing."""
    time.sleep(IDLE_SECONDS)
    return Look(run, report)


def floor_of(ctx, start, look):
    return start.bytes + outside.live_pages(look.blocks, ctx.page) * ctx.page


def rows_at_once(ctx, start, look, what="at once"):
    floor = floor_of(ctx, start, look)
    bound = floor + max(CEILING, look.live_bytes() // 8)
    return [Row(what, look.bytes, bound, note="floor %.2f" % (floor / MIB))]


def rows_idle(ctx, start, look, what="1.2 s later"):
    floor = floor_of(ctx, start, look)
    return [Row(what, look.bytes, floor * 1.10 + MIB, note="floor %.2f" % (floor / MIB))]


def row_empty(start, look, what="empty, 1.2 s later"):
    return Row(what, look.bytes, start.bytes + 2.5 * MIB, note="start %.2f" % (start.bytes / MIB))


def row_mappings(look, start=None):
    """All mappings of a small C program; of a larger one, those that came since its start."""
    if start is None:
        return Row("mappings", look.mappings, MAX_MAPPINGS - 1, unit="")
    return Row("mappings since the start", look.mappings - start.mappings, MAX_MAPPINGS - 1,
               unit="", note="%d in all" % look.mappings)


# ---- one survivor in so many -----------------------------------------------------------------


def survivors_args(sizes, share, keep, order, by):
    text, count = SIZES[sizes]
    return ["--sizes", text, "--count", max(1, int(count * share)), "--keep", keep,
            "--order", order, "--by", by]


def survivors(ctx, sizes, keep, order, by, share=1.0):
    with Report() as report, ctx.c("survivors", *survivors_args(sizes, share, keep, order, by),
                                   report=report) as run:
        run.reach("start")
        # Threads that have warmed up hold caches; what they keep for a second is no floor.
        start = Look(run, report) if by in ("self", "fresh") else idle(run, report)
        run.go_to("live")
        run.go_to("freed")
        now = Look(run, report)
        later = idle(run, report)
        run.go_to("empty")
        empty = idle(run, report)
        run.go()
        run.finish()
    return (rows_at_once(ctx, start, now) + rows_idle(ctx, start, later)
            + [row_empty(start, empty), row_mappings(later)])


def survivors_trim(ctx, sizes, keep, by, share=1.0):
    """malloc_trim(0) returns at once what a second would return, other threads' caches too."""
    args = survivors_args(sizes, share, keep, "random", by) + ["--trim"]
    with Report() as report, ctx.c("survivors", *args, report=report) as run:
        run.reach("start")
        start = Look(run, report) if by == "self" else idle(run, report)
        run.go_to("live")
        run.go_to("freed")
        now = Look(run, report)
    return rows_idle(ctx, start, now, "at once after malloc_trim(0)")


def survivors_peak(ctx, sizes, share=1.0):
    """Resident memory while everything is alive, beside glibc's."""
    found = []
    for allocator in (ctx.allocator, ctx.glibc):
        with Report() as report, ctx.c("survivors", *survivors_args(sizes, share, 50, "same", "self"),
                                       report=report, allocator=allocator) as run:
            run.reach("start")
            run.go_to("live")
            found.append(Look(run, report).bytes)
    return [Row("peak, all alive", found[0], found[1] * 1.03, note="glibc %.2f" % (found[1] / MIB))]


# ---- threads that sleep ------------------------------------------------------------------------


def sleeping_threads(ctx, args, conf=None):
    env = dict(os.environ, RECLAIM_CONF=conf) if conf else None
    with Report() as report, ctx.c("idle_threads", *args, report=report, env=env) as run:
        run.reach("start")
        run.go_to("freed")
        now = Look(run, report)
        later = idle(run, report)
        run.go()
        run.finish()
    return now, later


def idle_threads(ctx, threads=500, each=4 * MIB, options=(), conf=None, more=4 * MIB, late=0):
    _, base = sleeping_threads(ctx, ["--threads", threads, "--bytes", 0])
    now, later = sleeping_threads(ctx, ["--threads", threads, "--bytes", each] + list(options),
                                  conf)
    # Each thread that allocates has a cache of its own, 4 KiB and what its arrays take, and one or
    # two more pages of its stack in use than one that does nothing.  Threads that take turns show
    # that what one frees is taken again: that may stay.  late: what nobody has counted yet.
    at_once = base.bytes + CEILING + late + threads * 16384 if "--together" in options else None
    note = "without allocation %.2f" % (base.bytes / MIB)
    return [Row("at once", now.bytes, at_once),
            Row("1.2 s later", later.bytes, base.bytes + more, note=note),
            Row("mappings more than without", later.mappings - base.mappings, MAX_MAPPINGS - 1, "")]


def idle_threads_trim(ctx, threads=100, each=4 * MIB):
    """The caches of sleeping threads, emptied by another thread's malloc_trim(0)."""
    _, base = sleeping_threads(ctx, ["--threads", threads, "--bytes", 0])
    now, _ = sleeping_threads(ctx, ["--threads", threads, "--bytes", each, "--together", "--trim"])
    note = "without allocation %.2f" % (base.bytes / MIB)
    return [Row("at once after malloc_trim(0)", now.bytes, base.bytes + 4 * MIB, note=note)]


# ---- up and down ---------------------------------------------------------------------------------


def plateaus(ctx, sizes, rounds=10, high=300000000, low=30000000):
    rows, levels = [], []
    with Report() as report, ctx.c("plateaus", "--sizes", SIZES[sizes][0], "--rounds", rounds,
                                   "--high", high, "--low", low, report=report) as run:
        run.reach("start")
        start = Look(run, report)
        for i in range(rounds):
            run.go_to("high")
            run.go_to("plateau")
            look = idle(run, report)
            levels.append(look.bytes)
            rows += rows_idle(ctx, start, look, "plateau %d" % (i + 1))
        rows.append(row_mappings(look))
        run.go()
        run.finish()
    rows.append(Row("last plateau beside the first", levels[-1], levels[0] * 1.05 + MIB))
    return rows


def turns(ctx, mode, alive, rounds=40):
    """What is kept for a program that takes back what it frees, when it has freed all of it."""
    with Report() as report, ctx.c("turns", mode, "--rounds", rounds, report=report) as run:
        run.reach("start")
        start = Look(run, report)
        outside.forget_peak(run.pid)
        run.go_to("freed")
        now = Look(run, report)
        peak = outside.status(run.pid, "VmHWM") - start.own
        later = idle(run, report)
        run.go()
        run.finish()
    return [Row("highest", peak, start.bytes + alive + CEILING),
            Row("at once", now.bytes, start.bytes + CEILING),
            row_empty(start, later)]


# ---- huge blocks -----------------------------------------------------------------------------------


def huge_growth(ctx, blocks=1, total=256 * MIB):
    with Report() as report, ctx.c("hugeblocks", "--grow", "--blocks", blocks, "--bytes", total,
                                   report=report) as run:
        run.reach("start")
        start = Look(run, report)
        outside.forget_peak(run.pid)
        run.go_to("grown")
        peak = outside.status(run.pid, "VmHWM") - start.own
        run.go_to("empty")
        now = Look(run, report)
        later = idle(run, report)
        run.go()
        run.finish()
    return [Row("highest while growing", peak, start.bytes + total + CEILING,
                note="one copy and the ceiling"),
            Row("at once", now.bytes, start.bytes + CEILING + 2 * MIB),
            row_empty(start, later)]


def huge_described(ctx, blocks, size):
    """Of blocks that were hardly used what was written down about them must go too."""
    with Report() as report, ctx.c("hugeblocks", "--describe", "--blocks", blocks, "--bytes", size,
                                   report=report) as run:
        run.reach("start")
        start = Look(run, report)
        run.go_to("full")
        full = Look(run, report)
        run.go_to("empty")
        later = idle(run, report)
        run.go()
        run.finish()
    return [Row("1.2 s later", later.bytes, start.bytes + MIB,
                note="%.2f when all were alive" % (full.bytes / MIB))]


def no_commit(ctx, size):
    """All that the system promises, in blocks of one size: no, and all of it again."""
    with Report() as report, ctx.c("nocommit", "--size", size, report=report) as run:
        run.reach("start")
        start = Look(run, report)
        full = int(run.go_to("full")["blocks"])
        run.go_to("empty")
        later = idle(run, report)
        again = int(run.go_to("again")["blocks"])
        run.go_to("end")
        end = idle(run, report)
        run.go()
        run.finish()
    with open("/proc/meminfo") as source:
        meminfo = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in source}
    # Who else runs has been promised some of it.
    most = meminfo["CommitLimit"] - meminfo["Committed_AS"]
    return [Row("bytes had", full * size, most * 0.75, at_least=True, note="of %d" % (most // MIB)),
            Row("empty, 1.2 s later", later.bytes, start.bytes + 2.5 * MIB),
            Row("the second time", again * size, full * size * 0.95, at_least=True),
            Row("empty again, 1.2 s later", end.bytes, start.bytes + 2.5 * MIB)]


def huge_advice(ctx, size, shrink=False):
    """MADV_HUGEPAGE that a program gave its block must not be found on a later one."""
    with open("/sys/kernel/mm/transparent_hugepage/enabled") as source:
        if "[always]" in source.read():
            raise Skip("every mapping gets huge pages: there is nothing that advice would add")
    args = ["--advise", "--bytes", size] + (["--shrink"] if shrink else [])
    with Report() as report, ctx.c("hugeblocks", *args, report=report) as run:
        run.reach("start")
        run.go_to("advised")
        if not outside.flagged(run.pid, "hg"):
            raise Skip("this kernel shows no MADV_HUGEPAGE in smaps")
        run.go_to("again")
        address, size = report.read()[1][0]
        over = [span for span in outside.flagged(run.pid, "hg")
                if span[0] < address + size and address < span[1]]
        run.go_to("empty")
        later = outside.flagged(run.pid, "hg") if idle(run) else None
        run.go()
        run.finish()
    return [Row("advised mappings under the next block", len(over), 0, ""),
            Row("advised mappings, 1.2 s after the end", len(later), 0, "")]


# ---- owners that stand still ----------------------------------------------------------------------


def interrupted(ctx, seconds, decay_ms=None, seed=1):
    env = dict(os.environ)
    if decay_ms is not None:
        env["RECLAIM_CONF"] = "dirty_decay_ms:%d" % decay_ms
    with Report() as report, ctx.c("interrupt", "--seconds", seconds, "--seed", seed, report=report,
                                   env=env, timeout=seconds + 60) as run:
        run.reach("start")
        start = Look(run, report)
        run.go()
        counts = run.reach("done")
        later = idle(run, report)
        run.go()
        run.finish()
    hits = int(counts["in_operation"])
    return [# Half a MiB for the stacks of the handlers and for what describes the blocks there were.
            Row("all freed, 1.2 s later", later.bytes, start.bytes + 1.5 * MIB),
            # A run that interrupts nothing shows nothing.
            Row("interrupts inside malloc or free", hits, 20 * seconds, "",
                "%s in all, %s operations, %s trims" % (counts["interrupts"], counts["operations"],
                                                       counts["trims"]), at_least=True)]


def single_step(ctx, op, other="trim", cuts=0, no_wait=False, size=64):
    command = [os.path.join(ctx.programs, "singlestep"), "--op", op, "--other", other,
               "--cuts", str(cuts), "--size", str(size)] + (["--no-wait"] if no_wait else [])
    env = ctx.allocator.environment()
    # One arena: the owner looks for lost blocks by drawing, and sees those of its arena only.
    env["RECLAIM_CONF"] = "narenas:1" + (",dirty_decay_ms:10" if other == "nap" else "")
    try:
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=240)
    except subprocess.TimeoutExpired:
        raise Failure("hangs")
    said = (done.stderr or done.stdout).decode(errors="replace").strip()
    if done.returncode == 2 and "PTRACE" in said:
        raise Skip(said)
    if done.returncode != 0:
        raise Failure("exit code %d: %s" % (done.returncode, said))
    found = {key: int(value) for key, value in re.findall(r"(\w+)=(-?\d+)", done.stdout.decode())}
    return [Row("cuts, nothing lost or given twice", found["cuts"], min(cuts or 20, 20), "",
                "of %d steps" % found["steps"], at_least=True),
            Row("cuts at which the other waited", found["waits"], 0 if no_wait else None, "",
                "first at step %d" % found["first_wait"] if found["waits"] else "")]


# ---- nobody wakes up --------------------------------------------------------------------------------


def wake_ups(ctx):
    """After everything has gone back the process has one thread, and it is never scheduled."""
    args = survivors_args("medium", 0.3, 50, "random", "self")
    with Report() as report, ctx.c("survivors", *args, report=report) as run:
        run.reach("start")
        for name in ("live", "freed", "empty"):
            run.go_to(name)
        rows = rows_asleep(run)
        run.go()
        run.finish()
    return rows


def rows_asleep(run, seconds=2.0):
    end = time.monotonic() + 5
    while len(outside.tasks(run.pid)) > 1 and time.monotonic() < end:
        time.sleep(0.02)
    threads = len(outside.tasks(run.pid))
    before = outside.switches(run.pid)
    time.sleep(seconds)
    return [Row("threads, within 5 s", threads, 1, ""),
            Row("wake-ups in %g s" % seconds, outside.switches(run.pid) - before, 0, "")]
