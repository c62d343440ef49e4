# SPDX-License-Identifier: MIT
"""outside.py - what can be seen of a process from outside, and which allocators there are.

Shared by the tests of this folder and by bench/curve.  Everything comes from /proc: the watched
process takes no part, so what it does is what it would do anyway.  Standard library only.
"""
import glob
import os
import re
import select
import struct
import subprocess
import sys
import tempfile
import time

PAGE = os.sysconf("SC_PAGE_SIZE")
KIB = 1024
MIB = 1024 * 1024
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))


def progress(text):
    """Shows what is being done, in one line of a terminal; an empty text takes it away."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text)
        sys.stderr.flush()


# ---- one process ---------------------------------------------------------------------------


def read_proc(pid, name):
    with open("/proc/%d/%s" % (pid, name)) as source:
        return source.read()


def rollup(pid):
    """{"Rss": bytes, "Pss": bytes, ...}: exact, but the kernel walks all pages for it."""
    found = {}
    for line in read_proc(pid, "smaps_rollup").splitlines()[1:]:
        key, _, value = line.partition(":")
        found[key] = int(value.split()[0]) * KIB
    return found


def resident(pid):
    """Resident bytes, exactly."""
    return rollup(pid)["Rss"]


def resident_quick(pid):
    """Resident bytes from the kernel's counter: costs nothing, may be off by a few pages."""
    return int(read_proc(pid, "statm").split()[1]) * PAGE


def status(pid, key):
    """A number from /proc/PID/status: VmHWM in bytes, Threads as it is."""
    value = re.search(r"^%s:\s*(\d+)( kB)?$" % key, read_proc(pid, "status"), re.M)
    return int(value.group(1)) * (KIB if value.group(2) else 1)


def forget_peak(pid):
    """VmHWM starts anew from what is resident now."""
    with open("/proc/%d/clear_refs" % pid, "w") as control:
        control.write("5")


def mappings(pid):
    """[(start, end, permissions, name)]"""
    found = []
    for line in read_proc(pid, "maps").splitlines():
        fields = line.split(None, 5)
        start, end = (int(part, 16) for part in fields[0].split("-"))
        found.append((start, end, fields[1], fields[5] if len(fields) == 6 else ""))
    return found


def is_mapped(pid, path):
    path = os.path.realpath(path)
    return any(name == path for _, _, _, name in mappings(pid))


def flagged(pid, flag):
    """[(start, end)] of the mappings whose VmFlags hold `flag`, as "hg" for MADV_HUGEPAGE."""
    found, current = [], None
    for line in read_proc(pid, "smaps").splitlines():
        span = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if span:
            current = int(span.group(1), 16), int(span.group(2), 16)
        elif line.startswith("VmFlags:") and flag in line.split()[1:]:
            found.append(current)
    return found


def tasks(pid):
    return [int(name) for name in os.listdir("/proc/%d/task" % pid)]


def switches(pid):
    """How often the process's threads have been put on a processor, all together."""
    total = 0
    for task in tasks(pid):
        text = read_proc(pid, "task/%d/status" % task)
        total += sum(int(n) for n in re.findall(r"^\w*voluntary_ctxt_switches:\s*(\d+)", text, re.M))
    return total


def family(pid):
    """The process and all its living descendants."""
    found = [pid]
    for one in found:
        try:
            for task in tasks(one):
                found += [int(n) for n in read_proc(one, "task/%d/children" % task).split()]
        except (OSError, ValueError):
            continue  # it has gone in the meantime
    return found


# ---- allocators ----------------------------------------------------------------------------

PEERS = {
    "glibc": None,
    "jemalloc": "libjemalloc.so.2",
    "mimalloc": "libmimalloc.so.2*",
    "tcmalloc": "libtcmalloc_minimal.so.4",
}


class Allocator:
    """A name and the library to preload; glibc has none."""

    def __init__(self, name, path):
        self.name, self.path = name, path

    def environment(self, base=None):
        env = dict(os.environ if base is None else base)
        env.pop("LD_PRELOAD", None)
        if self.path:
            env["LD_PRELOAD"] = self.path
        return env


def library_of_peer(name):
    for folder in ("/usr/local/lib", "/usr/local/lib64", "/usr/lib/*-linux-gnu", "/usr/lib64",
                   "/usr/lib"):
        found = sorted(glob.glob(os.path.join(folder, PEERS[name])))
        if found:
            return os.path.realpath(found[0])
    return None


def library_of_ours(given=None):
    """The path told, that of RECLAIM_SO, or the newest libreclaim.so built in this tree."""
    given = given or os.environ.get("RECLAIM_SO")
    if given:
        return os.path.realpath(given) if os.path.exists(given) else None
    found = []
    for pattern in ("src", "build*/src", "build*/*/src"):
        found += glob.glob(os.path.join(TOP, pattern, ".libs", "libreclaim.so"))
    return os.path.realpath(max(found, key=os.path.getmtime)) if found else None


def allocator(text, so=None):
    """Allocator of "jemalloc", "libreclaim", "NAME=PATH"; None when it is not there."""
    name, _, path = text.partition("=")
    if path:
        return Allocator(name, os.path.realpath(path)) if os.path.exists(path) else None
    if name in ("libreclaim", "reclaim"):
        path = library_of_ours(so)
    elif name == "glibc":
        return Allocator(name, None)
    elif name in PEERS:
        path = library_of_peer(name)
    return Allocator(name, path) if path else None


# ---- CPython -------------------------------------------------------------------------------


def pythons():
    """[(version tuple, path)] of every CPython: the system's, and those of a version manager."""
    patterns = ["/usr/bin/python3", "/usr/bin/python[23].[0-9]*", "/usr/local/bin/python[23].[0-9]*"]
    manager = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    patterns.append(os.path.join(manager, "versions", "*", "bin", "python"))
    ask = ("import sys, platform; print('%s %d %d %d' % ((platform.python_implementation(),)"
           " + tuple(sys.version_info[:3])))")
    found = {}
    for pattern in patterns:
        for path in sorted(glob.glob(pattern)):
            real = os.path.realpath(path)
            if real in found or not re.match(r"python[\d.]*$", os.path.basename(real)):
                continue
            try:
                said = subprocess.check_output([path, "-c", ask], stderr=subprocess.DEVNULL,
                                               env=Allocator("glibc", None).environment())
            except (OSError, subprocess.CalledProcessError):
                continue
            words = said.decode().split()
            if words[0] == "CPython":
                found[real] = (tuple(int(n) for n in words[1:4]), path)
    return sorted(found.values())


# ---- a program that stops at named points ----------------------------------------------------


class Failure(Exception):
    """A watched program did not do what it should."""


class Run:
    """A program that writes the name of a point to stdout and goes on at a byte on stdin."""

    def __init__(self, allocator, command, env=None, timeout=120):
        self.allocator, self.timeout = allocator, timeout
        self.errors = tempfile.TemporaryFile()
        self.pending = b""
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            env=allocator.environment(env), bufsize=0)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()

    def complaint(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()

    def line(self):
        """The next line of output, None at its end."""
        end = time.monotonic() + self.timeout
        while b"\n" not in self.pending:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failure("no answer in %d s: it hangs" % self.timeout)
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                return None
            self.pending += got
        line, _, self.pending = self.pending.partition(b"\n")
        return line.decode()

    def reach(self, name):
        """Waits for the point `name`; returns the key=value pairs that came with it."""
        line = self.line()
        if line is None:
            self.process.wait()
            raise Failure("ended (exit code %s) before \"%s\": %s"
                          % (self.process.returncode, name, self.complaint()))
        if line.split()[0] != name and not line.startswith(name + " "):
            raise Failure("said \"%s\" where \"%s\" was due" % (line, name))
        if self.allocator.path and not is_mapped(self.pid, self.allocator.path):
            raise Failure("%s is not in the process: nothing would be tested" % self.allocator.path)
        return dict(pair.split("=", 1) for pair in line.split() if "=" in pair)

    def go(self, answer=b"\n"):
        self.process.stdin.write(answer)

    def go_to(self, name):
        self.go()
        return self.reach(name)

    def finish(self, code=0):
        """Lets the program end, and makes sure that it ended well."""
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            self.process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            raise Failure("does not end: it hangs")
        if self.process.returncode != code:
            raise Failure("exit code %s: %s" % (self.process.returncode, self.complaint()))


# ---- the report of a test program (see report.h) ---------------------------------------------


class Report:
    """The table of live blocks that a test program keeps in a file."""

    MAGIC = 0x4d49414c434552
    HEAD = struct.Struct("<QQQ")

    def __init__(self):
        handle, self.path = tempfile.mkstemp(prefix="reclaim-report-")
        os.close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.unlink(self.path)

    def read(self):
        """(bytes of the program's own, [(address, size)] of the live blocks)"""
        with open(self.path, "rb") as source:
            data = source.read()
        magic, capacity, own = self.HEAD.unpack_from(data)
        if magic != self.MAGIC:
            raise Failure("the report is not one")
        words = memoryview(data)[self.HEAD.size:self.HEAD.size + capacity * 16].cast("Q")
        blocks = [(addr, size) for addr, size in zip(words[0::2], words[1::2]) if addr]
        return own, blocks


def live_pages(blocks, page=PAGE):
    """How many pages hold at least one byte of a block."""
    pages = set()
    for addr, size in blocks:
        pages.update(range(addr // page, (addr + max(size, 1) - 1) // page + 1))
    return len(pages)
