# SPDX-License-Identifier: MIT
"""pandas: group-by, join and pivot of a table with numbers and strings."""
import numpy
import pandas

import idle

ROWS = 400000


def main():
    rng = numpy.random.default_rng(5)
    names = numpy.array(["name%d" % n for n in range(5000)], dtype=object)
    table = pandas.DataFrame({"key": names[rng.integers(0, len(names), ROWS)],
                              "group": rng.integers(0, 300, ROWS),
                              "x": rng.random(ROWS), "y": rng.random(ROWS)})
    means = table.groupby("key").agg({"x": "mean", "y": "sum", "group": "nunique"})
    joined = table.merge(means, left_on="key", right_index=True, suffixes=("", "_mean"))
    joined["label"] = joined["key"] + "/" + joined["group"].astype(str)
    joined.groupby(["group", "key"])["x"].max()
    joined.sort_values(["label", "x"])


main()
idle.done()
