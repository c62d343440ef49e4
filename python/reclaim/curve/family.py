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
    """The process and its descendants, each with its parent: {process: parent or None}; parents
    come first."""
    found, pending, scanned = {pid: None}, [pid], None
    while pending:
        current = pending.pop()
        below = children_listed(current)
        if below is None:
            if scanned is None:
                scanned = parents()
            below = [child for child, parent in scanned.items() if parent == current]
        for child in below:
            if child not in found:
                found[child] = current
                pending.append(child)
    return found


def program(pid):
    """The file that it runs; None: not known."""
    try:
        return os.readlink("/proc/%d/exe" % pid)
    except OSError:
        return None


def resident(pid):
    words = text_of("/proc/%d/statm" % pid).split()
    return int(words[1]) * PAGE if len(words) > 1 else 0


def proportional(pid):
    """Resident bytes with a page that n processes share counted as 1/n; and what part of its
    anonymous memory is its own by that count: (bytes, 0..1)."""
    text = text_of("/proc/%d/smaps_rollup" % pid)
    found = {key: int(value) * 1024 for key, value in re.findall(r"^(\w+):\s*(\d+) kB$", text, re.M)}
    if "Pss" not in found:
        return resident(pid), 1.0
    anonymous = found.get("Anonymous", 0)
    part = found.get("Pss_Anon", anonymous) / anonymous if anonymous else 1.0
    return found["Pss"], min(part, 1.0)


def resident_parts(pids):
    """{process: (resident bytes, part of its anonymous memory that counts as its own)}: in a family
    what a fork shares counts once."""
    if len(pids) == 1:
        return {pid: (resident(pid), 1.0) for pid in pids}
    return {pid: proportional(pid) for pid in pids}
