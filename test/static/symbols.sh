#!/bin/sh
# SPDX-License-Identifier: MIT
# The library exports what test/golden/symbols.txt lists, and needs nothing but libc.
set -eu
check=$abs_top_srcdir/tools/check-symbols
src=$abs_top_builddir/src

"$check" --self-test
case $RECLAIM_BUILD in
*sanitizer=no* | *sanitizer=ubsan*)
    "$check" --golden "$abs_top_srcdir/test/golden/symbols.txt" \
        --shared "$src/.libs/libreclaim.so" --archive "$src/libreclaim.a"
    ;;
*)
    # ASan and TSan add libraries, and symbols of their own to the archive.
    "$check" --golden "$abs_top_srcdir/test/golden/symbols.txt" \
        --shared "$src/.libs/libreclaim.so" --needs-any
    ;;
esac
