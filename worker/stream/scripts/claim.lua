-- CLAIM: gives a worker up to `count` entries that may run, old ones made ready and new ones in turn.
-- ARGV: 2 worker, 3 count, 4 most bytes of a field, 5 0 or 1: which of ready and new comes first. With a count of 0 only
-- what has expired is given, from the heads of both: a worker whose slots all speak can still tell its session.
-- Returns {jobs, last id of jobs, last id of bell, ms until a delayed entry is due or -1, or 0: call again, duplicates deleted, now ms}
local me, count, max_bytes, turn = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local bound = 200
local started = now()
local is_full = count == 0
if is_full then count = bound end

local function has_expired(id)
  local fields = entry(id)
  local ttl_ms = fields and tonumber(field(fields, 'ttl_ms') or DEFAULT_TTL_MS)
  return ttl_ms and started - tonumber(string.match(id, '^%d+')) > ttl_ms
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', started, 'LIMIT', 0, 100)) do
  redis.call('ZREM', delayed, id)
  redis.call('RPUSH', ready, id)
end

local function take_ready()
  local id = redis.call('LRANGE', ready, 0, 0)[1]
  if not id or (is_full and not has_expired(id)) then return false end
  redis.call('LPOP', ready)
  local fields = entry(id)
  if fields and not owner(id) and not redis.call('ZSCORE', delayed, id) then
    local sid = session_of(fields)
    if may_run(sid, id) then give(me, id, fields, sid, max_bytes) end
  end
  return true
end

local duplicates = 0
-- The same job_id in the same session is the same job: only the entry that came first is kept. Without a usable session
-- there is nothing that an entry could repeat.
local function is_duplicate(sid, id, fields)
  local job_id = field(fields, 'job_id')
  if sid == '' or not job_id then return false end
  local key = ARGV[1] .. redis.sha1hex(sid .. ' ' .. job_id)
  return not redis.call('SET', key, id, 'NX', 'PX', SEEN_TTL_MS) and redis.call('GET', key) ~= id
end

local function take_new()
  if is_full then
    local next = redis.call('XRANGE', jobs, '(' .. last_delivered(), '+', 'COUNT', 1)[1]
    if not next or not has_expired(next[1]) then return false end
  end
  local reply = redis.call('XREADGROUP', 'GROUP', GROUP, me, 'COUNT', 1, 'STREAMS', jobs, '>')
  if not reply or not reply[1] then return false end
  local id, fields = reply[1][2][1][1], reply[1][2][1][2]
  local sid = session_of(fields)
  if is_duplicate(sid, id, fields) then
    redis.call('XACK', jobs, GROUP, id)
    redis.call('XDEL', jobs, id)
    duplicates = duplicates + 1
  elseif redis.call('ZSCORE', delayed, id) or not may_run(sid, id) then
    redis.call('XACK', jobs, GROUP, id)
  else
    give(me, id, fields, sid, max_bytes)
  end
  return true
end

local more_ready, more_new = true, true
while #given < count and bound > 0 and (more_ready or more_new) do
  bound = bound - 1
  if turn == 0 then
    more_ready = more_ready and take_ready()
  else
    more_new = more_new and take_new()
  end
  turn = 1 - turn
end

local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
local wait_ms = -1
if due[2] then wait_ms = math.max(1, math.ceil(tonumber(due[2]) - started)) end
if (more_ready or more_new) and #given < count then wait_ms = 0 end
return { given, last_id(jobs) or '0-0', last_id(bell) or '0-0', wait_ms, duplicates, string.format('%.0f', started) }
