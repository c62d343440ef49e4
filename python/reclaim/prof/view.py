# SPDX-License-Identifier: MIT
"""What of a profile is looked at: which stacks, which frames, which of the four counts, and by which
names frames are put together."""
import fnmatch
import os
import re
from collections import namedtuple

from reclaim.prof import model
from reclaim.prof.symbols import Frame, short

# Functions that stand between an allocator and whoever wants memory.  At the leaf they say nothing
# about who that is, so they are left out there unless all frames are asked for.
WRAPPERS = re.compile(r"""^(
    (__libc_|__GI___libc_|je_|tc_|mi_|rpmalloc_)?(m|c|re|v|pv)alloc | aligned_alloc | memalign |
    (tc_)?posix_memalign | reallocarray | (?:je_|_rjem_)\w+ | prof_(backtrace|alloc_prep|tctx_create)\w* |
    (__)?strn?dup | v?asprintf | operator\ new(\[\])?\(.*\) | tcmalloc::.* |
    (__gnu_cxx::|std::)(__new_allocator|new_allocator|allocator|allocator_traits|_Vector_base)<.*
        ::_?[MS]?_?allocate(_hint)?\(.*\) |
    _?Py(Mem|Object|Obj)_(Raw|Debug)?(Malloc|Calloc|Realloc)\w* | _PyObject_(Malloc|Calloc|Realloc) |
    pymalloc_(alloc|realloc) | new_arena | _PyMem_\w+ | _PyObject_Arena\w+ |
    z(try)?(m|c|re)alloc\w* | x(m|c|re)alloc | g_(try_)?(m|re)alloc0?(_n)? | g_slice_alloc0? |
    l_alloc | luaM_\w+ | sqlite3(Mem)?(Malloc|Realloc)\w* | sqlite3DbMalloc\w*
    )$""", re.X)
ALLOCATORS = re.compile(r"^lib(reclaim|jemalloc|tcmalloc|mimalloc)[^/]*\.so")

ROUNDING = 1e-9  # of a count: what is less is an error of arithmetics

Row = namedtuple("Row", "frames counts")  # frames: leaf first


class Counts:
    """Which of the four, and how it is said."""

    def __init__(self, alloc=False, objects=False):
        self.objects = objects
        self.place = (model.ALLOC_OBJECTS if objects else model.ALLOC_BYTES) if alloc else (
            model.INUSE_OBJECTS if objects else model.INUSE_BYTES)
        self.objects_place = model.ALLOC_OBJECTS if alloc else model.INUSE_OBJECTS
        self.bytes_place = model.ALLOC_BYTES if alloc else model.INUSE_BYTES
        self.label = "allocated" if alloc else "in use"

    def text(self, value):
        return blocks(value) if self.objects else size(value)

    def signed(self, value):
        return ("+" if value >= 0 else "-") + self.text(abs(value))


def size(value):
    """Bytes, in the unit that leaves one to four digits before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            break
        value /= 1024.0
    else:
        unit = "TB"
    return "%d B" % round(value) if unit == "B" else "%.1f %s" % (value, unit)


def blocks(value):
    return format(int(round(value)), ",")


# ---- what a frame is called ------------------------------------------------------------------

def function_name(frame):
    # What is no file has brackets already: [vdso], [no file].
    return frame.function or (frame.object if frame.object.startswith("[") else "[%s]" % short(
        frame.object))


def line_name(frame):
    if frame.function and frame.line:
        return "%s:%d" % (frame.file, frame.line)
    if not frame.function:
        return frame.file
    where = frame.file or short(frame.object)
    return "%s (%s)" % (frame.function, where) if where else frame.function


def file_name(frame):
    return frame.file if frame.function and frame.file else frame.object or frame.function


def object_name(frame):
    return frame.object or ("[Python]" if frame.python else frame.function)


def function_key(frame):
    """Functions of one name in different files are different ones."""
    return function_name(frame), (frame.file if frame.function else "") or frame.object


def label(by, short=False):
    """What gives a frame its key and the key its text, for function, line, file, object."""
    if by == "function":
        return function_key, lambda key: "%s  %s" % (
            key[0], os.path.basename(key[1]) if short else key[1]) if key[1] else key[0]
    if by == "line":
        return (lambda frame: (line_name(frame), function_name(frame) if frame.line else "")), (
            lambda key: "%s  %s" % key if key[1] else key[0])
    return {"file": file_name, "object": object_name}[by], str


# ---- filters ---------------------------------------------------------------------------------

class Pattern:
    """Shell patterns against a frame's function, file, file:line or binary; of paths the last part
    alone will do."""

    def __init__(self, patterns):
        self.expression = re.compile("|".join(fnmatch.translate(text) for text in patterns)
                                     or r"(?!)")
        self.known = {}

    def __call__(self, frame):
        answer = self.known.get(frame)
        if answer is None:
            names = [frame.function or "?", frame.file, frame.object]
            names += [os.path.basename(name) for name in names[1:]]
            if frame.line:
                names += ["%s:%d" % (name, frame.line)
                          for name in (frame.file, os.path.basename(frame.file))]
            answer = any(self.expression.match(name) for name in names if name)
            self.known[frame] = answer
        return answer

    def in_stack(self, frames, leaf):
        return any(self(frame) for frame in (frames[:1] if leaf else frames))


class View:
    """rows: the stacks that were asked for, with names.  total: their counts."""

    def __init__(self, profile, symbolizer, include=(), exclude=(), hide=(), leaf=False, python=False,
                 threads=None, by_thread=False, all_frames=False):
        self.symbolizer = symbolizer
        self.all_frames, self.python, self.by_thread = all_frames, python, by_thread
        self.include, self.exclude, self.hide = (Pattern(texts) if texts else None
                                                 for texts in (include, exclude, hide))
        self.leaf = leaf
        symbolizer.learn(profile)
        self.stacks_of = {}
        merged = {}
        for (thread, stack), counts in profile.stacks.items():
            if threads and not any(fnmatch.fnmatchcase(thread, text) for text in threads):
                continue
            frames = self.stacks_of.get(stack)
            if frames is None:
                frames = self.stacks_of[stack] = self.frames(stack)
            if not self.wanted(frames):
                continue
            if by_thread:
                frames += (Frame("thread %s" % (thread or "?"), "", 0, "", False),)
            mine = merged.get(frames)
            if mine is None:
                merged[frames] = list(counts)
            else:
                for place in range(model.COUNTS):
                    mine[place] += counts[place]
        del self.stacks_of
        self.binaries = set(profile.binaries)
        self.rows = [Row(frames, counts) for frames, counts in merged.items()]

    def rename(self, names):
        """names: {frame: the one to take its place}"""
        self.rows = [Row(tuple(names.get(frame, frame) for frame in row.frames), row.counts)
                     for row in self.rows]

    def take_off(self, base):
        """Another view's counts: what is left has come since."""
        left = {row.frames: list(row.counts) for row in self.rows}
        taken = {}
        for row in base.rows:
            mine = taken.setdefault(row.frames, [0] * model.COUNTS)
            for place in range(model.COUNTS):
                mine[place] += row.counts[place]
        for frames, counts in taken.items():
            mine = left.setdefault(frames, [0] * model.COUNTS)
            for place in range(model.COUNTS):
                mine[place] -= counts[place]
                # The same samples may have been added up in another order.
                if abs(mine[place]) < counts[place] * ROUNDING:
                    mine[place] = 0
        self.rows = [Row(frames, counts) for frames, counts in left.items()]

    def frames(self, stack):
        frames = [frame for place in stack for frame in self.symbolizer.frames(place)]
        if not self.all_frames:
            first = 0
            while first < len(frames) - 1 and is_wrapper(frames[first]):
                first += 1
            frames = without_repeats(frames[first:])
        if self.python and any(frame.python for frame in frames):
            frames = [frame for frame in frames if frame.python]
        if self.hide:
            # The last one stays: memory without any owner would get lost.
            frames = [frame for frame in frames if not self.hide(frame)] or frames[-1:]
        return tuple(frames) or (Frame("[no stack]", "", 0, "", False),)

    def wanted(self, frames):
        if self.include and not self.include.in_stack(frames, self.leaf):
            return False
        return not (self.exclude and self.exclude.in_stack(frames, self.leaf))

    def total(self, place):
        return sum(row.counts[place] for row in self.rows)


def without_repeats(frames):
    """Of neighbours in one binary that have no names the innermost."""
    return [frame for at, frame in enumerate(frames)
            if frame.function or not at or frames[at - 1].function
            or frames[at - 1].object != frame.object]


def is_wrapper(frame):
    return bool(ALLOCATORS.match(os.path.basename(frame.object))
                or frame.function and not frame.python and WRAPPERS.match(frame.function))
