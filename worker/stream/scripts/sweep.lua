-- SWEEP: one page of a search for what accidents left behind (a lost key, a group destroyed and made again).
-- ARGV: 3 cursor ('-' at first), 4 page size, 5 ms after which a silent worker is forgotten, 6 the same for an idle consumer.
-- Returns the next cursor, or '' after the last page.
local cursor, page_size = ARGV[3], tonumber(ARGV[4])
local silent_ms, idle_ms = tonumber(ARGV[5]), tonumber(ARGV[6])

local is_ready = {}
for _, id in ipairs(redis.call('LRANGE', ready, 0, -1)) do is_ready[id] = true end

local page = redis.call('XRANGE', jobs, cursor, last_delivered(), 'COUNT', page_size)
for _, found in ipairs(page) do
  local id = found[1]
  if not is_ready[id] and not owner(id) and not redis.call('ZSCORE', delayed, id) then
    local sid = session_of(found[2])
    local named = sid ~= '' and redis.call('HGET', gates, sid)
    if sid == '' or named == id then
      make_ready(id)
    else
      wait(sid, id)
      if not named or not entry(named) then pass_gate_on(sid) end
    end
  end
end
if #page == page_size then return '(' .. page[#page][1] end

local function each(command, key, visit)
  local position = '0'
  repeat
    local reply = redis.call(command, key, position, 'COUNT', 200)
    position = reply[1]
    for i = 1, #reply[2], 2 do visit(reply[2][i], reply[2][i + 1]) end
  until position == '0'
end

each('HSCAN', gates, function(sid, id)
  if not entry(id) then pass_gate_on(sid) end
end)
each('HSCAN', attempts, function(id)
  if not entry(id) then redis.call('HDEL', attempts, id) end
end)
each('ZSCAN', waiting, function(member)
  if not entry(unpad(string.match(member, ' (.*)$'))) then redis.call('ZREM', waiting, member) end
end)
each('HSCAN', workers, function(name, card)
  local ok, worker = pcall(cjson.decode, card)
  local beat = ok and type(worker) == 'table' and tonumber(worker['beat'])
  if not beat or now() - beat > silent_ms then redis.call('HDEL', workers, name) end
end)
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', jobs, GROUP)) do
  local info = as_map(consumer)
  if info['pending'] == 0 and info['idle'] > idle_ms then
    redis.call('XGROUP', 'DELCONSUMER', jobs, GROUP, info['name'])
  end
end
return ''
