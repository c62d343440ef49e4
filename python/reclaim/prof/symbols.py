# SPDX-License-Identifier: MIT
"""Places -> functions, files and lines, inlined ones included.

eu-addr2line (elfutils) is asked once for each binary, with all its addresses; then addr2line
(binutils) for those without a line: older elfutils (0.188, for one) knows none of a
place that .debug_aranges leaves out, and clang and rustc write no such section.  Separate debug
files are found by build id.  A binary that is not
the one that was profiled any more gives no names rather than wrong ones: its build id differs, or
where there is none its inode or its time do.
"""
import os
import re
import shutil
import struct
import subprocess
from collections import namedtuple

from reclaim.prof.model import Named, real_path

# python: a function that the dump named.  object: the binary's path, "" for Python.
Frame = namedtuple("Frame", "function file line object python")

TOOLS = ("eu-addr2line", "addr2line")
SYSTEM_DEBUG = "/usr/lib/debug"
PT_LOAD, PT_NOTE, NT_GNU_BUILD_ID, ET_EXEC = 1, 4, 3, 2
WHERE = re.compile(r"^(.*?):(\d+|\?)(?::\d+)?(?: \(discriminator \d+\))?$")
INLINED = re.compile(r" inlined at .* in .*$")
DELETED = " (deleted)"


class Elf:
    """Which address of a binary is which offset in its file; its build id, "" where it has none."""

    def __init__(self, path):
        with open(path, "rb") as file:
            head = file.read(64)
            if len(head) < 52 or head[:4] != b"\x7fELF":
                raise ValueError("no ELF file")
            order = "<" if head[5] == 1 else ">"
            wide = head[4] == 2
            self.kind = struct.unpack_from(order + "H", head, 16)[0]
            start = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)[0]
            size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
            file.seek(start)
            table = file.read(size * count)
            self.loads, self.build_id = [], ""
            for at in range(0, len(table) - size + 1, size or 1):
                kind = struct.unpack_from(order + "I", table, at)[0]
                if wide:
                    offset, address, _, length = struct.unpack_from(order + "QQQQ", table, at + 8)
                else:
                    offset, address, _, length = struct.unpack_from(order + "IIII", table, at + 4)
                if kind == PT_LOAD:
                    self.loads.append((offset, address, length))
                elif kind == PT_NOTE and not self.build_id:
                    file.seek(offset)
                    self.find_build_id(order, file.read(min(length, 1 << 16)))

    def find_build_id(self, order, notes):
        at = 0
        while at + 12 <= len(notes):
            name, length, kind = struct.unpack_from(order + "III", notes, at)
            body = at + 12 + (name + 3 & ~3)
            if kind == NT_GNU_BUILD_ID and notes[at + 12:at + 15] == b"GNU":
                self.build_id = notes[body:body + length].hex()
                return
            at = body + (length + 3 & ~3)

    def address(self, offset):
        for start, address, length in self.loads:
            if start <= offset < start + length:
                return offset - start + address
        return None


def elf_of(path):
    try:
        return Elf(path)
    except (OSError, ValueError, struct.error):
        return None


def short(path):
    """The last part of a file's path; what is no file ([vdso], [anon:a/b]) as it is."""
    return path if path.startswith("[") else os.path.basename(path)


def names_of(path):
    """What a file may be called of which a list of mapped ones says this, and whether it was gone by
    then.  A name may end in what that list adds to deleted ones."""
    found = [(path, False), (real_path(path), False)]
    if path.endswith(DELETED):
        found += [(name[:-len(DELETED)], True) for name, _ in found]
    return list(dict.fromkeys(found))


def status_of(path):
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def identity_of(status):
    """As a list of mapped files has it."""
    return os.major(status.st_dev), os.minor(status.st_dev), status.st_ino


def named(place):
    """The frame of a function that the dump names."""
    return Frame(place.function, place.file, place.line, "", bool(place.file))


class Symbolizer:
    """notes: lines for the user about binaries whose functions have no names."""

    def __init__(self, tool=None, debug_folders=(), root=""):
        self.tools = [tool] if tool else [name for name in TOOLS if shutil.which(name)]
        self.debug_folders = list(debug_folders) + [SYSTEM_DEBUG]
        self.root = root
        self.known = {}
        self.notes = []
        self.files, self.written, self.same_host = {}, None, False  # of the profile at hand

    def frames(self, place):
        """Leaf first: what was inlined, then what it was inlined into."""
        return self.known[place]

    def learn(self, profile):
        """Ask for all places of a profile that are not known yet."""
        wanted = {}
        for place in profile.places():
            if place in self.known:
                continue
            if isinstance(place, Named):
                self.known[place] = (named(place),)
            else:
                self.known[place] = (self.unnamed(place),)
                if place.path.startswith("/"):
                    wanted.setdefault((place.path, place.build_id), []).append(place)
        if wanted and not self.tools:
            self.notes.append("functions have no names: neither eu-addr2line (elfutils) nor addr2line "
                              "(binutils) is installed")
            return
        self.files, self.written = profile.files, profile.written
        self.same_host = any(self.is_here(path) for path in profile.files)
        for key in sorted(wanted):
            self.ask(key, wanted[key], profile.binaries.get(key, ()))

    @staticmethod
    def unnamed(place):
        where = short(place.path) or "no file"
        return Frame("", "%s+0x%x" % (where, place.offset), 0, place.path or "[no file]", False)

    def debug_file(self, build_id):
        for folder in self.debug_folders if len(build_id) > 4 else ():
            path = os.path.join(folder, ".build-id", build_id[:2], build_id[2:] + ".debug")
            if os.path.isfile(path):
                return path
        return None

    def file(self, name):
        """Where it is here, in bytes: a dump's paths are UTF-8 or nothing of the kind, whatever the
        locale takes names of files for."""
        return os.fsencode(self.root) + name.encode("utf-8", "surrogateescape")

    def is_here(self, path):
        """Whether the very file of the dump is: then the dump was made on this host."""
        status = status_of(self.file(real_path(path)))
        return status is not None and identity_of(status) in self.files[path]

    def another(self, key, status, elf, gone):
        """Why the file is not the one that was profiled; "" where nothing speaks against it."""
        path, build_id = key
        if build_id:
            return "" if elf.build_id == build_id else "another build id"
        # Inodes tell only where they can be compared.  On another host the same file has another one,
        # and so it has for a file system that stat() numbers otherwise than the list of mapped files
        # does (overlayfs, btrfs).  So they count if one of the files of the dump is found here with its
        # device and inode; else the time has to do.  It alone would not: packages bring files that
        # are older than their arrival.
        seen = self.files.get(path, set())
        if seen != {identity_of(status)} and (gone or seen and self.same_host):
            return "no build id, and another inode"
        if self.written is not None and status.st_mtime > self.written:
            return "no build id, and it is newer than the profile"
        return ""

    def binary(self, key):
        """The file to ask, in bytes, and what is known of its addresses; or None."""
        changed, here = "", False
        for name, gone in names_of(key[0]):
            path = self.file(name)
            status, elf = status_of(path), elf_of(path)
            here = here or status is not None
            if elf is None or status is None:
                continue
            why = self.another(key, status, elf, gone)
            if not why:
                return self.debug_file(key[1] or elf.build_id) or path, elf
            changed = changed or "%s%s is not the file that was profiled any more (%s): its functions have " \
                "no names" % (self.root, name, why)
        debug = self.debug_file(key[1])
        if debug is not None:
            return debug, None
        if changed:
            self.notes.append(changed)
        elif not here:
            self.notes.append("%s%s is not here: its functions have no names (--root, --debug-dir)"
                              % (self.root, names_of(key[0])[-1][0]))
        return None

    def ask(self, key, places, segments):
        found = self.binary(key)
        if found is None:
            return
        path, elf = found
        addresses = {}
        for place in places:
            addresses.setdefault(address_of(place.offset, path, elf, segments), []).append(place)
        addresses.pop(None, None)
        answers, complaints = {}, []
        for tool in self.tools:
            unknown = [address for address in addresses if not has_line(answers.get(address, ()))]
            if unknown:
                said, complaint = told(tool, path, unknown)
                complaints += [complaint] if complaint else []
                answers.update((address, lines) for address, lines in said.items()
                               if address not in answers or has_line(lines))
        if not answers:
            self.notes += complaints[:1]
        for address, lines in answers.items():
            for place in addresses.get(address, ()):
                frames = tuple(Frame(function, file, line, key[0], False)
                               for function, file, line in lines if function)
                if frames:
                    self.known[place] = frames


def told(tool, path, addresses):
    """What the tool answers, as answered() has it; and why not, where there is no answer."""
    text = "".join("0x%x\n" % address for address in addresses)
    try:
        done = subprocess.run([tool, "-a", "-f", "-i", "-C", "-e", path], stderr=subprocess.PIPE,
                              input=text.encode(), stdout=subprocess.PIPE)
    except OSError as error:
        return {}, "%s cannot be run: %s" % (tool, error.strerror)
    answers = answered(done.stdout.decode("utf-8", "replace"))
    said = done.stderr.decode("utf-8", "replace").strip().split("\n")[0]
    return answers, "" if answers else "%s says nothing about %s: %s" % (
        tool, os.fsdecode(path), said)


def has_line(lines):
    return any(file for _, file, _ in lines)


def address_of(offset, path, elf, segments):
    if elf is not None:
        return elf.address(offset)
    # Only the debug file is there, whose table of segments has other offsets: in a library the
    # address is nearly always the offset, and a program at a fixed address was mapped at it.
    debug = elf_of(path)
    if debug is not None and debug.kind == ET_EXEC:
        for segment in segments:
            if segment.offset <= offset < segment.offset + segment.end - segment.start:
                return segment.start + offset - segment.offset
    return offset


def answered(text):
    """{address: [(function, file, line)]} from what either tool prints with -a -f -i."""
    answers, current, function = {}, None, None
    for line in text.split("\n"):
        if function is None and re.match(r"^0x[0-9a-f]+$", line):
            current = answers.setdefault(int(line, 16), [])
        elif function is None:
            function = line
        elif current is not None:
            where = WHERE.match(line)
            file, number = where.group(1, 2) if where else ("??", "0")
            name = "" if function == "??" else INLINED.sub("", function)
            current.append((name, "" if file.startswith("??") else file,
                            int(number) if number.isdigit() else 0))
            function = None
    return answers
