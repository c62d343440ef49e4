#!/bin/sh
# SPDX-License-Identifier: MIT
# malloc, free, sized free, new and delete of a cached small size cost what test/golden/fastpath.txt says.
set -eu
check=$abs_top_srcdir/tools/check-fastpath

"$check" --self-test
"$check" --golden "$abs_top_srcdir/test/golden/fastpath.txt" --doc "$abs_top_srcdir/doc/performance.md"
case $RECLAIM_BUILD in
'debug=no hostile=no sanitizer=no page=no '*) ;;
*)
    echo "skipped: counts are recorded for the plain build, this one has $RECLAIM_BUILD"
    exit 77
    ;;
esac
case $RECLAIM_CFLAGS in
*-O2*) ;;
*)
    echo "skipped: counts are recorded for -O2, CFLAGS are $RECLAIM_CFLAGS"
    exit 77
    ;;
esac
exec "$check" --golden "$abs_top_srcdir/test/golden/fastpath.txt" \
    --shared "$abs_top_builddir/src/.libs/libreclaim.so"
