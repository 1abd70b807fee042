-- APPEND: one entry of an epoch over a new connection, to a server that may have lost what the writer wrote before.
-- ARGV: 1 the id before it, 2 its id, 3 … its fields. Returns {OK}, {GONE} without a stream, {REFUSED} when the stream ends elsewhere.
local last = last_id(audio)
if not last then return { 'GONE' } end
if last ~= ARGV[1] then return { 'REFUSED' } end
redis.call('XADD', audio, unpack(ARGV, 2))
return { 'OK' }
