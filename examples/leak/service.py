# SPDX-License-Identifier: MIT
"""service.py - takes messages, one in five of them broken; the extension leaky leaks each broken one.

tracemalloc sees nothing of it: the memory is not Python's.
"""
import sys

import leaky

MESSAGES = 30000


def messages():
    for number in range(MESSAGES):
        text = "message %d: " % number + "x" * (number * 7919 % 40000)
        yield text + "\0" if number % 5 == 0 else text


def handle(message):
    try:
        return leaky.checksum(message)
    except ValueError:
        return None


def main():
    good = sum(handle(message) is not None for message in messages())
    print("%d of %d messages are good" % (good, MESSAGES), file=sys.stderr)


main()
