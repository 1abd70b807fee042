-- Prelude of every script of the job plane.
-- KEYS: 1 jobs, 2 ready, 3 delayed, 4 gates, 5 waiting, 6 attempts, 7 bell, 8 dead, 9 workers. ARGV[1]: prefix of the seen keys.
local jobs, ready, delayed, gates, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local attempts, bell, dead, workers = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local GROUP = 'workers'
local SEEN_TTL_MS = 86400000

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- The first of a repeated field counts.
local function field(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
end

-- The session an entry belongs to, or '' when it names none that can have keys.
local function session_of(fields)
  local sid = field(fields, 'session_id')
  if sid and #sid <= 128 and string.match(sid, '^[%w._:%-]+$') then return sid end
  return ''
end

-- Entry ids compare as pairs of numbers of up to 64 bits, which doubles cannot hold: zero-padded text can.
local function pad(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #seq) .. seq
end

local function unpad(padded)
  local ms, seq = string.match(padded, '^0*(%d+)%-0*(%d+)$')
  return ms .. '-' .. seq
end

local function entry(id)
  local found = redis.call('XRANGE', jobs, id, id)
  return found[1] and found[1][2]
end

local function owner(id)
  local found = redis.call('XPENDING', jobs, GROUP, id, id, 1)
  return found[1] and found[1][2]
end

local function ring() redis.call('XADD', bell, 'MAXLEN', '~', 100, '*', 'ready', '1') end

local function make_ready(id)
  redis.call('RPUSH', ready, id)
  ring()
end

local function wait(sid, id) redis.call('ZADD', waiting, 0, sid .. ' ' .. pad(id)) end
local function unwait(sid, id) redis.call('ZREM', waiting, sid .. ' ' .. pad(id)) end

-- Takes the session's lowest living entry out of waiting. '!' is the character after the space.
local function pop_waiting(sid)
  while true do
    local member = redis.call('ZRANGEBYLEX', waiting, '[' .. sid .. ' ', '(' .. sid .. '!', 'LIMIT', 0, 1)[1]
    if not member then return nil end
    redis.call('ZREM', waiting, member)
    local id = unpad(string.sub(member, #sid + 2))
    if entry(id) then return id end
  end
end

-- The session's gate is free or names an entry that is gone: hand it to the next, or take it away.
local function pass_gate_on(sid)
  local id = pop_waiting(sid)
  if not id then
    redis.call('HDEL', gates, sid)
    return
  end
  redis.call('HSET', gates, sid, id)
  if not owner(id) then make_ready(id) end
end

-- The gate rule: true when this entry may run now, else it waits for its turn.
local function may_run(sid, id)
  if sid == '' then return true end
  local named = redis.call('HGET', gates, sid)
  if named == id then
    unwait(sid, id)
    return true
  end
  wait(sid, id)
  if named and entry(named) then return false end
  local lowest = pop_waiting(sid)
  redis.call('HSET', gates, sid, lowest)
  if lowest == id then return true end
  if not owner(lowest) then make_ready(lowest) end
  return false
end

-- attempts[id] = '<count> <fence>': the count may fall, the fence only rises.
local function attempt_of(id)
  local count, fence = string.match(redis.call('HGET', attempts, id) or '', '^(%d+) (%d+)$')
  return tonumber(count or 0), fence
end

local function raise_fence(id, change)
  local count, fence = attempt_of(id)
  count = math.max(0, count + change)
  fence = string.format('%.0f', math.max(now(), tonumber(fence or 0) + 1))
  redis.call('HSET', attempts, id, count .. ' ' .. fence)
  return count, fence
end

local function is_mine(me, id, fence)
  local _, newest = attempt_of(id)
  return newest == fence and owner(id) == me
end

local CONTRACT = { session_id = true, text = true, v = true, job_id = true, voice = true, language = true,
  sample_rate = true, encoding = true, ttl_ms = true, seed = true, temperature = true, traceparent = true }

-- What of an entry the worker needs: each field of the contract once, cut to a length that is still seen as too long.
local function essence(fields, max_bytes)
  local kept, seen = {}, {}
  for i = 1, #fields, 2 do
    local name = fields[i]
    if CONTRACT[name] and not seen[name] then
      seen[name] = true
      kept[#kept + 1] = name
      kept[#kept + 1] = string.sub(fields[i + 1], 1, max_bytes)
    end
  end
  return kept
end

local given = {}
local function give(me, id, fields, sid, max_bytes)
  redis.call('XCLAIM', jobs, GROUP, me, 0, id, 'FORCE', 'JUSTID')
  local count, fence = raise_fence(id, 1)
  given[#given + 1] = { id, count, fence, sid, essence(fields, max_bytes) }
end
