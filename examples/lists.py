# SPDX-License-Identifier: MIT
"""lists.py - 500 lists that grow side by side, and are dropped together.

    python lists.py             prints resident memory at each step
    python lists.py --wait 1    and once more, a second after the end

Each append may move a list to a bigger block, so that old blocks of all sizes lie between the
new ones.  Runs unchanged on every CPython from 2.7 on.
"""
import gc
import os
import sys
import time

LISTS = 500
LENGTH = 7000


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
        sys.exit("usage: lists.py [--wait SECONDS]")
    return None


def grow(lists):
    # Above 256, so that every int is an object of its own and not one of CPython's shared ones.
    number = 1000
    for _ in range(LENGTH):
        for one in lists:
            one.append(number)
            number += 1


wait = wait_argument()
show("start")

lists = [[] for _ in range(LISTS)]
grow(lists)
show("after alloc")

small = [str(i) for i in range(100)]
show("after small list")

# CPython 2.7 keeps the memory of dead ints in a list of its own until a full collection.
del lists
gc.collect()
show("after del")

if wait is not None:
    time.sleep(wait)
    show("%g s later" % wait)
