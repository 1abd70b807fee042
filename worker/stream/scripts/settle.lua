-- SETTLE: an attempt is over. ARGV: 2 worker, 3 entry id, 4 fence, 5 session or '', 6 verdict, 7 its argument.
-- Verdicts: ok, retry (again after so many ms), release (again at once; so many attempts count), dead (the reason).
-- Returns OK or FENCED.
local me, id, fence, sid, verdict, argument = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if not is_mine(me, id, fence) then return 'FENCED' end
local fields = entry(id)

if fields and verdict == 'retry' then
  redis.call('XACK', jobs, GROUP, id)
  redis.call('ZADD', delayed, now() + tonumber(argument), id)
  ring()
  return 'OK'
end

if fields and verdict == 'release' then
  redis.call('XACK', jobs, GROUP, id)
  raise_fence(id, argument)
  make_ready(id)
  return 'OK'
end

if fields and verdict == 'dead' then
  local letter = { 'dead_reason', argument, 'dead_attempts', tostring(attempt_of(id)), 'dead_worker', me, 'dead_id', id }
  for i = 1, math.min(#fields, 64) do letter[#letter + 1] = string.sub(fields[i], 1, 4096) end
  redis.call('XADD', dead, 'MAXLEN', '~', 10000, '*', unpack(letter))
end
redis.call('XACK', jobs, GROUP, id)
redis.call('XDEL', jobs, id)
redis.call('HDEL', attempts, id)
if sid ~= '' then
  unwait(sid, id)
  if redis.call('HGET', gates, sid) == id then pass_gate_on(sid) end
end
return 'OK'
