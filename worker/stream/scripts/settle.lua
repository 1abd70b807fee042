-- SETTLE: ends an attempt and its lease.
-- ARGV: 2 worker, 3 entry ID, 4 fence, 5 session or '', 6 verdict, 7 its argument, 8 longest field in bytes, 9 '1' when the
-- same job may be published again under its job_id.
-- Verdicts and their arguments: ok; retry: back-off in ms; release: count of attempts from now on; dead: the reason.
-- Answers: {answer, damage}. OK; FENCED: another worker holds the entry; GONE: the entry was deleted from the stream.
local me, id, fence, sid, verdict, argument = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local max_bytes, may_come_again = tonumber(ARGV[8]), ARGV[9] == '1'
check_types()
if not is_mine(me, id, fence) then return { 'FENCED', damage } end
local fields = (verdict ~= 'ok' or may_come_again) and entry(id)

-- The fence rises, so that a beat still on its way cannot take the entry back.
if fields and (verdict == 'retry' or verdict == 'release') then
  local count, before = attempt_of(id)
  if verdict == 'release' then count = tonumber(argument) end
  raise_fence(id, count, math.max(before or 0, tonumber(fence)))
  redis.call('XACK', jobs, GROUP, id)
  if verdict == 'retry' then
    redis.call('ZADD', delayed, now() + tonumber(argument), id)
    ring_bell()
  else
    make_ready(id)
  end
  return { 'OK', damage }
end

-- The dead letter's fields, and the names of those that are truncated or dropped (dead_cut).
local function letter_of()
  local letter, cut, seen = {}, {}, {}
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    local limit = JOB_FIELDS[name] and not seen[name] and max_bytes or 4096
    seen[name] = true
    if #letter == 2 * MAX_FIELDS then
      cut[#cut + 1] = '*'
      break
    end
    if #value > limit or #name > 4096 then cut[#cut + 1] = string.sub(name, 1, 64) end
    letter[#letter + 1] = string.sub(name, 1, 4096)
    letter[#letter + 1] = #value > limit and string.sub(value, 1, 4096) or value
  end
  return letter, table.concat(cut, ' ')
end

if fields and verdict == 'dead' then
  local letter, cut = letter_of()
  local head = { 'dead_reason', argument, 'dead_attempts', tostring(attempt_of(id)), 'dead_worker', me, 'dead_id', id }
  if cut ~= '' then
    head[#head + 1] = 'dead_cut'
    head[#head + 1] = cut
  end
  for _, part in ipairs(letter) do head[#head + 1] = part end
  redis.call('XADD', dead, 'MAXLEN', '~', 10000, '*', unpack(head))
end
if fields and may_come_again then
  local key = seen_key(sid, fields)
  if key and redis.pcall('GET', key) == id then redis.call('PEXPIRE', key, 0) end
end
redis.call('XACK', jobs, GROUP, id)
local n_deleted = redis.call('XDEL', jobs, id)
redis.call('HDEL', attempts, id)
if sid ~= '' then
  stop_waiting(sid, id)
  if redis.call('HGET', gates, sid) == id then pass_gate_on(sid) end
end
return { n_deleted == 1 and 'OK' or 'GONE', damage }
