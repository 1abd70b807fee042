-- APPEND: writes the next entry of an epoch where the stream still ends with the entry before it: a compare-and-append.
-- ARGV: 1 entry id, 2 job id, 3 fence, 4 id of the entry before, 5 id of this one, 6 … its fields.
-- Returns {OK}, or why nothing was written: see `elsewhere`.
local id, before, at = ARGV[1], ARGV[4], ARGV[5]
local last = last_id(audio)
if last ~= before then return not_appended(id, last, at) end
redis.call('XADD', audio, unpack(ARGV, 5))
if redis.call('PTTL', audio) < TTL_MS - RENEW_MS then
  redis.call('PEXPIRE', audio, TTL_MS)
  redis.call('PEXPIRE', job, TTL_MS)
end
return { 'OK' }
