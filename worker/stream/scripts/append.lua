-- APPEND: compare-and-append. Writes the next entry of an epoch if the stream still ends with the previous entry.
-- ARGV: 1 entry ID, 2 job ID, 3 fence, 4 ID of the previous entry, 5 ID of this entry, 6 … its fields.
-- Answers: {OK}, or that of `not_appended` in _session.lua.
local id, before, at = ARGV[1], ARGV[4], ARGV[5]
local last = last_id(audio)
if last ~= before then return not_appended(id, last, at) end
redis.call('XADD', audio, unpack(ARGV, 5))
if redis.call('PTTL', audio) < TTL_MS - RENEW_MS then
  redis.call('PEXPIRE', audio, TTL_MS)
  redis.call('PEXPIRE', job, TTL_MS)
end
return { 'OK' }
