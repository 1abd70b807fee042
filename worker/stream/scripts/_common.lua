-- Prelude of every script.

local time_ms
-- Server time in ms. Redis stops its clock while a script runs, so one TIME serves a whole script.
local function now()
  if not time_ms then
    local t = redis.call('TIME')
    time_ms = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return time_ms
end

-- Value of a field in a flat list, or nil. The first occurrence counts.
local function field(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
end

-- Parses untrusted text as a number; nil unless it is 1 to 15 digits, which a double holds exactly.
local function number(text)
  if text and #text < 16 and string.match(text, '^%d+$') then return tonumber(text) end
end

-- Zero-pads an entry ID, so that IDs compare as text: doubles cannot hold 64-bit numbers.
-- Returns nil for text that is not exactly an ID as Redis writes it.
local function pad(id)
  local ms, seq = string.match(id or '', '^(%d+)%-(%d+)$')
  if not ms or #ms > 20 or #seq > 20 or string.find(ms, '^0.') or string.find(seq, '^0.') then return nil end
  ms, seq = string.rep('0', 20 - #ms) .. ms, string.rep('0', 20 - #seq) .. seq
  if ms > '18446744073709551615' or seq > '18446744073709551615' then return nil end
  return ms .. '-' .. seq
end

-- Inverse of `pad`; nil for any other text.
local function unpad(padded)
  local ms, seq = string.match(padded or '', '^0*(%d+)%-0*(%d+)$')
  local id = ms and ms .. '-' .. seq
  return pad(id) == padded and id or nil
end

-- A time that a worker wrote may be this far ahead of the server's clock; a later one is damage. Fences get a day, because
-- they keep rising after the clock was set back.
local AHEAD_MS = 60000
local FENCE_AHEAD_MS = 86400000

-- The last ID that a stream generated, also when its entries are gone; nil without a stream.
local function last_id(key)
  if redis.call('EXISTS', key) == 0 then return nil end
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
