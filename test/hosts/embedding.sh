#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The commands of doc/embedding.md, one by one, on files where reclaim.pc says they are.  Each makes a
# program whose malloc is ours; only the first needs the shared library to run.
set -eu

case ${RECLAIM_BUILD:-} in
*libunwind=yes*)
    # The static libunwind needs libraries of its own, which differ from system to system.
    echo 'skipped: built with libunwind'
    exit 77
    ;;
esac
if ! command -v pkg-config >/dev/null; then
    echo 'skipped: pkg-config is not installed'
    exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/lib" "$work/include" "$work/build"
src=$abs_top_builddir/src
cp "$src/libreclaim.a" "$src/reclaim.o" "$src/reclaim-cxx.o" "$work/lib"
cp -P "$src"/.libs/libreclaim.so* "$work/lib"
cp -R "$abs_top_srcdir/include/reclaim" "$work/include"
sed -e "s|^libdir=.*|libdir=$work/lib|" -e "s|^includedir=.*|includedir=$work/include|" \
    "$abs_top_builddir/reclaim.pc" >"$work/lib/reclaim.pc"
PKG_CONFIG_PATH=$work/lib
export PKG_CONFIG_PATH

cd "$work/build"
cp "$abs_top_srcdir/test/hosts/embedding_program.c" prog.c
{
    echo '#include <new>'
    cat prog.c
} >prog.cc

# The document's compilers are the build's.  no-builtin: the calls are what is tested.
command_of() {
    case $1 in
    c++\ *) printf '%s\n' "$CXX -fno-builtin ${1#c++ }" ;;
    cc\ *) printf '%s\n' "$CC -fno-builtin ${1#cc }" ;;
    esac
}
has_static=true
echo 'int main(void) { return 0; }' >empty.c
# shellcheck disable=SC2086 # CC may hold options
$CC -static empty.c 2>/dev/null || has_static=false

sed -n 's/^    \(c[c+]* .*reclaim.*\)/\1/p' "$abs_top_srcdir/doc/embedding.md" >commands
count=0 shared=0
while read -r command; do
    case $command in
    c++*) [ "$CXX" != no ] || continue ;;
    esac
    case $command in
    *-static\ prog*) $has_static || continue ;;
    esac
    echo "$command"
    rm -f a.out
    eval "$(command_of "$command")"
    if readelf -d a.out | grep NEEDED | grep -q libreclaim; then
        shared=$((shared + 1))
        LD_LIBRARY_PATH=$work/lib ./a.out
    else
        ./a.out
    fi
    count=$((count + 1))
done <commands

if [ "$count" -lt 2 ] || [ "$shared" -ne 1 ]; then
    echo "FAILED: of $count programs $shared need the shared library; the first alone should"
    exit 1
fi
