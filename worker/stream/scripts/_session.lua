-- Prelude of the scripts of the session plane. KEYS: 1 audio, 2 cut, 3 job; 4, of a job with an open text: text.
-- ARGV: 1 entry ID, 2 job ID, 3 fence, 4 the command that publishes hints, or ''; the rest is the script's own.
local audio, cut, job = KEYS[1], KEYS[2], KEYS[3]
local id, job_id, fence, hint_command = unpack(ARGV, 1, 4)
local TTL_MS = SESSION_TTL_MS
local RENEW_MS = 60000 -- APPEND and LOOK renew the TTL when this much of it has passed

-- Whether one of the last 100 entries is this job's terminal entry; true also without a stream, since its relay left.
local function has_ended(id, kind)
  if redis.call('EXISTS', audio) == 0 then return true end
  for _, found in ipairs(redis.call('XREVRANGE', audio, '+', '-', 'COUNT', 100)) do
    if field(found[2], 'entry') == id and field(found[2], 'type') == kind then return true end
  end
end

-- The validated job record. Damaged parts become nil: numbers that are none, a fence from the future, an unknown type.
-- kind: type of the terminal entry. at: its stream ID; '' in the key where none could be written. A record without `at`
-- (older workers) counts as ended only when the stream has the terminal entry.
local ENDS = { complete = true, cancelled = true, error = true }
local function job_record(key, id)
  local names = { 'fence', 'began', 'end', 'base', 'at', 'shared', 'again', 'code' }
  local fence, began, kind, base, at, shared, again, code = unpack(redis.call('HMGET', key, unpack(names)))
  fence = number(fence)
  if fence and fence > now() + FENCE_AHEAD_MS then fence = nil end
  if not ENDS[kind] or (not at and not has_ended(id, kind)) then kind = nil end
  return {
    fence = fence, began = number(began), has_begun = began and true, base = number(base) or 0,
    kind = kind, at = pad(at) and at, shared = number(shared) or 0,
    again = again and true, code = code ~= '' and code or nil,
  }
end

-- A job waits for the session's jobs before it, which may have waited for their listener or for their text. Answers for how
-- many ms they did since this job was published, by the newest end on the stream.
local function shared_ms(id)
  for _, found in ipairs(redis.call('XREVRANGE', audio, '+', '-', 'COUNT', 4)) do
    if ENDS[field(found[2], 'type')] then
      local held_ms, ended_ms = number(field(found[2], 'held')) or 0, number(field(found[2], 'at')) or 0
      return math.max(0, math.min(held_ms, ended_ms - tonumber(string.match(id, '^%d+'))))
    end
  end
  return 0
end

-- The next epoch: server time in ms, raised above every ID of this stream and to at least the writer's fence.
local function next_epoch(fence, last)
  local after = last and tonumber(string.match(last, '^(%d+)')) + 1 or 0
  return string.format('%.0f', math.max(now(), tonumber(fence), after))
end

-- True when a client wrote an entry ID with 16 or more digits of ms: no epoch can follow it.
local function is_exhausted(last) return last and #string.match(last, '^%d+') > 15 end

local function renew_ttl(key)
  if redis.call('PTTL', key) < TTL_MS then redis.call('PEXPIRE', key, TTL_MS) end
end

-- Renews the TTL of an open text. A key of another type is not ours and stays as it is.
local function renew_text()
  if KEYS[4] and redis.call('TYPE', KEYS[4])['ok'] == 'stream' then renew_ttl(KEYS[4]) end
end

-- Renews the TTLs of a running job when they are due.
local function renew_all()
  local due_ms = TTL_MS - RENEW_MS -- of both: a relay renews the audio alone
  if redis.call('PTTL', audio) >= due_ms and redis.call('PTTL', job) >= due_ms then return end
  redis.call('PEXPIRE', audio, TTL_MS)
  redis.call('PEXPIRE', job, TTL_MS)
  renew_text()
end

-- Adds an entry to the audio stream. words: its ID and flat fields, from `first` on (1 by default); `at`, the server time
-- in ms, becomes the last field.
local function add(words, first)
  local n = #words
  words[n + 1], words[n + 2] = 'at', string.format('%.0f', now())
  return redis.call('XADD', audio, unpack(words, first or 1, n + 2))
end

-- Publishes the ID of the newest entry on the channel named as the audio stream. Readers count on no hint, so a missing
-- right to publish is no error here.
local function hint(newest)
  if hint_command ~= '' then redis.pcall(hint_command, audio, newest) end
end

-- The job's delivered samples, from its newest entry that has the field; nil when none of the last 1,000 entries has it.
local function delivered_of(id)
  local upper = '+'
  for _ = 1, 125 do
    local page = redis.call('XREVRANGE', audio, upper, '-', 'COUNT', 8)
    if #page == 0 then return nil end
    for _, found in ipairs(page) do
      local delivered = field(found[2], 'entry') == id and field(found[2], 'delivered')
      if delivered and number(delivered) then return delivered end
    end
    upper = '(' .. page[#page][1]
  end
end

-- Whether a client has cancelled this job.
local function is_cancelled(id)
  local upto = last_id(cut)
  return upto and pad(upto) >= pad(id)
end

-- The answer to an attempt that has begun, where Redis has lost the session since; else nil. What is on the stream now
-- belongs to jobs that were published after the loss, perhaps to this one under its job_id. `again`: the job began in time.
local function lost(id, record)
  if record.has_begun or delivered_of(id) then return nil end
  redis.call('HSET', job, 'again', '1')
  redis.call('PEXPIRE', job, TTL_MS)
  return { 'REWOUND' }
end

-- The answer when the stream does not end with the writer's last entry, so that `at` is not appended:
-- {REWOUND}: neither a record of the job nor an entry of it is left: Redis has lost the session.
-- {GONE}: no stream.
-- {CANCELLED, samples delivered or ''}: a client cancelled the job; '' where the count is unknown.
-- {LANDED}: `at` is on the stream already, written by a command whose reply was lost.
-- {STALE, id, type, entry, job_id}: anything else; describes the stream's last entry.
local function not_appended(id, last, at)
  local answer = lost(id, job_record(job, id))
  if answer then return answer end
  if not last then return { 'GONE' } end
  if is_cancelled(id) then return { 'CANCELLED', delivered_of(id) or '' } end
  local mine = at ~= '' and redis.call('XREVRANGE', audio, at, at)[1]
  local is_ours = mine and field(mine[2], 'entry') == id and not ENDS[field(mine[2], 'type')]
  if is_ours or (not mine and last == at) then return { 'LANDED' } end -- a relay may have trimmed it
  local tail = redis.call('XREVRANGE', audio, '+', '-', 'COUNT', 1)[1]
  local fields = tail and tail[2] or {}
  return { 'STALE', last, field(fields, 'type') or '', field(fields, 'entry') or '', field(fields, 'job_id') or '' }
end
