//! The commands of the contract, one function each.

use crate::EntryId;
use crate::link::is_not_above;
use crate::plane::Connection;
use crate::state::Fields;
use redis::streams::{StreamRangeReply, StreamReadReply};
use redis::{Cmd, RedisError, RedisResult, Value};

/// How long keys live after the last write.
const KEPT_MS: u32 = 600_000;

/// One entry of a session's stream as Redis sends it.
pub(crate) struct RawEntry {
    pub id: EntryId,
    pub kind: String,
    pub job_id: String,
    /// Its job's entry among the jobs.
    pub entry: Option<EntryId>,
    pub data: Vec<u8>,
}

/// Publishes a job, which has a job_id: repeated after a lost reply it is the same job. Returns its entry's ID.
pub(crate) async fn publish(jobs: &mut Connection, key: &str, fields: &Fields) -> RedisResult<EntryId> {
    let mut command = redis::cmd("XADD");
    command.arg(key).arg("*");
    for (name, value) in fields {
        command.arg(&**name).arg(value);
    }
    parsed(&command.query_async::<String>(jobs).await?)
}

/// Writes pieces of a text behind the first `n_before`. Pieces that are there already stay.
pub(crate) async fn write_text(
    sessions: &mut Connection,
    key: &str,
    n_before: usize,
    pieces: &Fields,
) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    pipe.ignore_errors();
    for (at, (kind, value)) in pieces.iter().enumerate() {
        pipe.cmd("XADD").arg(key).arg(format!("{}-0", n_before + at + 1)).arg(&**kind).arg(value);
    }
    pipe.cmd("PEXPIRE").arg(key).arg(KEPT_MS);
    let answers: Vec<Result<Value, RedisError>> = pipe.query_async(sessions).await?;
    answers.into_iter().filter_map(Result::err).find(|it| !is_not_above(it)).map_or(Ok(()), Err)
}

/// Cancels the session's jobs up to the entry `upto`. `cursor`: the last entry that was read of its stream.
pub(crate) async fn cancel(
    sessions: &mut Connection,
    audio: &str,
    cut: &str,
    upto: &str,
    cursor: EntryId,
) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    pipe.atomic().ignore_errors();
    pipe.cmd("XADD").arg(cut).arg("MAXLEN").arg(1).arg(upto).arg("type").arg("cancel");
    pipe.cmd("PEXPIRE").arg(cut).arg(KEPT_MS);
    pipe.add_command(interruption(audio, upto, cursor));
    let mut answers: Vec<Result<Value, RedisError>> = pipe.query_async(sessions).await?;
    let mut interrupted = answers.pop().unwrap_or(Ok(Value::Nil));
    if let Some(problem) = answers.into_iter().filter_map(Result::err).find(|it| !is_not_above(it)) {
        return Err(problem); // of the cut, "not above" means that a later job was cancelled, which includes this one
    }
    for _ in 0..8 {
        match interrupted {
            Err(problem) if is_not_above(&problem) => {} // a newer begin came between
            answer => return answer.map(drop),
        }
        let mut last = redis::cmd("XREVRANGE");
        last.arg(audio).arg("+").arg("-").arg("COUNT").arg(1);
        let last: StreamRangeReply = last.query_async(sessions).await?;
        let last = last.ids.first().map_or(Ok(EntryId::default()), |it| parsed(&it.id))?;
        interrupted = interruption(audio, upto, last).query_async(sessions).await;
    }
    interrupted.map(drop)
}

/// An entry one above the epoch of what was read stops the writer within one chunk.
fn interruption(audio: &str, upto: &str, cursor: EntryId) -> Cmd {
    let mut command = redis::cmd("XADD");
    command.arg(audio).arg("NOMKSTREAM").arg(format!("{}-0", cursor.ms.saturating_add(1)));
    command.arg("type").arg("cancel").arg("upto").arg(upto);
    command
}

/// An ID above that of every job that was published until now.
pub(crate) async fn all_until_now(jobs: &mut Connection, key: &str) -> RedisResult<EntryId> {
    let reply = jobs.run_at(key, &redis::cmd("TIME")).await?;
    let (seconds, microseconds): (u64, u64) = redis::from_redis_value(reply)?;
    Ok(EntryId { ms: seconds * 1000 + microseconds / 1000, n: u64::MAX })
}

/// Deletes what is before `id`.
pub(crate) async fn trim(sessions: &mut Connection, audio: &str, id: EntryId) -> RedisResult<()> {
    redis::cmd("XTRIM").arg(audio).arg("MINID").arg(id.to_string()).query_async::<Value>(sessions).await.map(drop)
}

pub(crate) async fn expire(sessions: &mut Connection, audio: &str, ms: u32) -> RedisResult<()> {
    redis::cmd("PEXPIRE").arg(audio).arg(ms).query_async::<Value>(sessions).await.map(drop)
}

/// Keeps a stream that is read slowly: reading does not renew it.
pub(crate) async fn renew(sessions: &mut Connection, audio: &str) -> RedisResult<()> {
    expire(sessions, audio, KEPT_MS).await
}

/// The entries behind the cursor, at most `count`. With `block_ms` it waits for one.
pub(crate) async fn read(
    reading: &mut Connection,
    audio: &str,
    cursor: EntryId,
    count: usize,
    block_ms: Option<u64>,
) -> RedisResult<Vec<RawEntry>> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(count);
    if let Some(ms) = block_ms {
        command.arg("BLOCK").arg(ms);
    }
    command.arg("STREAMS").arg(audio).arg(cursor.to_string());
    let reply: Option<StreamReadReply> = command.query_async(reading).await?;
    let entries = reply.into_iter().flat_map(|it| it.keys).flat_map(|it| it.ids);
    let raw = entries.map(|mut entry| {
        let mut bytes = |name: &str| match entry.map.remove(name) {
            Some(Value::BulkString(bytes)) => bytes,
            _ => Vec::new(),
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default();
        let (kind, job_id, data) = (text(bytes("type")), text(bytes("job_id")), bytes("data"));
        let of_job = text(bytes("entry")).parse().ok();
        Ok(RawEntry { id: parsed(&entry.id)?, kind, job_id, entry: of_job, data })
    });
    raw.collect()
}

fn parsed(id: &str) -> RedisResult<EntryId> {
    id.parse().map_err(|problem: crate::FieldError| {
        RedisError::from((redis::ErrorKind::Parse, "a reply of Redis has no entry ID", problem.to_string()))
    })
}
