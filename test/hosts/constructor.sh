#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A library whose constructor runs before ours, starts threads and forks: under the preload, and in a
# program that carries our malloc.
set -eu

src=$abs_top_builddir/src
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo 'int constructor_result(void); int main(void) { return constructor_result(); }' >"$work/main.c"
# shellcheck disable=SC2086 # CC may hold options
{
    $CC -shared -fPIC -o "$work/libfirst.so" "$abs_top_srcdir/test/hosts/constructor_library.c" -lpthread
    $CC -o "$work/plain" "$work/main.c" -L"$work" -lfirst -Wl,-rpath,"$work"
}
LD_PRELOAD=$src/.libs/libreclaim.so "$work/plain"

# The static libunwind needs libraries of its own, which differ from system to system.
case ${RECLAIM_BUILD:-} in
*libunwind=yes*) exit 0 ;;
esac
# shellcheck disable=SC2086
$CC -o "$work/carries" "$work/main.c" "$src/reclaim.o" -L"$work" -lfirst -Wl,-rpath,"$work" -lpthread
"$work/carries"
