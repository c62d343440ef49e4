# SPDX-License-Identifier: MIT
"""Words of a text counted by a regular expression and a dict, and sorted by how often they come."""
import random
import re

import idle

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def main():
    rng = random.Random(3)
    vocabulary = ["".join(rng.choices(LETTERS, k=rng.randrange(2, 14))) for _ in range(60000)]
    for _ in range(3):
        text = " ".join(rng.choices(vocabulary, k=250000))
        counts, positions = {}, {}
        for match in re.finditer(r"\w+", text):
            word = match.group()
            counts[word] = counts.get(word, 0) + 1
            positions.setdefault(word, []).append(match.start())
        sorted(counts.items(), key=lambda item: (-item[1], item[0]))


main()
idle.done()
