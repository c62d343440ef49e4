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


def complain(text):
    """A line on stderr, whatever names stand in it.  Where stderr cannot be written, silence: the exit
    code is what counts then."""
    line = "".join(char if char.isprintable() else "?" for char in text)
    try:
        print("reclaim: " + line, file=sys.stderr, flush=True)
    except OSError:
        drop_output(2)
    except ValueError:  # closed
        pass


def drop_output(descriptor=1):
    """What is still to be written there goes nowhere, or the interpreter would complain of it at its end
    and end with a code of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


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
    try:
        try:
            options = make_parser().parse_args(arguments)
            options.library_folder = library_folder
            code = options.run(options)
        except SystemExit as end:  # --help and --version have been printed, or it was misused
            code = end.code
        if sys.stdout is not None:  # None: it was closed when this began
            sys.stdout.flush()
        return code
    except Failure as failure:
        complain(str(failure))
        return failure.code
    except BrokenPipeError:
        drop_output()  # whoever read has seen enough
        return 1
    except OSError as error:
        # An error that names no file is one of printing: a full disk, for one.
        complain("%s: %s" % (error.filename or "standard output", error.strerror or error))
        drop_output()
        return 1
    except KeyboardInterrupt:
        return 130
