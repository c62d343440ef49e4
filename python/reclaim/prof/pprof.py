# SPDX-License-Identifier: MIT
"""pprof's profile.proto, gzip'ed: read by `go tool pprof` and whatever else knows that format.

Only what the message needs: numbers as varints, and strings, messages and packed numbers with
their length before them.
"""
import gzip
import io
import os

from reclaim.prof.layout import Layout
from reclaim.prof.model import MOST, Named, real_path, seconds_of
from reclaim.prof.symbols import named

SAMPLE_TYPES = (("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"),
                ("inuse_space", "bytes"))
ORDER = (2, 3, 0, 1)  # where these stand in a stack's counts


def varint(value):
    value &= (1 << 64) - 1  # negative numbers: two's complement, ten bytes
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value) if value else b""


def data(field, body):
    return varint(field << 3 | 2) + varint(len(body)) + body


def packed(field, values):
    return data(field, b"".join(map(varint, values)))


class Encoder:
    def __init__(self, profile, symbolizer):
        self.profile, self.symbolizer = profile, symbolizer
        self.layout = Layout(profile)
        self.strings = {b"": 0}
        self.functions, self.locations = {}, {}
        self.mappings = {}
        self.out = []

    def string(self, text):
        # As it will be written: what is no UTF-8 may not stand there.
        return self.strings.setdefault(text.encode("utf-8", "replace"), len(self.strings))

    def pair(self, field, kind):
        return data(field, number(1, self.string(kind[0])) + number(2, self.string(kind[1])))

    def function(self, frame):
        key = frame.function, frame.file, frame.python
        found = self.functions.get(key)
        if found is None:
            found = self.functions[key] = len(self.functions) + 1
            name = self.string(frame.function)
            # pprof takes a name that is the system's too for one of C++, and leaves out what stands
            # in angles: nothing would be left of <module>, nor of what Rust calls <T as Trait>::f.
            plain = frame.python or frame.function.startswith("<")
            self.out.append(data(5, number(1, found) + number(2, name)
                                 + number(3, 0 if plain else name)
                                 + number(4, self.string(frame.file))))
        return found

    def mapping(self, place):
        segments = self.layout.binaries.get((place.path, place.build_id), ())
        for segment in segments:
            if segment.offset <= place.offset < segment.offset + segment.end - segment.start:
                return self.mapping_of(place, segment)
        return 0

    def mapping_of(self, place, segment):
        found = self.mappings.get(segment)
        if found is None:
            found = [len(self.mappings) + 1, place, False]
            self.mappings[segment] = found
        return found[0]

    def location(self, place):
        found = self.locations.get(place)
        if found is not None:
            return found
        found = self.locations[place] = len(self.locations) + 1
        frames = self.symbolizer.frames(place) if self.symbolizer else ()
        if isinstance(place, Named):
            frames, mapping, address = (named(place),), 0, 0
        else:
            mapping, address = self.mapping(place), self.layout.address(place)
        lines = [data(4, number(1, self.function(frame)) + number(2, frame.line))
                 for frame in frames if frame.function]
        if lines and mapping:
            next(entry for entry in self.mappings.values() if entry[0] == mapping)[2] = True
        self.out.append(data(4, number(1, found) + number(2, mapping) + number(3, address)
                             + b"".join(lines)))
        return found

    def sample(self, thread, stack, counts):
        values = [max(-MOST, min(int(round(counts[place])), MOST)) for place in ORDER]
        if any(values):
            label = b""
            if thread:
                label = data(3, number(1, self.string("thread")) + number(2, self.string(thread)))
            self.out.append(data(2, packed(1, [self.location(place) for place in stack])
                                 + packed(2, values) + label))

    def encode(self):
        """The bytes, not yet gzip'ed."""
        self.out += [self.pair(1, kind) for kind in SAMPLE_TYPES]
        for (thread, stack), counts in self.profile.stacks.items():
            self.sample(thread, stack, counts)
        program = self.profile.info.get("program", "")
        # The first one is the program itself to readers; it lies below libraries, where the name it
        # was started by is not its file's.
        for segment, (number_of, place, named) in sorted(
                self.mappings.items(),
                key=lambda item: (os.path.basename(item[1][1].path) != program, item[0].start)):
            has = b"".join(number(field, 1) for field in (7, 8, 9, 10)) if named else b""
            self.out.append(data(3, number(1, number_of) + number(2, segment.start)
                                 + number(3, segment.end) + number(4, segment.offset)
                                 + number(5, self.string(real_path(place.path)))
                                 + number(6, self.string(place.build_id)) + has))
        self.out.append(number(9, nanoseconds(self.profile.info.get("time", ""))))
        self.out.append(self.pair(11, ("space", "bytes")))
        self.out.append(number(12, max(self.profile.rate, 1)))
        self.out += [number(13, self.string("%s: %s" % item))
                     for item in sorted(self.profile.info.items())]
        self.out.append(number(14, self.string("inuse_space")))
        self.out += [data(6, text) for text in self.strings]
        return b"".join(self.out)


def nanoseconds(text):
    return (seconds_of(text) or 0) * 10 ** 9


def encode(profile, symbolizer=None):
    """profile.proto.gz; without a symbolizer only addresses: pprof looks up names by build id."""
    if symbolizer:
        symbolizer.learn(profile)
    buffer = io.BytesIO()
    # No name and no time: the same profile gives the same bytes.
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(Encoder(profile, symbolizer).encode())
    return buffer.getvalue()
