//! The two entries of a cancel.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used)]

mod support;

use makima_tts_client::{EntryId, Job, Readers, SessionId};
use redis::streams::StreamRangeReply;
use support::{client, eventually};

async fn last(connection: &mut redis::aio::MultiplexedConnection, key: &str) -> Option<(EntryId, String)> {
    let mut command = redis::cmd("XREVRANGE");
    command.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
    let found: StreamRangeReply = command.query_async(connection).await.unwrap();
    found.ids.first().map(|it| (it.id.parse().unwrap(), it.get("type").unwrap_or_default()))
}

#[tokio::test]
async fn a_cancel_goes_above_a_begin_that_was_not_read_and_its_cut_never_goes_back() {
    let server = server_or_skip!();
    let mut connection = redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    // Nobody sends hints here, so the stream is read once a second.
    let client = client(&server, Readers::own_connections(0));
    let (session, _events) = client.open(SessionId::fresh());
    let [audio, cut] = ["audio", "cut"].map(|name| format!("makima:{{{}}}:{name}", session.id()));
    let mut highest = EntryId::default();
    for epoch in [1_700_000_000_000_u64, 1_800_000_000_000] {
        session.speak(Job::new("Nobody speaks this.")).await.unwrap();
        let mut begin = redis::cmd("XADD");
        begin.arg(&audio).arg(format!("{epoch}-3")).arg("type").arg("of a later version");
        let _: String = begin.query_async(&mut connection).await.unwrap();
        session.stop();
        let is_cancelled = async || {
            let found = last(&mut connection.clone(), &audio).await;
            found == Some((EntryId { ms: epoch + 1, n: 0 }, "cancel".into()))
        };
        eventually("the cancel is the last entry", is_cancelled).await;
        let (upto, _) = last(&mut connection, &cut).await.unwrap();
        assert!(upto > highest, "{upto} follows {highest}");
        highest = upto;
    }
}
