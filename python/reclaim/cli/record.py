# SPDX-License-Identifier: MIT
"""The options in effect in a running process, from the record that libreclaim keeps in its own data.

A process overwrites its environment (setproctitle), and it is only one source of options; the record
is what came of all of them.  It stands in the writable data of the library, or of the program that
was linked with reclaim.o:

    char mark[16]        "libreclaim conf"
    uintptr_t self       its own address; else it is a chance likeness, or not whole yet
    const char *text     name:value, each ended by a zero
    uint32_t layout      1
    uint32_t bytes       of the text
    uint32_t purges      that were asked for by the signal and are done
"""
import os
import re
import struct

MARK = b"libreclaim conf\0"
FORM = struct.Struct("=16sQQIII")
LAYOUT = 1
TEXT_MOST = 1 << 16
STEP = 1 << 20
WRITABLE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw.p \S+ \S+ \d+\s+(/.*)$")


def ranges(maps, path):
    """Where the writable data of this file is."""
    for line in maps.splitlines():
        found = WRITABLE.match(line)
        if found and found.group(3) == path:
            yield int(found.group(1), 16), int(found.group(2), 16)


def marks(memory, begin, end):
    """Addresses in the range at which the mark stands."""
    for start in range(begin, end, STEP):
        # A mark may lie across two steps.
        data = os.pread(memory, min(STEP + len(MARK) - 1, end - start), start)
        at = data.find(MARK)
        while at >= 0:
            yield start + at
            at = data.find(MARK, at + 1)


class Record:
    """.options: {name: text}, .purges, as they were when it was read; .address."""

    def __init__(self, memory, address):
        """ValueError: there is none at that address."""
        head = os.pread(memory, FORM.size, address)
        if len(head) < FORM.size:
            raise ValueError("too short")
        self.address = address
        _, own, text, layout, count, self.purges = FORM.unpack(head)
        if own != address or layout != LAYOUT or not 0 < count <= TEXT_MOST:
            raise ValueError("no record of this layout")
        entries = os.pread(memory, count, text).decode(errors="surrogateescape").split("\0")
        self.options = dict(entry.split(":", 1) for entry in entries if ":" in entry)


def first_at(memory, addresses):
    for address in addresses:
        try:
            return Record(memory, address)
        except ValueError:
            continue
    return None


def look(pid, addresses_of):
    """None: there is no record, or this user may not read the memory of the process."""
    try:
        memory = os.open("/proc/%d/mem" % pid, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return first_at(memory, addresses_of(memory))
    except OSError:
        return None  # it has ended, or mapped something else there
    finally:
        os.close(memory)


def read(pid, maps, path):
    """The record in the data of the file that is mapped under this path."""
    return look(pid, lambda memory: (address for begin, end in ranges(maps, path)
                                     for address in marks(memory, begin, end)))


def again(pid, address):
    """As it is now, where it was."""
    return look(pid, lambda _: [address])
