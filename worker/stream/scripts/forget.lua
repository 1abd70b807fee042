-- FORGET: publishing the job's job_id again makes a new job from now on. A worker calls it before it writes an end that is
-- retryable: a reader may publish again before the job is settled.
-- ARGV: 2 worker, 3 entry ID, 4 fence, 5 session or ''. Answers: {damage}. Does nothing where another worker has the job.
local me, id, fence, sid = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local fields = is_mine(me, id, fence) and entry(id)
local key = fields and seen_key(sid, fields)
if key and redis.pcall('GET', key) == id then redis.call('PEXPIRE', key, 0) end
return { damage }
