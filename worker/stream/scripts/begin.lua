-- BEGIN: opens an epoch for an attempt and writes its `begin` entry.
-- ARGV: 5 delivered samples as the writer expects them, or '' if it has not read the job's entries (chunks without
-- samples may be there), 6 body of the begin message, 7 server time in ms at which a job that never began expires,
-- or later by the time for which the session's jobs before it were held,
-- 8 attempt as claimed, 9 maximum of fruitless attempts in a row, 10 attempt number in the body,
-- 11 '1' when the job plane has confirmed the lease after a FENCED.
-- An attempt is fruitless until it delivers a new sample; `fruitless` counts this one and those just before it.
-- Answers: {OK, epoch, fruitless, now ms}.
-- {MOVED, delivered, attempt number, fruitless}: ARGV 5 or 10 was wrong, or the job has entries that the writer has not
-- read; nothing was written; read them, correct both and call again.
-- {DONE, type, code of an error}: the job has ended. {FENCED}: a higher fence has begun. {CANCELLED, delivered}. {EXPIRED}.
-- {GONE}: begun before, and the stream is gone. {LOST}: begun before, and no entry of the job is left.
-- {FULL}: no ID can follow the stream's last one. {SPENT, delivered}: too many fruitless attempts.
local expected, body, deadline_ms, attempt, max_attempts, reported_attempt, confirmed = unpack(ARGV, 5)
local is_confirmed = confirmed == '1'

local record = job_record(job, id)
if record.kind then return { 'DONE', record.kind, record.code } end
if not is_confirmed and record.fence and record.fence > tonumber(fence) then return { 'FENCED' } end

local last = last_id(audio)
local delivered = '0'
if record.has_begun then delivered = last and delivered_of(id) end

if is_cancelled(id) then
  redis.call('HSET', job, 'fence', fence)
  redis.call('PEXPIRE', job, TTL_MS)
  return { 'CANCELLED', delivered or '0' }
end
local shared = record.has_begun and record.shared or shared_ms(id)
if not record.has_begun and not record.again and now() - tonumber(deadline_ms) > shared then return { 'EXPIRED' } end
if record.has_begun and not last then return { 'GONE' } end
if not delivered then return { 'LOST' } end
if is_exhausted(last) then return { 'FULL' } end

-- `began`: delivered samples at the attempt's first BEGIN. `base`: attempts up to the last one that delivered new samples;
-- they do not count. Both stay unchanged when the same attempt begins again.
local is_new = not record.has_begun or record.fence ~= tonumber(fence)
local base = record.base < tonumber(attempt) and record.base or 0
if record.again and not record.has_begun then base = attempt - 1 end -- what the attempts before delivered is lost
local attempt_number = math.max(1, attempt - base)
if is_new and record.has_begun and tonumber(delivered) > (record.began or 0) then base = attempt - 1 end
local fruitless = math.max(1, attempt - base)
if fruitless > tonumber(max_attempts) then return { 'SPENT', delivered } end
if expected == '' and not record.has_begun then expected = '0' end
if delivered ~= expected or (is_new and attempt_number ~= tonumber(reported_attempt)) then
  return { 'MOVED', delivered, attempt_number, fruitless }
end

local epoch = next_epoch(fence, last)
renew_text()
hint(add({ epoch .. '-0', 'type', 'begin', 'job_id', job_id, 'entry', id, 'delivered', delivered, 'data', body }))
renew_ttl(audio)
if is_new then
  redis.call('HSET', job, 'fence', fence, 'began', delivered, 'base', base, 'shared', string.format('%.0f', shared))
end
redis.call('PEXPIRE', job, TTL_MS)
return { 'OK', epoch, fruitless, string.format('%.0f', now()) }
