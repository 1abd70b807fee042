-- END: writes the one terminal entry of a job and records the end.
-- ARGV: 5 type, 6 the writer's next ID or '', 7 samples delivered, 8 body, 9 code and 10 message of an error,
-- 11 ms for which the job waited for its listener or its text, or '', 12 '1' when the job plane has confirmed the lease after a FENCED.
-- Answers: {OK, type}. {GONE, type}: the stream is gone or full; recorded, not written. {DONE, type, code of an error}: ended before. {FENCED}.
-- {REWOUND}: Redis has lost the session since the attempt began, so that the job begins again.
-- A `complete` must follow the writer's last entry; else the answer is that of `not_appended`.
local kind, at, delivered, body, code, message, held, confirmed = unpack(ARGV, 5)
local is_confirmed = confirmed == '1'
local record = job_record(job, id)
if record.kind then return { 'DONE', record.kind, record.code } end
if not is_confirmed and record.fence and record.fence > tonumber(fence) then return { 'FENCED' } end

renew_text()
local last = last_id(audio)
local result, written = 'OK', ''
local answer = at ~= '' and lost(id, record)
if answer then return answer end
if (not last and record.has_begun) or is_exhausted(last) then
  result = 'GONE'
else
  local epoch, n = string.match(at, '^(%d+)%-(%d+)$')
  local is_tail = epoch and last == epoch .. '-' .. string.format('%.0f', tonumber(n) - 1)
  if kind == 'complete' and not is_tail then return not_appended(id, last, '') end
  if record.has_begun and kind == 'error' then
    delivered = delivered_of(id) or delivered -- a worker that has not begun does not know it
  end
  local stream_id = is_tail and at or next_epoch(fence, last) .. '-0'
  local entry = { stream_id, 'type', kind, 'job_id', job_id, 'entry', id, 'delivered', delivered, 'data', body }
  if kind == 'error' then
    for _, extra in ipairs({ 'code', code, 'message', message }) do entry[#entry + 1] = extra end
  end
  local held_ms = (number(held) or 0) + (record.has_begun and record.shared or shared_ms(id))
  if held_ms > 0 then
    entry[#entry + 1] = 'held'
    entry[#entry + 1] = string.format('%.0f', held_ms)
  end
  written = add(entry)
  hint(written)
  renew_ttl(audio)
end
redis.call('HSET', job, 'fence', fence, 'end', kind, 'at', written, 'code', code)
redis.call('PEXPIRE', job, TTL_MS)
return { result, kind }
