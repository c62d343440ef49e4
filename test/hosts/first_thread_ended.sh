#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A process whose first thread has ended: the kernel tells nothing in /proc/PID any more, only in
# the folders of its threads.  Profiles have their names, and statistics know what is resident.
. "$(dirname "$0")/lib.sh"
set -e
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo 'skipped: no python3'; exit 77; }
command -v addr2line >/dev/null || { echo 'skipped: no addr2line (binutils)'; exit 77; }
export PYTHONDONTWRITEBYTECODE=1
cd "$work"
${CC:-cc} -O1 -g -fno-builtin -pthread -o program "$top/test/hosts/first_thread_ended.c"

fail() {
    echo "FAIL first-thread-ended: $1"
    sed 's/^/    /' said errors 2>/dev/null | head -30
    exit 1
}

RECLAIM_CONF=prof:true,prof_final:true,lg_prof_sample:12,prof_prefix:$work/p,stats_print:true \
    LD_PRELOAD=$RECLAIM_SO ./program 0 >said 2>errors || fail "exit code $?"
grep -q 'Resident' errors || fail 'no report'
! grep -q 'does not tell' errors || fail 'the resident memory is not known'
"$python" "$top/python/bin/reclaim" prof top p.*.final.heap >said 2>errors || fail 'reclaim prof'
grep -Eq '^ +5[0-2]\.[0-9] MB .*% +hold_much( |$)' said || fail 'hold_much does not hold 50 MB'
[ "$(find . -name 'p.*' | wc -l)" -eq "$(find . -name 'p.*.heap' | wc -l)" ] ||
    fail 'a file without its name'

# A curve of it does not end with its first thread: rows of more than 50 MB for about a second.
"$python" "$top/python/bin/reclaim" run --csv curve.csv ./program 1 \
    >said 2>errors || fail "reclaim run: exit code $?"
high=$(awk -F, 'NR > 1 && $2 > 50e6' curve.csv | wc -l)
[ "$high" -ge 3 ] || { cat curve.csv; fail "only $high rows of 50 MB"; }
echo 'PASS first-thread-ended'
