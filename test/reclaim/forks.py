# SPDX-License-Identifier: MIT
"""forks.py FORKS - bursts of memory, each followed by os.fork(); meant for `python -W always`.

From 3.12 on CPython warns when a process with several threads forks, and counts them in
/proc/self/stat.  An allocator with a thread of its own must not be seen there.  Each child uses
the allocator and ends; the last one stops, so that the driver can see its memory return.

Stops: start, forked (all children but the last one have ended), child PID=n (in the child, after
its burst), end.
"""
import gc
import os
import sys
import time

BLOCKS = 2400
SIZE = 5000
CHILD_TIMEOUT = 30


def burst():
    """12 MB that come and go: enough to make an allocator's helper start."""
    data = [bytes(SIZE + i % 100) for i in range(BLOCKS)]
    return len(data)


def stop(line):
    os.write(1, line)
    if not os.read(0, 1):
        os._exit(2)


def wait_for(pid):
    """A child that dead-locks must not dead-lock the test."""
    end = time.monotonic() + CHILD_TIMEOUT
    while time.monotonic() < end:
        got, status = os.waitpid(pid, os.WNOHANG)
        if got:
            return status
        time.sleep(0.0005)
    os.kill(pid, 9)
    sys.exit("a forked child hangs")


def child_work():
    return os._exit(0 if burst() == BLOCKS else 1)


def main(forks):
    gc.collect()
    stop(b"start\n")
    for _ in range(forks):
        burst()
        pid = os.fork()
        if pid == 0:
            child_work()
        if wait_for(pid) != 0:
            sys.exit("a forked child failed")
    stop(b"forked\n")

    burst()
    pid = os.fork()
    if pid == 0:
        burst()
        stop(b"child PID=%d\n" % os.getpid())
        os._exit(0)
    if wait_for(pid) != 0:
        sys.exit("the last child failed")
    stop(b"end\n")


main(int(sys.argv[1]))
