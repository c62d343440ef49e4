-- SPDX-License-Identifier: MIT
--
-- burst.lua - about 200 MB of strings and tables, then none.
--
-- resident(step) is a function of the host program: it prints this process's resident memory.

resident("start")

local big = {}
for i = 1, 46000 do
    -- A string of 4 kB and a table with an array and a hash part.  The string is made in one
    -- piece: `rep() .. i` would throw a piece away each time, and memory that a program shows to
    -- need again and again is meant to stay for a second.
    big[i] = { string.rep("x", 4000 + i % 100), i, i * 2, name = "row " .. i, mark = i % 7 == 0 }
end
resident("after alloc")

local small = { "what", "outlives", "the", "burst" }
resident("after small table")

big = nil
collectgarbage()
collectgarbage() -- the second round frees what the first one's finalizers let go
resident("after collect")

assert(#small == 4)
