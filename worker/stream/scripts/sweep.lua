-- SWEEP: repairs one page of the job plane: entries that an accident (a lost key, a destroyed group) left in no queue, stale
-- references, and content that no worker wrote.
-- ARGV: 2 worker, 3 part (1 at first), 4 cursor ('' at first), 5 page size, 6 ms for which no other worker begins a sweep,
-- 7 ms of silence after which a worker's card is deleted, 8 ms of idleness after which a consumer is deleted,
-- 9 '1' to begin even if another worker has just swept.
-- Answers: {next part, or 0 at the end, next cursor, damage}.
local me, part, cursor, page_size = ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local every_ms, silent_ms, idle_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local function may_sweep()
  if ARGV[9] == '1' then redis.call('SET', sweeping, me, 'PX', every_ms) return true end
  if redis.call('SET', sweeping, me, 'NX', 'PX', every_ms) then return true end
  local left_ms = redis.call('PTTL', sweeping)
  if left_ms >= 0 and left_ms <= every_ms then return false end
  report('sweeping', 'it had no expiry, or one too far ahead')
  redis.call('SET', sweeping, me, 'PX', every_ms)
  return true
end

-- LPOS is linear in the list's length: one call searches at most about this many elements, and makes one search at least.
local n_looks = 100000
local n_ready
local function is_ready(id)
  n_ready = n_ready or redis.call('LLEN', ready)
  n_looks = n_looks - n_ready
  return redis.call('LPOS', ready, id)
end

local function sweep_jobs()
  local from = cursor == '' and '-' or cursor
  local page = redis.call('XRANGE', jobs, from, taken_id(), 'COUNT', page_size)
  for _, found in ipairs(page) do
    if n_looks <= 0 then return cursor end
    local id = found[1]
    if not owner(id) and not is_delayed(id) then
      local sid = session_of(found[2])
      local named = sid ~= '' and redis.call('HGET', gates, sid)
      if sid == '' or named == id then
        if not is_ready(id) then make_ready(id) end
      else
        wait(sid, id)
        if not named or not is_live(sid, named) then pass_gate_on(sid) end
      end
    end
    cursor = after(id)
  end
  if #page == page_size then return cursor end
  local last = last_id(jobs)
  local last_ms = last and tonumber(string.match(last, '^%d+'))
  if last_ms and last_ms > now() + AHEAD_MS then report('jobs', 'its last ID is ' .. last .. ', ahead of the clock') end
  return ''
end

-- Visits one page of a hash or sorted set. Returns the next cursor, '' at the end.
local function scan(command, key, visit)
  local reply = redis.call(command, key, cursor == '' and '0' or cursor, 'COUNT', page_size)
  for i = 1, #reply[2], 2 do visit(reply[2][i], reply[2][i + 1]) end
  return reply[1] == '0' and '' or reply[1]
end

local function sweep_gate(sid, id)
  if is_live(sid, id) then return end
  if not pad(id) or not string.match(sid, '^[%w._:%-]+$') then report('gates', sid .. ' = ' .. id) end
  local earlier = earliest_begun(sid)
  if earlier then
    redis.call('HSET', gates, sid, earlier)
  else
    pass_gate_on(sid)
  end
end

local function sweep_attempt(id)
  if entry(id) then return end
  if not pad(id) then report('attempts', id) end
  redis.call('HDEL', attempts, id)
end

local function sweep_waiting(member, score)
  local sid, padded = string.match(member, '^([%w._:%-]+) (.*)$')
  local id = unpad(padded)
  if not id or tonumber(score) ~= 0 then report('waiting', member) end
  if not id or not is_live(sid, id) then
    redis.call('ZREM', waiting, member)
  elseif tonumber(score) ~= 0 then
    redis.call('ZADD', waiting, 0, member)
  end
end

local function sweep_delayed(id, due_ms)
  if not entry(id) then
    if not pad(id) then report('delayed', id) end
    redis.call('ZREM', delayed, id)
  elseif tonumber(due_ms) > now() + AHEAD_MS then
    report('delayed', id .. ' is due at ' .. due_ms)
    redis.call('ZADD', delayed, now(), id)
  end
end

local function sweep_worker(name, card)
  local ok, worker = pcall(cjson.decode, card)
  local beat = ok and type(worker) == 'table' and tonumber(worker['beat'])
  if not beat or beat > now() + AHEAD_MS then report('workers', name .. ' = ' .. card) end
  if not beat or math.abs(now() - beat) > silent_ms then redis.call('HDEL', workers, name) end
end

local function sweep_consumers()
  if redis.call('EXISTS', jobs) == 0 then return '' end -- no job was published yet, and no worker has claimed
  local n = 0
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', jobs, GROUP)) do
    local info = as_map(consumer)
    if info['pending'] == 0 and info['idle'] > idle_ms and n < page_size then
      redis.call('XGROUP', 'DELCONSUMER', jobs, GROUP, info['name'])
      n = n + 1
    end
  end
  return ''
end

local PARTS = {
  function() return scan('ZSCAN', waiting, sweep_waiting) end,
  function() return scan('ZSCAN', delayed, sweep_delayed) end,
  function() return scan('HSCAN', gates, sweep_gate) end,
  function() return scan('HSCAN', attempts, sweep_attempt) end,
  sweep_jobs,
  function() return scan('HSCAN', workers, sweep_worker) end,
  sweep_consumers,
}

restore_gates()
if part == 1 and cursor == '' then
  if not may_sweep() then return { 0, '', damage } end
else
  redis.call('SET', sweeping, me, 'PX', every_ms)
end
local next_cursor = PARTS[part]()
if next_cursor ~= '' then return { part, next_cursor, damage } end
return { part < #PARTS and part + 1 or 0, '', damage }
