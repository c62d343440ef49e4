#!/bin/sh
# SPDX-License-Identifier: MIT
#
# No dead-lock and no torn block while every allocation is sampled: what the contract programs do with
# dlopen and dlclose, fork, handlers of fork, threads that come and go, and storms of signals, they do
# here with lg_prof_sample:0, under the preload.  With RECLAIM_ALL more of them, and the stress programs.
. "$(dirname "$0")/lib.sh"

# The programs are those of the build that the library is of.
cd "$(dirname "$RECLAIM_SO")/../../test" || exit 99
ran=0
set -- contract/loader contract/fork_signal contract/signals contract/spawn
[ -z "${RECLAIM_ALL:-}" ] || set -- "$@" contract/fork_handlers contract/fork_stdio contract/threads \
    stress/churn stress/forks stress/handoff
for program; do
    if [ ! -x "$program.preload" ]; then
        skips "profile-storm-$program" 'it is not built'
        continue
    fi
    # Of the stress programs every allocation would be too slow to do much in their time.
    case $program in
    stress/*) rate=8 ;;
    *) rate=0 ;;
    esac
    if ! RECLAIM_CONF=prof:true,lg_prof_sample:$rate timeout -k 10 250 \
        env LD_PRELOAD="$RECLAIM_SO" "./$program.preload" >"$work/storm.log" 2>&1 </dev/null; then
        fails "profile-storm-$(basename "$program")" "$work/storm.log"
        exit 1
    fi
    passes "profile-storm-$(basename "$program")"
    ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || exit 77
