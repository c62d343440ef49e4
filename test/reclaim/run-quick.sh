#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run-quick.sh - the part of the memory-return tests that `make check` runs (see README.md).
# Exit codes as automake wants them: 0 passed, 1 failed, 77 skipped.
set -eu

# The bounds are the shipped library's: tiny limits or a sanitizer's memory would break them.
case ${RECLAIM_BUILD:-} in
*hostile=yes* | *sanitizer=[atu]* | *debug=yes*)
    echo "skipped: the bounds hold for the plain build"
    exit 77
    ;;
esac
command -v python3 >/dev/null 2>&1 || {
    echo "skipped: no python3"
    exit 77
}
exec python3 "$(dirname "$0")/driver.py" --quick "$@"
