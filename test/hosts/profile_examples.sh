#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The programs of examples/leak: each profile names who is to blame.
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || {
    echo 'skipped: no python3'
    exit 77
}
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
profiles=$abs_top_srcdir/examples/leak/profiles

# An interpreter without matplotlib has no picture of the curve, and nothing has failed.
work=$(mktemp -d "${TMPDIR:-/tmp}/reclaim-host.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo 'raise ImportError("none here")' >"$work/matplotlib.py"
PYTHONPATH=$work "$python" "$profiles" --so "$RECLAIM_SO" --pictures "$work" curve >"$work/said" 2>&1
code=$?
if [ "$code" -ne 77 ] || ! grep -q 'left out: .* has no matplotlib' "$work/said"; then
    echo "FAIL profile-examples: exit code $code without matplotlib"
    sed 's/^/    /' "$work/said"
    exit 1
fi
"$python" "$profiles" --so "$RECLAIM_SO"
