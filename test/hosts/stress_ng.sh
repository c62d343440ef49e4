#!/bin/sh
# SPDX-License-Identifier: MIT
#
# stress-ng's own malloc stressor, which checks what it wrote; with threads, with trims.
. "$(dirname "$0")/lib.sh"

have stress-ng stress-ng || exit 0

run_stressor() { # NAME OPTION...
    name=$1
    shift
    (
        cd "$work" || exit 99
        preloaded timeout -k 10 120 stress-ng --verify --temp-path "$work" --timeout 15s \
            --metrics-brief "$@"
    ) >"$work/$name.out" 2>&1
    result=$?
    # No operation at all would be a pass for stress-ng.
    if [ "$result" -eq 0 ] && said_well "$work/$name.out" &&
        grep -Eq ' (malloc|fork) +[1-9][0-9]* ' "$work/$name.out"; then
        passes "$name"
    else
        echo "exit code $result" >>"$work/$name.out"
        fails "$name" "$work/$name.out"
    fi
}

run_stressor stress-ng-malloc --malloc 2 --malloc-bytes 256M
run_stressor stress-ng-malloc-touch --malloc 2 --malloc-bytes 128M --malloc-touch --malloc-zerofree
run_stressor stress-ng-malloc-threads --malloc 1 --malloc-pthreads 4 --malloc-bytes 128M
run_stressor stress-ng-malloc-small --malloc 2 --malloc-bytes 4K --malloc-thresh 16K
run_stressor stress-ng-fork --fork 2
