-- END: writes the one terminal entry of a job. ARGV: 1 entry id, 2 job id, 3 fence, 4 type, 5 the writer's next id or '',
-- 6 samples delivered, 7 body, 8 and 9 code and message of an error.
-- Returns {OK, type}, {GONE, type} (the relay left or the stream is full, nothing written), {DONE, type} (ended before), {STALE}, {REFUSED}.
local id, job_id, fence, kind, at, delivered, body, code, message = unpack(ARGV)
local known = redis.call('HMGET', job, 'fence', 'began', 'end')
if known[3] then return { 'DONE', known[3] } end
if known[1] and tonumber(known[1]) > tonumber(fence) then return { 'STALE' } end

local last = last_id(audio)
local result = 'OK'
if (not last and known[2]) or is_exhausted(last) then
  result = 'GONE'
else
  local epoch, n = string.match(at, '^(%d+)%-(%d+)$')
  local is_tail = epoch and last == epoch .. '-' .. string.format('%.0f', tonumber(n) - 1)
  if kind == 'complete' and not is_tail then return { 'REFUSED' } end
  if known[2] and kind == 'error' then
    delivered = delivered_of(id) or delivered -- a worker that could not begin again does not know it
  end
  local entry = { 'type', kind, 'job_id', job_id, 'entry', id, 'delivered', delivered, 'data', body }
  if kind == 'error' then
    for _, extra in ipairs({ 'code', code, 'message', message }) do entry[#entry + 1] = extra end
  end
  redis.call('XADD', audio, is_tail and at or next_epoch(fence, last) .. '-0', unpack(entry))
  keep(audio)
end
redis.call('HSET', job, 'fence', fence, 'end', kind)
redis.call('PEXPIRE', job, TTL_MS)
return { result, kind }
