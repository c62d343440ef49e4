-- SPDX-License-Identifier: MIT
-- Tables, strings and closures of Lua; ends as idle.py says.
local function list(n)
    local made = {}
    for i = 1, n do
        made[i] = {id = i, name = "item " .. i, next = made[i - 1], value = i * 0.5}
    end
    return made
end

local function words(n)
    local count, text = {}, {}
    for i = 1, n do
        text[i] = string.format("w%d", (i * 7919) % 20011)
    end
    for word in table.concat(text, " "):gmatch("%w+") do
        count[word] = (count[word] or 0) + 1
    end
    return count
end

for turn = 1, 5 do
    local kept = list(150000)
    for i = 1, #kept, 3 do
        kept[i] = nil
    end
    words(200000)
    local made = {}
    for i = 1, 100000 do
        made[i] = function() return i + turn end
    end
end
collectgarbage()
collectgarbage()

if os.getenv("BENCH_WAIT") then
    print("done")
    io.stdout:flush()
    io.read()
end
