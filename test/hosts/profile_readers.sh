#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Heap profiles are read by the programs they are written for: jeprof (libjemalloc-dev),
# google-pprof (google-perftools) and go tool pprof (golang-go), each where it is installed.  The
# function that holds more than 90 % must come out as the one that does.
. "$(dirname "$0")/lib.sh"
set -e
ran=0

# As programs are built, where the library sees through it.
frames=-fno-omit-frame-pointer
[ "$(uname -m)" != x86_64 ] || ! getconf GNU_LIBC_VERSION | grep -Eq ' 2\.(3[5-9]|[4-9])' ||
    frames=-fomit-frame-pointer

# shellcheck disable=SC2086 # CC may hold options
${CC:-cc} -O1 -g $frames -fno-optimize-sibling-calls -fno-builtin \
    -o "$work/program" "$top/test/hosts/profile_leaf.c"

profile() { # options arguments...: the profile's path
    options=$1
    shift
    rm -f "$work"/p.*
    RECLAIM_CONF=prof:true,prof_final:true,lg_prof_sample:16,prof_prefix:$work/p,$options \
        LD_PRELOAD=$RECLAIM_SO "$work/program" "$@"
    echo "$work"/p.*.final.heap
}

fail() {
    echo "FAIL profile-readers: $1"
    sed 's/^/    /' "$work/said" "$work/errors" | head -40
    exit 1
}

# Percent in a column of the line that ends in this name.
share() { # column name
    awk -v name="$2" -v column="$1" '$NF == name { sub("%", "", $column); print int($column); exit }' \
        "$work/said"
}

owns() { # what column name
    n=$(share "$2" "$3")
    [ "${n:-0}" -ge 90 ] || fail "$1: $3 owns ${n:-nothing} %, not 90"
}

say() {
    "$@" >"$work/said" 2>"$work/errors" || fail "$*: exit code"
    ran=$((ran + 1))
}

native=$work/native.heap
base=$work/base.heap
legacy=$work/legacy.heap
cp "$(profile prof_legacy:false less)" "$base"
cp "$(profile prof_legacy:false)" "$native"
cp "$(profile prof_legacy:true)" "$legacy"

if command -v jeprof >/dev/null; then
    for file in "$native" "$legacy"; do
        say jeprof --text "$work/program" "$file"
        owns "jeprof, $file" 2 leaf
        owns "jeprof, $file" 5 holder
        say jeprof --text --alloc_space "$work/program" "$file"
        owns "jeprof, $file, all allocations" 2 passer
    done
    say jeprof --text --base="$base" "$work/program" "$native"
    owns 'jeprof, difference' 2 leaf
    if command -v dot >/dev/null; then
        say jeprof --svg "$work/program" "$native"
        grep -q '<svg' "$work/said" || fail 'jeprof --svg: no picture'
        grep -q 'leaf' "$work/said" || fail 'jeprof --svg: leaf is not in the picture'
    fi
fi

if command -v google-pprof >/dev/null; then
    say google-pprof --text "$work/program" "$legacy"
    owns google-pprof 2 leaf
    owns google-pprof 5 holder
    say google-pprof --text --alloc_space "$work/program" "$legacy"
    owns 'google-pprof, all allocations' 2 passer
fi

if command -v go >/dev/null; then
    # It wants a home for its settings.
    HOME=$work PPROF_TMPDIR=$work
    export HOME PPROF_TMPDIR
    say go tool pprof -top -sample_index=inuse_space "$work/program" "$legacy"
    owns 'go tool pprof' 2 leaf
    owns 'go tool pprof' 5 holder
    say go tool pprof -top -sample_index=alloc_space "$work/program" "$legacy"
    owns 'go tool pprof, all allocations' 2 passer
fi

if [ "$ran" -eq 0 ]; then
    skips profile-readers 'none of jeprof, google-pprof and go is installed'
    exit 77
fi
echo "$ran readings by real readers"
passes profile-readers
