# SPDX-License-Identifier: MIT
"""smallobjects.py REPORT COUNT KEEP - many small Python objects, dropped but for one in KEEP.

Meant for PYTHONMALLOC=malloc, where each object is a block of malloc's.  Dicts, tuples, strings
and objects with __slots__ in turn.  Which blocks are alive at the end is told as the C programs of
this folder do it (report.h): written into a file mapped before the start, so that the telling
takes no memory.  CPython gives the address of an object with id(); what lies in front of it (the
collector's header) and what hangs on it (a dict's table) is worked out below.

Stops: start, live, freed, empty.
"""
import ctypes
import gc
import mmap
import os
import struct
import sys

HEAD = struct.Struct("<QQQ")
BLOCK = struct.Struct("<QQ")
MAGIC = 0x4d49414c434552
BLOCKS_PER_OBJECT = 4

# The collector's header: the part of a size that __sizeof__ does not know.
GC_HEAD = sys.getsizeof(()) - ().__sizeof__()
# Where a dict keeps the address of its table; its layout has been the same from 3.6 on.
DICT_KEYS = 4 * ctypes.sizeof(ctypes.c_void_p)
# Where a list keeps the address of its items.
LIST_ITEMS = 3 * ctypes.sizeof(ctypes.c_void_p)


class Thing(object):
    __slots__ = ("number",)

    def __init__(self, number):
        self.number = number


def make(i):
    kind = i % 4
    if kind == 0:
        return {"number": i, "name": None}
    if kind == 1:
        return (i, None, True)
    if kind == 2:
        return "a short text, number %d" % i
    return Thing(i)


def pointer_at(address):
    return ctypes.c_void_p.from_address(address).value


def blocks_of(thing):
    """[(address, size)] of what the object occupies, the int it holds included."""
    kind = type(thing)
    if kind is str:
        return [(id(thing), thing.__sizeof__())]
    if kind is dict:
        table = thing.__sizeof__() - kind.__basicsize__
        return [(id(thing) - GC_HEAD, kind.__basicsize__ + GC_HEAD),
                (pointer_at(id(thing) + DICT_KEYS), table),
                (id(thing["number"]), thing["number"].__sizeof__())]
    number = thing[0] if kind is tuple else thing.number
    return [(id(thing) - GC_HEAD, thing.__sizeof__() + GC_HEAD), (id(number), number.__sizeof__())]


def stop(name):
    os.write(1, name)
    if not os.read(0, 1):
        os._exit(2)


def open_report(path, capacity):
    size = HEAD.size + capacity * BLOCK.size
    with open(path, "r+b") as out:
        out.truncate(size)
        table = mmap.mmap(out.fileno(), size)
    for at in range(0, size, mmap.PAGESIZE):
        table[at] = 0  # resident from now on
    own = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
    HEAD.pack_into(table, 0, MAGIC, capacity, own)
    return table


def main(path, count, keep):
    kept_count = (count + keep - 1) // keep
    table = open_report(path, kept_count * BLOCKS_PER_OBJECT)
    kept = [None] * kept_count  # resident before the start
    blocks_of(make(0))
    gc.collect()
    stop(b"start\n")

    everything = [make(i) for i in range(count)]
    stop(b"live\n")

    # Not every keep-th, which would keep one kind only: one out of each row of `keep`.
    state, at = 1, HEAD.size
    for i in range(kept_count):
        state = (state * 1103515245 + 12345) % 2 ** 31
        thing = everything[min(i * keep + (state >> 8) % keep, count - 1)]
        kept[i] = thing
        for address, size in blocks_of(thing):
            BLOCK.pack_into(table, at, address, size)
            at += BLOCK.size
    del everything, thing
    gc.collect()  # also empties the interpreter's own lists of spare tuples, floats, dicts
    stop(b"freed\n")

    for i, thing in enumerate(kept):
        if type(thing) is str and not thing.startswith("a short text, number "):
            sys.exit("a kept string has lost its content")
    del kept, thing
    gc.collect()
    for at in range(HEAD.size, len(table), BLOCK.size):
        BLOCK.pack_into(table, at, 0, 0)
    stop(b"empty\n")


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
