// SPDX-License-Identifier: MIT
// What of node's work reaches malloc: buffers, zlib, JSON and large strings; ends as idle.py says.
'use strict';
const zlib = require('zlib');

function records(count) {
    const made = [];
    for (let i = 0; i < count; i++)
        made.push({id: i, name: 'user' + i, list: [i, i * 2, i * 3], text: 'x'.repeat(i % 200)});
    return made;
}

let total = 0;
for (let turn = 0; turn < 5; turn++) {
    const text = JSON.stringify(records(30000));
    const packed = zlib.gzipSync(text.slice(0, 1500000), {level: 3});
    total += zlib.gunzipSync(packed).length;
    total += JSON.parse(text).length;
    const buffers = [];
    for (let i = 0; i < 60000; i++) {
        buffers[i % 3000] = Buffer.allocUnsafeSlow(16 + (i * 7919) % 9000).fill(i & 255);
        total += buffers[i % 3000].length;
    }
}
if (total === 0)
    throw new Error('nothing was done');

if (process.env.BENCH_WAIT) {
    process.stdout.write('done\n');
    process.stdin.once('data', () => process.exit(0));
}
