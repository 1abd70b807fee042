-- REDRIVE: publishes a dead letter's job again and deletes the letter, both or neither.
-- KEYS: 1 jobs, 2 dead, 3 the seen key of its job ID, or dead again without one. ARGV: 1 ID of the letter, 2 … job fields.
-- Answers: {OK, new ID}. {GONE}: no such letter. {QUEUED, id}: the same job is in the queue already.
local jobs, dead, seen = unpack(KEYS)
if not redis.call('XRANGE', dead, ARGV[1], ARGV[1])[1] then return { 'GONE' } end
if seen ~= dead then
  local first = redis.pcall('GET', seen)
  local is_id = type(first) == 'string' and #first < 50 and string.match(first, '^%d+%-%d+$')
  local found = is_id and redis.pcall('XRANGE', jobs, first, first)
  if found and not found['err'] and found[1] then return { 'QUEUED', first } end
end
local id = redis.call('XADD', jobs, '*', unpack(ARGV, 2)) -- an error here leaves the letter in place
if seen ~= dead then redis.call('DEL', seen) end
redis.call('XDEL', dead, ARGV[1])
return { 'OK', id }
