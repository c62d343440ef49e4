#!/bin/sh
# SPDX-License-Identifier: MIT
#
# C++ programs that carry libreclaim in themselves, linked in every way there is, with the operators of
# the C++ library, ours, or their own; and an extension in C++ that a program in C loads under the preload.
set -eu

case ${RECLAIM_BUILD:-} in
*libunwind=yes*)
    echo 'skipped: built with libunwind'
    exit 77
    ;;
esac
if [ "$CXX" = no ]; then
    echo 'skipped: no C++ compiler'
    exit 77
fi

src=$abs_top_builddir/src
hosts=$abs_top_srcdir/test/hosts
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

echo 'int main() { return 0; }' >empty.cc
ways=' '
# shellcheck disable=SC2086 # CXX may hold options
if $CXX -static -o empty empty.cc 2>/dev/null; then
    ways='-static'
fi

# link OPTIONS LIBRARY DEFINES
link() {
    echo "$1 $2 $3"
    # shellcheck disable=SC2086 # all are lists
    $CXX -w -std=gnu++17 -fsized-deallocation -fno-builtin $1 $3 -o program "$hosts/cxx_program.cc" $2 \
        -lpthread
    ./program
    if ! nm program | grep -q ' rcl_heap_alloc$'; then
        echo 'FAILED: libreclaim is not in it'
        exit 1
    fi
}

for define in ' ' -DREPLACE; do
    for way in ' ' $ways; do
        link "$way" "$src/reclaim.o" "$define"
        link "$way" "$src/reclaim.o $src/reclaim-cxx.o" "$define"
        nm program | grep -q 'rcl_own_Znwm$'
    done
    # The directory of the shared library is not on the path: -static must take the archive.
    if [ "$ways" = -static ]; then
        link -static "-L$src -lreclaim" "$define"
        nm program | grep -q 'rcl_own_Znwm$'
    fi
done

cat >host.c <<'END'
#include <dlfcn.h>
#include <limits.h>
int main(void)
{
    void *library = dlopen("./extension.so", RTLD_NOW | RTLD_LOCAL);
    int (*out_of_memory)(unsigned long) = 0;
    if (library != 0)
        out_of_memory = (int (*)(unsigned long))dlsym(library, "out_of_memory");
    return out_of_memory == 0 ? 3 : out_of_memory(LONG_MAX) == 2 ? 0 : 1;
}
END
echo 'an extension, under the preload'
# shellcheck disable=SC2086
$CXX -w -fno-builtin -fPIC -shared -o extension.so "$hosts/cxx_extension.cc"
# shellcheck disable=SC2086
$CC -w -o host host.c -ldl
env LD_PRELOAD="$RECLAIM_SO" ./host
