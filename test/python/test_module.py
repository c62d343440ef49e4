# SPDX-License-Identifier: MIT
"""The Python module, in an interpreter under the preload and in one without.

RECLAIM_EXPECT=active or absent says which; test/hosts/python_module.sh runs both, on every
Python there is.
"""
import gc
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest
import warnings

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(TOP, "python"))

import reclaim  # noqa: E402

ACTIVE = os.environ["RECLAIM_EXPECT"] == "active"
MIB = 1 << 20


def resident():
    with open("/proc/self/smaps_rollup") as file:
        for line in file:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no Rss")


@unittest.skipIf(ACTIVE, "under the preload")
class Absent(unittest.TestCase):
    def test_it_says_so(self):
        self.assertIs(reclaim.is_active(), False)

    def test_everything_else_raises_with_what_to_do(self):
        for call in (reclaim.purge, reclaim.stats, reclaim.conf, reclaim.version,
                     reclaim.prof_active, reclaim.prof_dump, reclaim.prof_reset):
            with self.assertRaisesRegex(reclaim.NotLoaded, "reclaim run PROGRAM"):
                call()


@unittest.skipUnless(ACTIVE, "not under the preload")
class Active(unittest.TestCase):
    def test_it_says_so(self):
        self.assertIs(reclaim.is_active(), True)
        self.assertRegex(reclaim.version(), r"^\d+\.\d+\.\d+$")

    def test_purge_returns_what_was_freed(self):
        # Far below dirty_min as the script sets it, so that freeing alone returns nothing: of the
        # default's 4 MiB, what caches may pin is taken, and that is more with larger pages.
        burst = [bytes(bytearray(b"x" * 5000)) for _ in range(800)]
        full = resident()
        del burst
        gc.collect()
        count = reclaim.purge()
        self.assertIsInstance(count, int)
        self.assertGreater(count, 2 * MIB)
        self.assertLess(resident(), full - 2 * MIB)

    def test_the_parts_add_up(self):
        held = [b"x" * (600 + i % 4000) for i in range(5000)]
        before = resident()
        stats = reclaim.stats()
        parts = dict(stats["resident"])
        total = parts.pop("total")
        self.assertEqual(sum(parts.values()), total)
        self.assertLess(abs(total - before), MIB)
        wanted = sum(len(b) + 33 for b in held)
        self.assertGreater(parts["asked"], wanted)
        self.assertIn(": ", stats["verdict"])

    def test_arenas_of_pymalloc_are_not_malloc(self):
        if os.environ.get("PYTHONMALLOC") == "malloc":
            self.skipTest("objects go to malloc")
        before = reclaim.stats()["resident"]
        held = [object() for _ in range(500000)]
        after = reclaim.stats()["resident"]
        objects = len(held) * object.__basicsize__
        self.assertGreater(after["other"] - before["other"], objects - MIB)
        # The list itself is malloc's.
        self.assertGreater(after["asked"] - before["asked"], len(held) * 8 - MIB)
        self.assertLess(after["asked"] - before["asked"], len(held) * 8 * 9 // 8 + 2 * MIB)

    def test_conf(self):
        conf = reclaim.conf()
        self.assertEqual(conf["dirty_decay_ms"], 1234)  # as the environment asks
        self.assertIs(conf["background_thread"], True)
        self.assertEqual(conf["stats_signal"], "none")

    def test_a_heap_profile(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "mine.heap")
            reclaim.prof_dump(path)
            with open(path, encoding="utf-8") as file:
                self.assertTrue(file.read().startswith("heap_v2/"))
            with self.assertRaisesRegex(OSError, "stderr says why") as refused:
                reclaim.prof_dump(os.path.join(folder, "missing", "x"))
            self.assertEqual(refused.exception.filename, os.path.join(folder, "missing", "x"))

    def test_profiling_is_switched(self):
        """What is held from before, or was sampled before a reset, is in no profile."""
        program = ("import reclaim, sys\n"
                   "def dump(name):\n"
                   "    reclaim.prof_dump(sys.argv[1] + name)\n"
                   "before = bytearray(64 << 20)\n"
                   "states = [reclaim.prof_active(), reclaim.prof_active(True), reclaim.prof_active()]\n"
                   "held = bytearray(32 << 20)\n"
                   "dump('on')\n"
                   "reclaim.prof_reset()\n"
                   "dump('reset')\n"
                   "states += [reclaim.prof_active(False), reclaim.prof_active(False)]\n"
                   "more = bytearray(32 << 20)\n"
                   "dump('off')\n"
                   "print(states)\n")
        environment = dict(os.environ, PYTHONPATH=os.path.join(TOP, "python"))
        with tempfile.TemporaryDirectory() as folder:
            out = subprocess.check_output([sys.executable, "-c", program, os.path.join(folder, "")],
                                          env=environment, universal_newlines=True, timeout=60)
            self.assertEqual(out, "[False, False, True, True, False]\n")
            held = {}
            for name in ("on", "reset", "off"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    held[name] = int(re.search(r"^  t\*: \d+: (\d+) ", file.read(), re.M).group(1))
        self.assertTrue(32 * MIB <= held.pop("on") < 64 * MIB)
        self.assertLess(max(held.values()), 32 * MIB)

    def test_what_cannot_be_switched(self):
        for word in ("on", 2, []):
            with self.assertRaisesRegex(TypeError, "True, False or None"):
                reclaim.prof_active(word)
        self.assertIs(reclaim.prof_active(), False)

    def test_workers_write_theirs(self):
        """As doc/profiling.md has it: a worker of multiprocessing ends by _exit."""
        with tempfile.TemporaryDirectory() as folder:
            program = ("import multiprocessing, multiprocessing.util, reclaim\n"
                       "def begin():\n"
                       "    multiprocessing.util.Finalize(None, reclaim.prof_dump, exitpriority=0)\n"
                       "if __name__ == '__main__':\n"
                       "    fork = multiprocessing.get_context('fork')\n"
                       "    with fork.Pool(3, begin) as pool:\n"
                       "        pool.map(len, ['a'] * 10)\n"
                       "        pool.close()\n"
                       "        pool.join()\n")
            environment = dict(os.environ, PYTHONPATH=os.path.join(TOP, "python"),
                               RECLAIM_CONF="prof:true,prof_prefix:%s/" % folder)
            subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
            self.assertEqual(len([name for name in os.listdir(folder) if ".manual." in name]), 3)

    def test_from_many_threads(self):
        wrong = []

        def work():
            try:
                for _ in range(20):
                    block = bytearray(100000)
                    del block
                    parts = dict(reclaim.stats()["resident"])
                    if parts.pop("total") != sum(parts.values()):
                        wrong.append(parts)
                    reclaim.purge()
            except Exception as error:  # into the main thread
                wrong.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_in_a_forked_child(self):
        reclaim.stats()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            child = os.fork()
        if child == 0:
            good = reclaim.is_active() and '"pid"' and reclaim.stats()["pid"] == os.getpid()
            os._exit(0 if good else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_a_library_that_is_only_opened_is_not_active(self):
        code = ("import ctypes, os, sys; sys.path.insert(0, %r); import reclaim; "
                "ctypes.CDLL(os.environ['RECLAIM_SO'], ctypes.RTLD_GLOBAL); "
                "print(reclaim.is_active(), reclaim.version())" % os.path.join(TOP, "python"))
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        out = subprocess.check_output([sys.executable, "-c", code], env=environment,
                                      universal_newlines=True)
        self.assertRegex(out, r"^False \d+\.\d+\.\d+$")


if __name__ == "__main__":
    unittest.main(verbosity=1)
