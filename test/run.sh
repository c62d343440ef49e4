#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh MODE TEST [ARGUMENT...] - how `make check` runs one test.
#
#   plain     the program carries the library in itself; run by $EMULATOR where that is set
#   preload   the program knows nothing of it and gets it from LD_PRELOAD
#   renamed   the program calls surface_malloc and so on, because a sanitizer has malloc
#   script    a shell script
#
# Every test has a time limit: a deadlock must be a failure, not a silent wait.
# RECLAIM_TEST_SECONDS sets another one (a slow machine, an emulator).
set -eu

mode=$1
shift
seconds=${RECLAIM_TEST_SECONDS:-300}

case $mode in
plain) # shellcheck disable=SC2086 # a command and its options
    set -- timeout -k 10 "$seconds" ${EMULATOR:-} "$@"
    ;;
preload)
    if [ ! -e "$RECLAIM_SO" ]; then
        echo "run.sh: $RECLAIM_SO is not there" >&2
        exit 99
    fi
    # Set by env behind timeout, so that only the test itself runs on our malloc.
    set -- timeout -k 10 "$seconds" env LD_PRELOAD="$RECLAIM_SO" "$@"
    ;;
renamed)
    # The sanitizer's own memory grows too, so no promise about resident memory can be held.
    RECLAIM_TEST_FOREIGN=1
    export RECLAIM_TEST_FOREIGN
    case $RECLAIM_BUILD in
    *sanitizer=tsan*)
        # Known limits of ThreadSanitizer: it keeps its state in libc's thread-local storage, which
        # our helper thread does not have and a thread's last destructors have no more, and it
        # does not follow fork from several threads.
        RECLAIM_CONF=background_thread:false
        export RECLAIM_CONF
        case $1 in
        *churn* | *fork*)
            echo "skipped: not possible under ThreadSanitizer (test/run.sh says why)"
            exit 77
            ;;
        esac
        ;;
    esac
    set -- timeout -k 10 "$seconds" "$@"
    ;;
script) set -- timeout -k 10 "$seconds" sh "$@" ;;
*)
    echo "run.sh: unknown mode $mode" >&2
    exit 99
    ;;
esac

result=0
"$@" || result=$?
if [ "$result" -eq 124 ] || [ "$result" -eq 137 ]; then
    echo "run.sh: stopped after $seconds seconds" >&2
fi
exit "$result"
