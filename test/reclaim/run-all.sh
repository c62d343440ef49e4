#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run-all.sh - all memory-return tests; all but those of single steps again with transparent huge
# pages switched to `always`, and chosen ones with vm.overcommit_memory=2, both for the whole system
# (root only; put back afterwards).  About twenty minutes.
set -eu

here=$(dirname "$0")
result=0
python3 "$here/driver.py" "$@" || result=$?
for system in --thp --commit; do
    again=0
    python3 "$here/driver.py" $system "$@" || again=$?
    case $result:$again in
    *:0 | *:77) ;;
    *) result=1 ;;
    esac
done
exit "$result"
