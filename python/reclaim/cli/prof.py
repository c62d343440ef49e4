# SPDX-License-Identifier: MIT
"""reclaim prof top|tree|diff|folded|flame|pprof|merge FILE..."""
import argparse
import os
import re
import sys

from reclaim.cli import Failure, complain as note
from reclaim.prof import (Unreadable, flame, model, pairs, pprof, reading, report, symbols, view,
                          writing)

DESCRIPTION = """Look into heap profiles: those of libreclaim (RECLAIM_CONF=prof:true,prof_final:true) and
jemalloc (heap_v2), and gperftools' legacy ones. Several files are added up."""

BY = ("function", "file", "line", "object")


def add(commands):
    parser = commands.add_parser("prof", help="look into heap profiles", description=DESCRIPTION)
    actions = parser.add_subparsers(metavar="ACTION", dest="action")
    actions.required = True
    make(actions, "top", top, "the functions that hold most", looking, listing)
    make(actions, "tree", tree, "who called whom, with what is held below each call", looking, branches)
    make(actions, "diff", diff, "what has grown between two profiles", looking, listing)
    make(actions, "folded", folded, "a line for each stack, for flame-graph programs", looking,
         grouping, writing_to)
    make(actions, "flame", flame_graph, "a flame graph: SVG, or HTML where the file's name ends so",
         looking, grouping, writing_to, titled)
    make(actions, "pprof", to_pprof, "pprof's profile.proto, gzip'ed, for `go tool pprof`", naming,
         writing_to, raw)
    make(actions, "merge", merge, "one profile in text of those of many processes", writing_to)


def make(actions, name, run, text, *groups):
    parser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    for group in groups:
        group(parser)
    if name == "diff":
        parser.add_argument("old", metavar="OLD")
        parser.add_argument("new", metavar="NEW")
    else:
        parser.add_argument("files", metavar="FILE", nargs="+")
    if name not in ("diff", "merge"):
        parser.add_argument("--base", metavar="FILE",
                            help="take this profile's counts off: what has come since")
    parser.set_defaults(run=run)


def positive(text):
    if not re.match(r"^0*[1-9][0-9]*$", text, re.ASCII):
        raise argparse.ArgumentTypeError("%r is not a number above 0" % text)
    return int(text)


def naming(parser):
    parser.add_argument("--debug-dir", metavar="FOLDER", action="append", default=[],
                        help="a folder of separate debug files, by build id (.build-id/ab/cdef.debug); "
                             "/usr/lib/debug is looked through anyway")
    parser.add_argument("--root", metavar="FOLDER", default="",
                        help="where the binaries are, if not below /: a container's or a board's files")
    parser.add_argument("--addr2line", metavar="PROGRAM",
                        help="what alone to ask for names: eu-addr2line or addr2line; both, where they are "
                             "found, if not given")


def grouping(parser):
    parser.add_argument("--by", choices=BY, default="function", metavar="WHAT",
                        help="put together by function (default), file, line or object (binary)")


def looking(parser):
    naming(parser)
    parser.add_argument("--alloc", action="store_true",
                        help="all that was ever allocated, not what is in use")
    parser.add_argument("--objects", action="store_true", help="count blocks, not bytes")
    parser.add_argument("--include", metavar="PATTERN", action="append", default=[],
                        help="only stacks with a frame like this: a shell pattern (* and ?) for its "
                             "function, file, FILE:LINE or binary")
    parser.add_argument("--exclude", metavar="PATTERN", action="append", default=[],
                        help="no stacks with a frame like this")
    parser.add_argument("--leaf", action="store_true",
                        help="--include and --exclude look at the innermost frame only")
    parser.add_argument("--hide", metavar="PATTERN", action="append", default=[],
                        help="take such frames out of the stacks: what they hold is their callers'")
    parser.add_argument("--python", action="store_true",
                        help="of stacks with Python frames show these alone")
    parser.add_argument("--thread", metavar="PATTERN", action="append", default=[],
                        help="only what threads of such names have allocated")
    parser.add_argument("--by-thread", action="store_true",
                        help="tell threads apart: lists have a part for each; elsewhere threads "
                             "are the outermost frames")
    parser.add_argument("--all-frames", action="store_true",
                        help="with the frames of the allocator and of wrappers around malloc, which are "
                             "left out at the inner end of stacks")


def listing(parser):
    grouping(parser)
    parser.add_argument("-n", "--limit", metavar="COUNT", type=positive, default=20,
                        help="so many lines (default 20)")
    parser.add_argument("--total", action="store_true",
                        help="order by what a function and all it called hold, not by its own")


def branches(parser):
    grouping(parser)
    parser.add_argument("--callers", action="store_true",
                        help="from the functions that hold memory up to their callers")
    parser.add_argument("--min", metavar="PERCENT", type=float, default=1,
                        help="leave out branches below this share of the whole (default 1)")


def writing_to(parser):
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, not to standard output")


def titled(parser):
    parser.add_argument("--title", metavar="TEXT", help="what stands above the picture")


def raw(parser):
    parser.add_argument("--no-symbols", action="store_true",
                        help="only addresses and build ids; pprof looks the names up itself")


# ---- reading ---------------------------------------------------------------------------------

def read(path):
    try:
        return reading.read(path)
    except Unreadable as reason:
        raise Failure(reason) from None


def tell(notes):
    """One line for many files of which there is the same to say."""
    for text in notes[:1]:
        note(text + (" (and so %s)" % ("does one more" if len(notes) == 2 else "do %d more" % (
            len(notes) - 1)) if len(notes) > 1 else ""))


def load(options):
    """The profiles that were named, added up."""
    profiles = [read(path) for path in options.files]
    # A reader has no use for half of a count.
    for pid in model.counted_twice(profiles):
        note("several of these profiles are of process %s: if that is one process, what it holds "
             "is counted more than once" % pid)
    often = model.inherited_twice(profiles)
    if often:
        known = sorted(count for count in often if count is not None)
        sizes = list(dict.fromkeys(view.size(count) for count in known[:1] + known[-1:]))
        note("%d of these profiles are of processes forked from one another or from one parent: "
             "what they inherited%s is counted once for each of them"
             % (len(often), " (about %s each)" % " to ".join(sizes) if sizes else ""))
    profile = model.summed(profiles)
    tell(profile.notes)
    return profile


def load_base(options):
    """What is to be taken off; or None."""
    if not options.base:
        return None
    base = read(options.base)
    tell(base.notes)
    return base


def symbolizer(options):
    return symbols.Symbolizer(options.addr2line, options.debug_dir, options.root.rstrip("/"))


def look(options, profile, names):
    if options.alloc and not profile.has_alloc() and profile.stacks:
        raise Failure("%s: holds no counts of what was freed again (jemalloc needs prof_accum:true)"
                      % profile.sources[0])
    return view.View(profile, names, options.include, options.exclude, options.hide, options.leaf,
                     options.python, options.thread, options.by_thread, options.all_frames)


def seen(options):
    """The one profile of most actions, and how it is counted."""
    profile, base = load(options), load_base(options)
    names = symbolizer(options)
    shown = look(options, profile, names)
    if base is not None:
        before = look(options, base, names)
        pairs.follow(before, shown)
        shown.take_off(before)
    for text in names.notes:
        note(text)
    return profile, shown, view.Counts(options.alloc, options.objects)


def subject(profile):
    """What a profile is of, in a few words."""
    info = profile.info
    words = [info["program"]] if info.get("program") else []
    if info.get("pid"):
        words.append("process %s" % info["pid"])
    if info.get("profile") == "peak":
        words.append("at its peak")
    elif info.get("reason"):
        words.append(info["reason"])
    if len(profile.sources) > 1:
        words.append("%d profiles" % len(profile.sources))
    return ", ".join(words) or os.path.basename(profile.sources[0])


def headline(profile, shown, counts):
    words = ""
    if profile.rate > 1:
        words = ", estimated from a sample every %s" % view.size(profile.rate)
    return "%s: %s" % (subject(profile), report.headline(shown, counts, words))


# ---- writing ---------------------------------------------------------------------------------

def write(options, data):
    if isinstance(data, str):
        data = data.encode("utf-8", "replace")
    if options.output is None:
        if sys.stdout is None:
            raise Failure("standard output: it is closed")
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        return
    try:
        with open(options.output, "wb") as file:
            file.write(data)
    except OSError as error:
        raise Failure("%s: %s" % (options.output, error.strerror)) from None


def say(lines):
    """On standard output; names of files and functions may hold what would break a line."""
    write(argparse.Namespace(output=None), "".join(
        "".join(char if char.isprintable() else "?" for char in line) + "\n" for line in lines))


# ---- actions ---------------------------------------------------------------------------------

def top(options):
    profile, shown, counts = seen(options)
    say([headline(profile, shown, counts)]
        + report.top(shown, counts, options.by, options.limit, options.total)
        + (nothing_sampled(options, profile) or nothing_fits(options, shown))
        + more_in_use(options, profile)
        + ([] if options.base or options.alloc else report.elsewhere(profile))
        + hidden_python(options, shown, counts))
    return 0


def nothing_sampled(options, profile):
    """What to add where the list is empty because the dump is."""
    if profile.stacks or options.base:
        return []
    every = " every %s" % view.size(profile.rate) if profile.rate > 1 else ""
    return ["Nothing was sampled: profiling was off, or less was allocated than a sample%s shows "
            "(lg_prof_sample)." % every]


def nothing_fits(options, *views):
    """What to add where the list is empty because of what was asked for."""
    asked = [name for name in ("include", "exclude", "thread") if getattr(options, name)]
    if not asked or any(shown.rows for shown in views):
        return []
    return ["No stack fits: %s." % ", ".join("--%s %s" % (name, pattern) for name in asked
                                             for pattern in getattr(options, name))]


def of_everything(options):
    """Whether what is in use is shown, and all of it."""
    return not (options.base or options.alloc or options.include or options.exclude
                or options.thread)


def more_in_use(options, profile):
    """What to add where the samples stand for less than there is."""
    return report.uncounted_line(profile) if of_everything(options) else []


def hidden_python(options, shown, counts):
    """What to add where all memory is the interpreter's own, and so one row tells nothing."""
    if options.python or options.total or options.by == "object":
        return []
    holders = report.holders(shown, counts, options.by)
    if len(holders) != 1 or not any(frame.python for row in shown.rows for frame in row.frames):
        return []
    if any(row.frames[0].python for row in shown.rows):
        return []
    return ["All of it was asked for by the interpreter: --python shows the Python functions, --total all "
            "callers."]


def tree(options):
    profile, shown, counts = seen(options)
    say([headline(profile, shown, counts)]
        + report.tree(shown, counts, options.by, options.min / 100, options.callers)
        + nothing_fits(options, shown)
        + more_in_use(options, profile))
    return 0


def diff(options):
    old, new = read(options.old), read(options.new)
    tell(old.notes + new.notes)
    names = symbolizer(options)
    before, after = look(options, old, names), look(options, new, names)
    pairs.follow(before, after)
    for text in names.notes:
        note(text)
    counts = view.Counts(options.alloc, options.objects)
    growth = after.total(counts.place) - before.total(counts.place)
    say(["%s: %s, from %s to %s %s" % (
        subject(new), counts.signed(growth), counts.text(before.total(counts.place)),
        counts.text(after.total(counts.place)), counts.label)]
        + report.compare(before, after, counts, options.by, options.limit, options.total)
        + nothing_fits(options, before, after))
    return 0


def folded(options):
    profile, shown, counts = seen(options)
    for text in more_in_use(options, profile) + nothing_fits(options, shown):
        note(text)
    stacks = report.folded_counts(shown, counts, options.by)
    shrunk = [value for value in stacks.values() if value < 0]
    if shrunk:
        note("what has shrunk is left out, as no count may be negative: %s in %d of %d stacks"
             % (counts.text(-sum(shrunk)), len(shrunk), len(stacks)))
    write(options, "".join(line + "\n" for line in report.folded_lines(stacks)))
    return 0


def flame_graph(options):
    profile, shown, counts = seen(options)
    title = options.title or subject(profile)
    for text in nothing_fits(options, shown):
        note(text)
    picture = flame.svg(shown, counts, title, options.by, bool(options.base),
                        " ".join(more_in_use(options, profile)))
    if options.output and re.search(r"\.html?$", options.output):
        picture = flame.html(picture, title)
    write(options, picture)
    return 0


def to_pprof(options):
    if options.output is None and sys.stdout is not None and sys.stdout.isatty():
        raise Failure("a profile.proto is no text: name a file with -o, or redirect the output", 2)
    profile, base = load(options), load_base(options)
    if base is not None:
        profile = profile.without(base)
    names = None if options.no_symbols else symbolizer(options)
    data = pprof.encode(profile, names)
    for text in names.notes if names else ():
        note(text)
    write(options, data)
    return 0


def merge(options):
    text = "".join(line + "\n" for line in writing.heap_v2(load(options)))
    write(options, text.encode("utf-8", "surrogateescape"))  # paths as the dumps have them
    return 0
