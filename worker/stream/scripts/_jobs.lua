-- Prelude of the scripts of the job plane. ARGV[1]: prefix of the seen keys.
-- KEYS: 1 jobs, 2 ready, 3 delayed, 4 gates, 5 waiting, 6 attempts, 7 bell, 8 dead, 9 workers, 10 taken, 11 sweeping.
-- Content of these keys is untrusted: text that is not an entry ID counts as an entry that is gone.
local jobs, ready, delayed, gates, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local attempts, bell, dead, workers, taken, sweeping = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local LAST_ID = '18446744073709551615-18446744073709551615'

-- Damage: content that no worker wrote. Flat list of key name and description; the last part of every answer.
local damage = {}
local function report(key, what)
  if #damage < 40 then
    damage[#damage + 1] = key
    damage[#damage + 1] = string.sub(what, 1, 200)
  end
end

-- The session ID of an entry, or '' when it is absent or unusable in a key.
local function session_of(fields)
  local sid = field(fields, 'session_id')
  if sid and #sid <= MAX_ID_CHARS and string.match(sid, '^[%w._:%-]+$') then return sid end
  return ''
end

-- Fields of an entry, or nil.
local function entry(id)
  if not pad(id) then return nil end
  local found = redis.call('XRANGE', jobs, id, id)
  return found[1] and found[1][2]
end

-- Start of a range that continues after an ID; '' after the highest ID, which Redis rejects as an exclusive start.
local function after(id) return id == LAST_ID and '' or '(' .. id end

-- The consumer in whose pending list the entry is, or nil.
local function owner(id)
  local found = redis.call('XPENDING', jobs, GROUP, id, id, 1)
  return found[1] and found[1][2]
end

local function is_delayed(id) return redis.call('ZSCORE', delayed, id) end

local function as_map(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

-- The highest entry ID that a CLAIM has scanned. '0-0' where it is lost or damaged: every entry is scanned again.
local function taken_id()
  local id = redis.call('GET', taken)
  if id and pad(id) then return id end
  if id then report('taken', id) end
  return '0-0'
end

local function ring_bell() redis.call('XADD', bell, 'MAXLEN', '~', 100, '*', 'ready', '1') end

local function make_ready(id)
  redis.call('RPUSH', ready, id)
  ring_bell()
end

local function wait(sid, id) redis.call('ZADD', waiting, 0, sid .. ' ' .. pad(id)) end
local function stop_waiting(sid, id) redis.call('ZREM', waiting, sid .. ' ' .. pad(id)) end

-- The session's member with the lowest entry ID, or nil. In the range, '!' is the character after the space.
local function lowest_waiting(sid)
  return redis.call('ZRANGEBYLEX', waiting, '[' .. sid .. ' ', '(' .. sid .. '!', 'LIMIT', 0, 1)[1]
end

-- True when the entry exists and belongs to this session. Cached: one script often queries the same entry.
local sessions = {}
local function is_live(sid, id)
  if not sessions[id] then
    local fields = entry(id)
    if not fields then return false end
    sessions[id] = session_of(fields)
  end
  return sessions[id] == sid
end

-- Sets foreign scores in `waiting` to 0, since lookup by name needs equal scores. Changes 100 members at most and returns
-- how many it changed.
local function level_waiting()
  if redis.call('EXISTS', waiting) == 0 then return 0 end
  local n = 0
  for _, range in ipairs({ { '-inf', '(0' }, { '(0', '+inf' } }) do
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', waiting, range[1], range[2], 'LIMIT', 0, 50)) do
      report('waiting', member)
      redis.call('ZADD', waiting, 0, member)
      n = n + 1
    end
  end
  return n
end

-- Removes and returns the session's lowest live entry in `waiting`. One script drops 500 stale members at most; SWEEP drops
-- the rest.
local n_pops = 500
local function pop_waiting(sid)
  while n_pops > 0 do
    n_pops = n_pops - 1
    local member = lowest_waiting(sid)
    if not member then return nil end
    redis.call('ZREM', waiting, member)
    local id = unpad(string.sub(member, #sid + 2))
    if id and is_live(sid, id) then return id end
    if not id then report('waiting', member) end
  end
end

-- Count and fence of an attempts record '<count> <fence>'; nil for a damaged one. Newer workers may append more parts.
local function parse_attempt(text)
  local count, fence = string.match(text .. ' ', '^(%d+) (%d+) ')
  count, fence = number(count), number(fence)
  if count and fence and count <= 1e6 then return count, fence end
end

-- Whether an attempts record is of a claim: a fence is a time, and no earlier than its job by more than a clock may be set.
local function is_of_claim(id, text)
  local _, fence = parse_attempt(text)
  local published_ms = number(string.match(id, '^%d+'))
  return fence and published_ms and fence > published_ms - FENCE_AHEAD_MS
end

-- The session's lowest unended entry that has begun or may begin. Searches about 1,000 entries each of attempts, pending,
-- delayed and ready. Computed once a script, and only where a gate is lost.
local begun
local function earliest_begun(sid)
  if not begun then
    begun = {}
    local function add(id)
      local fields = entry(id)
      local sid_of = fields and session_of(fields)
      if fields and (not begun[sid_of] or pad(id) < pad(begun[sid_of])) then begun[sid_of] = id end
    end
    local counted = redis.call('HSCAN', attempts, '0', 'COUNT', 1000)[2]
    for i = 1, #counted, 2 do
      if is_of_claim(counted[i], counted[i + 1]) then add(counted[i]) end
    end
    local running = redis.pcall('XPENDING', jobs, GROUP, '-', '+', 1000) -- pcall: the group may be lost
    for _, pending in ipairs(running) do add(pending[1]) end
    for _, id in ipairs(redis.call('ZRANGE', delayed, 0, 999)) do add(id) end
    for _, id in ipairs(redis.call('LRANGE', ready, 0, 999)) do add(id) end
  end
  return begun[sid]
end

-- Without a key `gates` (none needed, or it is lost), rebuilds it from entries that have begun or may begin. Returns true
-- when it set any.
local function restore_gates()
  local has_lost = false
  if redis.call('EXISTS', gates) == 1 then return false end
  earliest_begun('')
  for sid, id in pairs(begun) do
    if sid ~= '' then
      redis.call('HSET', gates, sid, id)
      has_lost = true
    end
  end
  return has_lost
end

-- Raises WRONGTYPE before the caller has written anything, where a key has another type. Returns whether `delayed` has
-- members.
local function check_types()
  redis.call('LLEN', ready)
  redis.call('ZCARD', waiting)
  redis.call('HLEN', attempts)
  redis.call('HLEN', gates)
  redis.call('XREVRANGE', bell, '+', '-', 'COUNT', 1)
  return redis.call('ZCARD', delayed) > 0
end

-- Passes the session's gate to its next waiting entry and makes that ready; deletes the gate when none waits.
local function pass_gate_on(sid)
  local id = pop_waiting(sid)
  if not id and level_waiting() > 0 then id = pop_waiting(sid) end
  if not id then
    redis.call('HDEL', gates, sid)
    return
  end
  redis.call('HSET', gates, sid, id)
  if not owner(id) then make_ready(id) end
end

-- The gate rule: true when this entry may run now; else adds it to `waiting`.
local function may_run(sid, id)
  if sid == '' then return true end
  local named = redis.call('HGET', gates, sid)
  if named == id then
    stop_waiting(sid, id)
    return true
  end
  if named and is_live(sid, named) then
    wait(sid, id)
    return false
  end
  if named and not pad(named) then report('gates', sid .. ' = ' .. named) end
  local earlier = named and earliest_begun(sid)
  if earlier and pad(earlier) < pad(id) then
    redis.call('HSET', gates, sid, earlier)
    wait(sid, id)
    return false
  end
  local lowest = lowest_waiting(sid)
  local mine = sid .. ' ' .. pad(id)
  local next = id
  if lowest and lowest <= mine then
    wait(sid, id)
    next = pop_waiting(sid) or id
  end
  redis.call('HSET', gates, sid, next)
  if next == id then
    if lowest then stop_waiting(sid, id) end
    return true
  end
  if not owner(next) then make_ready(next) end
  return false
end

-- Count and fence of attempts[id]; 0 and nil for a damaged record. The count may fall, the fence only rises.
local function attempt_of(id)
  local text = redis.call('HGET', attempts, id)
  local count, fence = parse_attempt(text or '')
  if count then return count, fence end
  if text then report('attempts', id .. ' = ' .. text) end
  return 0, nil
end

-- Sets and returns the entry's next fencing token, above `before`. A `before` from the future is damage and is ignored.
local function raise_fence(id, count, before)
  if not before or before > now() + FENCE_AHEAD_MS then before = 0 end
  local fence = string.format('%.0f', math.max(now(), before + 1))
  redis.call('HSET', attempts, id, string.format('%.0f', count) .. ' ' .. fence)
  return fence
end

-- Whether this worker holds the entry with this fence. A lost attempts or pending record does not end the lease: a claim by
-- another worker would have written both.
local function is_mine(me, id, fence)
  local _, newest = attempt_of(id)
  local holder = owner(id)
  local is_fenced = newest and newest > tonumber(fence) and newest <= now() + FENCE_AHEAD_MS
  return not is_fenced and (not holder or holder == me)
end

-- The part of an entry that a worker needs to validate it: the contract's fields, each truncated to max_bytes, which is
-- still too long to be valid; '' for a field's second occurrence; and, above MAX_FIELDS, enough other names to show the excess.
local function contract_fields(fields, max_bytes)
  local kept, times = {}, {}
  local is_flood = #fields > 2 * MAX_FIELDS
  for i = 1, #fields, 2 do
    local name = fields[i]
    times[name] = (times[name] or 0) + 1
    if JOB_FIELDS[name] and times[name] <= 2 then
      kept[#kept + 1] = name
      kept[#kept + 1] = times[name] == 1 and string.sub(fields[i + 1], 1, max_bytes) or ''
    elseif is_flood and #kept <= 2 * MAX_FIELDS then
      kept[#kept + 1] = string.sub(name, 1, 65)
      kept[#kept + 1] = ''
    end
  end
  return kept
end

-- The key that records which entry published a session's job_id first; nil for an entry without session or job_id.
local function seen_key(sid, fields)
  local job_id = field(fields, 'job_id')
  if sid ~= '' and job_id then return ARGV[1] .. redis.sha1hex(sid .. ' ' .. job_id) end
end

-- The key that says that this entry's end is being written and is retryable.
local function ending_key(id) return ARGV[1] .. redis.sha1hex('\0ending ' .. id) end

-- Leases the entry to the worker: pending record, attempt, fence. repeats: ID of an ended entry that published the same
-- job before, '' for none, nil to look it up.
local granted = {}
local function grant(me, id, fields, sid, max_bytes, repeats)
  redis.call('XCLAIM', jobs, GROUP, me, 0, id, 'FORCE', 'JUSTID', 'LASTID', id)
  local count, before = attempt_of(id)
  local fence = raise_fence(id, count + 1, before)
  if not repeats then
    local key = seen_key(sid, fields)
    local first = key and redis.pcall('GET', key)
    local known = type(first) == 'string' and pad(first)
    if key and (not first or (known and known > pad(id))) then -- the job's first entry was forgotten while this one waited
      redis.call('SET', key, id, 'PX', SEEN_TTL_MS)
      first = id
    end
    repeats = known and first ~= id and first
  end
  granted[#granted + 1] = { id, count + 1, fence, sid, contract_fields(fields, max_bytes), repeats or '' }
end
