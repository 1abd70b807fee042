//! The pages' commands on a server: published, read, hinted, cancelled, trimmed, left; and a relay beside a worker. The
//! worker's prefix is `makima`; what no worker should see has the prefix `page`.

use page::*;
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisResult};
use serde_json::Value as Json;
use std::time::Duration;

const SPOKEN: &[u8] = b"\x85\xa1v\x01\xa4type\xa9cancelled\xa6job_id\xa2u1\xaasession_id\xa2s1\xa7samples\x00";

fn url() -> String {
    std::env::var("REDIS_URL").expect("REDIS_URL names an empty server")
}

async fn connected() -> (Client, MultiplexedConnection, Keys) {
    let client = Client::open(url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    (client, connection, Keys { prefix: "page".into() })
}

async fn add(connection: &mut MultiplexedConnection, key: &str, id: &str, fields: &[(&str, &[u8])]) {
    let added: RedisResult<String> = redis::cmd("XADD").arg(key).arg(id).arg(fields).query_async(connection).await;
    added.unwrap();
}

async fn length(connection: &mut MultiplexedConnection, key: &str) -> u64 {
    redis::cmd("XLEN").arg(key).query_async(connection).await.unwrap()
}

#[tokio::test]
async fn a_job_is_published_and_its_end_is_read() {
    let (client, mut connection, keys) = connected().await;
    let fields = [("session_id", "s1"), ("job_id", "u1"), ("text", "Hello."), ("ahead_ms", "0")];
    let id = publish(&mut connection, &keys, &fields).await.unwrap();
    assert!(id <= all_until_now(&mut connection).await.unwrap());
    let mut reading = reading_connection(&client).await.unwrap();
    assert!(next_entries(&mut reading, &keys, "s1", "0", None).await.unwrap().is_empty());
    assert!(next_entries(&mut reading, &keys, "s1", "0", Some(700)).await.unwrap().is_empty());
    let audio = keys.audio("s1");
    add(&mut connection, &audio, "7-0", &[("type", b"cancelled"), ("job_id", b"u1"), ("data", SPOKEN)]).await;
    let [entry] = &next_entries(&mut reading, &keys, "s1", "0", Some(700)).await.unwrap()[..] else { panic!() };
    assert_eq!((entry.id.as_str(), entry.kind.as_str(), entry.job_id.as_str()), ("7-0", "cancelled", "u1"));
    let mut hearing = Hearing::default();
    hearing.published("u1");
    assert_eq!(hearing.turn(&entry.kind, &entry.job_id, &entry.data).len(), 1);
    renew(&mut connection, &keys, "s1").await.unwrap();
    trim(&mut connection, &keys, "s1", "7-0").await.unwrap();
    assert_eq!(length(&mut connection, &audio).await, 1);
    leave(&mut connection, &keys, "s1", Some(&id), &entry.id).await.unwrap();
    let _: () = redis::cmd("PEXPIRE").arg(keys.jobs()).arg(60_000).query_async(&mut connection).await.unwrap();
    let left: i64 = redis::cmd("PTTL").arg(&audio).query_async(&mut connection).await.unwrap();
    assert!((1..=10_000).contains(&left));
}

#[tokio::test]
async fn a_cancel_goes_above_a_begin_that_came_between_and_may_be_repeated() {
    let (_, mut connection, keys) = connected().await;
    let audio = keys.audio("s2");
    cancel(&mut connection, &keys, "s2", "5-1", "0").await.unwrap();
    assert_eq!(length(&mut connection, &audio).await, 0, "there was no stream");
    add(&mut connection, &audio, "1700-3", &[("type", b"begin")]).await;
    cancel(&mut connection, &keys, "s2", "5-2", "900-8").await.unwrap();
    cancel(&mut connection, &keys, "s2", "5-1", "1700-3").await.unwrap();
    let cut: redis::streams::StreamRangeReply =
        redis::cmd("XRANGE").arg(keys.cut("s2")).arg("-").arg("+").query_async(&mut connection).await.unwrap();
    assert_eq!(cut.ids.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["5-2"], "never lower");
    let found = next_entries(&mut connection, &keys, "s2", "1700-3", None).await.unwrap();
    assert!(found.iter().all(|it| it.kind == "cancel"));
    assert_eq!(found.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["1701-0", "1702-0"]);
    for key in [&audio, &keys.cut("s2")] {
        let _: () = redis::cmd("PEXPIRE").arg(key).arg(10_000).query_async(&mut connection).await.unwrap();
    }
}

#[tokio::test]
async fn a_cancel_that_cannot_be_written_is_an_error_and_ends() {
    let (_, mut connection, keys) = connected().await;
    for (key, session) in [(keys.audio("s3"), "s3"), (keys.cut("s4"), "s4")] {
        let _: () = redis::cmd("SET").arg(&key).arg("x").arg("PX").arg(60_000).query_async(&mut connection).await.unwrap();
        let problem = cancel(&mut connection, &keys, session, "5-1", "0").await.unwrap_err();
        assert!(!is_passing(&problem), "{problem}");
        assert!(leave(&mut connection, &keys, session, Some("5-1"), "0").await.is_err());
    }
    let (user, secret) = ("page", "page");
    let rules = ["on", ">page", "~*", "+xread", "+multi", "+exec", "+xadd"]; // without PEXPIRE the EXEC is aborted
    let _: () = redis::cmd("ACL").arg("SETUSER").arg(user).arg(&rules).query_async(&mut connection).await.unwrap();
    let address = url().replacen("://", &format!("://{user}:{secret}@"), 1);
    let mut poor = Client::open(address).unwrap().get_multiplexed_async_connection().await.unwrap();
    let problem = cancel(&mut poor, &keys, "s5", "5-1", "0").await.unwrap_err();
    assert!(!is_passing(&problem), "{problem}");
    assert_eq!(length(&mut connection, &keys.cut("s5")).await, 0, "nothing was executed");
    let _: () = redis::cmd("ACL").arg("DELUSER").arg(user).query_async(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_piece_of_text_is_written_once_however_often_it_is_sent() {
    let (_, mut connection, keys) = connected().await;
    let key = keys.text("s6", "u7");
    let entries = [("text", "Good mor"), ("text", "ning."), ("flush", "1"), ("end", "1")];
    for _ in 0..2 {
        for (number, entry) in (1..).zip(entries) {
            write_text(&mut connection, &key, number, entry).await.unwrap();
        }
    }
    assert_eq!(length(&mut connection, &key).await, 4);
}

#[tokio::test]
async fn a_hint_names_the_stream_that_was_written() {
    let (_, mut connection, keys) = connected().await;
    let client = Client::open(format!("{}?protocol=resp3", url())).unwrap();
    let (mut subscribed, mut hints) = hints(&client).await.unwrap();
    let channel = keys.audio("s8");
    subscribed.subscribe(&channel).await.unwrap();
    let _: () = redis::cmd("PUBLISH").arg(&channel).arg("7-0").query_async(&mut connection).await.unwrap();
    let named = loop {
        let push = tokio::time::timeout(Duration::from_secs(10), hints.recv()).await.unwrap().unwrap();
        if let Some(named) = hinted(&push) {
            break named;
        }
    };
    assert_eq!(named, channel);
}

/// One session of a relay: what its client would receive is in `sent`.
struct Relay {
    session_id: &'static str,
    commands: MultiplexedConnection,
    reading: MultiplexedConnection,
    keys: Keys,
    hearing: Hearing,
    last_id: String,
    sent: Vec<Json>,
}

impl Relay {
    async fn new(session_id: &'static str) -> Self {
        let (client, commands, _) = connected().await;
        let reading = reading_connection(&client).await.unwrap();
        let keys = Keys { prefix: "makima".into() };
        let (hearing, last_id, sent) = (Hearing::default(), "0".into(), Vec::new());
        Self { session_id, commands, reading, keys, hearing, last_id, sent }
    }

    async fn speak(&mut self, job_id: &str, text: (&str, &str)) -> String {
        self.hearing.published(job_id);
        let fields = [("session_id", self.session_id), ("job_id", job_id), text];
        publish(&mut self.commands, &self.keys, &fields).await.unwrap()
    }

    async fn read(&mut self) {
        let entries = next_entries(&mut self.reading, &self.keys, self.session_id, &self.last_id, Some(5_000));
        for entry in entries.await.unwrap() {
            let n_before = self.hearing.unfinished.len();
            self.sent.extend(self.hearing.turn(&entry.kind, &entry.job_id, &entry.data));
            if self.hearing.unfinished.len() < n_before {
                trim(&mut self.commands, &self.keys, self.session_id, &entry.id).await.unwrap();
            }
            self.last_id = entry.id;
        }
    }

    async fn finish(&mut self) {
        while !self.hearing.unfinished.is_empty() {
            self.read().await;
        }
    }

    fn answers(&self) -> Vec<&Json> {
        self.sent.iter().filter(|it| it["type"] != "audio_chunk").collect()
    }

    fn n_final(&self) -> usize {
        self.sent.iter().filter(|it| it["is_final"] == true).count()
    }
}

#[tokio::test]
async fn a_whole_and_an_open_text_are_spoken_and_heard() {
    let mut relay = Relay::new("w1").await;
    let text = "This sentence is long enough to be a piece of its own. Then it ends.";
    relay.speak("u1", ("text", text)).await;
    relay.speak("u2", ("text_from", "stream")).await;
    let key = relay.keys.text("w1", "u2");
    for (number, piece) in (1..).zip(["This sen", "tence is long enough to be ", "a piece of its own. Then", " it ends."]) {
        write_text(&mut relay.commands, &key, number, ("text", piece)).await.unwrap();
    }
    write_text(&mut relay.commands, &key, 5, ("end", "1")).await.unwrap();
    relay.finish().await;
    assert!(relay.answers().iter().all(|it| **it == serde_json::json!({"type": "complete"})));
    assert_eq!((relay.answers().len(), relay.n_final()), (2, 2));
    for job in relay.hearing.jobs.values() {
        let last = job.segments.last().unwrap();
        assert_eq!(job.heard(job.made), Heard { text: text.into(), segment: Some(1), is_estimate: false });
        assert_eq!(job.heard(last.pos).text, "This sentence is long enough to be a piece of its own.");
    }
    assert_eq!(length(&mut relay.commands, &relay.keys.audio("w1")).await, 1, "trimmed up to the last end");
}

#[tokio::test]
async fn a_stop_is_answered_and_what_follows_is_spoken() {
    let mut relay = Relay::new("w2").await;
    let upto = relay.speak("u1", ("text", &"It goes on and on, and nobody wants to listen. ".repeat(20))).await;
    while relay.sent.is_empty() {
        relay.read().await;
    }
    let closing = relay.hearing.stop();
    relay.sent.extend(closing);
    cancel(&mut relay.commands, &relay.keys, "w2", &upto, &relay.last_id).await.unwrap();
    relay.speak("u2", ("text", "The next one.")).await;
    relay.finish().await;
    let [first, second] = relay.answers()[..] else { panic!("{:?}", relay.answers()) };
    assert_eq!((&first["cancelled"], &second["cancelled"]), (&Json::Bool(true), &Json::Null));
    assert_eq!(relay.n_final(), 2);
}
