# SPDX-License-Identifier: MIT
"""Which binaries and files of an earlier profile are which of a later one, though they have moved.

Releases have folders of their own, and so has each build.  What has a path in both profiles is one
thing; what has not is known by its build id, or by the last parts of its path.  Files must have a
function in common, too.  The earlier profile gets the later one's paths, so that the same function
has the same key in both.
"""
import os

from reclaim.prof.symbols import DELETED

# Names that many packages have: the folder must be the same, too.
PACKAGES = ("__init__.py", "__main__.py", "mod.rs")


def plain(path):
    return path[:-len(DELETED)] if path.endswith(DELETED) else path


def shared(one, other):
    """How many last parts of two paths are the same."""
    found = 0
    for a, b in zip(reversed(plain(one).split("/")), reversed(plain(other).split("/"))):
        if a != b:
            break
        found += 1
    return found


def moved(old, new, agree=lambda one, other: True):
    """{path of old that is not in new: the one path of new that is most like it}"""
    candidates = {}
    for path in sorted(new - old):
        candidates.setdefault(os.path.basename(plain(path)), []).append(path)
    best, claims = {}, {}
    for path in sorted(old - new):
        name = os.path.basename(plain(path))
        least = 2 if name in PACKAGES else 1
        scores = sorted(((shared(path, other), other) for other in candidates.get(name, ())
                         if agree(path, other)), reverse=True)
        if scores and scores[0][0] >= least and (len(scores) == 1 or scores[1][0] < scores[0][0]):
            best[path] = scores[0]
            claims[scores[0][1]] = max(scores[0][0], claims.get(scores[0][1], 0))
    # Of two that are like one path the one that is more like it has moved there.
    return {path: other for path, (score, other) in best.items() if score == claims[other]}


def moved_objects(old, new, old_binaries, new_binaries):
    """old, new: paths in frames.  binaries: (path, build id)."""
    by_build = {build_id: path for path, build_id in sorted(new_binaries)
                if build_id and path in new}
    found = {path: by_build[build_id] for path, build_id in old_binaries
             if path in old - new and build_id in by_build}
    found.update(moved({path for path in old - set(found) if not path.startswith("[")},
                       {path for path in new if not path.startswith("[")}))
    return found


def files_of(frames, object_of):
    """{binary: {file: its functions}}"""
    found = {}
    for frame in frames:
        if frame.function and frame.file:
            files = found.setdefault(object_of(frame.object), {})
            files.setdefault(frame.file, set()).add(frame.function)
    return found


def renamed(old, new, old_binaries=(), new_binaries=()):
    """{frame of old: what it is called in new}, of those that are called otherwise there."""
    old, new = set(old), set(new)
    objects = moved_objects({frame.object for frame in old}, {frame.object for frame in new},
                            old_binaries, new_binaries)
    before = files_of(old, lambda path: objects.get(path, path))
    after = files_of(new, lambda path: path)
    everywhere = {file for files in after.values() for file in files}
    files = {}
    for path, mine in before.items():
        theirs = after.get(path, {})
        for file, other in moved(
                {file for file in mine if file not in everywhere}, set(theirs) - set(mine),
                lambda one, other: mine[one] & theirs[other]).items():
            files[path, file] = other
    where = {}
    for frame in new:
        where.setdefault((frame.object, frame.function), set()).add(frame.file)
    result = {}
    for frame in old:
        path = objects.get(frame.object, frame.object)
        file = files.get((path, frame.file), frame.file)
        known = where.get((path, frame.function), ())
        # Lines were known in one of them only: it was stripped in the other.
        if frame.function and file not in known and len(known) == 1 and not (file and all(known)):
            (file,) = known
        if (path, file) != (frame.object, frame.file):
            result[frame] = frame._replace(object=path, file=file)
    return result


def follow(before, after):
    """Have a view's frames called as in a later one."""
    names = renamed({frame for row in before.rows for frame in row.frames},
                    {frame for row in after.rows for frame in row.frames},
                    before.binaries, after.binaries)
    if names:
        before.rename(names)
