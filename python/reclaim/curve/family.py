# SPDX-License-Identifier: MIT
"""A process and all that it has started, as /proc shows them."""
import os
import re

PAGE = os.sysconf("SC_PAGE_SIZE")
# In stat_words: flags; where code begins and where the stack does, 0 for who may not know.
IMAGE = (6, 23, 25)
FORKED_NO_EXEC = 0x40  # PF_FORKNOEXEC of those flags


def text_of(path):
    """What is in a file of /proc; "" when the process has ended or is another user's."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def stat_words(pid):
    """Of /proc/PID/stat, from the state on, which is the third."""
    # The name stands in parentheses and may hold anything, parentheses too.
    return text_of("/proc/%s/stat" % pid).rpartition(")")[2].split()


def living(pid):
    """Below /proc: of a process whose first thread has ended, one of the others, which tell what
    the process has."""
    if stat_words(pid)[:1] == ["Z"]:
        try:
            threads = os.listdir("/proc/%d/task" % pid)
        except OSError:
            threads = []
        for thread in threads:
            if int(thread) != pid:
                return "%d/task/%s" % (pid, thread)
    return str(pid)


def parents():
    """{process: its parent}"""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            after = stat_words(name)
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


class Image:
    """What runs in a process.  forked: a copy of its parent, which has run nothing else since.  Two
    that are equal are one."""

    def __init__(self, pid):
        words = stat_words(living(pid))
        known = len(words) > max(IMAGE)
        flags, code, stack = (int(words[at]) for at in IMAGE) if known else (0, 0, 0)
        self.forked = flags & FORKED_NO_EXEC != 0
        self.key = self.forked, code, stack

    def __eq__(self, other):
        return self.key == other.key


def borrows(pid, parent):
    """Whether it has its parent's memory, not a copy: between vfork and exec, as long as the parent
    waits for that.  Python's subprocess starts programs so."""
    if not Image(pid).forked or size(pid) != size(parent):
        return False
    try:
        threads = os.listdir("/proc/%d/task" % parent)
    except OSError:
        return False
    return any(stat_words("%d/task/%s" % (parent, thread))[:1] == ["D"] for thread in threads)


def size(pid):
    return text_of("/proc/%d/statm" % pid).split()[:1]


def resident(pid):
    words = text_of("/proc/%s/statm" % living(pid)).split()
    return int(words[1]) * PAGE if len(words) > 1 else 0


def proportional(pid):
    """Resident bytes with a page that n processes share counted as 1/n; and what part of its
    anonymous memory is its own by that count: (bytes, 0..1)."""
    text = text_of("/proc/%s/smaps_rollup" % living(pid))
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
