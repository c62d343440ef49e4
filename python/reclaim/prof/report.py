# SPDX-License-Identifier: MIT
"""Reports in text: the top of the list, the tree of calls, the difference of two profiles."""
import math
import os
import re
from collections import namedtuple

from reclaim.prof import model, view

LEAST_SHARE = 0.01  # of the whole: below it a branch of the tree is not worth a line
ELSEWHERE_LEAST = 32 << 20  # bytes that are not malloc's: below it they are not worth one either
# malloc's count is off by what the caches of threads took since each was last counted: 8 MiB, or an
# eighth, at most.
UNCOUNTED_LEAST, UNCOUNTED_SHARE = 16 << 20, 0.125
INTERPRETER = re.compile(r"^(lib)?python\d")

Part = namedtuple("Part", "rows")  # of a view: what one thread has


def sums(shown, by, place):
    """{key: [self, total]} for one of the counts."""
    key_of, _ = view.label(by)
    keys, result = {}, {}
    for row in shown.rows:
        count = row.counts[place]
        if not count:
            continue
        seen = set()
        for index, frame in enumerate(row.frames):
            key = keys.get(frame)
            if key is None:
                key = keys[frame] = key_of(frame)
            mine = result.setdefault(key, [0, 0])
            if index == 0:
                mine[0] += count
            if key not in seen:  # a recursive function counts once
                seen.add(key)
                mine[1] += count
    return result


def holders(shown, counts, by):
    """Who asked for something itself."""
    return [key for key, value in sums(shown, by, counts.place).items() if value[0]]


def share(part, whole):
    return "%5.1f %%" % (100 * part / whole if whole else 0)


def headline(shown, counts, words):
    return "%s %s in %s blocks%s" % (view.size(shown.total(counts.bytes_place)), counts.label,
                                     view.blocks(shown.total(counts.objects_place)), words)


def rest(left, what="more"):
    return ["... and %d %s (-n)" % (left, what)] if left > 0 else []


def top(shown, counts, by, limit, by_total=False):
    """self: what the function asked for itself; total: with what it called."""
    column = 1 if by_total else 0
    whole = shown.total(counts.place)
    _, text_of = view.label(by)
    rows, threads = [], []
    for thread, part in parts(shown):
        rows += [(thread, key, value) for key, value in sums(part, by, counts.place).items()
                 if by_total or value[0]]
        if thread:
            threads.append((thread, sum(row.counts[counts.place] for row in part.rows)))
    rows.sort(key=lambda row: (-row[2][column], -row[2][1], str(row[1]), row[0]))
    threads.sort(key=lambda item: (-item[1], item[0]))
    lines = ["%12s          %12s           %s" % ("self", "total", by)]

    def list_of(thread, indent):
        return ["%12s %s  %12s %s  %s%s" % (counts.text(value[0]), share(value[0], whole),
                                            counts.text(value[1]), share(value[1], whole), indent,
                                            text_of(key))
                for name, key, value in rows[:limit] if name == thread]

    if not shown.by_thread:
        return lines + list_of("", "") + rest(len(rows) - limit)
    for thread, value in threads[:limit]:
        lines.append("%12s %7s  %12s %s  %s" % ("", "", counts.text(value), share(value, whole),
                                                thread))
        lines += list_of(thread, "  ")
    return lines + rest(len(rows) - limit) + rest(len(threads) - limit, "more threads")


def parts(shown):
    """[(thread, what has its rows)], or one part where threads are not told apart."""
    if not shown.by_thread:
        return [("", shown)]
    found = {}
    for row in shown.rows:
        # The outermost frame is the thread: the header of a list says so once.
        found.setdefault(row.frames[-1].function, []).append(row._replace(frames=row.frames[:-1]))
    return [(thread, Part(rows)) for thread, rows in found.items()]


def runs_python(profile):
    return (any(isinstance(place, model.Named) and place.file for place in profile.places())
            or any(INTERPRETER.match(os.path.basename(path)) for path in profile.files))


def elsewhere(profile):
    """What to add where most of the process's memory is not in the profile at all."""
    resident = model.number_of(profile.info.get("resident"))
    live = max(profile.total(model.INUSE_BYTES), model.number_of(profile.info.get("live")) or 0)
    if resident is None or live >= resident / 2 or resident - live < ELSEWHERE_LEAST:
        return []
    # Of a peak it is the most there was, which need not have been just then.
    had = "had at most" if profile.info.get("profile") == "peak" else "has"
    return ["The process %s %s resident, and %s of malloc's in use%s." % (
        had, view.size(resident), view.size(live),
        ": PYTHONMALLOC=malloc shows Python's own small objects, which do not come from malloc without it"
        if runs_python(profile) else "")]


def uncounted(profile):
    """What malloc itself counts in use, where the samples stand for clearly less than that; else
    None.  The samples know nothing of what was allocated before them."""
    counted = model.number_of(profile.info.get("live"))
    if counted is None:
        return None
    missing = counted - profile.total(model.INUSE_BYTES)
    # Of small blocks; that of large ones is smaller.
    sigma = math.sqrt(counted * max(profile.rate, 1))
    return counted if missing > max(4 * sigma, counted * UNCOUNTED_SHARE, UNCOUNTED_LEAST) else None


def uncounted_line(profile):
    counted = uncounted(profile)
    return [] if counted is None else [
        "malloc itself counts %s in use: the rest was allocated while profiling was off, or before "
        "its samples were reset." % view.size(counted)]


# ---- tree ------------------------------------------------------------------------------------

class Node:
    __slots__ = ("value", "children")

    def __init__(self):
        self.value, self.children = 0, {}

    def child(self, key):
        node = self.children.get(key)
        if node is None:
            node = self.children[key] = Node()
        return node


def build(shown, place, by="function", callers=False):
    """The tree of calls from the roots, or with `callers` of callers from the leaves."""
    key_of, _ = view.label(by)
    keys, root = {}, Node()
    for row in shown.rows:
        count = row.counts[place]
        if not count:
            continue
        node = root
        node.value += count
        for frame in row.frames if callers else reversed(row.frames):
            key = keys.get(frame)
            if key is None:
                key = keys[frame] = key_of(frame)
            node = node.child(key)
            node.value += count
    return root


def tree(shown, counts, by, least=LEAST_SHARE, callers=False):
    root = build(shown, counts.place, by, callers)
    _, text_of = view.label(by, short=True)
    smallest = abs(root.value) * least
    lines = []
    # Without recursion: stacks may be deeper than Python's own limit.
    pending = [(root, None, 0)]
    while pending:
        node, key, depth = pending.pop()
        if key is not None:
            lines.append("%12s %s  %s%s" % (counts.text(node.value), share(node.value, root.value),
                                            "| " * depth, text_of(key)))
        worth = [item for item in node.children.items()
                 if abs(item[1].value) >= smallest and item[1].value]
        # What has one child goes on below it; only a fork is worth a step to the right.
        step = 1 if key is not None and len(node.children) > 1 else 0
        for name, child in sorted(worth, key=lambda item: (abs(item[1].value), str(item[0]))):
            pending.append((child, name, depth + step))
    return lines


# ---- difference ------------------------------------------------------------------------------

def compare(old, new, counts, by, limit, by_total=False):
    """Grown most first, then what has shrunk most, as sizes go: the order of tracemalloc's
    compare_to."""
    column = 1 if by_total else 0
    before, after = (sums_of_threads(shown, by, counts.place) for shown in (old, new))
    blocks_before, blocks_after = (sums_of_threads(shown, by, counts.objects_place)
                                   for shown in (old, new))
    _, text_of = view.label(by)
    rows = []
    for key in set(before) | set(after):
        was, now = (found.get(key, (0, 0))[column] for found in (before, after))
        number = [found.get(key, (0, 0))[column] for found in (blocks_before, blocks_after)]
        if abs(now - was) > view.ROUNDING * max(was, now):
            rows.append((now - was, now, was, number[1] - number[0], number[1], key))
    rows.sort(key=lambda row: (-abs(row[0]), -row[1], str(row[5])))
    lines = ["%12s  %12s  %12s  %12s  %s" % ("growth", "blocks", "before", "after", by)]
    for growth, now, was, more, _, key in rows[:limit]:
        lines.append("%12s  %12s  %12s  %12s  %s" % (
            counts.signed(growth), "%+d" % round(more) if round(more) < 1000 and round(more) > -1000
            else ("+" if more > 0 else "-") + view.blocks(abs(more)),
            counts.text(was), counts.text(now),
            (key[0] + ": " if key[0] else "") + text_of(key[1])))
    return lines + rest(len(rows) - limit)


def sums_of_threads(shown, by, place):
    """sums with (thread, key) for key; the thread is "" where they are not told apart."""
    return {(thread, key): value for thread, part in parts(shown)
            for key, value in sums(part, by, place).items()}


# ---- folded stacks ---------------------------------------------------------------------------

def folded_counts(shown, counts, by="function"):
    """{root;...;leaf: count}; of a difference some are below 0."""
    merged, known = {}, {}
    for row in shown.rows:
        value = int(round(row.counts[counts.place]))
        if value:
            names = []
            for frame in reversed(row.frames):
                name = known.get(frame)
                if name is None:
                    name = known[frame] = plain(folded_name(frame, by))
                names.append(name)
            text = ";".join(names)
            merged[text] = merged.get(text, 0) + value
    return merged


def folded_name(frame, by):
    """With the file of Python's functions: each file has a <module>, and many have an __init__.
    Always, as what is compared with another profile's must not depend on what else is in it."""
    if by == "function" and frame.python:
        return "%s (%s)" % (frame.function, frame.file)
    key = view.label(by)[0](frame)
    return key[0] if isinstance(key, tuple) else key


def folded_lines(stacks):
    """root;...;leaf count: what flame-graph programs read.  They know no count below 1."""
    return ["%s %d" % item for item in sorted(stacks.items()) if item[1] > 0]


def plain(name):
    """Without what separates: names of C++ and files may hold anything."""
    return "".join(char if char.isprintable() and char != ";" else "," if char == ";" else "?"
                   for char in name)
