# SPDX-License-Identifier: MIT
"""reclaim run --plot, --csv: the program runs below this process, which looks at it from outside."""
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

from reclaim.cli import Failure, complain
from reclaim.curve import draw, record

FORWARDED = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
LEAST_INTERVAL = 0.005
LEAST_REPORT_MS = 20


def pairs(conf):
    return dict((name.strip(), value.strip()) for name, _, value in
                (pair.partition(":") for pair in conf.split(",")))


def check(options):
    """Before anything is started: a run may take hours."""
    if not LEAST_INTERVAL <= options.interval <= 3600:
        raise Failure("--interval must lie between %g and 3600 seconds" % LEAST_INTERVAL, 2)
    if options.check:
        raise Failure("--check does not go with --plot and --csv: try it alone", 2)
    if options.plot:
        if draw.ending(options.plot) not in draw.ENDINGS:
            raise Failure("%s: a picture's name must end in .%s" % (options.plot,
                                                                   ", .".join(draw.ENDINGS)), 2)
        if draw.missing():
            raise Failure("--plot needs matplotlib, which %s does not have (Debian: python3-matplotlib); "
                          "--csv does without" % sys.executable)
    for path in (options.plot, options.csv):
        folder = os.path.dirname(path or "") or "."
        if path and (not os.path.isdir(folder) or os.path.isdir(path)
                     or not os.access(path if os.path.exists(path) else folder, os.W_OK)):
            raise Failure("%s cannot be written" % path)


def reports(environment, folder, interval):
    """Have each process write its reports, where the user has not done so already.  A function that
    names the report of a process, or None."""
    conf = environment.get("RECLAIM_CONF", "")
    asked = pairs(conf).get("stats_path")
    if asked is None:
        # A name without what would end a value.
        asked = os.path.join(folder, "%p.json")
        conf = ",".join(part for part in (conf, "stats_path:" + asked) if part)
    if not asked.endswith(".json") or "%p" not in asked:
        complain("live and dirty bytes are not recorded: stats_path must end in .json and hold %p")
        return None
    if "stats_interval_ms" not in pairs(conf):
        # Twice as often as they are read: half a look old on average.
        conf += ",stats_interval_ms:%d" % max(int(interval * 500), LEAST_REPORT_MS)
    if "stats_print_opts" not in pairs(conf):
        conf += ",stats_print_opts:gmdablx"  # two numbers are read: the rest need not be written
    environment["RECLAIM_CONF"] = conf
    return lambda pid: asked.replace("%p", str(pid))


def follow(options, path, command, environment, folder):
    """The exit code and the samples."""
    path_of = reports(environment, folder, options.interval)
    process, early = None, []

    def forward(number, _):
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    # Before there is a program: a signal that came between its start and this would end us alone.
    before = {getattr(signal, name): forward for name in FORWARDED}
    # From a terminal both of us get it; what it means is the program's affair.
    before[signal.SIGINT] = lambda *_: None
    for number, handler in list(before.items()):
        if signal.getsignal(number) == signal.SIG_IGN:
            del before[number]  # by nohup, for one: the program shall inherit that
        else:
            before[number] = signal.signal(number, handler)
    try:
        process = subprocess.Popen(command, executable=path, env=environment)
    except OSError as error:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise Failure("%s: %s" % (path, error.strerror), 126) from None
    for number in early:
        process.send_signal(number)

    def ended(seconds):
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    recorder = record.Recorder(process.pid, path_of)
    try:
        recorder.follow(ended, options.interval)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = process.returncode
    return (code if code >= 0 else 128 - code), recorder.samples


def begin_table(path):
    """The table with its first line.  Before the program is started: where nothing can be written, on a
    full disk for one, that is said before hours have passed."""
    try:
        table = open(path, "w")
        try:
            table.write(record.csv_head() + "\n")
            table.flush()
        except OSError:
            abandon(table)
            raise
    except OSError as error:
        raise Failure("%s: %s" % (path, error.strerror)) from None
    return table


def abandon(table):
    """Close it, though what it still holds cannot be written."""
    try:
        table.close()
    except OSError:
        pass


def finish_table(table, path, samples):
    try:
        table.write("".join(line + "\n" for line in record.csv_lines(samples)))
        table.close()
    except OSError as error:
        complain("%s: %s" % (path, error.strerror))
        abandon(table)


def finish_picture(path, samples, command):
    if not samples:
        complain("%s ended before it could be looked at: there is nothing to draw" % command[0])
        return
    title = " ".join(shlex.quote(os.path.basename(word) or word) for word in command)
    try:
        draw.draw(path, samples, title if len(title) <= 100 else title[:97] + "...")
    except OSError as error:
        complain("%s: %s" % (error.filename or path, error.strerror or error))
    except Exception as error:  # whatever matplotlib raises: the run counts, and it is over
        complain("%s cannot be drawn: %s" % (path, str(error).strip() or type(error).__name__))


def run(options, path, command, environment):
    """The program's exit code, whatever becomes of table and picture."""
    check(options)
    table = begin_table(options.csv) if options.csv else None
    folder = tempfile.mkdtemp(prefix="reclaim-")
    try:
        code, samples = follow(options, path, command, environment, folder)
    finally:
        # What the program has left behind may write reports meanwhile: no reason to lose its code.
        shutil.rmtree(folder, ignore_errors=True)
    if table is not None:
        finish_table(table, options.csv, samples)
    if options.plot:
        finish_picture(options.plot, samples, command)
    return code
