-- BEAT: renews a lease, and restores the parts of its records that an accident deleted.
-- ARGV: 2 worker, 3 entry ID, 4 fence, 5 session or '', 6 new count of attempts or '' to keep it.
-- Answers: {answer, damage}. OK; LOST: another worker holds the entry; GONE: the entry was deleted from the stream, so no
-- other worker can hold it and this one may finish.
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
