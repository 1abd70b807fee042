-- REPEAT: ends an entry that repeats an ended job with a copy of that job's terminal entry.
-- KEYS: 4 the job record of the first entry.
-- Answers: {OK, type}. {DONE, type, '1' if that end is a copy}: ended before. {FENCED}. {NONE}: the terminal entry is gone.
local record, first = job_record(job, id), job_record(KEYS[4], '')
local is_copy = redis.call('HMGET', job, 'copy')[1]
if record.kind then return { 'DONE', record.kind, is_copy or '' } end
if record.fence and record.fence > tonumber(fence) then return { 'FENCED' } end
local last = last_id(audio)
local found = last and first.kind and first.at and redis.call('XREVRANGE', audio, first.at, first.at)[1]
if not found or field(found[2], 'type') ~= first.kind or is_exhausted(last) then return { 'NONE' } end

local copy = { next_epoch(fence, last) .. '-0' }
for i = 1, #found[2], 2 do
  local name, value = found[2][i], found[2][i + 1]
  if name ~= 'at' then -- the copy gets its own
    copy[#copy + 1] = name
    copy[#copy + 1] = name == 'entry' and id or value
  end
end
local at = add(copy)
hint(at)
renew_ttl(audio)
redis.call('HSET', job, 'fence', fence, 'end', first.kind, 'at', at, 'copy', '1')
redis.call('PEXPIRE', job, TTL_MS)
return { 'OK', first.kind }
