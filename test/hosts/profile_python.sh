#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The heap profile of a Python program names its Python functions: profile_python.py compares each
# stack with what the interpreter itself says, on every CPython found (the system's, and those of a
# version manager below ${PYENV_ROOT:-~/.pyenv}).
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ran=0
failed=0

for python in /usr/bin/python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
    [ -x "$python" ] || continue
    "$python" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 15))' || continue
    for rate in 0 19; do
        rm -f "$work"/*
        if RECLAIM_CONF=prof:true,prof_signal:USR2,lg_prof_sample:$rate,prof_prefix:$work/p \
            LD_PRELOAD=$RECLAIM_SO \
            "$python" "$abs_top_srcdir/test/hosts/profile_python.py" "$work"; then
            ran=$((ran + 1))
        else
            echo "FAILED: $python, lg_prof_sample:$rate"
            failed=1
        fi
    done
done
[ "$failed" -eq 0 ] || exit 1
if [ "$ran" -eq 0 ]; then
    echo 'skipped: no CPython from 3.9 to 3.15'
    exit 77
fi
