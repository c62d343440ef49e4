# SPDX-License-Identifier: MIT
"""cases_python.py - the cases whose programs are Python: the examples, small objects, pandas, fork."""
import os
import random
import subprocess
import tempfile

import outside
from cases import (Look, Row, Skip, idle, row_empty, row_mappings, rows_asleep,
                   rows_at_once, rows_idle)
from outside import HERE, MIB, TOP, Report, Run


# What forks.py allocates and drops before each fork: 2,400 blocks of about 5 kB.
FORK_BURST = 12500000


def script(name):
    return os.path.join(HERE, name)


def python_run(ctx, python, args, allocator=None, env=None, timeout=180):
    env = dict(os.environ if env is None else env)
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    return Run(allocator or ctx.allocator, [python] + args, env=env, timeout=timeout)


# ---- examples/frag.py and lists.py, blocked in input() ---------------------------------------------


def example_steps(ctx, python, program, allocator):
    """Looks at start, all alive, after del and 1.2 s later, and the rows of an idle process."""
    program = os.path.join(TOP, "examples", program)
    if not os.path.exists(program):
        raise Skip("%s is not there" % program)
    with python_run(ctx, python, [script("hold.py"), program], allocator) as run:
        run.reach("start")
        looks = [Look(run)]
        run.go_to("after-alloc")
        looks.append(Look(run))
        run.go_to("after-small-list")
        run.go_to("after-del")
        looks.append(Look(run))
        looks.append(idle(run))
        asleep = rows_asleep(run) if allocator is ctx.allocator else []
        run.go()
        run.finish()
    return looks, asleep


def example(ctx, python, program):
    (start, live, now, later), asleep = example_steps(ctx, python, program, ctx.allocator)
    peak = example_steps(ctx, python, program, ctx.glibc)[0][1]
    note = "start %.2f" % (start.bytes / MIB)
    return [Row("peak, all alive", live.bytes, peak.bytes * 1.03, note="glibc %.2f" % (peak.bytes / MIB)),
            Row("after del, at once", now.bytes, start.bytes + 10 * MIB, note=note),
            Row("after del, 1.2 s later", later.bytes, start.bytes + 2.5 * MIB, note=note),
            row_mappings(later, start)] + asleep


# ---- many small objects, each a block of malloc's ---------------------------------------------------


def small_objects(ctx, python, count=2000000, keep=100):
    args = [script("smallobjects.py")]
    malloc = dict(os.environ, PYTHONMALLOC="malloc")
    peaks = []
    with Report() as report, python_run(ctx, python, args + [report.path, str(count), str(keep)],
                                        env=malloc) as run:
        run.reach("start")
        start = Look(run, report)
        run.go_to("live")
        peaks.append(Look(run, report).bytes)
        run.go_to("freed")
        now = Look(run, report)
        later = idle(run, report)
        run.go_to("empty")
        empty = idle(run, report)
        run.go()
        run.finish()
    for env in (malloc, dict(os.environ, PYTHONMALLOC="pymalloc")):
        with Report() as report, python_run(ctx, python, args + [report.path, str(count), str(keep)],
                                            allocator=ctx.glibc, env=env) as run:
            run.reach("start")
            run.go_to("live")
            peaks.append(Look(run, report).bytes)
    return (rows_at_once(ctx, start, now) + rows_idle(ctx, start, later)
            + [row_empty(start, empty), row_mappings(later, start),
               Row("peak, all alive", peaks[0], peaks[1] * 1.03, note="glibc %.2f" % (peaks[1] / MIB)),
               Row("peak beside CPython's pymalloc", peaks[0] / peaks[2], unit="ratio",
                   note="pymalloc %.2f" % (peaks[2] / MIB))])


# ---- pandas ------------------------------------------------------------------------------------------


def write_csv(path, size):
    """A CSV of about `size` bytes: 1,000 keys, two numbers, a count, a text."""
    rng = random.Random(1)
    lines = ["k%03d,%.6f,%.6f,%%d,text of row %05d\n"
             % (i % 1000, rng.random(), rng.gauss(0, 10), i * 7919 % 50000) for i in range(50000)]
    block = "".join(lines)
    with open(path, "w") as out:
        written, number = out.write("key,x,y,n,note\n"), 0
        while written < size:
            written += out.write(block % tuple(range(number, number + len(lines))))
            number += len(lines)


def pandas_frame(ctx, python, size=200000000, pymalloc=True):
    env = dict(os.environ, PYTHONMALLOC="pymalloc" if pymalloc else "malloc")
    if subprocess.call([python, "-c", "import pandas"], stderr=subprocess.DEVNULL) != 0:
        raise Skip("%s has no pandas" % python)
    with tempfile.NamedTemporaryFile(suffix=".csv") as csv:
        write_csv(csv.name, size)
        with python_run(ctx, python, [script("pandas_frame.py"), csv.name], env=env) as run:
            arenas = [int(run.reach("start")["pymalloc"])]
            start = Look(run)
            run.go_to("live")
            live = Look(run)
            arenas.append(int(run.go_to("freed")["pymalloc"]))
            now = Look(run)
            later = idle(run)
            run.go()
            run.finish()
    more = max(0, arenas[1] - arenas[0])
    note = "after import %.2f" % (start.bytes / MIB)
    rows = [Row("frame alive", live.bytes),
            # Not judged: reading goes round in circles, and what it takes back again may stay.
            Row("at once", now.bytes - more, note=note),
            Row("1.2 s later", later.bytes - more, start.bytes * 1.2, note=note),
            row_mappings(later, start)]
    if pymalloc:
        rows.insert(3, Row("pymalloc's arenas, taken off", more,
                           note="%.2f after import" % (arenas[0] / MIB)))
    return rows


# ---- fork ----------------------------------------------------------------------------------------------


def forks(ctx, python, count=1000):
    # Not `-W error`: os.fork() drops the exception that this makes of its warning, and nothing would
    # be seen.  `always` writes each warning to stderr.
    with python_run(ctx, python, ["-W", "always", script("forks.py"), str(count)]) as run:
        run.reach("start")
        start = Look(run)
        run.go_to("forked")
        parent_now = Look(run)
        parent = idle(run)
        child_pid = int(run.go_to("child")["PID"])
        child_now = outside.resident(child_pid)
        later = idle(run)
        child = outside.resident(child_pid)
        run.go_to("end")
        run.go()
        run.finish()
        said = run.complaint()
    return [Row("%d forks: characters on stderr" % count, len(said), 0, "", said.split("\n")[-1]),
            # Bursts that come again and again are a demand: that much may stay for a moment.
            Row("parent, at once", parent_now.bytes, start.bytes + FORK_BURST + 10 * MIB),
            Row("parent, 1.2 s later", parent.bytes, start.bytes + 2.5 * MIB),
            Row("child, at once", child_now, start.bytes + FORK_BURST + 10 * MIB),
            Row("child, 1.2 s later", child, start.bytes + 2.5 * MIB),
            row_mappings(later, start)]
