-- MEND: puts keys of the job plane aside that are of another type than the scripts', and streams that take no entry any
-- more. ARGV: 2 and 3 what stands before and behind the name of such a key's new name, 4 for how many ms it is kept.
-- Returns flat name of the key, what was wrong.
local TYPES = { 'stream', 'list', 'zset', 'hash', 'zset', 'hash', 'stream', 'stream', 'hash', 'string', 'string' }

local function set_aside(key, what)
  local name = string.match(key, '([^:]*)$')
  local aside = ARGV[2] .. string.format('%.0f', now()) .. ARGV[3] .. name
  redis.call('RENAME', key, aside)
  redis.call('PEXPIRE', aside, tonumber(ARGV[4]))
  report(name, what .. '; it is now ' .. aside)
end

for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key)['ok']
  if kind ~= 'none' and kind ~= TYPES[i] then
    set_aside(key, 'a ' .. kind .. ' where a ' .. TYPES[i] .. ' belongs')
  elseif (key == bell or key == dead) and last_id(key) == LAST_ID then
    set_aside(key, 'a stream whose last id is the last there is')
  end
end
-- What was in it is lost: every entry is looked at again, in order, before a newer one can overtake it.
if #damage > 0 then
  redis.call('SET', taken, '0-0')
  restore_gates()
end
return damage
