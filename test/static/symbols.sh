#!/bin/sh
# SPDX-License-Identifier: MIT
# The library exports what test/golden/symbols.txt lists, and needs nothing but libc.
set -eu
check=$abs_top_srcdir/tools/check-symbols
src=$abs_top_builddir/src

"$check" --self-test
case $RECLAIM_BUILD in
*sanitizer=no*)
    "$check" --golden "$abs_top_srcdir/test/golden/symbols.txt" \
        --shared "$src/.libs/libreclaim.so" --archive "$src/libreclaim.a"
    ;;
*)
    # A sanitizer adds libraries, and symbols of its own to the archive.
    "$check" --golden "$abs_top_srcdir/test/golden/symbols.txt" \
        --shared "$src/.libs/libreclaim.so" --needs-any
    ;;
esac
