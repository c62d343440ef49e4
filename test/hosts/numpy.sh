#!/bin/sh
# SPDX-License-Identifier: MIT
#
# numpy and pandas read a CSV that is made here and group it; once with Python's own allocator
# above ours, once with every object from ours.
. "$(dirname "$0")/lib.sh"

python=/usr/bin/python3
if ! "$python" -c 'import numpy, pandas' 2>/dev/null; then
    skips numpy 'python3-numpy or python3-pandas is not installed'
    exit 0
fi

awk 'BEGIN {
    print "id,group,name,value,weight,day"
    x = 42
    for (i = 0; i < 250000; i++) {
        x = (x * 16807) % 2147483647
        printf "%d,g%d,name %d,%.3f,%d,2024-%02d-%02d\n", i, x % 331, x % 5003, x / 1000, x % 97,
            x % 12 + 1, x % 28 + 1
    }
}' >"$work/table.csv"
table=$work/table.csv
export table

cat >"$work/group.py" <<'END'
import gc, os
import numpy as np
import pandas as pd

frame = pd.read_csv(os.environ["table"], parse_dates=["day"])
print(len(frame), frame["weight"].sum(), frame["name"].nunique())
groups = frame.groupby("group").agg({"value": ["mean", "max"], "weight": "sum", "name": "nunique"})
print(groups.round(4).sort_index().head(20).to_string())
months = frame.groupby(frame["day"].dt.month)["weight"].sum()
print(months.to_string())
merged = frame.merge(frame[["id", "weight"]].rename(columns={"id": "weight", "weight": "again"}),
                     on="weight")
print(len(merged), int(merged["again"].sum()))
print(frame.sort_values(["weight", "value"], kind="stable")["id"].iloc[::50000].tolist())
pivot = frame.pivot_table(index="group", columns="weight", values="value", aggfunc="count")
print(pivot.shape, int(np.nansum(pivot.values)))
frame.to_csv("out.csv", index=False)
print(os.path.getsize("out.csv"))
del frame, merged, pivot
gc.collect()

state = np.random.default_rng(7)
for size in (10, 1000, 100000, 3000000):
    a = state.integers(0, 1000, size)
    b = np.sort(a)[::-1].copy()
    print(size, int(a.sum()), int((a * b).sum()), int(np.unique(a).size), int(np.cumsum(b)[-1]))
rows = [np.arange(n) for n in range(3000)]
print(sum(int(r.sum()) for r in rows), np.concatenate(rows).size)
m = state.integers(-5, 5, (300, 300))
print(int(np.trace(m @ m.T)), int((m.astype(np.float64) @ m.T.astype(np.float64)).sum()))
big = np.zeros((4000, 4000))
big[::7] = 1
print(int(big.sum()), int(big.T.copy()[0].sum()))
END

for PYTHONMALLOC in default malloc; do
    export PYTHONMALLOC
    same_output "numpy-pandas-$PYTHONMALLOC" "$python" "$work/group.py"
done
