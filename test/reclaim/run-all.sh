#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run-all.sh - all memory-return tests, then chosen ones with transparent huge pages switched to
# `always` for the whole system (root only; put back afterwards).  About a quarter of an hour.
set -eu

here=$(dirname "$0")
result=0
python3 "$here/driver.py" "$@" || result=$?
thp=0
python3 "$here/driver.py" --thp "$@" || thp=$?
case $result:$thp in
0:0 | 0:77) exit 0 ;;
77:*) exit 77 ;;
*) exit 1 ;;
esac
