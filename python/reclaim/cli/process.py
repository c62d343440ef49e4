# SPDX-License-Identifier: MIT
"""A running process as /proc shows it, and what of libreclaim can be reached in it."""
import contextlib
import mmap
import os
import re
import signal
import stat
import subprocess
import time

from reclaim.cli import Failure, record

MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ [-rwxsp]{4} [0-9a-f]+ \S+ \d+\s*(.*)$")
REPORT_MOST = 1 << 26  # characters of a report file
MARK = b"libreclaim meta\0"  # what meta.c calls its mappings
WITHOUT_RIGHT = "root too needs CAP_SYS_PTRACE for that, which many containers withhold"
LIBRARY = re.compile(r"/libreclaim\.so[.0-9]*( \(deleted\))?$")


def pid_of(text):
    if not re.match(r"^[1-9][0-9]*$", text):
        raise Failure("%s is no process id" % text, 2)
    return int(text)


class Process:
    """Failure where there is none, or where this user may not look at it."""

    def __init__(self, pid):
        self.pid = pid
        self.name = self.read("comm").strip()
        self.inner = self.inner_pid()
        if not self.read("smaps_rollup", quiet=True) and self.field("VmRSS") is None:
            raise Failure("process %d (%s) has ended or has no memory of its own"
                          % (pid, self.name))
        self.library = None
        named = False
        maps = self.read("maps")
        for line in maps.splitlines():
            where = MAPPING.match(line)
            if where and LIBRARY.search(where.group(1)):
                self.library = where.group(1)
            named = named or (where is not None and where.group(1).startswith("[anon:libreclaim"))
        if self.library is None and not named and not self.carries_it():
            raise Failure("process %d (%s) does not run under libreclaim: the library is not in it "
                          "(start it with `reclaim run`)" % (pid, self.name))
        self.conf, self.conf_source = self.read_conf(maps)

    def carries_it(self):
        """Whether its program was linked with reclaim.o."""
        try:
            with open("/proc/%d/exe" % self.pid, "rb") as file, \
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as program:
                return program.find(MARK) >= 0
        except (OSError, ValueError):
            return False

    def read(self, name, quiet=False):
        try:
            with open("/proc/%d/%s" % (self.pid, name), "rb") as file:
                return file.read().decode(errors="surrogateescape")
        except (FileNotFoundError, ProcessLookupError):
            if quiet:
                return ""
            raise Failure("no process has the id %d" % self.pid) from None
        except PermissionError:
            if quiet:
                return ""
            raise Failure("no permission to look at process %d: %s" % (
                self.pid, "it is another user's (try as root)" if os.geteuid() != 0 else
                WITHOUT_RIGHT)) from None

    def field(self, key, name="status"):
        """The value of a line `Key: value`, without the unit; None: there is no such line."""
        match = re.search(r"^%s:\s*(\S+)" % key, self.read(name, quiet=True), re.M)
        return match.group(1) if match else None

    def environment(self):
        return dict(entry.split("=", 1)
                    for entry in self.read("environ").split("\0") if "=" in entry)

    def read_conf(self, maps):
        """Its options, {name: text}, and from where: "memory" (all of them), "environment" (as far as
        that at its start tells), or None: nothing tells."""
        try:
            program = os.readlink("/proc/%d/exe" % self.pid)
        except OSError:
            program = ""
        self.record = record.read(self.pid, maps, self.library or program)
        if self.record is not None:
            return self.record.options, "memory"
        conf = {}
        environment = self.environment()
        for variable in ("MALLOC_CONF", "RECLAIM_CONF"):
            for pair in environment.get(variable, "").split(","):
                if ":" in pair:
                    name, value = pair.split(":", 1)
                    conf[name.strip()] = value.strip()
        return conf, "environment" if conf else None

    def purges(self):
        """How many purges that were asked for it has done; None: that cannot be read."""
        now = record.again(self.pid, self.record.address) if self.record is not None else None
        return now.purges if now is not None else None

    def unsure(self):
        """What to say beside an answer that rests on options that nothing tells, or None."""
        if self.conf_source is not None:
            return None
        return ("does not tell its options: its environment names none, and the record of them in its "
                "memory cannot be read (%s; an older library has none)"
                % ("try as root" if os.geteuid() != 0 else WITHOUT_RIGHT))

    # ---- asking it by a signal ---------------------------------------------------------------

    def signal_for(self, option):
        """The number of the signal it answers to; None: it does not.  Never one that it does not
        catch: most signals would end it."""
        number = signal_number(self.conf.get(option, "none"))
        return number if number is not None and self.has_signal("SigCgt", number) else None

    def has_signal(self, key, number):
        """Whether the signal is in this set of /proc/PID/status."""
        text = self.field(key)
        return text is not None and int(text, 16) >> (number - 1) & 1 != 0

    def taken_back(self, option):
        """Why it does not answer to the signal that it was started with, in a few words; None: it does,
        or was started without."""
        number = signal_number(self.conf.get(option, "none"))
        if number is None or self.signal_for(option) is not None:
            return None
        return "was started with %s:%s, but the program has since set that signal %s" % (
            option, self.conf[option],
            "to be ignored" if self.has_signal("SigIgn", number) else "back to its default")

    def send(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            raise Failure("no process has the id %d" % self.pid) from None
        except PermissionError:
            raise Failure("no permission to send process %d a signal" % self.pid) from None

    def has_pending(self, number):
        """Has the signal been sent and not been taken yet?  False too when the process has ended."""
        return self.has_signal("SigPnd", number) or self.has_signal("ShdPnd", number)

    def has_ended(self):
        """Its main thread may end before the others."""
        state = self.field("State")
        return state is None or state in "ZX" and self.field("Threads") in (None, "0", "1")

    def why_silent(self, number):
        """What is known of why it does not answer to a signal, in a few words."""
        if self.has_ended():
            return "it has ended"
        state = self.field("State") or "X"
        if state in "Tt":
            return "it is stopped; it will answer when it goes on"
        if state == "D":
            return "it waits in the kernel"
        if self.has_signal("SigBlk", number):
            return "it blocks the signal; it will answer when it no longer does"
        return ("its stderr may say why, or the program's own handler has taken the place of "
                "libreclaim's")

    def stats_path(self):
        """Its report file; None: it has none, and reports go to its stderr."""
        path = self.conf.get("stats_path")
        if not path:
            return None
        path = path.replace("%p", self.inner)
        # As the process sees the file system, which may be a container's.
        root = "/proc/%d/root" % self.pid
        if not path.startswith("/"):
            return os.path.join("/proc/%d/cwd" % self.pid, path)
        return root + path if os.path.exists(root + "/") else path

    def inner_pid(self):
        """Its id in its own pid namespace, which is the one it knows."""
        match = re.search(r"^NSpid:\s*(.*)$", self.read("status", quiet=True), re.M)
        return match.group(1).split()[-1] if match else str(self.pid)

    def fresh_report(self, seconds):
        """Ask for a report and wait for it: its text.  None: it does not answer to a signal."""
        number = self.signal_for("stats_signal")
        path = self.stats_path()
        if number is None or path is None:
            return None
        with folder_of(path) as folder:
            before = identity(path, folder)
            self.send(number)
            end = time.monotonic() + seconds
            while True:
                # What it writes at its end is there when it has ended.
                over = "" if self.has_ended() else " within %g s" % seconds
                if identity(path, folder) not in (None, before):
                    return read_file(path, folder)
                if not over or time.monotonic() >= end:
                    break
                time.sleep(0.01)
        raise Failure("process %d (%s) has been asked by signal %d and has not written %s%s: %s"
                      % (self.pid, self.name, number, self.conf["stats_path"].replace("%p", self.inner),
                         over, self.why_silent(number) if over else "it has ended"))

    def age(self):
        """Seconds since its start."""
        ticks = int(self.read("stat").rsplit(")", 1)[1].split()[19])
        with open("/proc/uptime") as file:
            return float(file.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")

    def rss(self):
        """Resident bytes, exactly where the kernel tells."""
        text = self.field("Rss", "smaps_rollup") or self.field("VmRSS") or "0"
        return int(text) * 1024


def signal_number(text):
    if re.match(r"^\d+$", text):
        return int(text) or None
    name = text if text.startswith("SIG") else "SIG" + text
    match = re.match(r"^SIGRTMIN(?:\+(\d+))?$", name)
    if match:
        return int(signal.SIGRTMIN) + int(match.group(1) or 0)
    return int(getattr(signal, name)) if hasattr(signal, name) else None


@contextlib.contextmanager
def folder_of(path):
    """The folder of a file, held open: a path through /proc/PID ends with the process.  None: it cannot
    be."""
    try:
        folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        folder = None
    try:
        yield folder
    finally:
        if folder is not None:
            os.close(folder)


def inside(path, folder):
    """The path as seen from the folder that is held, if one is."""
    return path if folder is None else os.path.basename(path)


def identity(path, folder=None):
    """Changes whenever the file is replaced."""
    try:
        status = os.stat(inside(path, folder), dir_fd=folder)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_file(path, folder=None):
    try:
        # A pipe in its place, which anybody may have put there, must not be waited for.
        number = os.open(inside(path, folder), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with open(number, encoding="utf-8", errors="replace") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise Failure("%s: not a regular file" % path)
            return file.read(REPORT_MOST)
    except OSError as error:
        raise Failure("%s: %s" % (path, error.strerror)) from None


def listed_options(so, environment):
    """The options that a program with this environment would have, as the library lists them."""
    keep = ("MALLOC_CONF", "RECLAIM_CONF")
    clean = {name: value for name, value in environment.items() if name in keep}
    clean["RECLAIM_CONF"] = ",".join(
        part for part in (clean.get("RECLAIM_CONF"), "confirm_conf:true") if part)
    clean["LD_PRELOAD"] = so
    clean["PATH"] = os.defpath
    try:
        done = subprocess.run(["true"], env=clean, stderr=subprocess.PIPE, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure("%s cannot be tried out: %s" % (so, error)) from None
    return done.stderr.decode(errors="replace")
