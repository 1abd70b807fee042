-- CLAIM: leases up to `count` entries that may run to a worker, alternating between `ready` and new entries.
-- ARGV: 2 worker, 3 count, 4 longest field in bytes, 5 0 or 1: whether `ready` or new entries come first.
-- With count 0 it leases expired entries only, from both heads: a worker without a free slot can still end them in time.
-- New entries are those after `taken`, not after the group's last-delivered ID, which a stranger may move.
-- Answers: {jobs, last ID scanned, last ID of bell, wait ms, duplicates deleted, now ms, damage}. wait ms: until a delayed
-- entry is due; -1: none is delayed; 0: call again at once.
local me, count, max_bytes, turn = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local n_steps_left = 64
local only_expired = count == 0
if only_expired then count = n_steps_left end

local function has_expired(id, fields)
  local ttl_ms = fields and (number(field(fields, 'ttl_ms')) or DEFAULT_TTL_MS)
  return ttl_ms and now() - tonumber(string.match(id, '^%d+')) > ttl_ms
end

-- Moves delayed entries with a score in this range to `ready`.
local function make_due(from, to)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, from, to, 'LIMIT', 0, 100)) do
    redis.call('ZREM', delayed, id)
    redis.call('RPUSH', ready, id)
  end
end
local has_delayed = check_types()
if has_delayed then
  make_due('-inf', now())
  make_due(string.format('(%.0f', now() + AHEAD_MS), '+inf')
end

-- Where gates were lost, more may be lost: all entries are scanned again.
local has_lost = restore_gates()
local scanned = has_lost and '0-0' or taken_id()

-- Takes the head of `ready`. False when it is empty or its head may not be taken. An ID above `scanned` is dropped: it comes
-- in order as a new entry.
local function take_ready()
  local id = redis.call('LINDEX', ready, 0)
  if not id then return false end
  local padded = pad(id)
  local fields = padded and padded <= pad(scanned) and entry(id)
  if only_expired and fields and not has_expired(id, fields) then return false end
  redis.call('LPOP', ready)
  if fields and not owner(id) and not is_delayed(id) then
    local sid = session_of(fields)
    if may_run(sid, id) then grant(me, id, fields, sid, max_bytes) end
  elseif not padded then
    report('ready', id)
  end
  return true
end

-- Deduplication by session and job_id. Returns the ID of the entry that came first, or nil for the first one.
local function first_of(sid, id, fields)
  local key = seen_key(sid, fields)
  if not key or redis.call('SET', key, id, 'NX', 'PX', SEEN_TTL_MS) then return nil end
  local first = redis.pcall('GET', key)
  if first == id then return nil end
  if type(first) == 'string' and pad(first) then return first end
  report('seen', type(first) == 'string' and first or 'a key of another type')
  redis.call('SET', key, id, 'PX', SEEN_TTL_MS)
end

local duplicates = 0
local function take(id, fields)
  local sid = session_of(fields)
  local is_known = redis.call('HEXISTS', attempts, id) == 1 -- scanned before: `taken` was lost
  if is_known and (owner(id) or is_delayed(id)) then
    if sid ~= '' and not redis.call('HGET', gates, sid) then redis.call('HSET', gates, sid, id) end
    return
  end
  local first = first_of(sid, id, fields)
  -- While a retryable end is written this entry may be its publisher's answer to it: it waits for SETTLE, which knows.
  local is_live_first = first and is_live(sid, first)
  if is_live_first and redis.call('EXISTS', ending_key(first)) == 1 then
    if may_run(sid, id) then grant(me, id, fields, sid, max_bytes) end
  elseif is_live_first then
    redis.call('XACK', jobs, GROUP, id)
    redis.call('XDEL', jobs, id)
    duplicates = duplicates + 1
  elseif may_run(sid, id) then
    grant(me, id, fields, sid, max_bytes, first or '')
  end
end

local page, n_read, is_last, has_moved = {}, 0, false, has_lost
local function next_new()
  if n_read == #page and not is_last then
    page, n_read = {}, 0
    local n = math.max(1, math.min(16, count - #granted))
    if scanned ~= LAST_ID then page = redis.call('XRANGE', jobs, '(' .. scanned, '+', 'COUNT', n) end
    is_last = #page < n
    if #page == 0 and not has_moved and pad(last_id(jobs) or '0-0') < pad(scanned) then
      report('taken', scanned .. ' is ahead of the last entry')
      scanned, has_moved, is_last = '0-0', true, false
      return next_new()
    end
  end
  return page[n_read + 1]
end

local function take_new()
  local next = next_new()
  if not next or (only_expired and not has_expired(next[1], next[2])) then return false end
  scanned, n_read, has_moved = next[1], n_read + 1, true
  take(next[1], next[2])
  return true
end

local more_ready, more_new = true, true
while #granted < count and n_steps_left > 0 and (more_ready or more_new) do
  n_steps_left = n_steps_left - 1
  if turn == 0 then
    more_ready = more_ready and take_ready()
  else
    more_new = more_new and take_new()
  end
  turn = 1 - turn
end
if has_moved then redis.call('SET', taken, scanned) end

local wait_ms = -1
local due = has_delayed and redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
if due then wait_ms = math.max(1, math.min(AHEAD_MS, math.ceil(tonumber(due) - now()))) end
if (more_ready or more_new) and #granted < count then wait_ms = 0 end
local last_bell = redis.call('XREVRANGE', bell, '+', '-', 'COUNT', 1)[1]
return { granted, scanned, last_bell and last_bell[1] or '0-0', wait_ms, duplicates, string.format('%.0f', now()), damage }
