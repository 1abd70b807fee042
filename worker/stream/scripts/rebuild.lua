-- REBUILD: replaces a jobs stream whose last ID is ahead of the clock, or exhausted, by a new one with the same entries.
-- KEYS: 1 jobs, 2 the new stream, 3 the old stream's new name, 4 taken. ARGV: 1 group, 2 ms above which an ID is ahead,
-- 3 ms of silence after which a worker counts as dead, 4 ms until the old stream expires.
-- One atomic step, because workers settle and producers publish meanwhile. Entries keep their IDs and pending records, with
-- a whole lease. Entries whose IDs are ahead stay in the old stream; RETURN publishes them again.
-- Answers: {OK, entries kept, entries left in the old stream}. {BUSY, n}: workers run n of the entries with IDs ahead, so
-- nothing was changed. {SOUND}: no ID is ahead.
local jobs, fresh, aside, taken = unpack(KEYS)
local group, limit_ms, silent_ms, keep_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local last = limit_ms .. '-18446744073709551615' -- the highest ID that is not ahead
local PAGE = 200
local MAX_ARGUMENTS = 4000 -- of XADD; far more than a valid job has, so truncation keeps an invalid job invalid

local function id_of(info)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
if tonumber(string.match(id_of(redis.call('XINFO', 'STREAM', jobs)), '^%d+')) <= tonumber(limit_ms) then return { 'SOUND' } end

-- Calls visit for each row of a paged command that takes start, end and count; a row begins with its ID.
local function each(from, to, visit, command, ...)
  local arguments = { ... }
  repeat
    arguments[#arguments + 1], arguments[#arguments + 2], arguments[#arguments + 3] = from, to, PAGE
    local page = redis.call(command, unpack(arguments))
    arguments = { ... }
    for _, found in ipairs(page) do visit(found) end
    if #page > 0 then from = '(' .. page[#page][1] end
  until #page < PAGE or from == '(18446744073709551615-18446744073709551615'
end

local function has_group()
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', jobs)) do
    for i = 1, #info, 2 do
      if info[i] == 'name' and info[i + 1] == group then return true end
    end
  end
end
local has_workers = has_group()

local busy = 0
if has_workers then
  each('(' .. last, '+', function(pending)
    if pending[3] < silent_ms then busy = busy + 1 end
  end, 'XPENDING', jobs, group)
end
if busy > 0 then return { 'BUSY', busy } end

redis.call('DEL', fresh)
redis.call('XGROUP', 'CREATE', fresh, group, '0', 'MKSTREAM')
local from = '-'
repeat
  local page = redis.call('XRANGE', jobs, from, last, 'COUNT', PAGE)
  for _, found in ipairs(page) do
    redis.call('XADD', fresh, found[1], unpack(found[2], 1, math.min(#found[2], MAX_ARGUMENTS)))
    from = '(' .. found[1]
  end
until #page < PAGE
if has_workers then
  each('-', last, function(pending)
    redis.call('XCLAIM', fresh, group, pending[2], 0, pending[1], 'RETRYCOUNT', pending[4], 'FORCE', 'JUSTID')
  end, 'XPENDING', jobs, group)
end

local n_kept = redis.call('XLEN', fresh)
redis.call('RENAME', jobs, aside)
redis.call('RENAME', fresh, jobs)
redis.call('XTRIM', aside, 'MINID', string.format('%.0f', tonumber(limit_ms) + 1))
local n_left = redis.call('XLEN', aside)
if n_left == 0 then
  redis.call('DEL', aside)
else
  if has_workers then redis.call('XGROUP', 'DESTROY', aside, group) end
  redis.call('PEXPIRE', aside, keep_ms)
end

-- A sound `taken` stays: scanned entries are still in their queues. Without it all entries are scanned again.
local scanned = redis.call('TYPE', taken)['ok'] == 'string' and redis.call('GET', taken) or ''
local ms = string.match(scanned, '^(%d+)%-%d+$')
if not ms or tonumber(ms) > tonumber(limit_ms) then redis.call('DEL', taken) end
return { 'OK', n_kept, n_left }
