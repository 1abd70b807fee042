-- RECLAIM: takes entries over whose worker has been silent for too long.
-- ARGV: 2 worker, 3 ms of silence, 4 count, 5 most bytes of a field, 6 ms at which this was sent, by this server's clock, or ''.
-- Returns {jobs, ms until the next entry may be due, now ms}, jobs as CLAIM does.
local me, silent_ms, count, max_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local PAGE = 128
local started = now()

-- A server that stood still kept everybody from beating: let them, and look again.
local sent_ms = tonumber(ARGV[6])
if sent_ms and started - sent_ms > silent_ms / 3 then
  return { given, math.ceil(silent_ms / 3), string.format('%.0f', started) }
end

for _, pending in ipairs(redis.call('XPENDING', jobs, GROUP, 'IDLE', silent_ms, '-', '+', count)) do
  local id = pending[1]
  local fields = entry(id)
  if not fields then
    redis.call('XACK', jobs, GROUP, id)
    redis.call('HDEL', attempts, id)
  else
    local sid = session_of(fields)
    if may_run(sid, id) then
      give(me, id, fields, sid, max_bytes)
    else
      redis.call('XACK', jobs, GROUP, id)
    end
  end
end

local due_ms = silent_ms
for _, pending in ipairs(redis.call('XPENDING', jobs, GROUP, '-', '+', PAGE)) do
  due_ms = math.min(due_ms, silent_ms - pending[3])
end
return { given, math.max(1, due_ms), string.format('%.0f', started) }
