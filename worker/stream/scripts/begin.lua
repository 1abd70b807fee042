-- BEGIN: opens an epoch for an attempt. ARGV: 1 entry id, 2 job id, 3 fence, 4 samples the writer believes delivered,
-- 5 body of the begin message, 6 ms after which a job that never began has expired, 7 '1' when its attempts are spent.
-- Returns {OK, epoch, progressed 0 or 1, now ms}, {DONE, type}, {STALE}, {CUT, delivered}, {EXPIRED}, {GONE}, {LOST},
-- {SPENT, delivered}, or {MOVED, delivered}: the writer's belief is wrong, nothing was written.
local id, job_id, fence, believed, body, deadline_ms, spent = unpack(ARGV)
local known = redis.call('HMGET', job, 'fence', 'began', 'end', 'before')
local began = known[2]
-- The same attempt begins again when a reply was lost or a cancel came between: it must hear the same of progress, so
-- `began` stays what was delivered at its first BEGIN and `before` what was delivered at that of the attempt before.
local again = began and known[1] == fence
local before = began
if again then before = known[4] end
if known[3] then return { 'DONE', known[3] } end
if known[1] and tonumber(known[1]) > tonumber(fence) then return { 'STALE' } end

local last = last_id(audio)
local delivered = '0'
if began then delivered = last and delivered_of(id) end

local upto = last_id(cut)
if upto and pad(upto) >= pad(id) then
  redis.call('HSET', job, 'fence', fence)
  redis.call('PEXPIRE', job, TTL_MS)
  return { 'CUT', delivered or '0' }
end
if not began and now() > tonumber(deadline_ms) then return { 'EXPIRED' } end
if began and not last then return { 'GONE' } end
if not delivered then return { 'LOST' } end

local progressed = before and tonumber(delivered) > tonumber(before)
if spent == '1' and not progressed then return { 'SPENT', delivered } end
if delivered ~= believed then return { 'MOVED', delivered } end

local epoch = next_epoch(fence, last)
redis.call('XADD', audio, epoch .. '-0', 'type', 'begin', 'job_id', job_id, 'entry', id, 'delivered', delivered, 'data', body)
keep(audio)
if not again then redis.call('HSET', job, 'fence', fence, 'began', delivered, 'before', before or delivered) end
redis.call('PEXPIRE', job, TTL_MS)
return { 'OK', epoch, progressed and 1 or 0, string.format('%.0f', now()) }
