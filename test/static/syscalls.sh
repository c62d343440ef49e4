#!/bin/sh
# SPDX-License-Identifier: MIT
# doc/syscalls.md names what the source asks of the kernel and the library of libc.
set -eu
check=$abs_top_srcdir/tools/check-syscalls

"$check" --self-test
case $RECLAIM_BUILD in
*sanitizer=no*) "$check" --top "$abs_top_srcdir" --shared "$abs_top_builddir/src/.libs/libreclaim.so" ;;
*) "$check" --top "$abs_top_srcdir" ;; # sanitizers need more of libc
esac
