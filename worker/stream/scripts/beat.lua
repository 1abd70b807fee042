-- BEAT: keeps a lease. ARGV: 2 worker, 3 entry id, 4 fence, 5 session or '', 6 attempts that count until now, or ''.
-- Returns {answer, what was odd}. Answers: OK; LOST when the entry is another worker's; GONE when it is nobody's, since
-- somebody took it out of the stream: who speaks it may go on. What an accident took of the lease is written again.
local me, id, fence, sid, count = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if not entry(id) then return { 'GONE', damage } end
if not is_mine(me, id, fence) then return { 'LOST', damage } end
redis.call('XCLAIM', jobs, GROUP, me, 0, id, 'FORCE', 'JUSTID', 'LASTID', id)
local known, newest = attempt_of(id)
if count ~= '' or newest ~= tonumber(fence) then
  redis.call('HSET', attempts, id, (count ~= '' and count or math.max(1, known)) .. ' ' .. fence)
end
local named = sid ~= '' and redis.call('HGET', gates, sid)
if sid ~= '' and not (named and pad(named)) then
  restore_gates()
  redis.call('HSET', gates, sid, id)
end
return { 'OK', damage }
