#!/bin/sh
# SPDX-License-Identifier: MIT
#
# redis-server under redis-benchmark: values checked through a client, background saves (forks)
# while the benchmark runs, and the same content after a restart from the saved file.
. "$(dirname "$0")/lib.sh"

have redis redis-server redis-cli redis-benchmark || exit 0

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

# On a port that nobody else has: a server that cannot bind ends at once, then another is tried.
start_server() {
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        LD_PRELOAD=$RECLAIM_SO redis-server --bind 127.0.0.1 --port "$port" --dir "$work" \
            --save '' --daemonize no >"$work/server.log" 2>&1 &
        server=$!
        until [ "$(cli PING 2>/dev/null)" = PONG ]; do
            kill -0 "$server" 2>/dev/null || break
            sleep 0.05 # between two looks, not instead of one
        done
        # another program's redis could answer: it is ours when it names our process
        if cli INFO server 2>/dev/null | tr -d '\r' | grep -qx "process_id:$server"; then
            return 0
        fi
        stop_server
        echo "attempt $attempt: port $port did not work" >>"$work/starts"
    done
    return 1
}

if ! start_server; then
    fails redis-start "$work/server.log" "$work/starts"
    exit 0
fi
if grep -q libreclaim "/proc/$server/maps" && said_well "$work/server.log"; then
    passes redis-start
else
    fails redis-start "$work/server.log"
fi

# expect NAME VALUE COMMAND...
failures=0
expect() {
    value=$1
    shift
    got=$(cli "$@" 2>&1)
    if [ "$got" != "$value" ]; then
        echo "$*: got '$got', expected '$value'" >>"$work/values"
        failures=$((failures + 1))
    fi
}

# 60,000 keys with values of 1 to 2,000 bytes, through the protocol's pipe.
awk 'BEGIN {
    for (i = 0; i < 2000; i++) pad = pad "x"
    for (i = 0; i < 60000; i++)
        printf "SET key:%d %d:%s\r\n", i, i, substr(pad, 1, i * 7919 % 2000)
}' | cli --pipe >"$work/pipe" 2>&1
grep -q 'errors: 0, replies: 60000' "$work/pipe" || failures=$((failures + 1))
expect 60000 DBSIZE
expect "77:$(printf '%*s' $((77 * 7919 % 2000)) '' | tr ' ' x)" GET key:77
before=$(cli DEBUG DIGEST 2>/dev/null)

# Forks under load: the child walks the parent's memory while the parent changes its own.
( i=0; while [ $i -lt 5 ]; do cli BGSAVE >/dev/null; i=$((i + 1)); sleep 1; done ) &
saver=$!
timeout -k 10 120 redis-benchmark -h 127.0.0.1 -p "$port" -q -n 60000 -c 20 -r 10000 -d 300 \
    -t set,get,incr,lpush,lpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset >"$work/benchmark" 2>&1
result=$?
wait "$saver"
if [ "$result" -eq 0 ] && [ "$(tr '\r' '\n' <"$work/benchmark" |
    grep -c 'requests per second')" -ge 12 ]; then
    passes redis-benchmark
else
    fails redis-benchmark "$work/benchmark" "$work/server.log"
fi

expect PONG PING
expect OK SET greeting hello
expect hello GET greeting
expect 11 APPEND greeting ' there'
expect 'hello there' GET greeting
expect 'lo t' GETRANGE greeting 3 6
expect 3 RPUSH list a b c
expect "$(printf 'a\nb\nc')" LRANGE list 0 -1
expect "77:$(printf '%*s' $((77 * 7919 % 2000)) '' | tr ' ' x)" GET key:77
expect OK SAVE
expect 'OK' CONFIG SET activedefrag no
digest=$(cli DEBUG DIGEST 2>/dev/null)
size=$(cli DBSIZE)
echo "before $before, after $digest, $size keys" >>"$work/notes"
stop_server

if start_server; then
    until [ "$(cli PING 2>/dev/null)" = PONG ]; do
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05 # "LOADING" until the file is read
    done
    expect "$size" DBSIZE
    expect 'hello there' GET greeting
    [ "$(cli DEBUG DIGEST 2>/dev/null)" = "$digest" ] || failures=$((failures + 1))
    expect OK FLUSHALL
    expect 0 DBSIZE
    stop_server
else
    failures=$((failures + 1))
fi
if [ "$failures" -eq 0 ]; then
    passes redis-values
else
    fails redis-values "$work/values" "$work/pipe" "$work/notes" "$work/server.log"
fi
