# SPDX-License-Identifier: MIT
"""macro.py - whole programs as rows: CPython, lua, sqlite3, node, pandas, redis, gcc, make.

Wall time, CPU time of all processes and the biggest process's peak come from launch.c.  Programs that
can wait at their end are also run once to be looked at while they are idle.
"""
import os
import shutil
import socket
import subprocess
import sys
import time

import outside

HERE = os.path.dirname(os.path.abspath(__file__))
MACRO = os.path.join(HERE, "macro")
sys.path.insert(0, MACRO)

import generate  # noqa: E402

SCRIPTS = ("churn", "json", "classes", "strings", "words", "pickle")
SCRIPT_FILES = {"json": "jsons", "pickle": "pickles"}
PYMALLOC, MALLOC = " (pymalloc)", " (malloc)"
REDIS_REQUESTS = 200000
REDIS_COMMON = ["-q", "-P", "16", "-r", "100000", "-c", "20"]
REDIS_LOADS = (["-t", "set,get", "-d", "300"], ["-t", "lpush,lpop,sadd,hset,zadd", "-d", "40"])
OTHER_ALLOCATORS = ("jemalloc", "mimalloc", "tcmalloc")


def system_python():
    """CPython 3.11 where it is, since that is what the row's name promises; else what there is."""
    for path in ("/usr/bin/python3.11", "/usr/local/bin/python3.11", "/usr/bin/python3"):
        if os.path.exists(path):
            return path
    return shutil.which("python3")


def libc_path():
    """The C library that this process has."""
    for _, _, _, name in outside.mappings(os.getpid()):
        if os.path.basename(name).startswith("libc.so") or "/libc-2" in name:
            return name
    return None


def brings_an_allocator(program):
    """Whether it is linked with one, as Debian's redis-server is."""
    try:
        said = subprocess.check_output(["ldd", program], universal_newlines=True,
                                       stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return False
    return any(name in said for name in OTHER_ALLOCATORS)


def library_for(allocator, program):
    """What to preload; glibc's malloc needs libc itself before a library that replaces it."""
    if allocator.path is None and brings_an_allocator(program):
        return libc_path()
    return allocator.path


class Launched:
    """launch.c around a program, for one run."""

    def __init__(self, launcher, library, command, env, source=None):
        self.command = [launcher] + (["-p", library] if library else [])
        self.command += (["-i", source] if source else []) + command
        self.process = subprocess.Popen(self.command, env=env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        universal_newlines=True)

    def result(self, timeout=600):
        try:
            said, complaints = self.process.communicate(timeout=timeout)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        words = dict(pair.split("=") for pair in said.split()[1:])
        if not words or words["code"] != "0":
            raise outside.Failure("%s: %s" % (" ".join(self.command), complaints.strip()))
        return {"wall": int(words["wall"]) / 1e9, "cpu": int(words["cpu"]) / 1e9,
                "peak": int(words["maxrss"]), "faults": int(words["minor"]),
                "switches": int(words["switches"])}


class ProgramRow:
    """A program that runs to its end."""

    kind = "macro"

    def __init__(self, name, folder, command, env=None, guess=1.5, source=None, rests=False):
        self.name, self.command, self.env, self.guess = name, command, env or {}, guess
        self.launcher = os.path.join(folder, "launch")
        self.source, self.rests = source, rests

    def measure(self, allocator, env):
        library = library_for(allocator, self.command[0])
        return Launched(self.launcher, library, self.command, dict(env, **self.env),
                        self.source).result()

    def begin_rest(self, allocator, env):
        run = outside.Run(allocator, self.command, env=dict(env, BENCH_WAIT="1", **self.env))
        try:
            start = outside.resident(run.pid)
            if self.source:
                with open(self.source, "rb") as text:
                    run.process.stdin.write(text.read() + b"\n.shell echo done\n")
            run.reach("done")
            peak = outside.status(run.pid, "VmHWM")
        except BaseException:
            run.__exit__()
            raise
        return run, {"start": start, "peak": peak}


# ---- redis -------------------------------------------------------------------------------------


def redis_program(work):
    """
    The server.  Debian has it in redis-tools under another name too, and a package that would start
    a service is not needed for it.
    """
    server, other = shutil.which("redis-server"), shutil.which("redis-check-rdb")
    if server is None and other is not None:
        server = os.path.join(work, "redis-server")
        if not os.path.exists(server):
            os.symlink(other, server)
    return server


class Server:
    """A redis-server of ours on a socket in a folder of its own; nobody else can reach it."""

    def __init__(self, program, launcher, library, env, folder):
        self.address = os.path.join(folder, "redis.sock")
        if os.path.exists(self.address):
            os.unlink(self.address)
        self.launched = Launched(launcher, library, [
            program, "--port", "0", "--unixsocket", self.address, "--dir", folder,
            "--save", "", "--appendonly", "no"], env)
        self.connection = None
        end = time.monotonic() + 20
        while self.connection is None:
            try:
                link = socket.socket(socket.AF_UNIX)
                link.connect(self.address)
                self.connection = link
            except OSError:
                link.close()
                if time.monotonic() > end or self.launched.process.poll() is not None:
                    self.launched.process.kill()
                    raise outside.Failure("redis-server does not start")
                time.sleep(0.01)
        self.connection.settimeout(30)
        self.pid = int(self.info("process_id"))

    def say(self, line, until=b"\r\n"):
        self.connection.sendall(line.encode() + b"\r\n")
        got = b""
        while until not in got:
            part = self.connection.recv(65536)
            if not part:
                break
            got += part
        return got

    def info(self, key):
        text = self.say("INFO server", b"executable:").decode(errors="replace")
        return next(line.split(":")[1] for line in text.splitlines() if line.startswith(key + ":"))

    def stop(self):
        try:
            self.say("SHUTDOWN NOSAVE")
        except OSError:
            pass
        self.connection.close()
        return self.launched.result(60)


class Resting:
    """A server that is idle, with the same verbs as outside.Run."""

    def __init__(self, server):
        self.server, self.pid = server, server.pid

    def go(self):
        pass

    def finish(self):
        self.server.stop()

    def __exit__(self, *_):
        self.server.launched.process.kill()


class RedisRow:
    """redis-benchmark's time for its requests; CPU time and memory are the server's."""

    name, kind, guess, rests = "redis-server", "macro", 2.5, True

    def __init__(self, folder, work):
        self.launcher, self.work = os.path.join(folder, "launch"), work
        self.program = redis_program(work)

    def load(self, address):
        begun = time.monotonic()
        for options in REDIS_LOADS:
            subprocess.run(["redis-benchmark", "-s", address, "-n", str(REDIS_REQUESTS)]
                           + REDIS_COMMON + options, stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - begun

    def start(self, allocator, env):
        library = library_for(allocator, self.program)
        server = Server(self.program, self.launcher, library, env, self.work)
        if library and not outside.is_mapped(server.pid, library):
            server.stop()
            raise outside.Failure("redis-server runs without %s" % library)
        return server

    def measure(self, allocator, env):
        server = self.start(allocator, env)
        try:
            wall = self.load(server.address)
        finally:
            found = server.stop()
        tests = sum(len(options[1].split(",")) for options in REDIS_LOADS)
        found.update(wall=wall, requests_per_second=REDIS_REQUESTS * tests / wall)
        return found

    def begin_rest(self, allocator, env):
        server = self.start(allocator, env)
        try:
            start = outside.resident(server.pid)
            self.load(server.address)
            peak = outside.status(server.pid, "VmHWM")
            server.say("FLUSHALL")
        except BaseException:
            server.launched.process.kill()
            raise
        # The next server must not find the name taken.
        os.unlink(server.address)
        return Resting(server), {"start": start, "peak": peak}


# ---- the list ----------------------------------------------------------------------------------


def python_rows(folder):
    python = system_python()
    if not python:
        return
    common = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    for suffix, setting in ((PYMALLOC, "default"), (MALLOC, "malloc")):
        for script in SCRIPTS:
            path = os.path.join(MACRO, SCRIPT_FILES.get(script, script) + ".py")
            yield ProgramRow("python " + script + suffix, folder, [python, "-s", path],
                             dict(common, PYTHONMALLOC=setting), 1.0, rests=True)


def write(path, text):
    with open(path, "w") as out:
        out.write(text)
    return path


def compiler_rows(folder, work):
    if shutil.which("gcc"):
        source = write(os.path.join(work, "large.c"), generate.c_source(1, 200))
        yield ProgramRow("gcc -O2", folder, ["gcc", "-O2", "-c", source, "-o",
                                             os.path.join(work, "large.o")], guess=2.2)
    if shutil.which("gcc") and shutil.which("make"):
        parts = os.path.join(work, "parts")
        os.makedirs(parts, exist_ok=True)
        for number in range(8):
            write(os.path.join(parts, "part%d.c" % number), generate.c_source(10 + number, 40))
        write(os.path.join(parts, "Makefile"), generate.makefile(8, "gcc"))
        yield ProgramRow("make -j2", folder, ["make", "-s", "-B", "-j2", "-C", parts], guess=2.0)


def rows(folder, work):
    """[row], [what is missing]; `work` is for the files that rows need."""
    os.makedirs(work, exist_ok=True)
    found, missing = list(python_rows(folder)), []

    def add(program, make):
        if shutil.which(program):
            found.append(make())
        else:
            missing.append(program)

    add("lua5.4", lambda: ProgramRow(
        "lua", folder, ["lua5.4", os.path.join(MACRO, "work.lua")], rests=True))
    add("sqlite3", lambda: ProgramRow(
        "sqlite3", folder, ["sqlite3", "-batch", ":memory:"], guess=1.0,
        source=os.path.join(MACRO, "work.sql"), rests=True))
    add("node", lambda: ProgramRow(
        "node", folder, ["node", os.path.join(MACRO, "work.js")], rests=True))
    add("redis-benchmark", lambda: RedisRow(folder, work))
    python = system_python()
    if python and subprocess.run([python, "-c", "import pandas"], stderr=subprocess.DEVNULL,
                                 check=False).returncode == 0:
        found.append(ProgramRow("pandas group-by", folder,
                                [python, "-s", os.path.join(MACRO, "frames.py")],
                                {"PYTHONDONTWRITEBYTECODE": "1"}, 2.0, rests=True))
    else:
        missing.append("pandas")
    found += list(compiler_rows(folder, work))
    return found, missing
