-- APPEND: compare-and-append. Writes the next entries of an epoch, both or neither, if the stream still ends with the
-- previous one: a chunk, and before a segment's first chunk the segment's own entry.
-- ARGV: 5 ID of the previous entry, 6 number of words of the segment's entry, 0 without one, 7 … these words, then those
-- of the chunk. Words: an ID and flat fields.
-- Answers: {OK}, or that of `not_appended` in _session.lua.
local before, chunk = ARGV[5], 7 + ARGV[6]
local last, at = last_id(audio), ARGV[chunk]
if last ~= before then return not_appended(id, last, at) end
if chunk > 7 then add({ unpack(ARGV, 7, chunk - 1) }) end
hint(add(ARGV, chunk))
renew_all()
return { 'OK' }
