# SPDX-License-Identifier: MIT
"""The command `reclaim`, on processes that this test starts.  RECLAIM_SO names the library."""
import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "python"))
from reclaim import cli  # noqa: E402
from reclaim.cli import process as subject  # noqa: E402

COMMAND = [sys.executable, os.path.join(TOP, "python", "bin", "reclaim")]
SO = os.environ["RECLAIM_SO"]

# Frees 60 MB, says so, and waits for the end of its input.
WAITING = """
import sys
burst = [b"x" * 5000 for _ in range(12000)]
del burst
print("ready", flush=True)
sys.stdin.read()
"""
# Ends with the first signal that is handled: unlike Python's, libc's sleep does not go on.
WOKEN = "import ctypes; print('ready', flush=True); ctypes.CDLL(None).sleep(50)"
KEEPING = "dirty_decay_ms:-1,dirty_min:1g"


def reclaim(*arguments, **keywords):
    """Exit code, what it printed, what it said on stderr."""
    done = subprocess.run(COMMAND + list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=60, **keywords)
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def waiting(*command):
    """A process with its standard output at "ready"."""
    process = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               universal_newlines=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.poll() is None, "it has ended by itself"
    finally:
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()


def under_library(conf):
    return waiting(*COMMAND, "run", "--conf", conf, sys.executable, "-c", WAITING)


class Test(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def one_line(self, text, pattern):
        self.assertRegex(text, r"\Areclaim: [^\n]*%s[^\n]*\n\Z" % pattern)


class Output(Test):
    def test_a_full_disk_is_one_line(self):
        """With and without the interpreter's own buffer, and what argparse prints."""
        heap = os.path.join(self.folder, "a.heap")
        with open(heap, "w") as file:
            file.write("heap_v2/1\n@\n  t*: 1: 9 [0: 0]\nMAPPED_LIBRARIES:\n"
                       "00400000-00500000 r-xp 00001000 fe:00 7  /no/such/program\n")
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        for words in (["prof", "top", heap], ["prof", "flame", heap], ["prof", "pprof", heap],
                      ["prof", "merge", heap], ["conf"], ["--help"], ["--version"]):
            # Those argparse writes, and without a buffer newer ones say nothing of an error.
            for flags in ([],) if words[0].startswith("-") else ([], ["-u"]):
                with open("/dev/full", "wb") as full:
                    done = subprocess.run(COMMAND[:1] + flags + COMMAND[1:] + words, stdout=full,
                                          stderr=subprocess.PIPE, universal_newlines=True,
                                          env=environment, timeout=60)
                self.assertEqual(done.returncode, 1, words)
                self.one_line(done.stderr, "standard output: No space left on device")
        with under_library("stats_signal:SIGUSR2,stats_path:%s/%%p.json" % self.folder) as process, \
                open("/dev/full", "wb") as full:
            done = subprocess.run(COMMAND + ["stat", "--json", str(process.pid)], stdout=full,
                                  stderr=subprocess.PIPE, universal_newlines=True, timeout=60)
            self.assertEqual(done.returncode, 1)
            self.one_line(done.stderr, "standard output: No space left on device")

    def test_what_cannot_be_said(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(COMMAND + ["prof", "top", "/no/such/file"], stderr=full, timeout=60)
        self.assertEqual(done.returncode, 1)


class Run(Test):
    def test_output_and_exit_code_are_the_programs(self):
        code, out, err = reclaim("run", "sh", "-c", "echo $0 $1; exit 7", "a", "--check")
        self.assertEqual((code, out, err), (7, "a --check\n", ""))

    def test_the_library_is_in_it_and_in_what_it_starts(self):
        code, out, _ = reclaim("run", "sh", "-c", "sh -c 'grep -c libreclaim /proc/self/maps'")
        self.assertEqual(code, 0)
        self.assertGreater(int(out), 0)

    def test_check_says_whose_malloc_it_is(self):
        code, out, err = reclaim("run", "--check", "sh", "-c", "ls -d /; ls -d /")
        self.assertEqual((code, out), (0, "/\n/\n"))
        self.assertRegex(err, r"\Alibreclaim: version \S+ serves process \d+\n\Z")

    def test_check_of_this_interpreter(self):
        _, _, err = reclaim("run", "--check", sys.executable, "-c", "pass")
        self.assertRegex(err, r"\Alibreclaim: version \S+ serves process \d+\n\Z")

    def test_check_sees_another_malloc(self):
        """A program that brings its own is not taken over, and says so."""
        source, program = (os.path.join(self.folder, name) for name in ("own.c", "own"))
        with open(source, "w") as file:
            file.write("#include <stddef.h>\nstatic char a[1 << 20]; static size_t n;\n"
                       "void *malloc(size_t s) { void *p = a + n; n += (s + 15) & ~15ul; return p; }\n"
                       "void free(void *p) { (void)p; }\nint main(void) { return 0; }\n")
        try:
            subprocess.run([os.environ.get("CC", "cc"), "-rdynamic", "-fno-builtin", "-o", program,
                            source], check=True, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("no C compiler")
        _, _, err = reclaim("run", "--check", program)
        self.assertRegex(err, r"\Alibreclaim: process \d+ does not use it: its malloc is another "
                              r"one\n\Z")

    def test_options(self):
        code, _, err = reclaim("run", "--conf", "narenas:3", "--conf", "confirm_conf:true", "true",
                               env=dict(os.environ, RECLAIM_CONF="tcache:false"))
        self.assertEqual(code, 0)
        self.assertIn("\n  narenas:3\n", err)
        self.assertIn("\n  tcache:false\n", err)

    def test_the_python_module_is_found(self):
        code, out, err = reclaim("run", sys.executable, "-c",
                                 "import reclaim; print(reclaim.is_active())", cwd=self.folder)
        self.assertEqual((code, out, err), (0, "True\n", ""))

    def test_other_preloads_stay(self):
        other = os.path.join(self.folder, "nothing.so")
        code, out, _ = reclaim("run", "sh", "-c", "echo $LD_PRELOAD",
                               env=dict(os.environ, LD_PRELOAD=other))
        self.assertEqual(out.split(":"), [os.path.abspath(SO), other + "\n"])

    def test_a_library_that_is_another(self):
        with open("/proc/self/maps") as maps:
            libc = next(line.split()[-1] for line in maps if "/libc" in line)
        code, out, err = reclaim("run", "--check", "--lib", libc, "true")
        self.assertNotEqual(code, 0)
        self.assertEqual(out, "")
        self.one_line(err, "is not libreclaim")

    def test_the_library_of_a_build_in_the_source_tree(self):
        """examples/leak/profiles finds it where ./configure && make leaves it, too."""
        for part in ("examples", "python"):
            os.symlink(os.path.join(TOP, part), os.path.join(self.folder, part))
        script = os.path.join(self.folder, "examples", "leak", "profiles")
        environment = dict(os.environ, CC="/no/such/compiler")
        del environment["RECLAIM_SO"]

        def says():
            done = subprocess.run([sys.executable, script, "extension"], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, universal_newlines=True,
                                  env=environment)
            return done.returncode, done.stdout
        code, said = says()
        self.assertEqual(code, 1)
        self.assertIn("no libreclaim.so found", said)
        for folder in ("src/.libs", "build/a/src/.libs"):
            os.makedirs(os.path.join(self.folder, folder))
            os.symlink(SO, os.path.join(self.folder, folder, "libreclaim.so"))
            code, said = says()
            self.assertEqual(code, 77)  # but for what it runs: no compiler
            self.assertIn("left out: /no/such/compiler is not installed", said)
            os.unlink(os.path.join(self.folder, folder, "libreclaim.so"))

    def test_what_cannot_be_run(self):
        code, _, err = reclaim("run", "no-such-program")
        self.assertEqual(code, 127)
        self.one_line(err, "no-such-program: no such program")
        code, _, err = reclaim("run", self.folder)
        self.assertEqual(code, 126)
        self.one_line(err, "not a program")
        code, _, err = reclaim("run", "--lib", "/no/such.so", "true")
        self.assertEqual(code, 1)
        self.one_line(err, "/no/such.so: no such library")
        code, _, err = reclaim("run")
        self.assertEqual(code, 2)

    def fake_elf(self, machine, bits=64, interpreter=True):
        """Head and one program header: all that the command looks at."""
        path = os.path.join(self.folder, "fake-%d-%d" % (machine, bits))
        head = bytearray(64 + 56)
        head[0:7] = b"\x7fELF" + bytes([bits // 32, 1, 1])
        head[18:20] = machine.to_bytes(2, "little")
        head[32:40] = (64).to_bytes(8, "little")
        head[54:58] = (56).to_bytes(2, "little") + (1).to_bytes(2, "little")
        head[64:68] = (3 if interpreter else 1).to_bytes(4, "little")
        with open(path, "wb") as file:
            file.write(head)
        os.chmod(path, 0o755)
        return path

    def test_programs_of_other_machines_and_static_ones(self):
        code, _, err = reclaim("run", self.fake_elf(3, 32))
        self.assertEqual(code, 126)
        self.one_line(err, r"a program for i386 \(32-bit\)")
        code, _, err = reclaim("run", self.fake_elf(243))
        self.one_line(err, "a program for RISC-V")
        with open(SO, "rb") as file:
            machine = int.from_bytes(file.read(20)[18:20], "little")
        code, _, err = reclaim("run", self.fake_elf(machine, interpreter=False))
        self.assertEqual(code, 126)
        self.one_line(err, "linked statically")
        # Also where a script names it.
        script = os.path.join(self.folder, "script")
        with open(script, "w") as file:
            file.write("#!%s\n" % self.fake_elf(243))
        os.chmod(script, 0o755)
        self.one_line(reclaim("run", script)[2], "a program for RISC-V")

    def test_programs_with_the_rights_of_others(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to make one")
        path = os.path.join(self.folder, "other")
        subprocess.run(["cp", "/bin/true", path], check=True)
        os.chown(path, 12345, 12345)
        os.chmod(path, 0o4755)
        code, _, err = reclaim("run", path)
        self.assertEqual(code, 126)
        self.one_line(err, "rights of another user")


class Print(Test):
    """The option stats_print, in whole programs."""

    def test_at_the_end(self):
        code, out, err = reclaim("run", "--conf", "stats_print:true", "ls", "-d", "/")
        self.assertEqual((code, out), (0, "/\n"))
        self.assertTrue(err.startswith("___ Begin libreclaim statistics ___\n"), err[:80])
        self.assertTrue(err.endswith("--- End libreclaim statistics ---\n"), err[-80:])
        self.assertIn("\nOptions: ", err)

    def test_letters(self):
        _, _, err = reclaim("run", "--conf", "stats_print:true,stats_print_opts:gab", "true")
        self.assertNotIn("\nOptions: ", err)
        _, _, err = reclaim("run", "--conf", "stats_print:true,stats_print_opts:J", "true")
        self.assertGreater(json.loads(err)["libreclaim"]["resident"]["total"], 0)

    def test_not_unasked(self):
        self.assertEqual(reclaim("run", "true"), (0, "", ""))


class Stat(Test):
    def test_by_signal(self):
        path = os.path.join(self.folder, "%p.json")
        with under_library(KEEPING + ",stats_signal:SIGUSR2,stats_path:" + path) as process:
            code, out, err = reclaim("stat", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            value = {label: int(number.replace(",", ""))
                     for number, label in re.findall(r"^ *([\d,]+) kB  (.*)$", out, re.M)}
            self.assertGreater(value["freed, not yet due"], 50000)
            self.assertRegex(out, r"\nverdict: decay pending: \d+ MB of freed pages")
            code, out, _ = reclaim("stat", "--json", str(process.pid))
            report = json.loads(out)["libreclaim"]
            self.assertEqual(report["pid"], process.pid)
            self.assertGreater(report["resident"]["dirty"], 50 << 20)

    def test_of_the_clock(self):
        path = os.path.join(self.folder, "report.txt")
        with under_library("stats_interval_ms:50,stats_path:" + path) as process:
            end = time.monotonic() + 20
            while not os.path.exists(path) and time.monotonic() < end:
                time.sleep(0.02)
            code, out, err = reclaim("stat", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            self.assertRegex(out, r"\Aas of \d+\.\d s ago:\n___ Begin libreclaim statistics")
            code, out, err = reclaim("stat", "--json", str(process.pid))
            self.assertEqual((code, out), (1, ""))
            self.one_line(err, "is not JSON")

    def test_of_another_process_as_text(self):
        path = os.path.join(self.folder, "report.txt")
        with under_library("stats_signal:SIGUSR2,stats_path:" + path) as process:
            self.assertEqual(reclaim("stat", str(process.pid))[0], 0)
        with under_library("stats_interval_ms:3600000,stats_path:" + path) as process:
            code, out, err = reclaim("stat", str(process.pid))
            self.assertEqual((code, out), (1, ""))
            self.one_line(err, r"is the report of process \d+, another one")

    def test_a_signal_just_before_the_end(self):
        path = os.path.join(self.folder, "last.json")
        subprocess.run(COMMAND + ["run", "--conf", "stats_signal:SIGUSR2,stats_path:" + path, sys.executable,
                                  "-c", "import os, signal; os.kill(os.getpid(), signal.SIGUSR2)"],
                       check=True)
        with open(path) as file:
            self.assertIn("resident", json.load(file)["libreclaim"])

    def test_a_time_to_wait(self):
        for text in ("0", "-1", "nan", "soon"):
            code, out, err = reclaim("stat", "--wait=" + text, "1")
            self.assertEqual((code, out), (2, ""))
            self.assertIn("--wait", err)

    def test_of_a_file_for_prometheus(self):
        """The same split and verdict; and never as JSON what is none."""
        path = os.path.join(self.folder, "%p.prom")
        with under_library(KEEPING + ",stats_signal:SIGUSR2,stats_path:" + path) as process:
            code, out, err = reclaim("stat", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            value = {label: int(number.replace(",", ""))
                     for number, label in re.findall(r"^ *([\d,]+) kB  (.*)$", out, re.M)}
            self.assertGreater(value["freed, not yet due"], 50000)
            total = value.pop("resident")
            parts = sum(number for label, number in value.items()
                        if "returned" not in label and "again" not in label)
            self.assertLess(abs(total - parts), 10)  # each is rounded down
            self.assertRegex(out, r"\nverdict: decay pending: \d+ MB of freed pages")
            self.assertLess(out.count("\n"), 20)
            code, out, err = reclaim("stat", "--json", str(process.pid))
            self.assertEqual((code, out), (1, ""))
            self.one_line(err, r"is not JSON: start it with a stats_path that ends in \.json")

    def test_by_proc_alone(self):
        with under_library(KEEPING) as process:
            code, out, err = reclaim("stat", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            self.assertIn("writes no statistics; /proc alone says:", out)
            self.assertRegex(out, r"\n +[\d,]+ kB  resident\n")
            code, _, err = reclaim("stat", "--json", str(process.pid))
            self.assertEqual(code, 1)
            self.one_line(err, "writes no statistics")

    def test_reports_that_go_elsewhere(self):
        for conf in ("stats_signal:SIGUSR2", "stats_interval_ms:3600000"):
            with waiting("sh", "-c", 'exec "$@" 2>/dev/null', "sh", *COMMAND, "run", "--conf", conf,
                         sys.executable, "-c", WAITING) as process:
                code, out, err = reclaim("stat", str(process.pid))
                self.assertEqual((code, err), (0, ""))
                self.assertIn("writes its statistics to its stderr", out)

    def test_reports_that_are_not_due_yet(self):
        path = os.path.join(self.folder, "%p.json")
        with under_library("stats_interval_ms:3600000,stats_path:" + path) as process:
            code, out, err = reclaim("stat", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            seconds = re.search(r"writes statistics every 3600 s, and the first are due in (\d+) s; /proc",
                                out.splitlines()[0]).group(1)
            self.assertTrue(3300 < int(seconds) <= 3600, seconds)
            code, out, err = reclaim("stat", "--json", str(process.pid))
            self.assertEqual((code, out), (1, ""))
            self.one_line(err, "the first are due in")

    def test_a_file_that_two_processes_write(self):
        path = os.path.join(self.folder, "report.json")
        with under_library("stats_interval_ms:3600000,stats_path:" + path) as process:
            with open(path, "w") as file:
                json.dump({"libreclaim": {"pid": process.pid + 1}}, file)
            code, _, err = reclaim("stat", str(process.pid))
            self.assertEqual(code, 1)
            self.one_line(err, "is the report of process %d, another one" % (process.pid + 1))

    def test_a_signal_that_is_not_caught_is_not_sent(self):
        program = "import signal; signal.signal(signal.SIGUSR2, signal.SIG_DFL)\n" + WAITING
        path = os.path.join(self.folder, "r.json")
        with waiting(*COMMAND, "run", "--conf", "stats_signal:SIGUSR2,stats_path:" + path,
                     sys.executable, "-c", program) as process:
            code, out, _ = reclaim("stat", str(process.pid))
            self.assertEqual(code, 0)
            self.assertIn(" was started with stats_signal:SIGUSR2, but the program has since set that signal "
                          "back to its default; /proc alone says:", out)
            self.assertNotIn("SIGUSR2", out.splitlines()[-1])  # it would be taken back again
            self.assertIsNone(process.poll())
            code, out, err = reclaim("stat", "--json", str(process.pid))
            self.assertEqual((code, out), (1, ""))
            self.one_line(err, "was started with stats_signal:SIGUSR2, but .* back to its default")

    def test_a_process_that_does_not_answer(self):
        # It cannot write there.
        with under_library("stats_signal:USR2,stats_path:/proc/none/r.json") as process:
            code, _, err = reclaim("stat", "--wait", "0.3", str(process.pid))
            self.assertEqual(code, 1)
            self.one_line(err, "has not written /proc/none/r.json within 0.3 s")

    def test_a_process_that_ends_because_it_was_asked(self):
        """Its report is shown, whether the rest of it is still there or not, and nobody waits for more."""
        for path, command in (("%s/%%p.json" % self.folder, [sys.executable, "-c", WOKEN]),
                              ("last.json", ["sh", "-c", '"$@" & wait; exec cat', "sh", sys.executable, "-c",
                                             WOKEN])):
            process = subprocess.Popen(
                COMMAND + ["run", "--conf", "stats_signal:USR2,stats_path:" + path] + command,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.folder)
            self.addCleanup(process.stdout.close)
            self.addCleanup(process.wait, 30)
            self.addCleanup(process.stdin.close)
            self.assertEqual(process.stdout.readline(), b"ready\n")
            pid = process.pid
            if command[0] == "sh":
                with open("/proc/%d/task/%d/children" % (pid, pid)) as children:
                    pid = int(children.read())
            code, out, err = reclaim("stat", "--wait", "50", str(pid))
            self.assertEqual((code, err), (0, ""))
            self.assertRegex(out, r"\Aprocess %d \(.*\n(.*\n)+verdict: " % pid)

    def test_a_process_that_ends_without_an_answer(self):
        with subprocess.Popen(COMMAND + ["run", "--conf", "stats_signal:USR2,stats_path:/proc/none/r.json",
                                         sys.executable, "-c", WOKEN], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as process:
            self.assertEqual(process.stdout.readline(), b"ready\n")
            code, _, err = reclaim("stat", "--wait", "50", str(process.pid))
        self.assertEqual(code, 1)
        self.one_line(err, "has not written /proc/none/r.json: it has ended")

    def test_a_program_that_carries_the_library(self):
        """Linked with reclaim.o: there is no libreclaim.so to be seen."""
        library = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(SO))), "reclaim.o")
        source, program = (os.path.join(self.folder, name) for name in ("carries.c", "carries"))
        with open(source, "w") as file:
            file.write("#include <stdio.h>\n#include <stdlib.h>\n"
                       "int main(void) { puts(malloc(1) ? \"ready\" : \"no\"); fflush(stdout);\n"
                       "  return getchar() == 'x'; }\n")
        try:
            subprocess.run([os.environ.get("CC", "cc"), "-o", program, source, library, "-lpthread"],
                           check=True, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("no C compiler, or no %s" % library)
        path = os.path.join(self.folder, "%p.json")
        os.environ["RECLAIM_CONF"] = "stats_signal:USR2,stats_path:" + path
        try:
            with waiting(program) as process:
                code, out, err = reclaim("stat", str(process.pid))
                listed = reclaim("conf", str(process.pid))[1]
        finally:
            del os.environ["RECLAIM_CONF"]
        self.assertIn("\nstats_signal:SIGUSR2\n", listed)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("\nverdict: ", out)

    def test_wrong_processes(self):
        for command in ("stat", "purge", "conf"):
            for word in ("0", "-5", "x", "1.5"):
                self.assertEqual(reclaim(command, word)[0], 2, (command, word))
            code, _, err = reclaim(command, "4194305")  # above the highest there can be
            self.assertEqual(code, 1)
            self.one_line(err, "no process has the id 4194305")
            with waiting("sh", "-c", "echo ready; read x") as process:
                code, _, err = reclaim(command, str(process.pid))
                self.assertEqual(code, 1)
                self.one_line(err, "does not run under libreclaim")

    def test_processes_of_others(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to become somebody else")
        libc = ctypes.CDLL(None)
        with under_library("stats_signal:USR2") as process:
            try:
                done = subprocess.run(
                    COMMAND + ["stat", str(process.pid)], stderr=subprocess.PIPE,
                    stdout=subprocess.PIPE, universal_newlines=True, preexec_fn=lambda:
                    libc.setgroups(0, None) or os.setgid(65534) or os.setuid(65534))
            except PermissionError:
                self.skipTest("nobody may not run this interpreter")
        if "denied" in done.stderr or "can't open" in done.stderr:
            self.skipTest("nobody may not read the source folder")
        self.assertEqual(done.returncode, 1)
        self.one_line(done.stderr, "no permission to look at process.*try as root")

    def test_what_root_may_not_read_either(self):
        """Which kernels refuse it root depends on the machine: the refusal is made here."""
        for uid, words in ((0, "CAP_SYS_PTRACE"), (1000, "try as root")):
            with mock.patch("os.geteuid", return_value=uid), \
                    mock.patch("builtins.open", side_effect=PermissionError):
                with self.assertRaisesRegex(cli.Failure, "^no permission to look at process 7: .*" +
                                            words) as caught:
                    subject.Process(7)
            self.assertEqual("try as root" in str(caught.exception), uid != 0)


class Prometheus(Test):
    def test_series_of_two_processes_in_one_folder(self):
        """As the textfile collector takes them together: no series twice, one HELP for a name."""
        path = os.path.join(self.folder, "%p.prom")
        for _ in range(2):
            code, _, err = reclaim("run", "--conf", "stats_interval_ms:3600000,stats_path:" + path, "true")
            self.assertEqual((code, err), (0, ""))
        files = os.listdir(self.folder)
        self.assertEqual(len(files), 2)
        series, helps = [], {}
        for name in files:
            with open(os.path.join(self.folder, name)) as file:
                for line in file:
                    if line.startswith("# HELP "):
                        _, _, metric, text = line.split(" ", 3)
                        self.assertEqual(helps.setdefault(metric, text), text)
                    elif not line.startswith("#"):
                        series.append(line.rsplit(" ", 1)[0])
                        self.assertIn('{pid="%s",program="true"' % name.split(".")[0], line)
        self.assertGreater(len(series), 50)
        self.assertEqual(len(series), len(set(series)))


class Purge(Test):
    def test_memory_falls(self):
        with under_library(KEEPING + ",purge_signal:SIGUSR1") as process:
            code, out, err = reclaim("purge", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            before, after = (int(number.replace(",", "")) for number in
                             re.search(r"resident ([\d,]+) kB before, ([\d,]+) kB after", out).groups())
            self.assertGreater(before - after, 50000)

    def test_a_process_that_is_stopped(self):
        with under_library(KEEPING + ",purge_signal:SIGUSR1") as process:
            os.kill(process.pid, signal.SIGSTOP)
            code, out, err = reclaim("purge", "--wait", "0.5", str(process.pid))
            os.kill(process.pid, signal.SIGCONT)
            self.assertEqual((code, out), (1, ""))
            self.one_line(err, "has not purged within 0.5 s: it is stopped")

    def test_a_process_that_takes_no_requests(self):
        with under_library(KEEPING) as process:
            code, _, err = reclaim("purge", str(process.pid))
            self.assertEqual(code, 1)
            self.one_line(err, "must be started with purge_signal")

    def test_a_program_that_has_taken_the_signal_back(self):
        for how, words in (("DFL", "back to its default"), ("IGN", "to be ignored")):
            program = "import signal; signal.signal(signal.SIGUSR1, signal.SIG_%s)\n" % how + WAITING
            with waiting(*COMMAND, "run", "--conf", KEEPING + ",purge_signal:USR1", sys.executable, "-c",
                         program) as process:
                code, out, err = reclaim("purge", str(process.pid))
                self.assertEqual((code, out), (1, ""))
                self.one_line(err, "was started with purge_signal:SIGUSR1, but the program has since set "
                                   "that signal %s" % words)

    def test_a_handler_of_the_programs_own(self):
        """It has replaced ours without chaining: the signal is taken and nothing is purged."""
        program = "import signal; signal.signal(signal.SIGUSR1, lambda *_: None)\n" + WAITING
        with waiting(*COMMAND, "run", "--conf", KEEPING + ",purge_signal:SIGUSR1", sys.executable, "-c",
                     program) as process:
            code, out, err = reclaim("purge", "--wait", "0.5", str(process.pid))
            self.assertEqual((code, out), (1, ""))
            self.one_line(err, "has not purged within 0.5 s: its stderr may say why, or the program's "
                               "own handler")

    def test_a_process_that_blocks_the_signal(self):
        program = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [10])\n" + WAITING
        with waiting(*COMMAND, "run", "--conf", KEEPING + ",purge_signal:10", sys.executable, "-c",
                     program) as process:
            code, out, err = reclaim("purge", "--wait", "0.3", str(process.pid))
            self.assertEqual((code, out), (1, ""))
            self.one_line(err, "it blocks the signal")


# Overwrites its arguments and its environment, as setproctitle does.
RETITLED = """
import ctypes
at = open("/proc/self/stat").read().rsplit(")", 1)[1].split()
begin, end = int(at[45]), int(at[48])
ctypes.memset(begin, 0, end - begin)
ctypes.memmove(begin, b"title", 5)
""" + WAITING


class Retitled(Test):
    def test_all_commands_find_the_options(self):
        path = os.path.join(self.folder, "%p.json")
        conf = KEEPING + ",purge_signal:USR1,stats_signal:USR2,stats_path:" + path
        with waiting(*COMMAND, "run", "--conf", conf, sys.executable, "-c", RETITLED) as process:
            with open("/proc/%d/environ" % process.pid, "rb") as file:
                self.assertNotIn(b"RECLAIM_CONF", file.read())
            code, out, err = reclaim("conf", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            self.assertIn("\ndirty_min:1073741824\n", out)
            self.assertIn("\nstats_signal:SIGUSR2\n", out)
            code, out, err = reclaim("stat", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            self.assertIn("\nverdict: decay pending", out)
            code, out, err = reclaim("purge", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            before, after = (int(number.replace(",", "")) for number in
                             re.search(r"resident ([\d,]+) kB before, ([\d,]+) kB after", out).groups())
            self.assertGreater(before - after, 50000)

    def test_options_of_the_programs_own(self):
        """malloc_conf is in no environment."""
        source, program = (os.path.join(self.folder, name) for name in ("own.c", "own"))
        with open(source, "w") as file:
            file.write("#include <stdio.h>\nconst char *malloc_conf = \"purge_signal:USR1,narenas:3\";\n"
                       "int main(void) { puts(\"ready\"); fflush(stdout); return getchar() == 'x'; }\n")
        try:
            subprocess.run([os.environ.get("CC", "cc"), "-rdynamic", "-o", program, source], check=True,
                           stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("no C compiler")
        with waiting(*COMMAND, "run", program) as process:
            code, out, err = reclaim("conf", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            self.assertIn("\nnarenas:3\n", out)
            code, out, err = reclaim("purge", str(process.pid))
            self.assertEqual((code, err), (0, ""))
            self.assertIn("kB after\n", out)


class Conf(Test):
    def test_of_this_environment(self):
        code, out, _ = reclaim("conf", env=dict(os.environ, RECLAIM_CONF="narenas:5"))
        self.assertEqual(code, 0)
        self.assertIn("\n  narenas:5\n", out)

    def test_of_a_process(self):
        path = os.path.join(self.folder, "%p.json")
        for conf in ("narenas:6", "narenas:6,stats_signal:USR2,stats_path:" + path):
            with under_library(conf) as process:
                code, out, err = reclaim("conf", str(process.pid))
                self.assertEqual((code, err), (0, ""))
                self.assertRegex(out, r"(?m)^ *narenas:6$")
                self.assertNotIn("as the environment", out)


class Command(Test):
    def test_help_names_every_command(self):
        code, out, _ = reclaim("--help")
        self.assertEqual(code, 0)
        for name in ("run", "stat", "purge", "conf"):
            self.assertRegex(out, r"\n    %s +\w" % name)

    def test_version(self):
        with open(os.path.join(TOP, "configure.ac")) as file:
            number = re.search(r"^AC_INIT\(\[\w+\], \[(.*?)\]", file.read(), re.M).group(1)
        self.assertEqual(reclaim("--version"), (0, "reclaim %s\n" % number, ""))

    def test_without_a_command(self):
        self.assertEqual(reclaim()[0], 2)

    def test_as_a_module(self):
        done = subprocess.run([sys.executable, "-m", "reclaim", "--help"], stdout=subprocess.PIPE,
                              env=dict(os.environ, PYTHONPATH=os.path.join(TOP, "python")))
        self.assertEqual(done.returncode, 0)

    def test_a_reader_that_leaves(self):
        process = subprocess.Popen(COMMAND + ["conf"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdout.close()
        err = process.stderr.read().decode()
        process.stderr.close()
        process.wait()
        self.assertNotIn("Traceback", err)


if __name__ == "__main__":
    signal.alarm(240)
    unittest.main(verbosity=1)
