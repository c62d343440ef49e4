#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The static link: a C program that embeds Lua and carries libreclaim in itself.  The program
# proves by address that malloc is its own; here it is checked that its memory falls.
set -eu

host=$abs_top_builddir/examples/lua-host/lua-host
limit_kb=12288
if [ ! -x "$host" ]; then
    echo 'skipped: configure found no Lua 5.4 (Debian: liblua5.4-dev)'
    exit 77
fi

# The executable itself must not need the shared library: it is not to be installed anywhere.
if readelf -d "$host" | grep NEEDED | grep reclaim; then
    echo 'FAILED: lua-host is linked to the shared library'
    exit 1
fi

steps=$("$host" "$abs_top_srcdir/examples/lua-host/burst.lua" --wait 1)
echo "$steps"

at_step() {
    printf '%s\n' "$steps" | sed -n "s/^$1 \([0-9]*\) kB\$/\1/p"
}
start=$(at_step start)
full=$(at_step 'after alloc')
end=$(at_step 'after collect')

# 200 MB, of which 180 must show: else the burst was none, and its end proves nothing.
if [ "$full" -lt $((start + 180000)) ]; then
    echo "FAILED: the script allocated only $((full - start)) kB"
    exit 1
fi
if [ "$end" -gt $((start + limit_kb)) ]; then
    echo "FAILED: $((end - start)) kB over start, allowed $limit_kb"
    exit 1
fi
