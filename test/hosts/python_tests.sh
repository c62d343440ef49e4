#!/bin/sh
# SPDX-License-Identifier: MIT
#
# CPython's own tests under the preload, with every object from us (PYTHONMALLOC=malloc) and with
# Python's allocator above us (default).
#
# What counts is the difference: a test file that passes under the preload needs no comparison.
# One that fails is run under glibc with the same setting, and only cases that fail under the
# preload and not under glibc are held against us.  Such a file gets a second chance under both,
# because many of these tests depend on time and load; what then passes is called so.
#
#   python_tests.sh                 all, as many at a time as there are processors
#   python_tests.sh MODE TEST       one, MODE is malloc or default
. "$(dirname "$0")/lib.sh"

# The long ones first, so that no processor idles at the end.
tests='test_concurrent_futures test_multiprocessing_spawn test_asyncio test_subprocess
    test_faulthandler test_threading test_pickle test_gc test_ctypes test_mmap test_json
    test_tracemalloc test_capi'

has_test() { # PYTHON TEST
    "$1" -c 'import sys, importlib.util
if not importlib.util.find_spec("test." + sys.argv[1]): sys.exit(1)
if sys.argv[1] == "test_capi": import _testcapi' "$2" >/dev/null 2>&1
}

# Debian leaves test_capi and what it needs out of its package; other builds of CPython have them.
find_python() { # TEST
    for python in /usr/bin/python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11.*/bin/python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1*/bin/python3; do
        if [ -x "$python" ] && has_test "$python" "$1"; then
            echo "$python"
            return
        fi
    done
}

# A whole run; the names of failing cases go to $2.failed, sorted.
run_test() { # glibc|preload RESULT-NAME
    (
        cd "$work" || exit 99
        if [ "$1" = preload ]; then
            LD_PRELOAD=$RECLAIM_SO
            export LD_PRELOAD
        fi
        exec timeout -k 10 600 "$python" -m test -v --timeout 300 --tempdir "$work" "$test"
    ) >"$2.log" 2>&1 </dev/null
    result=$?
    sed -nE 's/^(FAIL|ERROR): (.*)$/\2/p' "$2.log" | sort -u >"$2.failed"
    # a crash or a hang has no case to name
    if [ "$result" -ne 0 ] && ! [ -s "$2.failed" ]; then
        echo "$test: exit code $result" >"$2.failed"
    fi
    return "$result"
}

# New failures of the last two runs into $work/new; true when there are some.
new_failures() { # NUMBER
    comm -23 "$work/preload$1.failed" "$work/glibc$1.failed" >"$work/new"
    [ -s "$work/new" ]
}

run_one() { # MODE TEST
    test=$2
    name=python-$test-$1
    python=$(find_python "$test")
    if [ -z "$python" ]; then
        skips "$name" 'no CPython here has this test'
        return
    fi
    PYTHONMALLOC=$1
    export PYTHONMALLOC
    if run_test preload "$work/preload1"; then
        if said_well "$work/preload1.log"; then passes "$name"; else
            fails "$name" "$work/preload1.log"
        fi
        return
    fi
    run_test glibc "$work/glibc1"
    if ! new_failures 1; then
        skips "$name" "the same failures under glibc: $(head -n 1 "$work/preload1.failed")"
        return
    fi
    cp "$work/preload1.log" "$logs/$name.first.log"
    run_test preload "$work/preload2"
    run_test glibc "$work/glibc2"
    cat "$work/glibc1.failed" >>"$work/glibc2.failed"
    sort -u -o "$work/glibc2.failed" "$work/glibc2.failed"
    if new_failures 2; then
        cp "$work/preload2.log" "$logs/$name.second.log"
        fails "$name" "$work/new"
    else
        passes "$name"
        echo "    only in the second run; the first: $logs/$name.first.log"
    fi
}

if [ $# -eq 2 ]; then
    run_one "$1" "$2"
    exit 0
fi

export HOST_LOGS="$logs"
for mode in malloc default; do
    for test in $tests; do
        echo "$mode $test"
    done
done | xargs -P "$(nproc)" -L 1 "$hosts/python_tests.sh"
