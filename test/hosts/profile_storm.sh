#!/bin/sh
# SPDX-License-Identifier: MIT
#
# No dead-lock and no torn block while every allocation is sampled: what the contract and stress
# programs do with dlopen and dlclose, fork, handlers of fork, threads that come and go, and storms of
# signals, they do here with lg_prof_sample:0, under the preload.
set -eu

cd "$abs_top_builddir/test"
ran=0
for program in contract/loader contract/fork_handlers contract/fork_signal contract/fork_stdio \
    contract/signals contract/spawn contract/threads stress/churn stress/forks stress/handoff; do
    if [ ! -x "$program.preload" ]; then
        echo "skipped: $program.preload is not built"
        continue
    fi
    # Of the stress programs every allocation would be too slow to do much in their time.
    case $program in
    stress/*) rate=8 ;;
    *) rate=0 ;;
    esac
    if ! RECLAIM_CONF=prof:true,lg_prof_sample:$rate timeout -k 10 250 \
        env LD_PRELOAD="$RECLAIM_SO" "./$program.preload" >"$program.storm.log" 2>&1; then
        echo "FAILED: $program with lg_prof_sample:$rate"
        tail -n 20 "$program.storm.log"
        exit 1
    fi
    rm -f "$program.storm.log"
    ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || exit 77
echo "$ran programs"
