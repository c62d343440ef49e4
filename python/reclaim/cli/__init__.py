# SPDX-License-Identifier: MIT
"""The command-line tool.  A sub-command is a module of this package, named in COMMANDS:

    add(commands)       make its parser with commands.add_parser(...) and set the default `run`
    the default `run`   called with the parsed arguments; the exit code is what it returns

A module raises Failure for whatever the user must know: it becomes one line on stderr.
"""
import argparse
import importlib
import os
import re
import sys

# In the order of --help.
COMMANDS = ["run", "stat", "purge", "conf", "prof"]

# `make install` writes the number; in the source tree it stands in configure.ac.
VERSION = ""

DESCRIPTION = "Run programs under libreclaim, see where their memory is, have it returned."


class Failure(Exception):
    """One line for the user, and the exit code."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


def duration(text):
    """An argument: a time to wait."""
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("%s is no time to wait, in seconds" % text)
    return value


def version():
    if VERSION:
        return VERSION
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
    with open(os.path.join(top, "configure.ac"), encoding="utf-8") as file:
        return re.search(r"^AC_INIT\(\[libreclaim\], \[(.*?)\]\)", file.read(), re.M).group(1)


class PrintVersion(argparse.Action):
    """Looks it up only when it is asked for."""

    def __call__(self, parser, *_):
        print("reclaim " + version())
        parser.exit()


def make_parser():
    parser = argparse.ArgumentParser(prog="reclaim", description=DESCRIPTION)
    parser.add_argument("--version", action=PrintVersion, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    commands.required = True
    for name in COMMANDS:
        importlib.import_module("reclaim.cli." + name).add(commands)
    return parser


def main(arguments=None, library_folder=""):
    """The exit code."""
    options = make_parser().parse_args(arguments)
    options.library_folder = library_folder
    try:
        code = options.run(options)
        sys.stdout.flush()
        return code
    except Failure as failure:
        print("reclaim: %s" % failure, file=sys.stderr)
        return failure.code
    except BrokenPipeError:
        # Whoever read has seen enough; keep the interpreter from complaining at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130
