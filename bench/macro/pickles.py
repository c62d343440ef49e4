# SPDX-License-Identifier: MIT
"""A graph of objects pickled and read back."""
import pickle
import random

import idle


class Item:
    def __init__(self, rng, number):
        self.number, self.weight = number, rng.random()
        self.label = "item %d" % number
        self.friends = []


def main():
    rng = random.Random(4)
    items = [Item(rng, number) for number in range(40000)]
    for item in items:
        item.friends = [rng.randrange(len(items)) for _ in range(6)]
    for _ in range(6):
        items = pickle.loads(pickle.dumps(items, pickle.HIGHEST_PROTOCOL))
        plain = [(item.number, item.label, item.friends) for item in items]
        pickle.loads(pickle.dumps(plain, 2))


main()
idle.done()
