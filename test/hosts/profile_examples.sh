#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The programs of examples/leak: each profile names who is to blame.
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || {
    echo 'skipped: no python3'
    exit 77
}
PYTHONDONTWRITEBYTECODE=1 exec "$python" "$abs_top_srcdir/examples/leak/profiles" --so "$RECLAIM_SO"
