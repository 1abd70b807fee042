-- Prelude of the scripts of the session plane. KEYS: 1 audio, 2 cut, 3 job.
local audio, cut, job = KEYS[1], KEYS[2], KEYS[3]
local TTL_MS = 600000

-- The next epoch: a millisecond clock that strictly rises on this stream and is no lower than the writer's fence.
local function next_epoch(fence, last)
  local after = last and tonumber(string.match(last, '^(%d+)')) + 1 or 0
  return string.format('%.0f', math.max(now(), tonumber(fence), after))
end

-- Somebody wrote an entry with an absurd id (ms of 16 digits or more): nothing sensible can follow it.
local function is_exhausted(last) return last and #string.match(last, '^%d+') > 15 end

local function keep(key)
  if redis.call('PTTL', key) < TTL_MS then redis.call('PEXPIRE', key, TTL_MS) end
end

-- Samples of this job that the session was given, from its newest entry that says so; nil when none does.
local function delivered_of(id)
  local upper = '+'
  while true do
    local page = redis.call('XREVRANGE', audio, upper, '-', 'COUNT', 8)
    if #page == 0 then return nil end
    for _, found in ipairs(page) do
      local delivered = field(found[2], 'entry') == id and field(found[2], 'delivered')
      if delivered and #delivered < 16 and string.match(delivered, '^%d+$') then return delivered end
    end
    upper = '(' .. page[#page][1]
  end
end
