-- REPEAT: answers an entry that published a job again which has ended, with a copy of its end. KEYS: 4 the first entry's job.
-- ARGV: 1 entry id, 2 job id, 3 fence.
-- Returns {OK, type}, {DONE, type} (done before), {FENCED}, or {NONE} when the end is not there any more.
local id, _, fence = unpack(ARGV)
local record, first = job_record(job, id), job_record(KEYS[4], '')
if record.kind then return { 'DONE', record.kind } end
if record.fence and record.fence > tonumber(fence) then return { 'FENCED' } end
local last = last_id(audio)
local found = last and first.kind and first.at and redis.call('XREVRANGE', audio, first.at, first.at)[1]
if not found or field(found[2], 'type') ~= first.kind or is_exhausted(last) then return { 'NONE' } end

local copy = found[2]
for i = 1, #copy, 2 do
  if copy[i] == 'entry' then copy[i + 1] = id end
end
local at = redis.call('XADD', audio, next_epoch(fence, last) .. '-0', unpack(copy))
renew_ttl(audio)
redis.call('HSET', job, 'fence', fence, 'end', first.kind, 'at', at)
redis.call('PEXPIRE', job, TTL_MS)
return { 'OK', first.kind }
