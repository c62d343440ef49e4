# SPDX-License-Identifier: MIT
"""Where libreclaim.so is, and whether a program can be run under it."""
import glob
import os
import shutil
import stat
import struct

from reclaim.cli import Failure

NAME = "libreclaim.so"
MACHINES = {3: "i386", 40: "ARM", 62: "x86-64", 183: "aarch64", 243: "RISC-V"}
PT_INTERP = 3
EXPORTED = b"\0reclaim_purge\0"  # no other library has it


def find(options):
    """The library's path: the one that was asked for, RECLAIM_SO, where it was installed, or the
    newest one built in this source tree."""
    asked = getattr(options, "lib", None) or os.environ.get("RECLAIM_SO")
    if asked:
        if not os.path.isfile(asked):
            raise Failure("%s: no such library" % asked)
        return check_path(os.path.abspath(asked))
    if options.library_folder:
        installed = os.path.join(options.library_folder, NAME)
        if os.path.isfile(installed):
            return check_path(installed)
        raise Failure("%s is not there any more; --lib names another one" % installed)
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
        os.path.abspath(__file__)))))
    built = [path for pattern in ("", "build/*", "build*")
             for path in glob.glob(os.path.join(top, pattern, "src", ".libs", NAME))]
    if not built:
        raise Failure("no %s found: build it, or name it with --lib" % NAME)
    return check_path(max(built, key=os.path.getmtime))


def check_path(path):
    with open(path, "rb") as file:
        if EXPORTED not in file.read():
            raise Failure("%s is not libreclaim" % path)
    # The dynamic loader takes both for the end of a name.
    if " " in path or ":" in path:
        raise Failure("%s: LD_PRELOAD cannot name a path with a blank or a colon" % path)
    return path


class Elf:
    """What the header of a program or library says."""

    def __init__(self, path):
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:4] != b"\x7fELF" or len(head) < 64:
                raise ValueError("no ELF file")
            self.bits = {1: 32, 2: 64}.get(head[4], 0)
            order = "<" if head[5] == 1 else ">"
            self.machine = struct.unpack_from(order + "H", head, 18)[0]
            self.dynamic = True
            if self.bits != 64:
                return  # never what this library is; that is said before anything else
            start, size, count = (struct.unpack_from(order + "Q", head, 32)[0],
                                  *struct.unpack_from(order + "HH", head, 54))
            file.seek(start)
            table = file.read(size * count)
        self.dynamic = any(struct.unpack_from(order + "I", table, i * size)[0] == PT_INTERP
                           for i in range(count) if (i + 1) * size <= len(table))

    def kind(self):
        return MACHINES.get(self.machine, "machine %d" % self.machine) + (
            "" if self.bits == 64 else " (%d-bit)" % self.bits)


def interpreter(path):
    """What a script begins with, or None: the program that will really run."""
    with open(path, "rb") as file:
        first = file.readline(256)
    if not first.startswith(b"#!"):
        return None
    words = first[2:].split()
    if not words:
        return None
    name = os.fsdecode(words[0])
    if os.path.basename(name) == "env":
        named = [os.fsdecode(word) for word in words[1:]
                 if not word.startswith(b"-") and b"=" not in word]
        return shutil.which(named[0]) if named else None
    return name


def check_program(name, library):
    """The path of the program.  Failure where the library could not get into it."""
    path = shutil.which(name)
    if path is None:
        if os.path.exists(name):
            raise Failure("%s: not a program that can be run" % name, 126)
        raise Failure("%s: no such program" % name, 127)
    last = path
    for _ in range(5):  # scripts of scripts, as deep as the kernel goes
        try:
            further = interpreter(last)
        except OSError:
            return path  # may be run, but not read: the loader will say what it thinks
        if further is None or not os.path.exists(further):
            break
        last = further
    try:
        program, ours = Elf(last), Elf(library)
    except (OSError, ValueError):
        return path
    if (program.machine, program.bits) != (ours.machine, ours.bits):
        raise Failure("%s is a program for %s, %s a library for %s"
                      % (last, program.kind(), library, ours.kind()), 126)
    if not program.dynamic:
        raise Failure("%s is linked statically: no library can be put before its own malloc; link "
                      "it with reclaim.o" % last, 126)
    mode = os.stat(last)
    if mode.st_mode & (stat.S_ISUID | stat.S_ISGID) and os.geteuid() != mode.st_uid:
        raise Failure("%s runs with the rights of another user: the system ignores LD_PRELOAD "
                      "for it" % last, 126)
    return path
