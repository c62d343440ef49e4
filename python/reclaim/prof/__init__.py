# SPDX-License-Identifier: MIT
"""Heap profiles: what `reclaim prof` is made of, for scripts of one's own too.

    reading     a dump as libreclaim, jemalloc or gperftools wrote it -> model.Profile
    model       stacks with their counts; sums and differences of profiles
    symbols     addresses -> functions, files, lines, by elfutils or binutils
    view        which stacks and frames are looked at, under which names
    pairs       which binaries and files of two profiles are the same, though they have moved
    report      top, tree, difference: text
    flame       flame graph: SVG or HTML
    layout      one address space for the binaries of many processes
    pprof       profile.proto
    writing     a profile as heap_v2 text
"""


class Unreadable(Exception):
    """A file that is no heap profile, or not all of one: one line that says so."""
