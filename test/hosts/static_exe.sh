#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A program without any shared library, by both ways to get our malloc into it: the object
# reclaim.o, and -lreclaim.  Nothing of libc's malloc may be left in it: two allocators in one
# program are one too many.
set -eu

src=$abs_top_builddir/src
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# libc.a is part of Debian's libc6-dev, but not of every system's.
echo 'int main(void) { return 0; }' >"$work/empty.c"
# shellcheck disable=SC2086 # CC may hold options
if ! $CC -static -o "$work/empty" "$work/empty.c" 2>/dev/null; then
    echo 'skipped: this system cannot link static programs'
    exit 77
fi

# The static libunwind needs libraries of its own, which differ from system to system.
case ${RECLAIM_BUILD:-} in
*libunwind=yes*)
    echo 'skipped: built with libunwind'
    exit 77
    ;;
esac

# The directory of the shared library is not on the path: -static must take the archive.
for how in "$src/reclaim.o" "-L$src -lreclaim"; do
    # shellcheck disable=SC2086 # CC and $how are lists
    $CC -static -I"$abs_top_srcdir/include" -o "$work/program" \
        "$abs_top_srcdir/test/hosts/static_exe.c" $how -lpthread
    "$work/program"
    # _int_malloc is the core of glibc's.
    if nm "$work/program" | grep -w '_int_malloc'; then
        echo "FAILED: with $how, libc's malloc is in the program too"
        exit 1
    fi
done
