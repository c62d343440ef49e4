# SPDX-License-Identifier: MIT
"""reclaim run [--conf TEXT] [--check] [--plot FILE] [--csv FILE] PROGRAM [ARGUMENT...]"""
import argparse
import os

from reclaim.cli import Failure, library, plot

DESCRIPTION = """Run a program under libreclaim. It takes the place of this command: its output,
its exit code and the signals it gets are its own. What it starts runs under libreclaim too. With
--plot or --csv this command stays, looks at the program from outside, and passes its exit code on."""


def add(commands):
    parser = commands.add_parser("run", help="run a program under libreclaim",
                                 description=DESCRIPTION)
    parser.add_argument("--conf", metavar="TEXT", action="append", default=[],
                        help="options, like dirty_decay_ms:500,narenas:2; added to RECLAIM_CONF")
    parser.add_argument("--check", action="store_true",
                        help="have the program say on stderr, before it begins, whether the malloc "
                        "it calls is libreclaim's")
    parser.add_argument("--lib", metavar="FILE", help="another libreclaim.so")
    parser.add_argument("--plot", metavar="FILE",
                        help="draw resident, live and dirty bytes over time, children included: a .png, "
                             ".svg or .pdf (needs matplotlib)")
    parser.add_argument("--csv", metavar="FILE", help="the same as a table")
    parser.add_argument("--interval", metavar="SECONDS", type=float, default=0.1,
                        help="how often to look, with --plot and --csv (default 0.1)")
    parser.add_argument("program", metavar="PROGRAM")
    rest = parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER)
    rest.required = False  # older versions name it among what is missing
    parser.set_defaults(run=run)


def joined(separator, *parts):
    return separator.join(part for part in parts if part)


def prepare(options):
    """The path of the program, its arguments, its environment."""
    so = library.find(options)
    path = library.check_program(options.program, so)
    environment = dict(os.environ)
    # First, or another preloaded malloc would win.
    others = [name for name in environment.get("LD_PRELOAD", "").replace(":", " ").split()
              if os.path.basename(name) != library.NAME]
    environment["LD_PRELOAD"] = ":".join([so] + others)
    conf = joined(",", environment.get("RECLAIM_CONF", ""), *options.conf)
    # `import reclaim` in a Python program: the module lies beside this one, which is no folder where
    # Python looks by itself.  Behind what the user has put there.
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    folders = environment.get("PYTHONPATH", "")
    if package not in folders.split(os.pathsep):
        environment["PYTHONPATH"] = joined(os.pathsep, folders, package)
    if options.check:
        # The process keeps its id, and only the process with that id speaks.
        conf = joined(",", conf, "announce:%d" % os.getpid())
    if conf:
        environment["RECLAIM_CONF"] = conf
    return path, [options.program] + options.arguments, environment


def run(options):
    path, command, environment = prepare(options)
    if options.plot or options.csv:
        return plot.run(options, path, command, environment)
    try:
        os.execve(path, command, environment)
    except OSError as error:
        raise Failure("%s: %s" % (path, error.strerror), 126)
