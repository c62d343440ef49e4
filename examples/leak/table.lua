-- SPDX-License-Identifier: MIT
--
-- table.lua - counts visitors by a key that is never the same twice, so that the table only grows.

local visits = {}

local function visitor(n)
    return n * 1.61803398875
end

for n = 1, 600000 do
    local key = visitor(n)
    visits[key] = (visits[key] or 0) + 1
end

resident("after the last visitor")
