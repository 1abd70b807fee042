-- REBUILD: a jobs stream whose last id is ahead of the clock, or the last there is, gives way to one with the same jobs.
-- KEYS: 1 jobs, 2 the new stream, 3 where the old one goes, 4 taken. ARGV: 1 group, 2 ms above which an id is ahead,
-- 3 ms after which a silent worker is dead, 4 for how many ms the old stream is kept.
-- All at once, for workers settle and publishers publish meanwhile. Entries keep their ids and their workers, who get a
-- whole lease again. Entries whose ids are ahead stay in the old stream: RETURN publishes them again.
-- Returns {OK, entries kept, entries left in the old stream}, or {BUSY, n}: so many of those with ids ahead are being
-- spoken, and nothing was changed; or {SOUND}.
local jobs, fresh, aside, taken = unpack(KEYS)
local group, limit_ms, silent_ms, keep_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local last = limit_ms .. '-18446744073709551615' -- the highest id that is not ahead
local PAGE = 200
local MAX_ARGUMENTS = 4000 -- of XADD; more fields no valid job has by far, and the first of them say so

local function id_of(info)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
if tonumber(string.match(id_of(redis.call('XINFO', 'STREAM', jobs)), '^%d+')) <= tonumber(limit_ms) then return { 'SOUND' } end

-- Pages of a command that takes a start, an end and a count, and gives what begins with an id.
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

-- The jobs that were looked at are in their places still; where that is not known each is looked at again.
local scanned = redis.call('TYPE', taken)['ok'] == 'string' and redis.call('GET', taken) or ''
local ms = string.match(scanned, '^(%d+)%-%d+$')
if not ms or tonumber(ms) > tonumber(limit_ms) then redis.call('DEL', taken) end
return { 'OK', n_kept, n_left }
