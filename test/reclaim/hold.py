# SPDX-License-Identifier: MIT
"""hold.py SCRIPT [ARGUMENT...] - runs a Python script that stops in input() at each step it shows.

The examples write one line per step with os.write.  Here each such line is followed by input(),
as if a person sat before the program: while it waits there the driver looks at it from outside.
Runs on every CPython from 2.7 on; makes a step one word, as the driver wants it ("after-del").
"""
import os
import sys

write = os.write
wait = input if sys.version_info[0] > 2 else raw_input  # noqa: F821


def write_and_wait(fd, data):
    write(fd, b"-".join(data.split()[:-2]) + b" " + data)
    wait()
    return len(data)


os.write = write_and_wait
del sys.argv[0]
with open(sys.argv[0]) as source:
    program = compile(source.read(), sys.argv[0], "exec")
exec(program, {"__name__": "__main__"})
