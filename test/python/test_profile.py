# SPDX-License-Identifier: MIT
"""Heap profiles: reader, model, reports, pictures and encodings on made-up dumps.  Needs no library;
test/hosts/profile_tool.sh has the real ones."""
import contextlib
import gzip
import io
import math
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "python"))

from reclaim import cli  # noqa: E402
from reclaim.prof import Unreadable, flame, layout, model, pairs, pprof, reading  # noqa: E402
from reclaim.prof import report, symbols, view, writing  # noqa: E402

MAPS = """MAPPED_LIBRARIES:
00400000-00500000 r-xp 00001000 fe:00 7                                  /no/such/program
7f0000000000-7f0000100000 r-xp 00000000 fe:00 8                          /no/such/lib one.so
7ffe00000000-7ffe00001000 r-xp 00000000 00:00 0                          [vdso]
"""
# Two threads, Python and machine code, a stack without frames; a rate so small that nothing is
# scaled, and whole blocks of 1,000 bytes.
HEAP = """heap_v2/1
# reclaim 1
# program job
# pid 12
# time 2026-01-17T14:05:02Z
# reason final
  t*: 9: 9000 [20: 20000]
# thread 1 main
# thread 2 worker
@ 0x400010 0x8000000000000001 0x8000000000000002 0x400101
  t*: 5: 5000 [10: 10000]
  t1: 3: 3000 [6: 6000]
  t2: 2: 2000 [4: 4000]
@ 0x7f0000000020 0x400101
  t*: 3: 3000 [8: 8000]
  t1: 3: 3000 [8: 8000]
@
  t*: 1: 1000 [2: 2000]
  t1: 1: 1000 [2: 2000]
# frame 0x8000000000000001 7 load <&"'>	/srv/app/job.py
# frame 0x8000000000000002 20 <module>	/srv/app/job.py
# build-id /no/such/program aabbccdd
""" + MAPS
LEGACY = """heap profile:     9:     9000 [    20:    20000] @ %s
     5:     5000 [    10:    10000] @ 0x400010 0x400101
     4:     4000 [    10:    10000] @ 0x7f0000000020 0x400101

""" + MAPS


def parsed(text):
    return reading.parse("made.heap", text.encode("utf-8", "surrogateescape"))


class Names:
    """A symbolizer that knows by heart."""

    def __init__(self, known):
        self.known, self.notes = known, []

    def learn(self, profile):
        pass

    def frames(self, place):
        if isinstance(place, model.Named):
            return (symbols.Frame(place.function, place.file, place.line, "", bool(place.file)),)
        found = self.known.get(place.offset)
        return found or (symbols.Symbolizer.unnamed(place),)


def native(function, line=1, file="/src/a.c"):
    return symbols.Frame(function, file, line, "/no/such/program", False)


NAMES = Names({0x1010: (native("inlined"), native("work")), 0x1100: (native("main", 9),),
               0x20: (native("parse", 4, "/src/b.c"),)})
INUSE = view.Counts()


def shown(text=HEAP, **options):
    return view.View(parsed(text), NAMES, **options)


class Reader(unittest.TestCase):
    def test_heap_v2(self):
        profile = parsed(HEAP)
        self.assertEqual(profile.info, {"program": "job", "pid": "12", "time": "2026-01-17T14:05:02Z",
                                        "reason": "final"})
        self.assertEqual([round(profile.total(place)) for place in range(4)], [9, 9000, 20, 20000])
        program = model.Native("/no/such/program", "aabbccdd", 0x1010)
        caller = program._replace(offset=0x1100)  # one before the address it returns to
        stack = (program, model.Named("load <&\"'>", "/srv/app/job.py", 7),
                 model.Named("<module>", "/srv/app/job.py", 20), caller)
        self.assertEqual([round(count) for count in profile.stacks["main", stack]],
                         [3, 3000, 6, 6000])
        self.assertEqual([round(count) for count in profile.stacks["worker", stack]],
                         [2, 2000, 4, 4000])
        self.assertIn(("main", ()), profile.stacks)
        self.assertEqual(profile.binaries["/no/such/program", "aabbccdd"],
                         [model.Segment(0x400000, 0x500000, 0x1000)])
        self.assertIn(("/no/such/lib one.so", ""), profile.binaries)

    def test_samples_stand_for_more(self):
        text = "heap_v2/524288\n  t*: 2: 2048 [4: 2097152]\n@ 0x400010\n" \
               "  t*: 2: 2048 [4: 2097152]\n" + MAPS
        (counts,) = parsed(text).stacks.values()
        small = 1 / (1 - math.exp(-1024 / 524288.0))
        large = 1 / (1 - math.exp(-1.0))
        for mine, expected in zip(counts, (2 * small, 2048 * small, 4 * large, 2097152 * large)):
            self.assertAlmostEqual(mine, expected, delta=expected * 1e-9)

    def test_threads_share_what_the_stack_stands_for(self):
        """One factor for a stack, though its threads have blocks of different sizes."""
        text = "heap_v2/4096\n@ 0x400010\n  t*: 2: 9000 [0: 0]\n  t1: 1: 1000 [0: 0]\n" \
               "  t2: 1: 8000 [0: 0]\n" + MAPS
        profile = parsed(text)
        self.assertAlmostEqual(profile.total(model.INUSE_BYTES),
                               9000 / (1 - math.exp(-4500 / 4096.0)), places=6)
        self.assertEqual({thread for thread, _ in profile.stacks}, {"thread 1", "thread 2"})

    def test_threads_that_do_not_add_up_are_left_out(self):
        text = "heap_v2/1\n@ 0x400010\n  t*: 2: 9000 [0: 0]\n  t1: 1: 1000 [0: 0]\n" + MAPS
        profile = parsed(text)
        self.assertEqual({thread for thread, _ in profile.stacks}, {""})

    def test_legacy(self):
        for kind in ("heapprofile", "growthz", "heap_v2/1"):
            profile = parsed(LEGACY % kind)
            self.assertEqual([round(profile.total(place)) for place in range(4)],
                             [9, 9000, 20, 20000], kind)

    def test_legacy_of_the_first_kind(self):
        """heap/N: a sample each N/2 bytes, so a block of 1,000 stands for N/2 bytes."""
        profile = parsed(LEGACY % "heap/524288")
        self.assertEqual(round(profile.total(model.INUSE_BYTES)), 9 * 262144)

    def test_endings_of_lines_and_old_lists_of_files(self):
        self.assertEqual(len(parsed(HEAP.replace("\n", "\r\n")).stacks), len(parsed(HEAP).stacks))
        text = LEGACY % "heapprofile"
        text = text[:text.index("MAPPED")] + "--- Memory map:\n  400000-500000: /no/such/program\n"
        self.assertIn(("/no/such/program", ""), parsed(text).binaries)

    def refused(self, data, words):
        with self.assertRaises(Unreadable) as caught:
            reading.parse("x.heap", data)
        self.assertRegex(str(caught.exception), r"\Ax\.heap: [^\n]*%s[^\n]*\Z" % words)

    def test_what_is_no_profile(self):
        self.refused(b"", "empty")
        self.refused(b"\n\n", "not a heap profile")
        self.refused(b"hello\n", "not a heap profile")
        self.refused(b"heap_v3/4\n", "not a heap profile")
        self.refused(b"\x7fELF\0\0\0", "binary")
        self.refused(gzip.compress(b"x"), "gzip'ed")
        self.refused(HEAP.replace("@ 0x400010", "what is this").encode(), "line 10 does not belong")
        self.refused(HEAP.replace("@ 0x400010", "@ 0x4\x1b[0m00").encode(), "line 10 does not belong")

    def test_counts_that_no_memory_can_hold(self):
        """Nor what they stand for; and what is written of any sum can be read again."""
        most = (1 << 63) - 1
        row = "@ 0x400010\n  t*: %d: %d [%d: %d]\n" + MAPS
        parsed("heap_v2/1\n" + row % (1, most, 0, 0))
        for at in range(4):
            numbers = [1, 1, 1, 1]
            numbers[at] = most + 1
            self.refused(("heap_v2/1\n" + row % tuple(numbers)).encode(), "damaged: line 3 ")
            self.refused(("heap_v2/1\n  t*: %d: %d [%d: %d]\n" % tuple(numbers) + MAPS).encode(),
                         "damaged: line 2 ")
            legacy = LEGACY.replace("     4:     4000 [    10:    10000]",
                                    "%d: %d [%d: %d]" % tuple(numbers))
            self.refused((legacy % "heapprofile").encode(), "damaged: line 3 ")
        self.refused(("heap_v2/%d\n" % (most + 1) + MAPS).encode(), "damaged: line 1 ")
        self.refused(("heap_v2/1099511627776\n" + row % (most, most, 1, 1)).encode(), "damaged: line 2 ")
        large = parsed("heap profile: 0: 0 [0: 0] @ heapprofile\n%d: %d [%d: %d] @ 0x400010\n" % (
            (most,) * 4) + MAPS)
        whole = model.summed([large, large])
        parsed("".join(line + "\n" for line in writing.heap_v2(whole)))
        for body in decode(pprof.encode(whole, NAMES))[2]:
            self.assertEqual(set(unpack(fields(body)[2][0])), {most})

    def test_without_a_list_of_mapped_files(self):
        """The library says so where there is no /proc: addresses are all there is."""
        text = HEAP[:HEAP.index(MAPS)] + "# no mappings\n"
        profile = parsed(text)
        self.assertEqual(profile.notes, ["made.heap has no list of mapped files (there was no /proc): it "
                                         "shows addresses only"])
        for other in (text.replace("# no", "MAPPED_LIBRARIES:\n# no"),
                      LEGACY[:LEGACY.index(MAPS)] % "heapprofile" + "# no mappings\n"):
            self.assertTrue(parsed(other).notes)
        found = report.sums(view.View(profile, NAMES), "function", model.INUSE_BYTES)
        self.assertEqual(round(found["0x400010", ""][0]), 5000)
        self.assertEqual(round(found["0x400100", ""][1]), 8000)
        found = report.sums(view.View(profile, NAMES), "line", model.INUSE_BYTES)
        self.assertIn(("0x400010", ""), found)
        for length in range(len(text) - len("# no mappings\n"), len(text)):
            self.refused(text[:length].encode(), "cut off")
        # Beside processes of which the files are known it keeps its addresses.
        merged = parsed("".join(line + "\n" for line in writing.heap_v2(
            model.summed([profile, parsed(HEAP)]))))
        found = report.sums(view.View(merged, NAMES), "function", model.INUSE_BYTES)
        self.assertEqual(round(found["0x400010", ""][0]), 5000)
        self.assertEqual(round(found["inlined", "/src/a.c"][0]), 5000)

    def test_paths_are_bytes(self):
        text = HEAP.replace("/no/such/program", "/no/caf\udce9\\012program")
        path = "/no/caf\udce9\\012program"
        profile = parsed(text)
        self.assertIn((path, "aabbccdd"), profile.binaries)
        self.assertEqual(parsed("".join(line + "\n" for line in writing.heap_v2(profile))).places(),
                         profile.places())
        strings = [text.decode() for text in decode(pprof.encode(profile, NAMES))[6]]
        self.assertIn("/no/caf?\nprogram", strings)
        looked_at = view.View(profile, Names({}))
        xml.etree.ElementTree.fromstring(flame.svg(looked_at, INUSE, "t").encode())

    def test_every_cut_is_noticed(self):
        """Whatever is cut off at the end, but for whole lines of the list of mapped files."""
        data = HEAP.encode()
        allowed = {data.index(MAPS.split("\n")[n].encode()) for n in (2, 3)} | {len(data)}
        for length in range(1, len(data)):
            if length not in allowed:
                self.refused(data[:length], "cut off")

    def test_the_library_marks_the_end(self):
        """Of its files from version 2 on every cut is noticed; older ones are read without it."""
        text = HEAP.replace("# reclaim 1", "# reclaim 2") + "# end\n"
        self.assertEqual(parsed(text).stacks, parsed(HEAP).stacks)
        bare = text[:text.index(MAPS)] + "\nMAPPED_LIBRARIES:\n# no mappings\n# end\n"
        self.assertTrue(parsed(bare).notes)
        legacy = (LEGACY % "heap_v2/1").replace("\n", "\n# reclaim 2\n", 1) + "# end\n"
        for whole in (text, bare, legacy):
            for length in range(len(whole.split("\n")[0]) + len("# reclaim 2\n") + 1, len(whole)):
                self.refused(whole[:length].encode(), "cut off")
        merged = "".join(line + "\n" for line in writing.heap_v2(parsed(text)))
        self.assertEqual(len(parsed(merged).stacks), len(parsed(text).stacks))

    def test_frames_that_the_library_names_itself(self):
        """As src/prof_text.c writes them, and did before version 2: test/unit/prof_text.c has the lines."""
        text = HEAP.replace("@\n", "@ 0x8000000000000000\n").replace(
            "@ 0x7f0000000020 0x400101", "@ 0x8000000000000001").replace(
            "0x8000000000000001 0x8000000000000002", "0x8000000000000002").replace(
            "# frame 0x8000000000000001 7 load <&\"'>\t/srv/app/job.py\n", "%s")
        for tab in ("\t", ""):
            profile = parsed(text % ("# frame 0x8000000000000000 0 [no stack]%s\n"
                                     "# frame 0x8000000000000001 0 [too many stacks]%s\n" % (tab, tab)))
            found = report.sums(view.View(profile, NAMES), "function", model.INUSE_BYTES)
            self.assertEqual(round(found["[no stack]", ""][0]), 1000)
            self.assertEqual(round(found["[too many stacks]", ""][0]), 3000)

    def test_nothing_but_unreadable_comes_out(self):
        dice = random.Random(5)
        good = HEAP.encode()
        for _ in range(3000):
            data = bytearray(good)
            for _ in range(dice.randrange(1, 6)):
                at = dice.randrange(len(data))
                what = dice.randrange(3)
                if what == 0:
                    data[at] = dice.randrange(256)
                elif what == 1:
                    del data[at:at + dice.randrange(40)]
                else:
                    data[at:at] = data[dice.randrange(len(data)):][:dice.randrange(40)]
            try:
                profile = reading.parse("x", bytes(data))
            except Unreadable as reason:
                self.assertNotIn("\n", str(reason))
                continue
            looked_at = view.View(profile, NAMES)
            report.top(looked_at, INUSE, "function", 5)
            report.tree(looked_at, INUSE, "line")
            xml.etree.ElementTree.fromstring(flame.svg(looked_at, INUSE, "t"))
            decode(pprof.encode(profile, NAMES))
            parsed("".join(line + "\n" for line in writing.heap_v2(profile)))


class Model(unittest.TestCase):
    def test_sum_and_difference(self):
        profile = model.summed([parsed(HEAP), parsed(HEAP)])
        self.assertEqual(round(profile.total(model.ALLOC_BYTES)), 40000)
        self.assertEqual(model.counted_twice([parsed(HEAP), parsed(HEAP)]), ["12"])
        profile.add(parsed(HEAP), -1)
        profile.add(parsed(HEAP), -1)
        self.assertAlmostEqual(profile.total(model.ALLOC_BYTES), 0)

    def test_processes_of_one_number(self):
        """Two containers have a process 1 each: what they run lies elsewhere."""
        moved = HEAP.replace("0x40", "0x140").replace(
            "00400000-00500000", "01400000-01500000").replace("0x7f", "0x7e").replace(
            "7f0000000000-7f0000100000", "7e0000000000-7e0000100000")
        self.assertEqual(model.counted_twice([parsed(HEAP), parsed(moved)]), [])
        self.assertEqual(model.counted_twice([parsed(HEAP), parsed(moved), parsed(HEAP)]), ["12"])
        # A library lies at the same address: that may be chance.
        again = moved.replace("0x7e", "0x7f").replace("7e0000", "7f0000")
        self.assertEqual(model.counted_twice([parsed(HEAP), parsed(again)]), ["12"])
        merged = parsed("".join(line + "\n" for line in writing.heap_v2(parsed(moved))))
        self.assertEqual(model.counted_twice([parsed(HEAP), merged]), ["12"])

    def test_what_is_said_of_a_sum(self):
        one = HEAP.replace("# reason", "# live 100\n# reason")
        two = one.replace("pid 12", "pid 13").replace("14:05:02Z", "14:05:01Z")
        profile = model.summed([parsed(one), parsed(two), parsed(two.replace("pid 13", "pid 14"))])
        self.assertEqual(profile.info, {"program": "job", "reason": "final", "live": "300",
                                        "time": "2026-01-17T14:05:01Z"})
        lines = writing.heap_v2(profile)
        self.assertIn("# pids 12 13 14", lines)
        merged = parsed("".join(line + "\n" for line in lines))
        self.assertEqual(merged.pids, ["12", "13", "14"])
        self.assertEqual(model.counted_twice([merged, parsed(two)]), ["13"])
        self.assertEqual(model.counted_twice([merged]), [])
        self.assertNotIn("live", model.summed([parsed(one), parsed(HEAP)]).info)
        self.assertNotIn("live", model.summed([parsed(one), parsed(one.replace("live 100", "live x"))]).info)

    def test_what_forked_processes_have_inherited(self):
        def child(pid, parent, inherited):
            return parsed(HEAP.replace("pid 12\n", "pid %d\n# parent %d\n# inherited %d\n" % (
                pid, parent, inherited)))

        def written(*profiles):
            return parsed("".join(line + "\n" for line in writing.heap_v2(model.summed(profiles))))
        twice, parent = model.inherited_twice, parsed(HEAP)
        self.assertEqual(twice([parent, child(13, 12, 700), child(14, 12, 800)]), [700, 800])
        self.assertEqual(twice([child(13, 12, 700), child(14, 12, 700)]), [700, 700])
        self.assertEqual(twice([child(13, 12, 700), child(14, 13, 800)]), [800])
        self.assertEqual(twice([child(13, 12, 700), child(15, 14, 800)]), [])
        self.assertEqual(twice([child(13, 12, 700)]), [])
        self.assertEqual(twice([child(13, 12, 700), child(13, 12, 700)]), [])  # one process
        self.assertEqual(twice([parent, parsed(HEAP)]), [])
        merged = written(parent, child(13, 12, 700))
        self.assertEqual((merged.pids, merged.parents), (["12", "13"], ["12"]))
        self.assertNotIn("inherited", merged.info)
        self.assertEqual(twice([merged]), [])
        self.assertEqual(twice([merged, child(14, 12, 800)]), [None, 800])
        merged = written(child(13, 12, 700), child(14, 12, 700))
        self.assertEqual(merged.parents, ["12"])
        self.assertEqual(twice([merged, child(15, 12, 900)]), [None, 900])
        alone = written(child(13, 12, 700))
        self.assertEqual((alone.info["parent"], alone.info["inherited"]), ("12", "700"))

    def test_processes_with_other_addresses_add_up(self):
        """The same stacks, though each process has its libraries elsewhere."""
        moved = HEAP.replace("0x7f0000000020", "0x7e0000000020").replace(
            "7f0000000000-7f0000100000", "7e0000000000-7e0000100000")
        profile = model.summed([parsed(HEAP), parsed(moved)])
        self.assertEqual(len(profile.stacks), len(parsed(HEAP).stacks))

    def test_what_lies_at_one_address_in_two_processes(self):
        other = HEAP.replace("/no/such/program", "/no/other/program")
        profile = model.summed([parsed(HEAP), parsed(other)])
        made = layout.Layout(profile)
        spans = sorted((segment.start, segment.end) for segments in made.binaries.values()
                       for segment in segments)
        for one, next_one in zip(spans, spans[1:]):
            self.assertLessEqual(one[1], next_one[0])
        self.assertEqual(len(spans), 3)

    def test_two_builds_of_one_path(self):
        """A merged dump says of each mapping which of them it is."""
        new = HEAP.replace("aabbccdd", "00112233").replace("pid 12", "pid 13")
        without = HEAP.replace("# build-id /no/such/program aabbccdd\n", "").replace(
            "pid 12", "pid 14")

        def counts_of(profile):
            return {key: [round(count) for count in counts]
                    for key, counts in profile.stacks.items()}

        def builds(profile):
            return {place.build_id for place in profile.places()
                    if isinstance(place, model.Native) and "program" in place.path}
        for texts in ((HEAP, new), (new, HEAP), (HEAP, new.replace("0x4", "0x14").replace(
                "00400000-00500000", "01400000-01500000")), (HEAP, without, new)):
            profile = model.summed([parsed(text) for text in texts])
            again = parsed("".join(line + "\n" for line in writing.heap_v2(profile)))
            self.assertEqual(counts_of(again), counts_of(profile))
            self.assertEqual(set(again.binaries), set(profile.binaries))
            self.assertEqual(len(builds(again)), len(texts))
            third = parsed("".join(line + "\n" for line in writing.heap_v2(again)))
            self.assertEqual(third.places(), again.places())
        # Earlier merged dumps: which of the two a stack is of cannot be told.
        both = HEAP.replace("MAPPED", "# build-id /no/such/program 00112233\nMAPPED", 1)
        self.assertEqual(builds(parsed(both)), {reading.SEVERAL})

    def test_written_and_read_again(self):
        for profile in (parsed(HEAP), model.summed([parsed(HEAP), parsed(
                HEAP.replace("/no/such/program", "/no/other/program").replace("pid 12", "pid 13"))])):
            text = "".join(line + "\n" for line in writing.heap_v2(profile))
            again = parsed(text)
            for place in range(4):
                self.assertEqual(round(again.total(place)), round(profile.total(place)))
            self.assertEqual(again.places(), profile.places())
            self.assertEqual({key: [round(count) for count in counts]
                              for key, counts in again.stacks.items()},
                             {key: [round(count) for count in counts]
                              for key, counts in profile.stacks.items()})


class Views(unittest.TestCase):
    def functions(self, **options):
        """{function: self} of what is shown."""
        found = report.sums(shown(**options), "function", model.INUSE_BYTES)
        return {key[0]: round(mine) for key, (mine, _) in found.items() if round(mine)}

    def test_grouping(self):
        self.assertEqual(self.functions(), {"inlined": 5000, "parse": 3000, "[no stack]": 1000})
        found = report.sums(shown(), "line", model.INUSE_BYTES)
        self.assertEqual(round(found["/srv/app/job.py:7", "load <&\"'>"][1]), 5000)
        found = report.sums(shown(), "file", model.INUSE_BYTES)
        self.assertEqual(round(found["/srv/app/job.py"][1]), 5000)  # once, though twice in a stack
        self.assertEqual(round(found["/src/a.c"][1]), 8000)
        found = report.sums(shown(), "object", model.INUSE_BYTES)
        self.assertEqual(round(found["/no/such/program"][1]), 8000)
        self.assertEqual(round(found["[Python]"][1]), 5000)

    def test_patterns(self):
        self.assertEqual(self.functions(include=["pars?"]), {"parse": 3000})
        self.assertEqual(self.functions(include=["*.py"]), {"inlined": 5000})
        self.assertEqual(self.functions(include=["job.py:7"]), {"inlined": 5000})
        self.assertEqual(self.functions(include=["job.py:8"]), {})
        self.assertEqual(self.functions(include=["main"], leaf=True), {})
        self.assertEqual(self.functions(exclude=["main"]), {"[no stack]": 1000})
        self.assertEqual(self.functions(exclude=["b.c"], leaf=True),
                         {"inlined": 5000, "[no stack]": 1000})
        self.assertEqual(self.functions(hide=["a.c"])["load <&\"'>"], 5000)
        self.assertEqual(self.functions(python=True),
                         {"load <&\"'>": 5000, "parse": 3000, "[no stack]": 1000})

    def test_threads(self):
        self.assertEqual(self.functions(threads=["work*"]), {"inlined": 2000})
        tree = report.tree(shown(by_thread=True), INUSE, "function")
        self.assertFalse([line for line in report.top(shown(), INUSE, "function", 9)
                          if "thread" in line])
        self.assertTrue(any(line.endswith("thread worker") for line in tree))

    def test_what_is_no_file_has_one_pair_of_brackets(self):
        text = HEAP.replace("0x7f0000000020", "0x10").replace("/no/such/program", "[anon:a/b]")
        names = symbols.Symbolizer()
        looked_at = view.View(parsed(text), names, all_frames=True)
        found = {key[0] for key in report.sums(looked_at, "function", model.INUSE_BYTES)}
        self.assertTrue({"[no file]", "[anon:a/b]"} <= found, found)
        found = {key[0] for key in report.sums(looked_at, "line", model.INUSE_BYTES)}
        self.assertTrue({"no file+0x10", "[anon:a/b]+0x1010", "[no stack]"} <= found, found)

    def test_wrappers_are_left_out_at_the_leaf(self):
        for name in ("malloc", "operator new(unsigned long)", "zmalloc", "_PyMem_RawMalloc",
                     "std::__new_allocator<int>::allocate(unsigned long, void const*)"):
            self.assertTrue(view.is_wrapper(native(name)), name)
        for name in ("mallocator", "load", "main", "reader_alloc"):
            self.assertFalse(view.is_wrapper(native(name)), name)
        names = Names(dict(NAMES.known))
        names.known[0x20] = (native("malloc"),)
        found = report.sums(view.View(parsed(HEAP), names), "function", model.INUSE_BYTES)
        self.assertEqual(round(found["main", "/src/a.c"][0]), 3000)
        found = report.sums(view.View(parsed(HEAP), names, all_frames=True), "function",
                            model.INUSE_BYTES)
        self.assertEqual(round(found["malloc", "/src/a.c"][0]), 3000)


class Reports(unittest.TestCase):
    def test_top(self):
        lines = report.top(shown(), INUSE, "function", 2)
        self.assertEqual(lines[1].split(), ["4.9", "kB", "55.6", "%", "4.9", "kB", "55.6", "%",
                                            "inlined", "/src/a.c"])
        self.assertEqual(lines[-1], "... and 1 more (-n)")
        lines = report.top(shown(), view.Counts(alloc=True, objects=True), "function", 9, True)
        self.assertEqual(lines[1].split()[3:], ["18", "90.0", "%", "main", "/src/a.c"])

    def test_top_by_thread(self):
        """A part for each thread, the largest first; -n counts the functions of all of them."""
        def lines(limit, total=False):
            found = report.top(shown(by_thread=True), INUSE, "function", limit, total)
            return [" ".join(line.split()) for line in found[1:]]
        main, worker = "6.8 kB 77.8 % thread main", "2.0 kB 22.2 % thread worker"
        inlined = "2.9 kB 33.3 % 2.9 kB 33.3 % inlined /src/a.c"
        parse = "2.9 kB 33.3 % 2.9 kB 33.3 % parse /src/b.c"
        none = "1.0 kB 11.1 % 1.0 kB 11.1 % [no stack]"
        other = "2.0 kB 22.2 % 2.0 kB 22.2 % inlined /src/a.c"
        self.assertEqual(lines(9), [main, inlined, parse, none, worker, other])
        self.assertEqual(lines(2), [main, inlined, parse, worker, "... and 2 more (-n)"])
        self.assertEqual(lines(1), [main, inlined, "... and 3 more (-n)",
                                    "... and 1 more threads (-n)"])
        totals = lines(99, True)
        self.assertEqual(totals[:2], [main, "0 B 0.0 % 5.9 kB 66.7 % main /src/a.c"])
        self.assertIn("0 B 0.0 % 2.0 kB 22.2 % main /src/a.c", totals[totals.index(worker):])

    def test_difference_by_thread(self):
        after = HEAP.replace("  t2: 2: 2000 [4: 4000]", "  t2: 4: 4000 [4: 4000]").replace(
            "t*: 5: 5000 [10: 10000]", "t*: 7: 7000 [10: 10000]")
        (line,) = report.compare(shown(by_thread=True), shown(after, by_thread=True), INUSE,
                                 "function", 9)[1:]
        self.assertEqual(" ".join(line.split()),
                         "+2.0 kB +2 2.0 kB 3.9 kB thread worker: inlined /src/a.c")

    def test_tree(self):
        lines = [line.split("  ", 1)[1] if "| " not in line else line[line.index("| "):]
                 for line in (line.lstrip() for line in report.tree(shown(), INUSE, "function"))]
        self.assertEqual(len(lines), 7)
        self.assertTrue(lines[0].endswith("main  a.c"))
        self.assertTrue(any(line.startswith("| parse") for line in lines))
        upwards = report.tree(shown(), INUSE, "function", callers=True)
        self.assertTrue(upwards[0].endswith("inlined  a.c"))

    def test_a_stack_deeper_than_pythons_own(self):
        deep = " ".join("0x%x" % (0x400000 + 16 * n) for n in range(5000))
        text = "heap_v2/1\n@ %s\n  t*: 1: 1000 [1: 1000]\n" % deep + MAPS
        looked_at = view.View(parsed(text), NAMES, all_frames=True)
        self.assertEqual(len(report.tree(looked_at, INUSE, "line")), 5000)
        xml.etree.ElementTree.fromstring(flame.svg(looked_at, INUSE, "deep", "line"))

    def test_difference(self):
        after = HEAP.replace("3: 3000 [8: 8000]", "9: 9000 [8: 8000]").replace(
            "  t1: 1: 1000 [2: 2000]\n", "").replace("1: 1000 [2: 2000]", "0: 0 [2: 2000]")
        lines = report.compare(shown(), shown(after), INUSE, "function", 9)
        self.assertEqual(lines[1].split()[:5], ["+5.9", "kB", "+6", "2.9", "kB"])
        self.assertTrue(lines[1].endswith("parse  /src/b.c"))
        self.assertEqual(lines[2].split()[:3], ["-1.0", "kB", "-1"])
        self.assertEqual(len(lines), 3)

    def test_folded(self):
        self.assertEqual(report.folded_lines(report.folded_counts(shown(), INUSE)), [
            "[no stack] 1000",
            "main;<module> (/srv/app/job.py);load <&\"'> (/srv/app/job.py);work;inlined 5000",
            "main;parse 3000"])
        self.assertIn("/src/a.c:9;/srv/app/job.py:20;/srv/app/job.py:7;/src/a.c:1;/src/a.c:1 5000",
                      report.folded_lines(report.folded_counts(shown(), INUSE, "line")))
        self.assertEqual(report.plain("a;b\nc"), "a,b?c")

    def test_python_functions_of_one_name_stay_apart_when_folded(self):
        text = HEAP.replace(
            "0x7f0000000020 0x400101", "0x8000000000000003 0x8000000000000002").replace(
            "# frame", "# frame 0x8000000000000003 7 load <&\"'>\t/srv/other;job.py\n# frame", 1)
        found = report.folded_counts(shown(text, python=True), INUSE)
        self.assertEqual(found["<module> (/srv/app/job.py);load <&\"'> (/srv/app/job.py)"], 5000)
        self.assertEqual(found["<module> (/srv/app/job.py);load <&\"'> (/srv/other,job.py)"], 3000)

    def test_sizes(self):
        self.assertEqual([view.size(n) for n in (0, 999, 1000, 1 << 20, 1 << 30, 1 << 44)],
                         ["0 B", "999 B", "1.0 kB", "1.0 MB", "1.0 GB", "16.0 TB"])


class Moved(unittest.TestCase):
    """Two releases, each with folders of its own."""

    def renamed(self, old, new, *binaries):
        """[(file, object) that the old frames get]"""
        old, new = ([symbols.Frame(function, file, 1, path, not path)
                     for function, file, path in frames] for frames in (old, new))
        found = pairs.renamed(old, new, *binaries)
        return [found.get(frame, frame)[1:4:2] for frame in old]

    def test_binaries(self):
        """By their build id, else by the last parts of the path."""
        one, two = ("f", "", "/rel1/app"), ("f", "", "/rel2/app")
        self.assertEqual(self.renamed([one], [two]), [("", "/rel2/app")])
        self.assertEqual(self.renamed([one], [one, two]), [("", "/rel1/app")])  # it is there still
        self.assertEqual(self.renamed([one], [("f", "", "/rel2/other")]), [("", "/rel1/app")])
        self.assertEqual(self.renamed([("f", "", "/a/app (deleted)")], [("f", "", "/a/app")]),
                         [("", "/a/app")])
        self.assertEqual(self.renamed([one], [("f", "", "/rel2/app"), ("f", "", "/rel3/app")]),
                         [("", "/rel1/app")])  # which one?
        self.assertEqual(self.renamed([one], [("f", "", "/rel2/app"), ("f", "", "/rel3/new")],
                                      [("/rel1/app", "77")],
                                      [("/rel2/app", "88"), ("/rel3/new", "77")]),
                         [("", "/rel3/new")])
        self.assertEqual(self.renamed([("f", "", "/r1/a/mod.so"), ("f", "", "/r1/b/mod.so")],
                                      [("f", "", "/r2/b/mod.so")]),
                         [("", "/r1/a/mod.so"), ("", "/r2/b/mod.so")])
        self.assertEqual(self.renamed([("", "x+0x1", "[heap]")], [("", "x+0x1", "[anon:heap]")]),
                         [("x+0x1", "[heap]")])

    def test_files(self):
        """Of one binary, with a function in common."""
        self.assertEqual(self.renamed([("f", "/b1/src/a.c", "/rel1/app")],
                                      [("f", "/b2/src/a.c", "/rel2/app")]),
                         [("/b2/src/a.c", "/rel2/app")])
        self.assertEqual(self.renamed([("g", "/b1/a.c", "/app"), ("f", "/b1/a.c", "/app")],
                                      [("f", "/b2/a.c", "/app")]), [("/b2/a.c", "/app")] * 2)
        self.assertEqual(self.renamed([("f", "/b1/a.c", "/app")], [("g", "/b2/a.c", "/app")]),
                         [("/b1/a.c", "/app")])
        self.assertEqual(self.renamed([("f", "/b1/a.c", "/app")], [("f", "/b2/a.c", "/other")]),
                         [("/b1/a.c", "/app")])
        self.assertEqual(self.renamed([("f", "/b1/x/a.c", "/app"), ("f", "/b1/y/a.c", "/app")],
                                      [("f", "/b2/y/a.c", "/app")]),
                         [("/b1/x/a.c", "/app"), ("/b2/y/a.c", "/app")])
        # One of the two was stripped.
        self.assertEqual(self.renamed([("f", "", "/r1/app")], [("f", "/a.c", "/r2/app")]),
                         [("/a.c", "/r2/app")])
        self.assertEqual(self.renamed([("f", "/a.c", "/r1/app")], [("f", "", "/r2/app")]),
                         [("", "/r2/app")])

    def test_python(self):
        self.assertEqual(self.renamed([("load", "/r1/job.py", "")], [("load", "/r2/job.py", "")]),
                         [("/r2/job.py", "")])
        one = ("<module>", "/lib/pandas/__init__.py", "")
        other = ("<module>", "/lib/numpy/__init__.py", "")
        self.assertEqual(self.renamed([one], [other]), [one[1:]])
        self.assertEqual(self.renamed([one], [("<module>", "/lib2/pandas/__init__.py", "")]),
                         [("/lib2/pandas/__init__.py", "")])

    def test_views(self):
        """Everything cancels, however the later one adds up; and nothing else does."""
        old, new = HEAP.replace("/no/such/", "/rel1/"), HEAP.replace("/no/such/", "/rel2/").replace(
            "/srv/app", "/srv2/app")
        more = new.replace("3: 3000 [8: 8000]", "5: 5000 [8: 8000]")
        for by in ("function", "line", "file", "object"):
            before, after = (view.View(parsed(text), symbols.Symbolizer()) for text in (old, new))
            pairs.follow(before, after)
            self.assertEqual(len(report.compare(before, after, INUSE, by, 9)), 1)
            after.take_off(before)
            self.assertEqual(report.top(after, INUSE, by, 9, True)[1:], [])
            before, after = (view.View(parsed(text), symbols.Symbolizer()) for text in (old, more))
            pairs.follow(before, after)
            (line,) = report.compare(before, after, INUSE, by, 9)[1:]
            self.assertEqual(line.split()[:2], ["+2.0", "kB"])
            after.take_off(before)
            (line,) = report.top(after, INUSE, by, 9)[1:]
            self.assertEqual(line.split()[:4], ["2.0", "kB", "100.0", "%"])


class Flame(unittest.TestCase):
    def frames(self, text):
        root = xml.etree.ElementTree.fromstring(text)
        space = "{http://www.w3.org/2000/svg}"
        return {group.find(space + "title").text: group for group in root.iter(space + "g")}

    def test_every_frame_has_its_share(self):
        frames = self.frames(flame.svg(shown(), INUSE, "a <title> & more"))
        widths = {tip.split(":")[0].split(" (")[0]: float(group.get("data-w"))
                  for tip, group in frames.items()}
        self.assertAlmostEqual(widths["all"], 1)
        self.assertAlmostEqual(widths["main"], 8 / 9.0, places=5)
        self.assertAlmostEqual(widths["load <&\"'>"], 5 / 9.0, places=5)

    def test_nothing_from_elsewhere(self):
        text = flame.svg(shown(), INUSE, "t").replace("http://www.w3.org/2000/svg", "")
        for word in ("http", "src=", "url(", "@import", "href"):
            self.assertNotIn(word, text)

    def test_names_that_would_break_out(self):
        text = HEAP.replace("load <&\"'>", "]]></script><b>\x01\"'")
        frames = self.frames(flame.svg(shown(text), INUSE, "]]>"))
        self.assertTrue(any(tip.startswith("]]></script><b>?") for tip in frames))

    def test_only_growth(self):
        profile = parsed(HEAP)
        profile.add(parsed(HEAP.replace("5: 5000", "1: 1000").replace("3: 3000 [6", "1: 1000 [6").replace(
            "2: 2000 [4", "0: 0 [4").replace("3: 3000 [8", "4: 4000 [8")), -1)
        frames = self.frames(flame.svg(view.View(profile, NAMES), INUSE, "t", difference=True))
        self.assertFalse(any(tip.startswith("parse") for tip in frames))
        (tip,) = [tip for tip in frames if tip.startswith("load")]
        self.assertIn("3.9 kB", tip)

    def test_nothing_at_all(self):
        self.frames(flame.svg(shown("heap_v2/1\n" + MAPS), INUSE, "empty"))


def decode(data):
    """profile.proto as {field: [values]}; messages within as bytes."""
    return fields(gzip.decompress(data))


def fields(body):
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(body):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            assert key & 7 == 2, key
            length = varint()
            value, at = body[at:at + length], at + length
        found.setdefault(key >> 3, []).append(value)
    return found


def unpack(body):
    result, value, shift = [], 0, 0
    for byte in body:
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            result.append(value)
            value = shift = 0
    return result


class Pprof(unittest.TestCase):
    def test_message(self):
        message = decode(pprof.encode(parsed(HEAP), NAMES))
        strings = [text.decode() for text in message[6]]
        self.assertEqual(strings[0], "")
        types = [fields(body) for body in message[1]]
        self.assertEqual([strings[one[1][0]] for one in types],
                         ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"])
        self.assertEqual(strings[message[14][0]], "inuse_space")
        sums = [0, 0, 0, 0]
        for body in message[2]:
            sums = [a + b for a, b in zip(sums, unpack(fields(body)[2][0]))]
        self.assertEqual(sums, [20, 20000, 9, 9000])
        mappings = [fields(body) for body in message[3]]
        self.assertEqual(strings[mappings[0][6][0]], "aabbccdd")
        functions = [fields(body) for body in message[5]]
        names = {strings[function[2][0]] for function in functions}
        self.assertEqual(names, {"inlined", "work", "main", "parse", "load <&\"'>", "<module>"})
        lines = [fields(body).get(4, []) for body in message[4]]
        self.assertEqual(max(map(len, lines)), 2)  # what was inlined and into what
        self.assertEqual(message[9], [1768658702 * 10 ** 9])

    def test_names_that_are_not_the_systems(self):
        """Names in angles vanish where pprof thinks that it has to shorten them."""
        names = Names(dict(NAMES.known))
        names.known[0x20] = (native("<T as Some>::rust"), native("fill<int>(int)"))
        for names in (names, None):
            data = pprof.encode(parsed(HEAP), names)
            message = decode(data)
            strings = [text.decode() for text in message[6]]
            functions = [fields(body) for body in message[5]]
            found = {strings[function[2][0]]: strings[function.get(3, [0])[0]]
                     for function in functions}
            self.assertEqual((found["<module>"], found["load <&\"'>"]), ("", ""))
            if names:
                self.assertEqual((found["<T as Some>::rust"], found["main"]), ("", "main"))
            if shutil.which("go"):
                with tempfile.TemporaryDirectory() as folder:
                    with open(os.path.join(folder, "a.pb.gz"), "wb") as file:
                        file.write(data)
                    done = subprocess.run(["go", "tool", "pprof", "-top", file.name],
                                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                          env=dict(os.environ, HOME=folder, PPROF_TMPDIR=folder))
                said = done.stdout.decode()
                self.assertIn(" <module>\n", said)
                if names:
                    self.assertIn(" <T as Some>::rust (inline)\n", said)
                    self.assertIn(" fill\n", said)

    def test_negative_numbers(self):
        self.assertEqual(pprof.varint(300), b"\xac\x02")
        self.assertEqual(pprof.varint(-1), b"\xff" * 9 + b"\x01")

    def test_the_same_bytes_again(self):
        self.assertEqual(pprof.encode(parsed(HEAP), NAMES), pprof.encode(parsed(HEAP), NAMES))


# A program of one segment, in which each offset is its address.
ELF = (struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
       + struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 120, 120, 4096))


class Symbols(unittest.TestCase):
    def test_what_the_tools_print(self):
        text = ("0x0000000000001147\ninl<int> inlined at /a/l.cc:4:69 in n::S::go(int)\n/a/l.cc:3:111\n"
                "n::S::go(int)\n/a/l.cc:4:69\n0x0000000000000001\n??\n??:0\n"
                "0x0000000000000002\nstart\n??:?\n0x3\nf\nc: d.c:8 (discriminator 2)\n")
        self.assertEqual(symbols.answered(text), {
            0x1147: [("inl<int>", "/a/l.cc", 3), ("n::S::go(int)", "/a/l.cc", 4)],
            1: [("", "", 0)], 2: [("start", "", 0)], 3: [("f", "c: d.c", 8)]})

    def test_binaries_that_are_not_there(self):
        names = symbols.Symbolizer()
        names.learn(parsed(HEAP))
        self.assertTrue(all(" is not here" in note or "neither" in note for note in names.notes))
        place = model.Native("/no/such/program", "aabbccdd", 0x1010)
        self.assertEqual(view.line_name(names.frames(place)[0]), "program+0x1010")
        self.assertEqual(view.function_name(names.frames(place)[0]), "[program]")

    def asked(self, *tools):
        """Functions and notes for two places of a binary, from tools that print these texts."""
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for number, text in enumerate(tools):
                paths.append(os.path.join(folder, "tool%d" % number))
                with open(paths[-1], "w") as file:
                    file.write("#!/bin/sh\ncat >>%s\n%s\n" % (folder + "/asked", text))
                os.chmod(paths[-1], 0o755)
            names = symbols.Symbolizer()
            names.tools = paths
            program = os.path.join(folder, "program")
            with open(program, "wb") as file:
                file.write(ELF)
            places = [model.Native(program, "", offset) for offset in (1, 2)]
            names.known = {place: () for place in places}
            names.ask((program, ""), places, ())
            asked = []
            if os.path.exists(folder + "/asked"):
                with open(folder + "/asked") as file:
                    asked = file.read().split()
            found = [[(frame.function, frame.line) for frame in names.known[place]]
                     for place in places]
            return found, asked, [note.replace(folder, "") for note in names.notes]

    def test_the_second_tool_is_asked_for_what_the_first_has_no_line_of(self):
        both = "printf '0x1\\nouter\\n??:0\\n0x2\\nf\\n/a.c:7\\n'"
        one = "printf '0x1\\ninl\\n/a.c:3\\nouter\\n/a.c:5\\n'"
        nothing = "printf '0x1\\n??\\n??:0\\n'"
        broken = "echo broken >&2"
        inlined = [[("inl", 3), ("outer", 5)], [("f", 7)]]
        self.assertEqual(self.asked(both, one), (inlined, ["0x1", "0x2", "0x1"], []))
        self.assertEqual(self.asked(both, nothing)[0], [[("outer", 0)], [("f", 7)]])
        self.assertEqual(self.asked(both, broken), ([[("outer", 0)], [("f", 7)]],
                                                    ["0x1", "0x2", "0x1"], []))
        self.assertEqual(self.asked(broken, both)[0], [[("outer", 0)], [("f", 7)]])
        self.assertEqual(self.asked(broken, broken)[2],
                         ["/tool0 says nothing about /program: broken"])

    def named(self, name, change=lambda path: None, build_id="", mapped=None, moved=(),
              age=0, **info):
        """The notes of a look for the names of a dump that was made `age` seconds after its one
        program, whatever happened to that since; and whether it had a name.  With `moved`, the inodes of
        the program and of another file do not fit."""
        with tempfile.TemporaryDirectory() as folder:
            tool, other = os.path.join(folder, "tool"), os.path.join(folder, "other")
            with open(tool, "w") as file:
                file.write("#!/bin/sh\ncat >/dev/null\nprintf '0x10\\nwork\\n/a.c:7\\n'\n")
            os.chmod(tool, 0o755)
            path = os.path.join(os.fsencode(folder), name)
            maps = []
            for at, (file_path, shown_path) in enumerate((
                    (path, os.fsencode(folder) + b"/" + (mapped or name)),
                    (os.fsencode(other), os.fsencode(other)))):
                with open(file_path, "wb") as file:
                    file.write(ELF)
                status = os.stat(file_path)
                maps.append(b"%x00000-%x00000 r-xp 00000000 %02x:%02x %d    %s\n" % (
                    4 + at, 5 + at, os.major(status.st_dev), os.minor(status.st_dev),
                    status.st_ino + (at in moved) * 1000000, shown_path))
            second = int(os.stat(path).st_mtime) + age
            stamp = time.strftime("# time %Y-%m-%dT%H:%M:%SZ\n", time.gmtime(second)).encode()
            heap = os.path.join(folder, "a.heap")
            with open(heap, "wb") as file:
                file.write(b"heap_v2/1\n%s@ 0x400010\n  t*: 1: 9 [0: 0]\n%s" % (
                    info.get("stamp", stamp), (b"# build-id %s/%s %s\n" % (
                        os.fsencode(folder), mapped or name, build_id.encode()) if build_id else b"")
                    + b"MAPPED_LIBRARIES:\n" + b"".join(maps)))
            change(path)
            profile = reading.read(heap)
            names = symbols.Symbolizer()
            names.tools = [tool]
            names.learn(profile)
            (stack,) = [stack for _, stack in profile.stacks]
            return [note.replace(folder, "") for note in names.notes], names.frames(stack[0])[0].function

    def test_names_of_files(self):
        self.assertEqual(self.named(b"caf\xe9"), ([], "work"))
        self.assertEqual(self.named(b"a\nb", mapped=b"a\\012b"), ([], "work"))
        self.assertEqual(self.named(b"a\\012b"), ([], "work"))
        self.assertEqual(self.named(b"a (deleted)"), ([], "work"))
        self.assertEqual(self.named(b"a\nb \xe9 (deleted)", mapped=b"a\\012b \xe9 (deleted)"), ([], "work"))

    def test_without_a_build_id_inode_and_time_tell(self):
        def newer(path):
            at = os.stat(path).st_mtime
            os.utime(path, (at + 7200, at + 7200))

        def replaced(path):
            before = os.stat(path)
            with open(path + b".new", "wb") as file:
                file.write(ELF)
            os.utime(path + b".new", ns=(before.st_atime_ns, before.st_mtime_ns))
            os.rename(path + b".new", path)
        gone = "/a is not the file that was profiled any more (no build id, and %s): its functions have no names"
        inode, time_says = gone % "another inode", gone % "it is newer than the profile"
        self.assertEqual(self.named(b"a", age=60), ([], "work"))
        self.assertEqual(self.named(b"a", newer, age=60), ([time_says], ""))
        self.assertEqual(self.named(b"a", newer, stamp=b""), ([time_says], ""))  # by the dump's own time
        self.assertEqual(self.named(b"a", replaced, age=60), ([inode], ""))
        # From another host: no file has the inode that it has here.
        self.assertEqual(self.named(b"a", moved=(0, 1), age=60), ([], "work"))
        self.assertEqual(self.named(b"a", newer, moved=(0, 1), age=60), ([time_says], ""))
        # Another file is there under its name since before the dump.
        self.assertEqual(self.named(b"a", mapped=b"a (deleted)", moved=(0, 1), age=60), ([inode], ""))
        self.assertEqual(self.named(b"a", mapped=b"a (deleted)", age=60), ([], "work"))
        self.assertEqual(self.named(b"a", build_id="aabbccdd")[0], [
            "/a is not the file that was profiled any more (another build id): its functions have no names"])

    def test_a_merged_dump_is_as_old_as_its_oldest(self):
        text = HEAP.replace("# build-id /no/such/program aabbccdd\n", "")
        other = text.replace("pid 12", "pid 13").replace("14:05:02Z", "14:04:02Z")
        profile = parsed("".join(line + "\n" for line in writing.heap_v2(
            model.summed([parsed(text), parsed(other)]))))
        self.assertEqual(int(profile.written), 1768658642)
        self.assertEqual(profile.files["/no/such/program"], {(0xfe, 0, 7)})
        profile = parsed("".join(line + "\n" for line in writing.heap_v2(
            model.summed([parsed(text), parsed(text.replace("fe:00 7", "fe:00 9"))]))))
        self.assertNotIn("/no/such/program", profile.files)

    def test_another_build_gives_no_names(self):
        if symbols.elf_of(sys.executable) is None:
            self.skipTest("no ELF")
        text = HEAP.replace("/no/such/program", os.path.realpath(sys.executable))
        names = symbols.Symbolizer()
        if not names.tools or not symbols.elf_of(os.path.realpath(sys.executable)).build_id:
            self.skipTest("no addr2line, or no build id")
        names.learn(parsed(text))
        self.assertTrue(any("another build id" in note for note in names.notes), names.notes)


class Command(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.heap = self.file("good.heap", HEAP)

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def reclaim(self, *words):
        """Exit code, standard output, standard error, in this process."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.main(["prof"] + list(words))
            except SystemExit as end:
                code = end.code
        out.flush()
        return code, out.buffer.getvalue(), err.getvalue()

    def test_every_action(self):
        for words in (["top"], ["tree"], ["folded"], ["flame"], ["pprof"], ["merge"],
                      ["diff", self.heap]):
            code, out, err = self.reclaim(*words, self.heap)
            self.assertEqual(code, 0, err)
            self.assertTrue(out)
        code, out, _ = self.reclaim("top", "--by", "line", "--python", "--alloc", self.heap)
        self.assertIn(b"/srv/app/job.py:7", out)

    def test_counts_of_lines_are_positive(self):
        for word in ("-3", "0", "x", "1.5", ""):
            for action in (["top"], ["diff", self.heap]):
                code, out, err = self.reclaim(*action, "-n", word, self.heap)
                self.assertEqual((code, out), (2, b""), word)
                self.assertIn("argument -n/--limit: %r is not a number above 0" % word, err)
        self.assertEqual(self.reclaim("top", "-n", "1", self.heap)[1].count(b" %  "), 2)

    def test_a_dump_without_a_sample(self):
        text = "heap_v2/524288\n# reclaim 2\n  t*: 0: 0 [0: 0]\n" + MAPS + "# end\n"
        said = (b"Nothing was sampled: profiling was off, or less was allocated than a sample every 512.0 kB "
                b"shows (lg_prof_sample).")
        nothing = self.file("nothing", text)
        code, out, err = self.reclaim("top", nothing)
        self.assertEqual((code, out.splitlines()[-1], err), (0, said, ""))
        for words in ([self.heap], [nothing, self.heap], [self.heap, "--base", self.heap],
                      ["--include", "nobody", self.heap]):
            self.assertNotIn(b"Nothing was sampled", self.reclaim("top", *words)[1])

    def test_filters_that_nothing_fits(self):
        for words in (["--include", "nobody", "--thread", "w*"], ["--exclude", "*"],
                      ["--thread", "none"]):
            said = ", ".join(" ".join(words[at:at + 2]) for at in range(0, len(words), 2))
            said = "No stack fits: %s." % said
            for action in (["top"], ["tree"], ["diff", self.heap], ["top", "--base", self.heap]):
                out = self.reclaim(*action, *words, self.heap)[1]
                self.assertEqual(out.decode().splitlines()[-1], said)
            for action in ("folded", "flame"):
                self.assertIn("reclaim: " + said + "\n", self.reclaim(action, *words, self.heap)[2])
        for words in (["--include", "job.py"], ["--base", self.heap]):
            self.assertNotIn(b"No stack fits", self.reclaim("top", *words, self.heap)[1])

    def test_a_process_with_most_of_its_memory_elsewhere(self):
        """One line, which names the way to see Python's own objects where there may be some."""
        def lines(resident, live, text=HEAP):
            text = text.replace("# reason final\n", "# reason final\n# live %d\n# resident %d\n"
                                % (live << 20, resident << 20))
            path = self.file("%d-%d" % (resident, live), text)
            for words in (["--base", self.heap], ["--alloc"]):
                self.assertNotIn(b"resident", self.reclaim("top", path, *words)[1])
            self.assertNotIn("resident", model.summed_info([parsed(text).info] * 2))
            return [line.decode() for line in self.reclaim("top", path)[1].splitlines() if b"resident" in line]

        self.assertEqual(lines(169, 7), [
            "The process has 169.0 MB resident, and 7.0 MB of malloc's in use: PYTHONMALLOC=malloc shows "
            "Python's own small objects, which do not come from malloc without it."])
        peak = HEAP.replace("# reason final", "# profile peak\n# reason final")
        (line,) = lines(170, 7, peak)
        self.assertTrue(line.startswith("The process had at most 170.0 MB resident, and 7.0 MB of"))
        for resident, live in ((169, 90), (30, 1), (40, 9), (7, 169)):
            self.assertEqual(lines(resident, live), [])
        machine = re.sub("(?m)^# frame .*\n", "", HEAP.replace(
            " 0x8000000000000001 0x8000000000000002", ""))
        self.assertEqual(lines(169, 7, machine), [
            "The process has 169.0 MB resident, and 7.0 MB of malloc's in use."])

    def test_what_was_allocated_while_profiling_was_off(self):
        """malloc's count is clearly more than what the samples stand for: one line says so."""
        said = ("malloc itself counts %s in use: the rest was allocated while profiling was off, "
                "or before its samples were reset.")

        def dump(live, megabytes, rate=524288, profile="live"):
            size = megabytes << 20
            weight = 1 - math.exp(-float(size) / 20 / rate)
            return self.file("%s-%d-%d-%d" % (profile, live, megabytes, rate), (
                "heap_v2/%d\n# profile %s\n# live %d\n@ 0x400010\n  t*: %d: %d [0: 0]\n" % (
                    rate, profile, live << 20, round(20 * weight), round(size * weight))) + MAPS)

        def top(*words):
            return self.reclaim("top", *words)[1].decode().splitlines()
        for kind in ("live", "peak"):
            path = dump(545, 20, profile=kind)
            self.assertEqual(top(path)[-1], said % "545.0 MB")
        self.assertEqual(self.reclaim("tree", path)[1].decode().splitlines()[-1], said % "545.0 MB")
        self.assertIn("in use; " + said % "545.0 MB", self.reclaim("flame", path)[1].decode())
        self.assertIn("reclaim: " + said % "545.0 MB" + "\n", self.reclaim("folded", path)[2])
        for words in (["--alloc"], ["--base", self.heap], ["--include", "*"], ["--exclude", "x"],
                      ["--thread", "*"]):
            self.assertNotIn("malloc itself", "".join(top(path, *words)))
        # What sampling may be off by, what threads may have in caches, and more than was counted.
        for live, megabytes, rate in ((545, 480, 524288), (100, 74, 524288), (18, 4, 4096),
                                      (400, 360, 4096), (100, 120, 524288)):
            self.assertNotIn("malloc itself", "".join(top(dump(live, megabytes, rate))))
        self.assertIn(said % "100.0 MB", top(dump(100, 74, 4096)))
        # A merged dump remembers how finely its own were sampled.
        for rate, count in ((524288, 0), (4096, 1)):
            dumps = dump(100, 84, rate), dump(101, 85, rate)
            merged = self.file("merged", self.reclaim("merge", *dumps)[1].decode())
            self.assertEqual(sum("malloc itself" in line for line in top(merged)), count)
            self.assertIn("estimated from a sample every %s" % view.size(rate), top(merged)[0])
            again = self.file("again", self.reclaim("merge", merged)[1].decode())
            self.assertEqual([line.replace("again:", "merged:") for line in top(again)],
                             top(merged))
        none = self.file("none", "heap_v2/524288\n# live 99999999\n" + MAPS)
        self.assertIn("malloc itself", "".join(top(none)))

    def test_a_single_row_that_hides_the_python_functions(self):
        """An interpreter without names, as distributions have it: one row, the program's."""
        hint = b"--python shows the Python functions"
        text = HEAP.replace("/no/such/lib one.so", "/no/such/program")
        text = text.replace("@\n  t*: 1: 1000 [2: 2000]\n  t1: 1: 1000 [2: 2000]\n", "")
        alone = self.file("alone", text)
        _, out, _ = self.reclaim("top", alone)
        self.assertIn(b"[program]", out)
        self.assertIn(hint, out.splitlines()[-1])
        for words in (["--python", alone], ["--total", alone], ["--by", "object", alone], [self.heap]):
            self.assertNotIn(hint, self.reclaim("top", *words)[1])
        machine = re.sub("(?m)^# frame .*\n", "", text.replace(
            " 0x8000000000000001 0x8000000000000002", ""))
        self.assertNotIn(hint, self.reclaim("top", self.file("machine", machine))[1])

    def test_files_to_write(self):
        page = os.path.join(self.folder, "a.html")
        self.assertEqual(self.reclaim("flame", self.heap, "-o", page)[0], 0)
        with open(page) as file:
            self.assertTrue(file.read().startswith("<!DOCTYPE html>"))
        code, _, err = self.reclaim("flame", self.heap, "-o", "/no/such/folder/a.svg")
        self.assertEqual(code, 1)
        self.assertRegex(err, r"reclaim: /no/such/folder/a\.svg: No such file or directory\n\Z")

    def test_merged_files_are_counted_once(self):
        other = self.file("b.heap", HEAP.replace("pid 12", "pid 13"))
        _, out, err = self.reclaim("merge", self.heap, other)
        self.assertNotIn("more than once", err)
        merged = self.file("m.heap", out.decode())
        _, out, _ = self.reclaim("top", merged)
        self.assertIn(b"17.6 kB in use in 18 blocks", out)
        _, _, err = self.reclaim("merge", self.heap, self.heap)
        self.assertIn("process 12", err)

    def test_merged_files_remember_their_processes(self):
        other = self.file("b.heap", HEAP.replace("pid 12", "pid 13"))
        _, out, _ = self.reclaim("merge", self.heap, other)
        merged = self.file("m.heap", out.decode())
        self.assertNotIn("more than once", self.reclaim("top", merged)[2])
        self.assertIn("of process 13: if that is one process, what it holds is counted more than "
                      "once", self.reclaim("top", merged, other)[2])

    def test_what_forked_processes_share_is_said_once(self):
        paths = [self.heap] + [self.file("%d.heap" % pid, HEAP.replace(
            "pid 12\n", "pid %d\n# parent 12\n# inherited 199229440\n" % pid)) for pid in (13, 14)]
        said = ("reclaim: 2 of these profiles are of processes forked from one another or from one parent: "
                "what they inherited (about 190.0 MB each) is counted once for each of them\n")
        for action in ("top", "tree", "flame", "folded", "merge", "pprof"):
            _, _, err = self.reclaim(action, *paths)
            self.assertEqual(err.count(said), 1, err)
            self.assertEqual(err.count("inherited"), 1)
        self.assertIn("190.0 MB", self.reclaim("top", *paths[1:])[2])
        for some in (paths[:1], paths[1:2]):
            self.assertNotIn("inherited", self.reclaim("top", *some)[2])

    def test_files_without_a_list_of_mapped_ones(self):
        text = HEAP[:HEAP.index(MAPS)] + "# no mappings\n"
        paths = [self.file("%d.heap" % pid, text.replace("pid 12", "pid %d" % pid)) for pid in (13, 14)]
        for words in (paths[:1], ["--base", paths[0], self.heap]):
            code, out, err = self.reclaim("top", *words)
            self.assertEqual((code, err.count("shows addresses only\n")), (0, 1), err)
        self.assertIn(b"0x400010", out)
        self.assertEqual(self.reclaim("diff", *paths)[2].count("addresses only (and so does one more)\n"), 1)
        self.assertEqual(self.reclaim("top", *paths)[2].count("\n"), 1)

    def test_what_shrank_is_left_out_of_folded_stacks_with_a_word(self):
        less = HEAP.replace("t1: 3: 3000 [8", "t1: 1: 1000 [8").replace("t*: 3: 3000 [8", "t*: 1: 1000 [8")
        less = self.file("less", less.replace("5: 5000", "6: 6000").replace("3: 3000 [6", "4: 4000 [6"))
        code, out, err = self.reclaim("folded", "--base", self.heap, less)
        self.assertEqual((code, len(out.splitlines())), (0, 1))
        self.assertIn("reclaim: what has shrunk is left out, as no count may be negative: 2.0 kB in 1 of 2 "
                      "stacks\n", err)
        self.assertNotIn("shrunk", self.reclaim("folded", self.heap)[2])

    def test_names_that_are_no_text(self):
        """Nothing but UTF-8 comes out, on its own line; a merged file has the bytes."""
        path = os.path.join(self.folder, "odd.heap")
        with open(path, "wb") as file:
            file.write(HEAP.encode().replace(b"/no/such/program", b"/no/caf\xe9 \x1b[1m\\012x"))
        for words in (["top", "--by", "object"], ["top", "--by", "line"], ["tree"], ["flame"], ["folded"],
                      ["diff", self.heap]):
            code, out, err = self.reclaim(*words, path)
            self.assertEqual(code, 0)
            out.decode("utf-8")
            self.assertNotIn(b"\x1b", out + err.encode())
        self.assertIn(b"/no/caf\xe9 \x1b[1m\\012x\n", self.reclaim("merge", path)[1])

    def test_base(self):
        _, out, _ = self.reclaim("top", self.heap, "--base", self.heap)
        self.assertIn(b"0 B in use", out)

    def test_releases_in_folders_of_their_own(self):
        old = self.file("old", HEAP.replace("/no/such/", "/rel1/"))
        new = self.file("new", HEAP.replace("/no/such/", "/rel2/").replace("3: 3000 [8: 8000]",
                                                                        "5: 5000 [8: 8000]"))
        lines = self.reclaim("diff", old, new)[1].decode().splitlines()
        self.assertEqual([line.split()[:5] for line in lines[2:]],
                         [["+2.0", "kB", "+2", "2.9", "kB"]])
        for action in ("tree", "flame", "folded"):
            code, out, _ = self.reclaim(action, "--base", old, new)
            self.assertEqual(code, 0)
            self.assertNotIn(b"rel1", out)
            self.assertNotRegex(out.decode(), r"-\d+\.\d %|[2-9]\d\d\.\d+ %")

    def test_one_line_for_whatever_is_wrong(self):
        for path, words in ((self.file("empty", ""), "empty"), (self.file("x", "x"), "not a heap"),
                            (self.folder, "Is a directory"), ("/no/such/file", "No such file"),
                            (self.file("cut", HEAP[:200]), "cut off")):
            for action in ("top", "tree", "folded", "flame", "pprof", "merge"):
                code, out, err = self.reclaim(action, path)
                self.assertEqual((code, out), (1, b""))
                self.assertRegex(err, r"\Areclaim: [^\n]*%s[^\n]*\n\Z" % words)
        without = self.file("without", "heap_v2/1\n@ 0x400010\n  t*: 1: 9 [0: 0]\n" + MAPS)
        code, _, err = self.reclaim("top", "--alloc", without)
        self.assertEqual(code, 1)
        self.assertIn("prof_accum", err)
        self.assertEqual(self.reclaim("top")[0], 2)
        self.assertEqual(self.reclaim()[0], 2)


if __name__ == "__main__":
    signal.alarm(240)
    unittest.main(verbosity=1)
