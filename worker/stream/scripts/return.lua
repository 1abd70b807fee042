-- RETURN: moves one page of a stream that was set aside back: jobs as new entries, dead letters under their old IDs where
-- the stream still accepts them.
-- KEYS: 1 the stream that was set aside, 2 jobs or dead; for jobs also 3 ready, 4 delayed, 5 gates, 6 waiting, 7 attempts.
-- ARGV: 1 page size, 2 prefix of the seen keys, 3 ms above which an ID is ahead.
-- Answer: how many entries were moved; 0 when none is left.
local aside, home, ready, delayed, gates, waiting, attempts = unpack(KEYS)
local page_size, seen_prefix, limit_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local MAX_ARGUMENTS = 4000

local function field(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
end

local function pad(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #seq) .. seq
end

-- Deletes references to the old ID and points the seen key at the new one, which would else count as a duplicate. The job is
-- published already, so errors (a key of another type) are ignored; workers repair such keys.
local function forget(id, fields, new_id)
  local sid = field(fields, 'session_id') or ''
  redis.pcall('LREM', ready, 0, id)
  redis.pcall('ZREM', delayed, id)
  redis.pcall('ZREM', waiting, sid .. ' ' .. pad(id))
  redis.pcall('HDEL', attempts, id)
  if redis.pcall('HGET', gates, sid) == id then redis.pcall('HDEL', gates, sid) end
  local job_id = field(fields, 'job_id')
  local seen = job_id and seen_prefix .. redis.sha1hex(sid .. ' ' .. job_id)
  if seen and redis.pcall('GET', seen) == id then redis.call('SET', seen, new_id, 'KEEPTTL') end
end

local page = redis.call('XRANGE', aside, '-', '+', 'COUNT', page_size)
for _, found in ipairs(page) do
  local id, fields = found[1], { unpack(found[2], 1, math.min(#found[2], MAX_ARGUMENTS)) }
  if ready then
    forget(id, fields, redis.call('XADD', home, '*', unpack(fields)))
  else
    local is_sane = tonumber(string.match(id, '^%d+')) <= limit_ms
    local added = is_sane and redis.pcall('XADD', home, id, unpack(fields))
    if type(added) ~= 'string' then redis.call('XADD', home, '*', unpack(fields)) end
  end
  redis.call('XDEL', aside, id)
end
if redis.call('XLEN', aside) == 0 then redis.call('DEL', aside) end
return #page
