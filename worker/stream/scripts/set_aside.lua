-- SET_ASIDE: renames job-plane keys of a wrong type, and `bell` or `dead` when their IDs are exhausted.
-- ARGV: the new name is ARGV[2] .. now ms .. ARGV[3] .. name; 4 ms until the renamed key expires.
-- Answer: damage, a flat list of key name and description.
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
    set_aside(key, 'a stream with the highest possible ID')
  end
end
-- The queue lost that key's content: all entries are scanned again, in order, before a newer one can overtake them.
if #damage > 0 then
  redis.call('SET', taken, '0-0')
  restore_gates()
end
return damage
