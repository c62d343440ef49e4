# SPDX-License-Identifier: MIT
"""reclaim conf [PID]"""
import json
import os

from reclaim.cli import Failure, duration, library, process

DESCRIPTION = """The options in effect: for a program started from here, or for a running process. A
process keeps a record of them in its memory, which is read. Where it may not be (another user's
process, or the system forbids it), one that writes JSON reports is asked; else the environment it was
started with is taken, and the library lists what follows from that."""


def add(commands):
    parser = commands.add_parser("conf", help="the options in effect", description=DESCRIPTION)
    parser.add_argument("--lib", metavar="FILE", help="another libreclaim.so")
    parser.add_argument("--wait", metavar="SECONDS", type=duration, default=5,
                        help="how long to wait for the answer of a process (default 5)")
    parser.add_argument("pid", metavar="PID", nargs="?")
    parser.set_defaults(run=run)


def from_report(subject, seconds):
    """The options of a report in JSON, or None."""
    text = subject.fresh_report(seconds)
    try:
        return json.loads(text)["libreclaim"]["options"] if text else None
    except (ValueError, KeyError):
        return None


def written(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def run(options):
    if options.pid is None:
        text = process.listed_options(library.find(options), os.environ)
    else:
        subject = process.Process(process.pid_of(options.pid))
        if subject.conf_source == "memory":
            for name, value in subject.conf.items():
                print("%s:%s" % (name, value))
            return 0
        answer = from_report(subject, options.wait)
        if answer is not None:
            for name, value in answer.items():
                print("%s:%s" % (name, written(value)))
            return 0
        so = getattr(options, "lib", None) or subject.library
        if so is None or not os.path.exists(so):
            so = library.find(options)
        if subject.unsure():
            raise Failure("process %d (%s) %s" % (subject.pid, subject.name, subject.unsure()))
        print("as the environment at its start says:")
        text = process.listed_options(so, subject.environment())
    if not text.strip():
        raise Failure("the library says nothing: it was not loaded, or is older than this tool")
    print(text, end="")
    return 0
