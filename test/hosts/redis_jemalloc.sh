#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Debian's redis-server is linked to libjemalloc.so.2 and steers it by mallctl.  Under the preload
# every function of jemalloc's that it calls must be ours, and what it tells of its memory by their
# answers must be so: INFO memory, MEMORY DOCTOR, MEMORY PURGE, MEMORY MALLOC-STATS.
. "$(dirname "$0")/lib.sh"

have redis-jemalloc redis-server redis-cli ldd || exit 0
if ! ldd "$(command -v redis-server)" | grep -q 'libjemalloc\.so\.2 =>'; then
    skips redis-jemalloc 'this redis-server is not linked to libjemalloc.so.2'
    exit 0
fi

server=
stop_server() {
    [ -n "$server" ] || return 0
    # the process that we started, and no other
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    server=
}
trap 'stop_server; tidy' EXIT

cli() { redis-cli -h 127.0.0.1 -p "$port" "$@"; }

start_server() {
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        rm -f "$work"/bindings.*
        LD_DEBUG=bindings LD_DEBUG_OUTPUT=$work/bindings \
            RECLAIM_CONF=purge_signal:SIGRTMIN+3 LD_PRELOAD=$RECLAIM_SO redis-server \
            --bind 127.0.0.1 --port "$port" --dir "$work" --save '' --daemonize no \
            >"$work/server.log" 2>&1 &
        server=$!
        until [ "$(cli PING 2>/dev/null)" = PONG ]; do
            kill -0 "$server" 2>/dev/null || break
            sleep 0.05 # between two looks, not instead of one
        done
        if cli INFO server 2>/dev/null | tr -d '\r' | grep -qx "process_id:$server"; then
            return 0
        fi
        stop_server
        echo "attempt $attempt: port $port did not work" >>"$work/starts"
    done
    return 1
}

if ! start_server; then
    fails redis-jemalloc-start "$work/server.log" "$work/starts"
    exit 0
fi
if said_well "$work/server.log"; then
    passes redis-jemalloc-start
else
    fails redis-jemalloc-start "$work/server.log"
fi

# ---- whose functions it calls --------------------------------------------------------------

# What jemalloc exports and the program takes from outside.
library=$(ldd "$(command -v redis-server)" | sed -n 's/.*libjemalloc\.so\.2 => \([^ ]*\).*/\1/p')
nm -D --defined-only "$library" | sed 's/.* //; s/@.*//' | sort -u >"$work/offered"
nm -D --undefined-only "$(command -v redis-server)" | sed 's/.* //; s/@.*//' | sort -u >"$work/taken"
comm -12 "$work/offered" "$work/taken" >"$work/needed"
while read -r name; do
    grep -h "binding file [^ ]*redis-server \[0\] to [^ ]* \[0\]: normal symbol .$name'" \
        "$work"/bindings.* | sed "s/.* to \([^ ]*\) \[0\].*/$name \1/" | sort -u
done <"$work/needed" >"$work/bound"
grep -v " $RECLAIM_SO\$" "$work/bound" >"$work/elsewhere"
# Functions that it has not called so far are bound all the same when it is linked with -z now.
grep -E '^(malloc|mallctl|malloc_usable_size) ' "$work/bound" | sort -u >"$work/seen"
if [ -s "$work/needed" ] && [ ! -s "$work/elsewhere" ] && [ "$(wc -l <"$work/seen")" -eq 3 ]; then
    passes redis-jemalloc-symbols
else
    fails redis-jemalloc-symbols "$work/needed" "$work/bound" "$work/elsewhere"
fi

# ---- what it tells -------------------------------------------------------------------------

# info NAME - a number of INFO memory, as the server's own cron has taken it lately.
info() { tr -d '\r' <"$work/info" | sed -n "s/^$1:\([0-9]*\).*/\1/p"; }
look() {
    sleep 0.4 # its cron asks the allocator ten times a second, and INFO tells what it heard
    cli INFO memory >"$work/info"
    cat "$work/info" >>"$work/infos"
}

failures=0
require() { # WHAT EXPRESSION
    if [ "$(($2))" -ne 1 ]; then
        echo "not so: $1: $2" >>"$work/wrong"
        failures=$((failures + 1))
    fi
}

# Numbers that must be in order in any state, and the kernel's beside them.
in_order() {
    allocated=$(info allocator_allocated)
    active=$(info allocator_active)
    resident=$(info allocator_resident)
    used=$(info used_memory)
    rss=$(($(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$server/status") * 1024))
    require "$1: allocated <= active" "$allocated <= $active"
    require "$1: active <= resident" "$active <= $resident"
    require "$1: resident <= RSS and a little" "$resident <= $rss + (4 << 20)"
    # used_memory is its own sum of malloc_usable_size; allocated is the allocator's.
    require "$1: allocated is what is used" \
        "$allocated > $used - (1 << 20) && $allocated < $used + $used / 20 + (4 << 20)"
}

look
in_order start
start=$allocated

awk 'BEGIN {
    for (i = 0; i < 1000; i++) pad = pad "x"
    for (i = 0; i < 300000; i++)
        printf "SET key:%d %d:%s\r\n", i, i, substr(pad, 1, 100 + i * 7919 % 800)
}' | cli --pipe >"$work/pipe" 2>&1
grep -q 'errors: 0, replies: 300000' "$work/pipe" || failures=$((failures + 1))
look
in_order full
full=$allocated
require 'full: at least 160 MB more' "$full - $start > 160000000"
require 'full: little fragmentation' "$active * 100 < $allocated * 115"
cli MEMORY DOCTOR >"$work/doctor-full"
grep -q "can't find any memory issue" "$work/doctor-full" || failures=$((failures + 1))

# Two of three keys go: pages with survivors stay, and are told as fragmentation.
awk 'BEGIN { for (i = 0; i < 300000; i++) if (i % 3) printf "DEL key:%d\r\n", i }' |
    cli --pipe >"$work/pipe" 2>&1
look
in_order thinned
require 'thinned: less than half is in use' "$allocated * 2 < $full"
require 'thinned: told as fragmentation' "$active * 100 > $allocated * 140"
cli MEMORY DOCTOR >"$work/doctor-thinned"
grep -q 'High allocator fragmentation' "$work/doctor-thinned" || failures=$((failures + 1))

[ "$(cli FLUSHALL)" = OK ] || failures=$((failures + 1))
[ "$(cli MEMORY PURGE)" = OK ] || failures=$((failures + 1))
look
in_order empty
require 'empty: as at the start' "$allocated < $start + (4 << 20)"
require 'empty: the memory is gone' "$resident < $start + (10 << 20)"
require 'empty: for the kernel too' "$rss < $start + (30 << 20)"

# The tool reaches it, though the server has written its title over its environment.
if command -v python3 >"$work/python"; then
    if tr '\0' '\n' <"/proc/$server/environ" | grep -q RECLAIM_CONF; then
        echo 'not so: this redis-server overwrites its environment' >>"$work/wrong"
        failures=$((failures + 1))
    fi
    for command in conf purge; do
        python3 "$top/python/bin/reclaim" "$command" "$server" >"$work/tool-$command" 2>&1 ||
            failures=$((failures + 1))
        cat "$work/tool-$command" >>"$work/infos"
    done
    grep -q '^purge_signal:[1-9]' "$work/tool-conf" || failures=$((failures + 1))
    grep -q 'kB before, .* kB after$' "$work/tool-purge" || failures=$((failures + 1))
fi

# It switches our helper off and on, as it does with jemalloc's threads.
[ "$(cli CONFIG SET jemalloc-bg-thread no)" = OK ] || failures=$((failures + 1))
[ "$(cli CONFIG SET jemalloc-bg-thread yes)" = OK ] || failures=$((failures + 1))
cli MEMORY MALLOC-STATS >"$work/malloc-stats"
grep -q 'Allocated: [0-9]' "$work/malloc-stats" || failures=$((failures + 1))
[ "$(cli PING)" = PONG ] || failures=$((failures + 1))
said_well "$work/server.log" || failures=$((failures + 1))

if [ "$failures" -eq 0 ]; then
    passes redis-jemalloc-numbers
else
    echo "$failures failures" >>"$work/wrong"
    fails redis-jemalloc-numbers "$work/wrong" "$work/infos" "$work/doctor-full" \
        "$work/doctor-thinned" "$work/malloc-stats" "$work/server.log"
fi
