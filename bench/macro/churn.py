# SPDX-License-Identifier: MIT
"""Object churn: lists, tuples, dicts and strings of all sizes that live for a while."""
import random

import idle

KEEP = 20000


def make(rng, number):
    kind = number % 5
    if kind == 0:
        return [number] * rng.randrange(1, 200)
    if kind == 1:
        return {n: str(n) for n in range(rng.randrange(1, 30))}
    if kind == 2:
        return "x" * rng.randrange(1, 4000)
    if kind == 3:
        return tuple(range(rng.randrange(1, 100)))
    return {rng.random() for _ in range(rng.randrange(1, 20))}


def main():
    rng = random.Random(1)
    kept = [None] * KEEP
    for number in range(300000):
        kept[rng.randrange(KEEP)] = make(rng, number)
    kept.clear()


main()
idle.done()
