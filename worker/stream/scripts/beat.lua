-- BEAT: keeps a lease. ARGV: 2 worker, 3 entry id, 4 fence, 5 session or '', 6 attempts that count until now, or ''.
-- Returns OK, or LOST when the entry is another worker's, or gone.
local me, id, fence, sid, count = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if not is_mine(me, id, fence) then return 'LOST' end
redis.call('XCLAIM', jobs, GROUP, me, 0, id, 'JUSTID')
if count ~= '' then redis.call('HSET', attempts, id, count .. ' ' .. fence) end
if sid ~= '' then redis.call('HSETNX', gates, sid, id) end
return 'OK'
