#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The main job: examples/frag.py and examples/lists.py under the preload, on every CPython found
# (the system's, and those of a version manager below ${PYENV_ROOT:-~/.pyenv}).  What is resident
# after everything was dropped may exceed the start by 12 MiB: 8 MiB is what the allocator may keep
# by contract, the rest is the interpreter's.  RECLAIM_SO names the library.
set -eu

examples=$abs_top_srcdir/examples
limit_kb=12288
failures=0
runs=0

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Resident kB at one step of a run's output: `start 8808 kB`.
at_step() {
    sed -n "s/^$1 \([0-9]*\) kB\$/\1/p" "$out/steps"
}

run_one() { # python version program
    runs=$((runs + 1))
    verdict=ok
    if ! LD_PRELOAD=$RECLAIM_SO "$1" "$examples/$3" >"$out/steps" 2>"$out/said"; then
        verdict='FAILED: exit code'
    elif [ -s "$out/said" ]; then
        # A library that cannot be preloaded shows up here too: the loader complains.
        verdict='FAILED: output on stderr'
    fi
    start=$(at_step start)
    full=$(at_step 'after alloc')
    end=$(at_step 'after del')
    if [ "$verdict" = ok ]; then
        if [ -z "$start" ] || [ -z "$full" ] || [ -z "$end" ]; then
            verdict='FAILED: steps are missing'
        elif [ "$end" -gt $((start + limit_kb)) ]; then
            verdict="FAILED: $((end - start)) kB over start, allowed $limit_kb"
        fi
    fi
    printf '%-10s %-9s %10s %12s %10s  %s\n' "$2" "$3" "${start:--}" "${full:--}" "${end:--}" "$verdict"
    if [ "$verdict" != ok ]; then
        failures=$((failures + 1))
        sed 's/^/    stderr: /' "$out/said" | head -n 10
    fi
}

printf '%-10s %-9s %10s %12s %10s\n' python program start 'after alloc' 'after del'
for python in /usr/bin/python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python; do
    # An unmatched pattern stays as it is, and is no program.
    [ -x "$python" ] || continue
    version=$("$python" -c 'import sys; sys.stdout.write("%d.%d.%d" % sys.version_info[:3])') || {
        echo "$python does not run even without the preload: left out"
        continue
    }
    for program in frag.py lists.py; do
        run_one "$python" "$version" "$program"
    done
done

if [ "$runs" -eq 0 ]; then
    echo 'skipped: no CPython found'
    exit 77
fi
echo "$runs runs, $failures failed (limit: start + $limit_kb kB)"
[ "$failures" -eq 0 ]
