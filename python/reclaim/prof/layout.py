# SPDX-License-Identifier: MIT
"""One address space for the binaries of many processes.

Each process has its libraries at other addresses.  A binary stays where the first process had it,
unless something else lies there already: then all of it moves behind everything else.
"""
from reclaim.prof.model import Segment

PAGE = 1 << 16


class Layout:
    """binaries: {(path, build id): its Segments in this address space}"""

    def __init__(self, profile):
        self.binaries = {}
        taken = []
        end = max((segment.end for segments in profile.binaries.values() for segment in segments),
                  default=0)
        for key, segments in profile.binaries.items():
            if any(segment.start < other.end and other.start < segment.end
                   for segment in segments for other in taken):
                by = (end + PAGE - 1 & ~(PAGE - 1)) - segments[0].start
                segments = [Segment(segment.start + by, segment.end + by, segment.offset)
                            for segment in segments]
                end = segments[-1].end
            self.binaries[key] = segments
            taken += segments

    def address(self, place):
        """Of a Native place."""
        for segment in self.binaries.get((place.path, place.build_id), ()):
            if segment.offset <= place.offset < segment.offset + segment.end - segment.start:
                return segment.start + place.offset - segment.offset
        return place.offset
