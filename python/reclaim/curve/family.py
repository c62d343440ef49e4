# SPDX-License-Identifier: MIT
"""A process and all that it has started, as /proc shows them."""
import os
import re

PAGE = os.sysconf("SC_PAGE_SIZE")


def text_of(path):
    """What is in a file of /proc; "" when the process has ended or is another user's."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def parents():
    """{process: its parent}"""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            # The name stands in parentheses and may hold anything, parentheses too.
            after = text_of("/proc/%s/stat" % name).rpartition(")")[2].split()
            if len(after) > 1:
                found[int(name)] = int(after[1])
    return found


def children_listed(pid):
    """The children by the kernel's own list, or None where it keeps none."""
    if not os.path.exists("/proc/self/task/%d/children" % os.getpid()):
        return None
    found = []
    try:
        threads = os.listdir("/proc/%d/task" % pid)
    except OSError:
        return found
    for thread in threads:
        found += [int(word) for word in
                  text_of("/proc/%d/task/%s/children" % (pid, thread)).split()]
    return found


def family(pid):
    """The process and its descendants."""
    found, pending, scanned = [], [pid], None
    while pending:
        current = pending.pop()
        found.append(current)
        below = children_listed(current)
        if below is None:
            if scanned is None:
                scanned = parents()
            below = [child for child, parent in scanned.items() if parent == current]
        pending += [child for child in below if child not in found]
    return found


def resident(pid):
    words = text_of("/proc/%d/statm" % pid).split()
    return int(words[1]) * PAGE if len(words) > 1 else 0


def share(pid):
    """Resident bytes, with a page that n processes share counted as 1/n; None: not known."""
    match = re.search(r"^Pss:\s*(\d+)", text_of("/proc/%d/smaps_rollup" % pid), re.M)
    return int(match.group(1)) * 1024 if match else None


def resident_together(pids):
    """Resident bytes of a family: what a fork shares counts once."""
    if len(pids) == 1:
        return resident(pids[0])
    total = 0
    for pid in pids:
        part = share(pid)
        total += resident(pid) if part is None else part
    return total
