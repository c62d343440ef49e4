# SPDX-License-Identifier: MIT
"""idle.py - how a program of this folder ends.

With BENCH_WAIT in the environment it says "done" and waits for a line, so that what is resident while
it is idle can be looked at; without, it ends.
"""
import os
import sys


def done():
    if os.environ.get("BENCH_WAIT"):
        print("done", flush=True)
        sys.stdin.readline()
