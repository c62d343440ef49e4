#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh PROGRAM.crash - run one misuse under the preload and judge how it ends.
#
# Passes when the program is ended by SIGABRT and its last line on stderr matches the extended
# regular expression that the source states:   /* expect: double free .* 0x[0-9a-f]+ */
# One line is the promise, so anything else on stderr fails too.
set -eu

program=$1
source=$abs_top_srcdir/test/crash/$(basename "$program" .crash).c
SIGABRT_STATUS=134 # what a shell reports: 128 + 6

expect=$(sed -n 's|^/\* expect: \(.*\) \*/$|\1|p' "$source")
if [ -z "$expect" ] || [ "$(printf '%s\n' "$expect" | wc -l)" -ne 1 ]; then
    echo "$source: needs one line /* expect: REGEX */" >&2
    exit 99
fi
if [ ! -e "$RECLAIM_SO" ]; then
    echo "crash/run.sh: $RECLAIM_SO is not there" >&2
    exit 99
fi

said=$(mktemp)
trap 'rm -f "$said"' EXIT

# A shell around it, so that its "Aborted" message stays out of what is judged; no core file.
result=0
(
    ulimit -c 0
    exec timeout -k 5 60 env LD_PRELOAD="$RECLAIM_SO" "$program"
) 2>"$said" || result=$?
# timeout passes the signal on by ending itself the same way.

echo "expected: $expect"
echo "exit status $result, stderr:"
cat "$said"

if [ "$result" -ne "$SIGABRT_STATUS" ]; then
    echo "FAILED: did not end by SIGABRT"
    exit 1
fi
if [ "$(wc -l <"$said")" -ne 1 ]; then
    echo "FAILED: not exactly one line on stderr"
    exit 1
fi
if ! grep -qE -- "$expect" "$said"; then
    echo "FAILED: the line is another one"
    exit 1
fi
