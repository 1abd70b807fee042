-- Prelude of every script.

local time_ms
-- Redis stops its clock while a script runs.
local function now()
  if not time_ms then
    local t = redis.call('TIME')
    time_ms = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return time_ms
end

-- The first of a repeated field counts.
local function field(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
end

-- A number that somebody wrote, or nil: digits only, few enough for a double to hold it exactly.
local function number(text)
  if text and #text < 16 and string.match(text, '^%d+$') then return tonumber(text) end
end

-- Entry ids compare as pairs of numbers of up to 64 bits, which doubles cannot hold: zero-padded text can.
-- Returns nil for what is not written exactly as a stream writes its ids.
local function pad(id)
  local ms, seq = string.match(id or '', '^(%d+)%-(%d+)$')
  if not ms or #ms > 20 or #seq > 20 or string.find(ms, '^0.') or string.find(seq, '^0.') then return nil end
  ms, seq = string.rep('0', 20 - #ms) .. ms, string.rep('0', 20 - #seq) .. seq
  if ms > '18446744073709551615' or seq > '18446744073709551615' then return nil end
  return ms .. '-' .. seq
end

-- nil for what `pad` did not write.
local function unpad(padded)
  local ms, seq = string.match(padded or '', '^0*(%d+)%-0*(%d+)$')
  local id = ms and ms .. '-' .. seq
  return pad(id) == padded and id or nil
end

-- How far ahead of this server's clock a time may lie that a worker wrote; what is further ahead is damage. Fences keep
-- rising where the clock was set back, by a day at most.
local AHEAD_MS = 60000
local FENCE_AHEAD_MS = 86400000

-- The last id a stream ever gave out, also when its entries are gone; nil without a stream.
local function last_id(key)
  if redis.call('EXISTS', key) == 0 then return nil end
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
