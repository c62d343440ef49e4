#!/bin/sh
# SPDX-License-Identifier: MIT
#
# reclaim prof on made-up dumps, on CPython from 3.8 on; and with RECLAIM_ALL, reclaim run --plot on the
# first one: test/python.  One argument: only this interpreter.
. "$(dirname "$0")/lib.sh"

plotted=yes
[ -z "${RECLAIM_ALL:-}" ] || plotted=
try_python() { # INTERPRETER VERSION
    one_test "reclaim-prof-$2" "$1" "$top/test/python/test_profile.py"
    [ -n "$plotted" ] || one_test "reclaim-plot-$2" "$1" "$top/test/python/test_plot.py"
    plotted=yes
}

each_python reclaim-prof "$@"
