# SPDX-License-Identifier: MIT
"""reclaim - ask the libreclaim that serves this process.

    import reclaim
    if reclaim.is_active():
        reclaim.purge()              # bytes returned to the system
        reclaim.stats()["verdict"]   # where the resident memory is, in one sentence
        reclaim.conf()["dirty_decay_ms"]
        reclaim.prof_active(True)    # profiling is on from here; it was off: False
        reclaim.prof_dump()          # a heap profile, where profiling is on

Pure Python: ctypes on the library that is in the process already, through LD_PRELOAD, the
command `reclaim run`, or an interpreter linked with it.  Nothing is loaded by this module;
where libreclaim is not there, all but is_active raise NotLoaded.
"""
import ctypes
import json
import os

__all__ = ["NotLoaded", "conf", "is_active", "prof_active", "prof_dump", "prof_reset", "purge", "stats",
           "version"]


class NotLoaded(RuntimeError):
    """libreclaim is not in this process."""


_WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)


def _function(name, result, *arguments):
    """A function of the library, as the process sees it.  Each call makes its own object, so that
    nobody else's types for the same function get in the way."""
    try:
        function = ctypes.CDLL(None)[name]
    except (AttributeError, OSError):
        raise NotLoaded(
            "libreclaim is not loaded in this process: start it with `reclaim run PROGRAM` or "
            "LD_PRELOAD=libreclaim.so") from None
    function.restype = result
    function.argtypes = arguments
    return function


def is_active():
    """Whether the malloc of this process is libreclaim's: it is asked for a block."""
    try:
        owns = _function("reclaim_owns", ctypes.c_int, ctypes.c_void_p)
    except NotLoaded:
        return False
    block = _function("malloc", ctypes.c_void_p, ctypes.c_size_t)(1)
    active = owns(block) != 0
    _function("free", None, ctypes.c_void_p)(block)
    return active


def version():
    """The version of the library that is loaded, as "major.minor.patch"."""
    return _function("reclaim_version", ctypes.c_char_p)().decode()


def purge():
    """Return to the system at once what the process has freed; the number of bytes.

    Objects that are garbage but not collected yet are not free: call gc.collect() before.
    """
    return _function("reclaim_purge", ctypes.c_size_t)()


def _mallctl(name, old, new):
    """The error, or 0.  old, new: ctypes objects, or None."""
    version()  # another malloc may answer to the name below
    mallctl = _function("mallctl", ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p,
                        ctypes.POINTER(ctypes.c_size_t), ctypes.c_void_p, ctypes.c_size_t)
    size = ctypes.c_size_t(0 if old is None else ctypes.sizeof(old))
    return mallctl(name, None if old is None else ctypes.byref(old),
                   None if old is None else ctypes.byref(size),
                   None if new is None else ctypes.byref(new),
                   0 if new is None else ctypes.sizeof(new))


def prof_active(on=None):
    """Whether profiling was on before; with True or False, switch it: mallctl "prof.active".

    OSError where it cannot be switched on, for want of memory; a line on stderr says so.
    """
    if on not in (None, True, False):
        raise TypeError("prof_active: True, False or None, not %r" % (on,))
    before = ctypes.c_bool()
    error = _mallctl(b"prof.active", before, None if on is None else ctypes.c_bool(on))
    if error:
        raise OSError(error, "profiling was not switched; a line on stderr says why")
    return before.value


def prof_reset():
    """Forget all samples: a profile shows from here on what is allocated from here on."""
    error = _mallctl(b"prof.reset", None, None)
    if error:
        raise OSError(error, "the samples were not forgotten")


def prof_dump(path=None):
    """Write a heap profile: to `path`, or to a name by the rules of the option prof_prefix.  That
    one only the library knows: who needs the name gives one.

    OSError where that is refused; a line on stderr says why.  Without `prof:true` or prof_active(True)
    it has no stacks.
    """
    error = _mallctl(b"prof.dump", None, None if path is None else ctypes.c_char_p(os.fsencode(path)))
    if error:
        raise OSError(error, "no heap profile was written; a line on stderr says why", path)


def _report(letters):
    version()  # another malloc may answer to the name below, jemalloc's does
    pieces = []
    write = _WRITE(lambda _, text: pieces.append(text))
    _function("malloc_stats_print", None, _WRITE, ctypes.c_void_p, ctypes.c_char_p)(
        write, None, letters)
    try:
        whole = json.loads(b"".join(pieces).decode())
    except ValueError:
        raise RuntimeError("libreclaim has no statistics now: "
                           + b"".join(pieces).decode(errors="replace").strip()[:200]) from None
    if "libreclaim" not in whole:
        raise NotLoaded("libreclaim is loaded in this process, but another malloc stands before it "
                        "and answers in its place")
    return whole["libreclaim"]


def stats():
    """A snapshot of the resident memory, as a dictionary; doc/statistics.md has its fields.

    stats()["resident"] are bytes by what they are, adding up to ["resident"]["total"];
    stats()["verdict"] says it in one sentence.
    """
    return _report(b"Jmdl")


def conf():
    """The options in effect, as a dictionary."""
    return _report(b"Jmdabl")["options"]
