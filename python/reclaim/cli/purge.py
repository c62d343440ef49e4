# SPDX-License-Identifier: MIT
"""reclaim purge PID"""
import time

from reclaim.cli import Failure, process

DESCRIPTION = """Have a running process return everything it has freed to the system. The process must
have been started with the option purge_signal: no process can do that to another."""

SETTLED = 0.15  # seconds without a change


def add(commands):
    parser = commands.add_parser("purge", help="have a process return what it has freed",
                                 description=DESCRIPTION)
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=5,
                        help="how long to watch its memory fall (default 5)")
    parser.add_argument("pid", metavar="PID")
    parser.set_defaults(run=run)


def watch(subject, seconds):
    """Resident bytes when they have stopped falling, or the time is up."""
    end = time.monotonic() + seconds
    least, since = subject.rss(), time.monotonic()
    while time.monotonic() < end and time.monotonic() - since < SETTLED:
        time.sleep(0.02)
        now = subject.rss()
        if now < least:
            least, since = now, time.monotonic()
    return least


def wait_until_taken(subject, number, seconds):
    end = time.monotonic() + seconds
    while subject.has_pending(number):
        if time.monotonic() >= end:
            raise Failure("process %d (%s) has not taken the request in %g s: it is stopped, or blocks "
                          "the signal in all its threads; it will purge when it takes it"
                          % (subject.pid, subject.name, seconds))
        time.sleep(0.01)


def run(options):
    subject = process.Process(process.pid_of(options.pid))
    number = subject.signal_for("purge_signal")
    if number is None:
        raise Failure("process %d (%s) takes no requests: it must be started with purge_signal, say "
                      "`reclaim run --conf purge_signal:SIGUSR1 ...`" % (subject.pid, subject.name))
    before = subject.rss()
    subject.send(number)
    wait_until_taken(subject, number, options.wait)
    after = watch(subject, options.wait)
    print("process %d (%s): resident %s kB before, %s kB after"
          % (subject.pid, subject.name, format(before // 1024, ","), format(after // 1024, ",")))
    return 0
