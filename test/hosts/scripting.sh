#!/bin/sh
# SPDX-License-Identifier: MIT
#
# perl, lua, node: many small objects of mixed sizes, tables that grow, text that is built up.
. "$(dirname "$0")/lib.sh"

cat >"$work/program.pl" <<'END'
use strict;
my (%seen, @rows);
for my $i (0 .. 300000) {
    my $key = "key " . ($i * 7919 % 20011);
    push @{$seen{$key}}, $i;
    push @rows, {number => $i, text => "x" x ($i % 200)} if $i % 3 == 0;
    @rows = @rows[@rows / 2 .. $#rows] if @rows > 40000;
}
my $text = join ",", map { $seen{$_}[0] } sort keys %seen;
$text =~ s/(\d)(\d)/$2$1/g;
my $pid = fork // die;
if (!$pid) { undef %seen; undef @rows; exit 0 }
waitpid $pid, 0;
die "child: $?" if $?;
my $sum = 0;
$sum = ($sum * 31 + ord) % 1000003 for split //, $text;
print scalar(keys %seen), " ", scalar(@rows), " ", length($text), " $sum\n";
END
have perl perl && same_output perl perl "$work/program.pl"

cat >"$work/program.lua" <<'END'
local words, parts = {}, {}
for i = 1, 400000 do
    local key = "key " .. (i * 7919 % 20011)
    local list = words[key] or {}
    list[#list + 1] = i
    words[key] = list
    if i % 100 == 0 then parts[#parts + 1] = string.rep(key, i % 50) end
    if i % 50000 == 0 then collectgarbage() end
end
local text = table.concat(parts)
local sum = 0
for i = 1, #text do sum = (sum * 31 + text:byte(i)) % 1000003 end
local count = 0
for _ in pairs(words) do count = count + 1 end
words = nil
collectgarbage()
print(count, #text, sum, (text:gsub("%d", "")):len())
END
have lua5.4 lua5.4 && same_output lua5.4 lua5.4 "$work/program.lua"

cat >"$work/program.js" <<'END'
const crypto = require('crypto'), zlib = require('zlib');
const { Worker, isMainThread, parentPort } = require('worker_threads');
function work(rounds) {
    const map = new Map(), buffers = [];
    for (let i = 0; i < rounds; i++) {
        const key = 'key ' + (i * 7919 % 20011);
        map.set(key, (map.get(key) || '') + i);
        if (i % 50 === 0) buffers.push(Buffer.alloc(i % 70000, i & 255));
        if (buffers.length > 500) buffers.splice(0, 250);
    }
    const hash = crypto.createHash('sha256');
    for (const [key, value] of map) hash.update(key).update(value);
    for (const buffer of buffers) hash.update(zlib.gunzipSync(zlib.gzipSync(buffer)));
    return hash.digest('hex') + ' ' + map.size;
}
if (!isMainThread) {
    parentPort.postMessage(work(60000));
} else {
    const jobs = [1, 2, 3].map(() => new Promise((resolve, reject) => {
        const worker = new Worker(__filename);
        worker.on('message', resolve).on('error', reject);
    }));
    console.log(work(200000));
    Promise.all(jobs).then(results => results.forEach(line => console.log(line)));
}
END
have node node && same_output node node "$work/program.js"
