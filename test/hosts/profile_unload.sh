#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Memory of libraries that are unloaded when the profile is written: it is blamed on the function
# that allocated it, whatever lies at its address now.
. "$(dirname "$0")/lib.sh"
set -e
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo 'skipped: no python3'; exit 77; }
command -v addr2line >/dev/null || { echo 'skipped: no addr2line (binutils)'; exit 77; }
if [ "$(uname -m)" != x86_64 ] || ! getconf GNU_LIBC_VERSION | grep -Eq ' 2\.(3[5-9]|[4-9])'; then
    echo 'skipped: objects are told apart on x86-64 with glibc from 2.35 on'
    exit 77
fi
case ${RECLAIM_BUILD:-} in
*libunwind=yes*)
    echo 'skipped: objects are not told apart by libunwind'
    exit 77
    ;;
esac
export PYTHONDONTWRITEBYTECODE=1
source=$top/test/hosts/profile_unload.c
cd "$work"

library() { # file function options...
    file=$1 name=$2
    shift 2
    ${CC:-cc} -O1 -g -fno-builtin -fPIC -shared -DNAME="$name" "$@" -o "$file" "$source"
}
library a.so in_a -Wl,--build-id
library b.so in_b -Wl,--build-id
library noid_a.so in_a -Wl,--build-id=none
library noid_b.so in_b -Wl,--build-id=none
${CC:-cc} -O1 -g -fno-builtin -o program "$source" -ldl

# Each of the blocks is a sample.
profile() { # actions...: $said and profile.heap
    rm -f p.*
    set +e
    RECLAIM_CONF=prof:true,prof_final:true,lg_prof_sample:12,prof_prefix:$work/p,${more:-} \
        LD_PRELOAD=$RECLAIM_SO ./program "$@" 2>errors
    result=$?
    set -e
    [ "$result" -ne 77 ] || { echo "skipped: $test: the libraries lie apart"; return 1; }
    [ "$result" -eq 0 ] || fail "exit code $result"
    mv p.*.final.heap profile.heap
    "$python" "$top/python/bin/reclaim" prof top profile.heap >said 2>errors || fail 'reclaim prof'
}

fail() {
    echo "FAIL profile-unload: $test: $1"
    sed 's/^/    /' said errors 2>/dev/null | head -30
    exit 1
}

holds() { # MB function
    grep -Eq "^ +$1\\.[0-9] MB .*% +$2( |\$)" said || fail "$2 does not hold $1 MB"
}

lines() { # number pattern
    [ "$(grep -c "$2" said)" -eq "$1" ] || fail "not $1 lines like $2"
}

ran=0

one_after_the_other() { # library library
    profile "$1:in_a:60" "$2:in_b:30" || return 0
    holds 6[0-9] in_a
    holds 3[0-9] in_b
    ran=$((ran + 1))
}

test='another library at the same place'
one_after_the_other ./a.so ./b.so

test='the two in turns'
if profile ./a.so:in_a:20 ./b.so:in_b:10 ./a.so:in_a:30 ./b.so:in_b:20; then
    holds 5[0-9] in_a
    holds 3[0-9] in_b
    lines 1 in_a
    ran=$((ran + 1))
fi

test='two without build ids'
one_after_the_other ./noid_a.so ./noid_b.so

test='nothing at its place'
profile ./a.so:in_a:60
holds 6[0-9] in_a
lines 0 'no file'
ran=$((ran + 1))

test='unloaded and loaded again'
if profile ./a.so:in_a:30 ./a.so:in_a:30; then
    holds 6[0-9] in_a
    lines 1 in_a
    ran=$((ran + 1))
fi

# Names of what is gone come from its file, and that is another one now: none rather than wrong ones.
test='its file replaced by another build'
cp b.so new.so
if profile "$work/a.so:in_a:60" "$work/a.so=$work/new.so" "$work/a.so:in_b:30"; then
    holds 3[0-9] in_b
    holds 6[0-9] '\[a.so'
    lines 0 in_a
    grep -q 'another build id' errors || fail 'no word about the file'
    ran=$((ran + 1))
fi
library a.so in_a -Wl,--build-id

test='other readers'
if profile ./a.so:in_a:60 ./b.so:in_b:30; then
    if command -v jeprof >/dev/null; then
        jeprof --text program profile.heap >said 2>errors || fail jeprof
        grep -Eq '^ +6[0-9]\.[0-9] .* in_a$' said || fail jeprof
        ran=$((ran + 1))
    fi
    more=prof_legacy:true
    if command -v go >/dev/null && profile ./a.so:in_a:60 ./b.so:in_b:30; then
        HOME=$work PPROF_TMPDIR=$work go tool pprof -top -sample_index=inuse_space program \
            profile.heap >said 2>errors || fail 'go tool pprof'
        grep -Eq '^ +6[0-9](\.[0-9]+)?MB .* in_a$' said || fail 'go tool pprof'
        ran=$((ran + 1))
    fi
fi

[ "$ran" -gt 2 ] || { echo 'skipped: the loader never took the same place'; exit 77; }
echo "$ran profiles"
passes profile-unload
