-- RECLAIM: takes over entries whose worker has been silent for too long; scans one page of the pending list.
-- ARGV: 2 worker, 3 ms of silence, 4 count, 5 longest field in bytes, 6 server time in ms at which the call was sent or '',
-- 7 cursor ('-' at first).
-- Answers: {jobs as CLAIM's, ms until the next entry of this page may be due, now ms, next cursor or '' at the end, damage}.
local me, silent_ms, count, max_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local PAGE = 128

-- A call that arrives late takes nothing: whatever delayed it has delayed other workers' beats too.
local sent_ms = tonumber(ARGV[6])
if sent_ms and now() - sent_ms > silent_ms / 3 then
  return { granted, math.ceil(silent_ms / 3), string.format('%.0f', now()), '', damage }
end

check_types()
restore_gates()
local function take_over(id)
  local fields = entry(id)
  if not fields then
    redis.call('XACK', jobs, GROUP, id)
    redis.call('HDEL', attempts, id)
    return
  end
  local sid = session_of(fields)
  if may_run(sid, id) then
    grant(me, id, fields, sid, max_bytes)
  else
    redis.call('XACK', jobs, GROUP, id)
  end
end

local due_ms, cursor = silent_ms, ''
local page = redis.call('XPENDING', jobs, GROUP, ARGV[7], '+', PAGE)
for _, pending in ipairs(page) do
  local id, holder, idle_ms = pending[1], pending[2], pending[3]
  if idle_ms >= silent_ms then
    if #granted == count then break end
    take_over(id)
  else
    -- Idle 0 may mean a delivery time in the future (the clock was set back): reset it, or the entry never becomes idle.
    if idle_ms == 0 then redis.call('XCLAIM', jobs, GROUP, holder, 0, id, 'JUSTID') end
    due_ms = math.min(due_ms, silent_ms - idle_ms)
  end
  cursor = after(id)
end
if #page < PAGE or #granted == count then cursor = '' end
return { granted, math.max(1, due_ms), string.format('%.0f', now()), cursor, damage }
