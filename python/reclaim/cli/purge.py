# SPDX-License-Identifier: MIT
"""reclaim purge PID"""
import time

from reclaim.cli import Failure, duration, process

DESCRIPTION = """Have a running process return everything it has freed to the system. The process must
have been started with the option purge_signal: no process can do that to another."""

SETTLED = 0.15  # seconds without a change


def add(commands):
    parser = commands.add_parser("purge", help="have a process return what it has freed",
                                 description=DESCRIPTION)
    parser.add_argument("--wait", metavar="SECONDS", type=duration, default=5,
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


def wait_until_done(subject, number, purges, seconds):
    """By its own count; purges: what that was before, or None: it cannot be read, and all that is known
    is that the signal has been taken."""
    end = time.monotonic() + seconds
    while True:
        now = subject.purges() if purges is not None else None
        if now is not None and now != purges:
            return True
        if now is None and not subject.has_pending(number):
            return False
        if time.monotonic() >= end:
            raise Failure("process %d (%s) has been asked by signal %d and has not purged within %g s: %s"
                          % (subject.pid, subject.name, number, seconds, subject.why_silent(number)))
        time.sleep(0.01)


def run(options):
    subject = process.Process(process.pid_of(options.pid))
    number = subject.signal_for("purge_signal")
    if number is None:
        raise Failure("process %d (%s) %s" % (
            subject.pid, subject.name, subject.unsure() or subject.taken_back("purge_signal") or
            "takes no requests: it must be started with purge_signal, say "
            "`reclaim run --conf purge_signal:SIGUSR1 ...`"))
    purges, before = subject.purges(), subject.rss()
    subject.send(number)
    done = wait_until_done(subject, number, purges, options.wait)
    after = subject.rss() if done else watch(subject, options.wait)
    if after == 0:
        raise Failure("process %d (%s) has ended; it had taken the signal" % (subject.pid, subject.name))
    print("process %d (%s): resident %s kB before, %s kB after%s"
          % (subject.pid, subject.name, format(before // 1024, ","), format(after // 1024, ","),
             "" if done else "; it has taken the signal, and its memory does not tell whether the purge "
             "is done"))
    return 0
