-- LOOK: for a writer that waits. Checks that the stream still ends with the writer's last entry, and renews the TTLs.
-- ARGV: 5 ID of the writer's last entry. Answers: {OK}, or that of `not_appended` in _session.lua.
local last = last_id(audio)
if last ~= ARGV[5] then return not_appended(id, last, '') end
if is_cancelled(id) then return { 'CANCELLED', delivered_of(id) or '' } end
renew_all()
return { 'OK' }
