-- Prelude of the scripts of the job plane.
-- KEYS: 1 jobs, 2 ready, 3 delayed, 4 gates, 5 waiting, 6 attempts, 7 bell, 8 dead, 9 workers. ARGV[1]: prefix of the seen keys.
local jobs, ready, delayed, gates, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local attempts, bell, dead, workers = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local GROUP = 'workers'
local SEEN_TTL_MS = 86400000
local DEFAULT_TTL_MS = 30000

-- The session an entry belongs to, or '' when it names none that can have keys.
local function session_of(fields)
  local sid = field(fields, 'session_id')
  if sid and #sid <= 128 and string.match(sid, '^[%w._:%-]+$') then return sid end
  return ''
end

local function entry(id)
  local found = redis.call('XRANGE', jobs, id, id)
  return found[1] and found[1][2]
end

local function owner(id)
  local found = redis.call('XPENDING', jobs, GROUP, id, id, 1)
  return found[1] and found[1][2]
end

local function as_map(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

-- The highest id that the group was given; without a group what follows says so.
local function last_delivered()
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', jobs)) do
    local info = as_map(group)
    if info['name'] == GROUP then return info['last-delivered-id'] end
  end
  return '0-0'
end

local function ring() redis.call('XADD', bell, 'MAXLEN', '~', 100, '*', 'ready', '1') end

local function make_ready(id)
  redis.call('RPUSH', ready, id)
  ring()
end

local function wait(sid, id) redis.call('ZADD', waiting, 0, sid .. ' ' .. pad(id)) end
local function unwait(sid, id) redis.call('ZREM', waiting, sid .. ' ' .. pad(id)) end

-- '!' is the character after the space.
local function lowest_waiting(sid)
  return redis.call('ZRANGEBYLEX', waiting, '[' .. sid .. ' ', '(' .. sid .. '!', 'LIMIT', 0, 1)[1]
end

-- Takes the session's lowest living entry out of waiting.
local function pop_waiting(sid)
  while true do
    local member = lowest_waiting(sid)
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
  if named and entry(named) then
    wait(sid, id)
    return false
  end
  local lowest = lowest_waiting(sid)
  local mine = sid .. ' ' .. pad(id)
  local next = id
  if lowest and lowest <= mine then
    wait(sid, id)
    next = pop_waiting(sid)
  end
  redis.call('HSET', gates, sid, next)
  if next == id then return true end
  if not owner(next) then make_ready(next) end
  return false
end

-- attempts[id] = '<count> <fence>': the count may fall, the fence only rises.
local function attempt_of(id)
  local count, fence = string.match(redis.call('HGET', attempts, id) or '', '^(%d+) (%d+)$')
  return tonumber(count or 0), fence
end

local function raise_fence(id, count)
  local _, fence = attempt_of(id)
  fence = string.format('%.0f', math.max(now(), tonumber(fence or 0) + 1))
  redis.call('HSET', attempts, id, count .. ' ' .. fence)
  return fence
end

local function is_mine(me, id, fence)
  local _, newest = attempt_of(id)
  return newest == fence and owner(id) == me
end

local CONTRACT = { session_id = true, text = true, v = true, job_id = true, voice = true, language = true,
  sample_rate = true, encoding = true, ttl_ms = true, seed = true, temperature = true, traceparent = true }

-- What of an entry the worker needs to see: each field of the contract, cut to a length that is still too long; of a field
-- given again only that it was; and of an entry with far too many fields enough names to show it.
local MAX_FIELDS = 64
local function essence(fields, max_bytes)
  local kept, times = {}, {}
  local is_flood = #fields > 2 * MAX_FIELDS
  for i = 1, #fields, 2 do
    local name = fields[i]
    times[name] = (times[name] or 0) + 1
    if CONTRACT[name] and times[name] <= 2 then
      kept[#kept + 1] = name
      kept[#kept + 1] = times[name] == 1 and string.sub(fields[i + 1], 1, max_bytes) or ''
    elseif is_flood and #kept <= 2 * MAX_FIELDS then
      kept[#kept + 1] = string.sub(name, 1, 65)
      kept[#kept + 1] = ''
    end
  end
  return kept
end

local given = {}
local function give(me, id, fields, sid, max_bytes)
  redis.call('XCLAIM', jobs, GROUP, me, 0, id, 'FORCE', 'JUSTID')
  local count = attempt_of(id) + 1
  local fence = raise_fence(id, count)
  given[#given + 1] = { id, count, fence, sid, essence(fields, max_bytes) }
end
