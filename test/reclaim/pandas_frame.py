# SPDX-License-Identifier: MIT
"""pandas_frame.py CSV - reads a CSV with pandas, groups it, drops the frame.

CPython's own allocator for small objects (pymalloc) has arenas of its own, which it maps itself;
malloc never sees them.  How many it holds is told on the line of the stop, from the interpreter's
own statistics, so that the driver can show them apart.

Stops: start (pandas is imported), live, freed.
"""
import gc
import os
import re
import sys
import tempfile

import pandas


def pymalloc_bytes():
    """What pymalloc's arenas take at most; 0 when it is switched off."""
    with tempfile.TemporaryFile() as out:
        saved = os.dup(2)
        os.dup2(out.fileno(), 2)
        try:
            sys._debugmallocstats()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        out.seek(0)
        found = re.search(rb"(\d+) arenas \* (\d+) bytes/arena", out.read())
    return int(found.group(1)) * int(found.group(2)) if found else 0


def stop(name):
    os.write(1, b"%s pymalloc=%d\n" % (name, pymalloc_bytes()))
    if not os.read(0, 1):
        os._exit(2)


gc.collect()
stop(b"start")
frame = pandas.read_csv(sys.argv[1])
groups = frame.groupby("key").agg({"x": "sum", "y": "mean", "n": "max"})
if len(groups) != 1000 or int(groups["n"].max()) != len(frame) - 1:
    sys.exit("the groups are wrong")
stop(b"live")
del frame, groups
gc.collect()
stop(b"freed")
