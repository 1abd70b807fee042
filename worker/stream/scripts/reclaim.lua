-- RECLAIM: takes entries over whose worker was silent for longer than the lease.
-- ARGV: 2 worker, 3 lease ms, 4 count, 5 most bytes of a field. Returns {jobs, now ms}, jobs as CLAIM does.
local me, lease_ms, count, max_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
for _, pending in ipairs(redis.call('XPENDING', jobs, GROUP, 'IDLE', lease_ms, '-', '+', count)) do
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
return { given, string.format('%.0f', now()) }
