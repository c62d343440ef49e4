#!/bin/sh
# SPDX-License-Identifier: MIT
#
# memory_profiler's `mprof run` and `mprof plot` under the preload (Debian: python3-memory-profiler,
# whose command is python3-mprof): they work, and their curve shows the fall.
. "$(dirname "$0")/lib.sh"

mprof=$(command -v python3-mprof || command -v mprof) || {
    skips mprof 'mprof is not installed'
    exit 77
}
cd "$work" || exit 99

cat >job.py <<'END'
import time
big = [b"x" * 5000 for _ in range(40000)]
time.sleep(0.6)
small = list(range(1000))
del big
time.sleep(1.5)
END

if preloaded timeout -k 10 120 "$mprof" run -T 0.05 -C -o curve.dat /usr/bin/python3 job.py \
    >run.out 2>&1 </dev/null && said_well run.out; then
    passes mprof-run
else
    fails mprof-run run.out
    exit 1
fi

# MEM megabytes time: 200 MB at the top; at the end a twentieth of it is not there any more.
if awk '$1 == "MEM" { if ($2 > most) most = $2; before = last; last = $2 }
    END { print "most", most, "at the end", before; exit !(most > 190 && before < 40) }' \
    curve.dat >fall.out; then
    passes mprof-shows-the-fall
else
    fails mprof-shows-the-fall fall.out curve.dat
    exit 1
fi

if ! /usr/bin/python3 -c 'import matplotlib' 2>/dev/null; then
    skips mprof-plot 'no matplotlib'
elif MPLBACKEND=Agg preloaded timeout -k 10 120 "$mprof" plot -o curve.png curve.dat >plot.out 2>&1 </dev/null &&
    [ "$(head -c 4 curve.png | tail -c 3)" = PNG ]; then
    passes mprof-plot
else
    fails mprof-plot plot.out
    exit 1
fi
