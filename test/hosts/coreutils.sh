#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Small everyday programs: ls, bash, sort, tar, xz.
. "$(dirname "$0")/lib.sh"

same_output ls ls -lR /usr/include
same_output ls-in-128-mib sh -c 'ulimit -v 131072; exec ls -l /usr/bin'

# 600,000 lines of pseudo-random numbers, sorted by two threads in a small buffer.
awk 'BEGIN { x = 1; for (i = 0; i < 600000; i++) { x = (x * 16807) % 2147483647; print x, i } }' \
    >"$work/lines"
lines=$work/lines
export lines
same_output sort sh -c 'sort -n -k1 --parallel=2 -S 64M "$lines" | cksum'
same_output sort-unique sh -c 'sort -u "$lines" | wc -l; sort -R --random-source="$lines" "$lines" |
    cksum'

cat >"$work/program.bash" <<'END'
declare -A words
for ((i = 0; i < 30000; i++)); do
    key="key $((i % 977))"
    words[$key]+="$i "
done
total=0
for key in "${!words[@]}"; do
    total=$((total + ${#words[$key]}))
    copy=${words[$key]//1/eleven}
    longest=$((${#copy} > ${longest:-0} ? ${#copy} : ${longest:-0}))
done
text=$(for ((i = 0; i < 5000; i++)); do printf '%s,' "$i"; done)
for ((i = 0; i < 50; i++)); do
    text="$(printf '%s' "$text" | tail -c 20000)$i"
done
echo "${#words[@]} $total $longest ${#text}"
END
program=$work/program.bash
export program
have bash bash && same_output bash bash "$program"

have tar-xz tar xz && same_output tar-xz sh -c '
    mkdir in && split -l 3000 "$lines" in/part. &&
    tar --sort=name --mtime=@0 -cf all.tar in && xz -3 -T2 -k all.tar && xz -t all.tar.xz &&
    mkdir out && tar -C out -xJf all.tar.xz && xz -dc all.tar.xz | cmp - all.tar &&
    cat out/in/part.* | cmp - "$lines" && ls out/in | wc -l && cksum <all.tar.xz'
