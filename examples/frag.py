# SPDX-License-Identifier: MIT
"""frag.py - a burst of strings, one small list after it, and the burst is dropped.

    python frag.py             prints resident memory at each step
    python frag.py --wait 1    and once more, a second after the end

The list made last is what keeps glibc's heap from shrinking: its 8 kB lie above all that is
free afterwards, and only the top of that heap can be given back.
Runs unchanged on every CPython from 2.7 on.
"""
import os
import sys
import time


def resident_kb():
    # Through a file descriptor and one small read: the measuring must not allocate much itself.
    status = os.open("/proc/self/status", os.O_RDONLY)
    text = os.read(status, 4096)
    os.close(status)
    return int(text[text.index(b"VmRSS:") + 6:].split(None, 1)[0])


def show(step):
    os.write(1, ("%s %d kB\n" % (step, resident_kb())).encode("ascii"))


def wait_argument():
    if len(sys.argv) == 3 and sys.argv[1] == "--wait":
        return float(sys.argv[2])
    if len(sys.argv) != 1:
        sys.exit("usage: frag.py [--wait SECONDS]")
    return None


wait = wait_argument()
show("start")

# About 5 kB each, each an allocation of its own, sizes that differ a little.
big = [("%d " % i).ljust(4900 + i % 200, "x") for i in range(100000)]
show("after alloc")

small = list(range(1000))
show("after small list")

del big
show("after del")

if wait is not None:
    time.sleep(wait)
    show("%g s later" % wait)
