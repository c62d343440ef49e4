# SPDX-License-Identifier: MIT
"""Writes a profile as heap_v2 text, which jeprof and this package read again.

The counts are estimates already, so the rate is one byte: readers scale by 1 / (1 - exp(-average)),
which is 1 for every block that there is.
"""
from reclaim.prof.layout import Layout
from reclaim.prof.model import COUNTS, MOST, Named
from reclaim.prof.reading import NAMED_FROM, NO_BUILD_ID

# Readers scale by up to 1.6, where blocks have one byte, and refuse what is above MOST then.
LARGEST = MOST // 2


def rounded(counts):
    """Whole numbers; what has bytes has a block, or readers would divide by nothing."""
    result = [int(round(count)) for count in counts]
    for place in (0, 2):
        if result[place + 1] > 0:
            result[place] = max(result[place], 1)
    return [max(min(count, LARGEST), 0) for count in result]


def line(name, counts):
    return "  t%s: %d: %d [%d: %d]" % ((name,) + tuple(counts))


def identity(profile, path):
    """Device and inode, where all agree on them."""
    known = profile.files.get(path, ())
    return "%02x:%02x %d" % (tuple(known)[0] if len(known) == 1 else (0, 0, 0))


def build_ids(layout):
    """A path names its binary, unless several builds were there: then each mapping does."""
    builds = {}
    for path, build_id in layout.binaries:
        builds.setdefault(path, []).append(build_id)
    lines = []
    for (path, build_id), segments in layout.binaries.items():
        if len(builds[path]) > 1:
            lines += ["# build-at 0x%x %s" % (segment.start, build_id or NO_BUILD_ID)
                      for segment in segments]
        elif build_id:
            lines.append("# build-id %s %s" % (path, build_id))
    return lines


def heap_v2(profile):
    """The lines."""
    layout = Layout(profile)
    names = {}
    threads = {}
    whole = [0] * COUNTS
    body = []
    by_stack = {}
    for (thread, stack), counts in profile.stacks.items():
        by_stack.setdefault(stack, {})[thread] = rounded(counts)
    for stack, by_thread in by_stack.items():
        addresses = []
        for index, place in enumerate(stack):
            if isinstance(place, Named):
                addresses.append(names.setdefault(place, NAMED_FROM + 1 + len(names)))
            else:
                # Readers take one off all but the first.
                addresses.append(layout.address(place) + (1 if index else 0))
        counts = [sum(column) for column in zip(*by_thread.values())]
        counts = [min(count, LARGEST) for count in counts]
        whole = [min(a + b, LARGEST) for a, b in zip(whole, counts)]
        body.append("@" + "".join(" 0x%x" % address for address in addresses))
        body.append(line("*", counts))
        for thread, mine in by_thread.items():
            if thread:
                body.append(line(threads.setdefault(thread, len(threads) + 1), mine))
    lines = ["heap_v2/1", "# merged %d dumps" % len(profile.sources)]
    lines += ["# %s %s" % item for item in sorted(profile.info.items()) if item[0] != "merged"]
    if profile.rate > 1:  # how far the counts may be off
        lines.append("# mean %d" % profile.rate)
    # Readers tell by them whether something is counted twice.
    if profile.pids and profile.pids != [profile.info.get("pid")]:
        lines.append("# pids " + " ".join(profile.pids))
    if profile.parents and profile.parents != [profile.info.get("parent")]:
        lines.append("# parents " + " ".join(profile.parents))
    lines.append(line("*", whole))
    lines += ["# thread %d %s" % (number, name) for name, number in threads.items()]
    lines += body
    lines += ["# frame 0x%x %d %s\t%s" % (address, place.line, place.function, place.file)
              for place, address in names.items()]
    lines += build_ids(layout)
    lines.append("MAPPED_LIBRARIES:")
    segments = sorted((segment, key[0]) for key, mine in layout.binaries.items() for segment in mine)
    lines += ["%x-%x r-xp %08x %s %s" % (segment.start, segment.end, segment.offset,
                                         identity(profile, path), path)
              for segment, path in segments]
    if not segments:
        lines.append("0-1000 ---p 00000000 00:00 0")
    return lines
