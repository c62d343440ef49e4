# SPDX-License-Identifier: MIT
"""reclaim run --plot and --csv, on programs that this test starts.  RECLAIM_SO names the library."""
import contextlib
import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
COMMAND = [sys.executable, os.path.join(TOP, "python", "bin", "reclaim")]
MB = 1 << 20

sys.path.insert(0, os.path.join(TOP, "python"))

from reclaim.cli import plot  # noqa: E402
from reclaim.curve import draw, family, record  # noqa: E402

# Holds 60 MB for a while, frees them, waits.
BURST = """
import time
big = [b"x" * 5000 for _ in range(12000)]
time.sleep(1)
del big
time.sleep(1)
"""
# A child that touches nothing of what it has inherited, and one that runs another program.
FAMILY = """
import os, subprocess, time
big = [b"x" * 5000 for _ in range(12000)]
child = os.fork()
if child == 0:
    time.sleep(1)
    os._exit(0)
subprocess.run(["sleep", "1"])
os.waitpid(child, 0)
"""
# Children without the library that are no copies: one runs the interpreter, too; one has been a
# copy, and has left a report of that time.
OTHERS = """
import os, subprocess, sys, time
big = [b"x" * 5000 for _ in range(12000)]
bare = {name: text for name, text in os.environ.items() if name != "LD_PRELOAD"}
time.sleep(0.3)
wait = [sys.executable, "-c", "import time; time.sleep(0.6)"]
subprocess.run(wait, env=bare)
if os.fork() == 0:
    time.sleep(0.3)
    os.execve(sys.executable, wait, bare)
os.wait()
"""
# A child that hangs before it runs its program, and has the memory of its parent, who waits.
BORROWER = """
import os, subprocess, sys, time
big = [b"x" * 5000 for _ in range(12000)]
time.sleep(0.3)
pipe = sys.argv[1]
os.mkfifo(pipe)
subprocess.Popen(["sh", "-c", "sleep 1; : >" + pipe])
child = os.posix_spawn("/bin/true", ["true"], os.environ, file_actions=[
    (os.POSIX_SPAWN_OPEN, 0, pipe, os.O_RDONLY, 0)])
os.waitpid(child, 0)
"""


class Plot(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.table = os.path.join(self.folder, "a.csv")

    def reclaim(self, *words, **keywords):
        done = subprocess.run(COMMAND + ["run"] + list(words), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                              universal_newlines=True, **keywords)
        return done.returncode, done.stdout, done.stderr

    def rows(self):
        with open(self.table) as file:
            return [{name: float(text) if text else None for name, text in row.items()}
                    for row in csv.DictReader(file)]

    def test_the_curve_rises_and_falls(self):
        code, out, err = self.reclaim("--csv", self.table, "--interval", "0.05", sys.executable, "-c",
                                      BURST + "print('done'); raise SystemExit(5)")
        self.assertEqual((code, out, err), (5, "done\n", ""))
        rows = self.rows()
        self.assertEqual(list(rows[0]), list(record.COLUMNS))
        seconds = [row["seconds"] for row in rows]
        self.assertEqual(seconds, sorted(seconds))
        self.assertGreater(seconds[-1], 1.9)
        self.assertGreater(max(row["resident_bytes"] for row in rows), 60 * MB)
        self.assertLess(rows[-1]["resident_bytes"], 40 * MB)
        live = [row["live_bytes"] for row in rows if row["live_bytes"] is not None]
        self.assertGreater(max(live), 58 * MB)
        self.assertLess(live[-1], 10 * MB)
        self.assertTrue(any(row["dirty_bytes"] is not None for row in rows))

    def test_what_a_fork_shares_counts_once(self):
        self.assertEqual(self.reclaim("--csv", self.table, "--interval", "0.05", sys.executable, "-c",
                                      FAMILY)[0], 0)
        rows = self.rows()
        self.assertEqual(max(row["processes"] for row in rows), 3)
        most = max(row["resident_bytes"] for row in rows if row["processes"] == 3)
        self.assertGreater(most, 60 * MB)
        if family.proportional(os.getpid())[1] < 1 or os.path.exists("/proc/self/smaps_rollup"):
            self.assertLess(most, 110 * MB)
            self.assertLess(max(row["live_bytes"] or 0 for row in rows), 90 * MB)

    def test_only_copies_have_what_their_parent_has(self):
        self.assertEqual(self.reclaim("--csv", self.table, "--interval", "0.05", sys.executable,
                                      "-c", OTHERS)[0], 0)
        rows = self.rows()
        self.assertTrue(any(row["processes"] == 2 for row in rows))
        self.assertLess(max(row["live_bytes"] or 0 for row in rows), 90 * MB)
        # Nor is the report of what it ran before one of what it runs now.
        late = [row["live_bytes"] for row in rows if row["processes"] == 2][-6:]
        self.assertGreater(min(late), 55 * MB)
        self.assertLess(max(late), 75 * MB)

    def test_a_child_that_borrows_its_parents_memory(self):
        self.assertEqual(self.reclaim("--csv", self.table, "--interval", "0.05", sys.executable,
                                      "-c", BORROWER, os.path.join(self.folder, "pipe"))[0], 0)
        rows = self.rows()
        self.assertLess(max(row["resident_bytes"] for row in rows), 110 * MB)
        self.assertLess(max(row["live_bytes"] or 0 for row in rows), 90 * MB)

    def test_a_signal_reaches_the_program(self):
        process = subprocess.Popen(COMMAND + ["run", "--csv", self.table, "sh", "-c",
                                              "trap 'echo heard; exit 9' TERM; echo ready; "
                                              "while :; do sleep 0.05; done"],
                                   stdout=subprocess.PIPE, universal_newlines=True)
        watchdog = threading.Timer(60, process.kill)  # a line that never comes is a failure
        watchdog.start()
        self.addCleanup(watchdog.cancel)
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.stdout.readline(), "heard\n")
        self.assertEqual(process.wait(timeout=20), 9)
        process.stdout.close()
        self.assertTrue(self.rows())

    def test_a_signal_while_the_program_is_being_started(self):
        start = subprocess.Popen

        def late(*words, **keywords):
            os.kill(os.getpid(), signal.SIGTERM)
            return start(*words, **keywords)

        options = mock.Mock(interval=0.05)
        with mock.patch.object(plot.subprocess, "Popen", late):
            code, _ = plot.follow(options, shutil.which("sleep"), ["sleep", "20"], dict(os.environ),
                                  self.folder)
        self.assertEqual(code, 128 + signal.SIGTERM)

    def test_a_program_that_is_killed(self):
        code, _, _ = self.reclaim("--csv", self.table, "sh", "-c", "kill -KILL $$")
        self.assertEqual(code, 137)

    def test_a_program_that_is_over_at_once(self):
        """Whether it was seen or not: its exit code counts, and there is a table."""
        self.assertEqual(self.reclaim("--csv", self.table, "sh", "-c", "exit 4")[0], 4)
        with open(self.table) as file:
            self.assertEqual(file.readline(), ",".join(record.COLUMNS) + "\n")

    def test_a_path_of_the_users_own(self):
        conf = "stats_path:%s/mine.%%p.json" % self.folder
        self.assertEqual(self.reclaim("--conf", conf, "--csv", self.table, sys.executable, "-c", BURST)[0],
                         0)
        self.assertTrue(any(name.startswith("mine.") for name in os.listdir(self.folder)))
        self.assertTrue(any(row["live_bytes"] for row in self.rows()))
        code, _, err = self.reclaim("--conf", "stats_path:%s/x.prom" % self.folder, "--csv", self.table,
                                    "sleep", "0.2")
        self.assertEqual(code, 0)
        self.assertRegex(err, r"\Areclaim: live and dirty bytes are not recorded[^\n]*\n\Z")

    def test_picture(self):
        path = os.path.join(self.folder, "a.png")
        code, _, err = self.reclaim("--plot", path, sys.executable, "-c", BURST)
        if draw.missing():
            self.assertEqual(code, 1)
            self.assertRegex(err, r"\Areclaim: --plot needs matplotlib[^\n]*\n\Z")
            return
        self.assertEqual((code, err), (0, ""))
        with open(path, "rb") as file:
            self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")

    def test_a_title_is_no_formula(self):
        """Whatever stands in the command line; and the exit code is the program's."""
        if draw.missing():
            self.skipTest("no matplotlib")
        path = os.path.join(self.folder, "a.svg")
        for text, expected in (("sleep 0.3; kill -9 $$", 137), ("sleep 0.3; exit 3; $x \\$y $", 3),
                               ("sleep 0.3; exit 4; # $\\frac{", 4), ("sleep 0.3\nexit 5 # \udce9 \u65e5", 5)):
            code, _, err = self.reclaim("--plot", path, "sh", "-c", text)
            self.assertEqual((code, err), (expected, ""), text)
            self.assertGreater(os.path.getsize(path), 1000)
            os.remove(path)
        self.assertEqual(draw.literal("a $b\n\\$c\udce9"), "a \\$b \\\\$c ")

    def test_an_exit_code_is_not_lost_with_the_picture(self):
        """The folder goes while the program runs."""
        folder = os.path.join(self.folder, "sub")
        script = "sleep 0.3; rm -r %s; exit 6" % folder
        if draw.missing():
            self.skipTest("no matplotlib")
        os.mkdir(folder)
        code, _, err = self.reclaim("--plot", os.path.join(folder, "a.png"), "sh", "-c", script)
        self.assertEqual(code, 6)
        self.assertRegex(err, r"\Areclaim: [^\n]*a\.png: No such file or directory\n\Z")

    def test_any_failure_to_draw_is_one_line(self):
        def fails(*_):
            raise ValueError("first\nsecond")
        with mock.patch.object(draw, "draw", fails), contextlib.redirect_stderr(io.StringIO()) as err:
            plot.finish_picture("a.png", [1], ["program"])
        self.assertEqual(err.getvalue(), "reclaim: a.png cannot be drawn: first?second\n")

    def test_a_table_that_cannot_be_written(self):
        mark = os.path.join(self.folder, "started")
        code, _, err = self.reclaim("--csv", "/dev/full", "touch", mark)
        self.assertEqual((code, err), (1, "reclaim: /dev/full: No space left on device\n"))
        self.assertFalse(os.path.exists(mark))

    def test_what_is_said_before_anything_is_started(self):
        mark = os.path.join(self.folder, "started")
        for words, said in ((["--csv", "/no/such/folder/a.csv"], "cannot be written"),
                            (["--csv", self.folder], "cannot be written"),
                            (["--plot", "a.gif"], "must end in"),
                            (["--csv", self.table, "--interval", "0"], "--interval"),
                            (["--csv", self.table, "--check"], "--check")):
            code, _, err = self.reclaim(*words, "touch", mark)
            self.assertIn(code, (1, 2))
            self.assertRegex(err, r"\Areclaim: [^\n]*%s[^\n]*\n\Z" % said)
        self.assertFalse(os.path.exists(mark))


class Family(unittest.TestCase):
    def test_children_of_children(self):
        process = subprocess.Popen(["sh", "-c", "sh -c 'sleep 30; true'; true"])
        try:
            end = time.monotonic() + 10
            while len(family.family(process.pid)) < 3 and time.monotonic() < end:
                time.sleep(0.01)
            found = family.family(process.pid)
            self.assertEqual(len(found), 3)
            self.assertIsNone(found[process.pid])
            below = [pid for pid in found if pid != process.pid]
            scanned = family.parents()
            self.assertTrue(all(scanned[pid] == found[pid] for pid in below))
        finally:
            for pid in family.family(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()

    def test_a_copy_and_what_is_none(self):
        child = os.fork()
        if child == 0:
            try:
                time.sleep(30)
            finally:
                os._exit(0)
        process = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            process.stdout.readline()
            self.assertTrue(family.Image(child).forked)
            self.assertFalse(family.Image(process.pid).forked)
            self.assertFalse(family.borrows(child, os.getpid()))
            self.assertEqual(family.Image(child), family.Image(child))
            self.assertNotEqual(family.Image(child).key, family.Image(process.pid).key)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            process.communicate(b"\n")

    def test_a_process_that_is_not_there(self):
        self.assertEqual(family.resident(2 ** 22 + 1), 0)
        self.assertEqual(family.family(2 ** 22 + 1), {2 ** 22 + 1: None})


if __name__ == "__main__":
    signal.alarm(240)
    unittest.main(verbosity=1)
