# SPDX-License-Identifier: MIT
"""micro.py - compiles the rows of bench/rows and runs one of them under one allocator."""
import os
import shlex
import subprocess

import outside

HERE = os.path.dirname(os.path.abspath(__file__))
# In the order of tables; a new file's name goes here.
SOURCES = ("single", "many", "grow", "threads", "mixed", "scale", "latency")
SCALE = ("side ", "live ", "purge ", "among ")
# What a run takes beside the measured time, in seconds, until it is known.
GUESS = {"live 10^7": 4.0, "live 10^6": 0.8, "replace 1000000": 0.8, "purge 4 of 1024": 2.0,
         "latency waves": 2.2, "latency churn": 1.6, "among 4000": 0.8}

C_FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow"]
# no-builtin: a compiler that knows malloc removes the pairs that are to be measured.
FLAGS = ["-O2", "-g", "-fno-builtin", "-pthread"]


class BuildFault(Exception):
    """The rows cannot be compiled."""


def run_compiler(command):
    made = subprocess.run(command, stderr=subprocess.PIPE, universal_newlines=True, check=False)
    if made.returncode != 0:
        raise BuildFault("%s\n%s" % (" ".join(command), made.stderr))


def build(folder):
    """Compiles into the folder: the same code for all allocators, which come by LD_PRELOAD."""
    c_compiler = shlex.split(os.environ.get("CC", "cc"))
    cxx_compiler = shlex.split(os.environ.get("CXX", "c++"))
    os.makedirs(folder, exist_ok=True)
    harness = os.path.join(folder, "harness.o")
    run_compiler(cxx_compiler + ["-std=c++17"] + FLAGS
                 + ["-c", os.path.join(HERE, "harness.cc"), "-o", harness])
    objects = [harness]
    for name in SOURCES:
        objects.append(os.path.join(folder, name + ".o"))
        run_compiler(c_compiler + C_FLAGS + FLAGS
                     + ["-c", os.path.join(HERE, "rows", name + ".c"), "-o", objects[-1]])
    run_compiler(cxx_compiler + ["-pthread", "-o", os.path.join(folder, "rows")] + objects
                 + ["-lbenchmark", "-lpthread", "-ldl"])
    run_compiler(c_compiler + C_FLAGS + FLAGS + [os.path.join(HERE, "launch.c"), "-o",
                                                 os.path.join(folder, "launch")])


def kind_of(name):
    if name.startswith("latency "):
        return "latency"
    return "scale" if name.startswith(SCALE) else "micro"


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


class MicroRow:
    """One row of bench/rows."""

    rests = True

    def __init__(self, name, program, seconds):
        self.name, self.kind = name, kind_of(name)
        self.command = [program, name, "%g" % seconds]
        beside = [value for start, value in GUESS.items() if name.startswith(start)]
        self.guess = beside[0] if beside else 2.5 * seconds + 0.1

    @staticmethod
    def taken(told):
        found = {key: number(value) for key, value in told.items()}
        found["wall"] = found.pop("ns") / 1e9
        found["cpu"] /= 1e9
        return found

    def measure(self, allocator, env):
        ran = subprocess.run(self.command, env=allocator.environment(env), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                             universal_newlines=True, check=False)
        if ran.returncode != 0:
            raise outside.Failure("exit code %d: %s" % (ran.returncode, ran.stderr.strip()))
        return self.taken(dict(pair.split("=", 1) for pair in ran.stdout.split()[1:]))

    def begin_rest(self, allocator, env):
        """A process that is done and waits, and what it said."""
        run = outside.Run(allocator, self.command + ["--wait"], env=env, timeout=300)
        try:
            told = self.taken(run.reach("done"))
        except BaseException:
            run.__exit__()
            raise
        return run, {"start": told["start"], "peak": told["peak"]}


def rows(folder, seconds):
    program = os.path.join(folder, "rows")
    listed = subprocess.check_output([program, "--list"], universal_newlines=True)
    return [MicroRow(line.split("\t")[0], program, seconds) for line in listed.splitlines()]
