//! Sessions in good weather, for both ways to read.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used)]

mod support;

use futures_util::StreamExt;
use makima_tts_client::{Client, End, ErrorCode, Event, Job, Readers, SessionId, SpeakFailed};
use std::time::Duration;
use support::{Listener, Script, Server, Worker, client, eventually, readers};

const LONG: &str = "The quick brown fox jumps over the lazy dog, again and again, until it is tired.";
const PACED: Script = Script { pause: Duration::from_millis(10), ..Script::NONE };

async fn ask<T: redis::FromRedisValue>(server: &Server, command: &[&str]) -> T {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut ask = redis::cmd(command[0]);
    ask.arg(&command[1..]).query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn jobs_are_spoken_whole_and_in_their_order() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), Script::NONE);
    for readers in readers() {
        let client = client(&server, readers);
        let (session, mut events) = client.open(SessionId::fresh());
        let texts = [LONG, "Second.", "Third, and last."];
        let mut jobs = Vec::new();
        for text in texts {
            jobs.push(session.speak(Job::new(text)).await.unwrap());
        }
        let mut listener = Listener::default();
        listener.until_ended(&mut events, 3).await;
        assert_eq!(listener.order, jobs);
        for (job, text) in jobs.iter().zip(texts) {
            listener.assert_whole(job, text);
        }
        assert!(session.unfinished().is_empty());
        assert_eq!(session.heard(&jobs[2], u64::MAX).unwrap().text, texts[2]);
        eventually("the stream is trimmed", async || {
            ask::<u64>(&server, &["XLEN", &format!("makima:{{{}}}:audio", session.id())]).await <= 1
        })
        .await;
        let stats = client.stats();
        assert_eq!((stats.sessions, stats.unfinished, stats.published, stats.republished), (1, 0, 3, 0));
    }
}

#[tokio::test]
async fn after_a_stop_nothing_of_before_comes_and_the_next_job_is_whole() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    for readers in readers() {
        let client = client(&server, readers);
        let (session, mut events) = client.open(SessionId::fresh());
        let mut listener = Listener::default();
        for round in 0..5 {
            let first = session.submit(Job::new(LONG)).unwrap();
            let second = session.submit(Job::new("never heard")).unwrap();
            listener.until_audio(&mut events, &first).await;
            tokio::time::sleep(Duration::from_millis(7 * round)).await;
            let n_bytes = listener.jobs[&first].samples.len();
            assert_eq!(session.stop(), [first.clone(), second.clone()]);
            let third = session.submit(Job::new("heard after it")).unwrap();
            let n_ended = listener.order.len();
            listener.until_ended(&mut events, n_ended + 3).await;
            assert_eq!(listener.jobs[&first].samples.len(), n_bytes);
            for job in [&first, &second] {
                assert!(listener.jobs[job].is_muted);
                assert!(matches!(listener.jobs[job].end, Some(End::Cancelled(_))), "{:?}", listener.jobs[job].end);
            }
            assert_eq!((listener.jobs[&first].n_final, listener.jobs[&second].n_chunks), (1, 0));
            assert!(!listener.jobs[&third].is_muted);
            listener.assert_whole(&third, "heard after it");
        }
    }
}

#[tokio::test]
async fn a_stop_silences_audio_that_waits_for_the_listener_too() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), Script::NONE);
    let client = Client::builder(server.url()).queue(100).build().unwrap();
    let (session, mut events) = client.open(SessionId::fresh());
    let job = session.speak(Job::new(LONG)).await.unwrap();
    let mut listener = Listener::default();
    listener.until_audio(&mut events, &job).await;
    eventually("all is read", async || session.unfinished().is_empty()).await;
    assert_eq!(session.stop(), std::slice::from_ref(&job));
    listener.until_ended(&mut events, 1).await;
    let spoken = &listener.jobs[&job];
    assert_eq!((spoken.n_chunks, spoken.n_final, spoken.is_muted), (2, 1, true));
    assert!(session.stop().is_empty());
}

#[tokio::test]
async fn a_cancel_by_another_program_ends_the_job_and_spares_the_next() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    let here = client(&server, Readers::default());
    let (session, mut events) = here.open(SessionId::fresh());
    let first = session.speak(Job::new(LONG)).await.unwrap();
    let mut listener = Listener::default();
    listener.until_audio(&mut events, &first).await;
    let (other, _other_events) = client(&server, Readers::default()).open(session.id().clone());
    other.cancel_all().await.unwrap();
    let second = session.speak(Job::new("and on")).await.unwrap();
    listener.until_ended(&mut events, 2).await;
    assert!(matches!(listener.jobs[&first].end, Some(End::Cancelled(Some(_)))));
    assert!(!listener.jobs[&first].is_muted);
    listener.assert_whole(&second, "and on");
}

#[tokio::test]
async fn a_text_is_spoken_while_it_is_written() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), Script::NONE);
    for readers in readers() {
        let (session, mut events) = client(&server, readers).open(SessionId::fresh());
        let text = session.open_text(Job::open()).unwrap();
        let first = text.job_id().clone();
        let mut listener = Listener::default();
        text.write("Once upon ").unwrap();
        listener.until_audio(&mut events, &first).await;
        text.write("").unwrap();
        text.write("a tim").unwrap();
        text.flush();
        text.write("e.").unwrap();
        text.end();
        let pieces = ["Made ", "of ", "pieces."].map(String::from);
        let second = session.speak_stream(Job::open(), futures_util::stream::iter(pieces)).await.unwrap();
        listener.until_ended(&mut events, 2).await;
        listener.assert_whole(&first, "Once upon a time.");
        listener.assert_whole(&second, "Made of pieces.");
    }
}

#[tokio::test]
async fn a_text_takes_no_more_than_its_limit_and_a_stop_closes_it() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    let (session, mut events) = client(&server, Readers::default()).open(SessionId::fresh());
    let endless = futures_util::stream::repeat("word ".repeat(1_000));
    let failed = session.speak_stream(Job::open(), endless).await;
    assert!(matches!(failed, Err(SpeakFailed::TextFull(_))), "{failed:?}");
    let text = session.open_text(Job::open()).unwrap();
    assert!(text.is_open());
    session.stop();
    assert!(!text.is_open());
    text.write("to nobody").unwrap();
    let mut listener = Listener::default();
    listener.until_ended(&mut events, 2).await;
    assert!(session.open_text(Job::new("whole")).is_err());
    assert!(session.submit(Job::open()).is_err());
    assert!(session.submit(Job::new("fast").sample_rate(1)).is_err());
    assert!(session.unfinished().is_empty());
}

#[tokio::test]
async fn a_session_whose_listener_is_slow_is_not_read_and_delays_nobody() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), Script::NONE);
    let text = LONG.repeat(5);
    for readers in readers() {
        let grace = Duration::from_millis(100);
        let client = Client::builder(server.url()).readers(readers).grace(grace).build().unwrap();
        let (slow, mut slow_events) = client.open(SessionId::fresh());
        let slow_job = slow.submit(Job::new(&text)).unwrap();
        let mut others = Vec::new();
        for _ in 0..10 {
            let (session, mut events) = client.open(SessionId::fresh());
            let text = text.clone();
            others.push(tokio::spawn(async move {
                let job = session.speak(Job::new(&text)).await.unwrap();
                let mut listener = Listener::default();
                listener.until_ended(&mut events, 1).await;
                listener.assert_whole(&job, &text);
            }));
        }
        for other in others {
            other.await.unwrap();
        }
        assert_eq!(slow.unfinished(), std::slice::from_ref(&slow_job), "its end waits in Redis");
        assert!(slow.resume_point().cursor() == Default::default(), "nothing was handed out");
        let audio = format!("makima:{{{}}}:audio", slow.id());
        ask::<u64>(&server, &["PEXPIRE", &audio, "60000"]).await;
        eventually("it is kept", async || ask::<u64>(&server, &["PTTL", &audio]).await > 60_000).await;
        let mut listener = Listener::default();
        listener.until_ended(&mut slow_events, 1).await;
        listener.assert_whole(&slow_job, &text);
    }
}

#[tokio::test]
async fn many_sessions_share_few_connections_and_idle_ones_are_not_read() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    let client = client(&server, Readers::own_connections(3));
    let idle: Vec<_> = (0..500).map(|_| client.open(SessionId::fresh())).collect();
    let speaking = (0..60).map(|_| {
        let (session, mut events) = client.open(SessionId::fresh());
        async move {
            let job = session.speak(Job::new(LONG)).await.unwrap();
            let mut listener = Listener::default();
            listener.until_ended(&mut events, 1).await;
            listener.assert_whole(&job, LONG);
        }
    });
    let all = futures_util::future::join_all(speaking);
    let (_, n_connections) = tokio::join!(all, async {
        eventually("all speak", async || client.stats().unfinished > 55).await;
        client.stats().connections
    });
    assert!(n_connections <= 5, "{n_connections} connections");
    let stats = client.stats();
    assert!(stats.hints > 57 * 10, "{stats:?}");
    assert_eq!((stats.sessions, stats.unfinished), (idle.len(), 0));
    let before: String = ask(&server, &["INFO", "commandstats"]).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let after: String = ask(&server, &["INFO", "commandstats"]).await;
    let reads = |info: &str| info.lines().filter(|it| it.starts_with("cmdstat_ping")).collect::<String>();
    assert_eq!(reads(&before), reads(&after), "nothing is sent for idle sessions");
}

#[tokio::test]
async fn without_hints_a_session_is_read_once_a_second() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), Script { is_without_hints: true, ..PACED });
    let client = client(&server, Readers::own_connections(0));
    let (session, mut events) = client.open(SessionId::fresh());
    let job = session.speak(Job::new(LONG)).await.unwrap();
    let mut listener = Listener::default();
    listener.until_ended(&mut events, 1).await;
    listener.assert_whole(&job, LONG);
    assert!(client.stats().looks > 0 && client.stats().hints == 0, "{:?}", client.stats());
}

#[tokio::test]
async fn an_end_that_cannot_be_read_ends_its_job_as_internal() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), Script { is_unreadable: true, ..Script::NONE });
    let (session, mut events) = client(&server, Readers::default()).open(SessionId::fresh());
    let job = session.speak(Job::new("short")).await.unwrap();
    let mut listener = Listener::default();
    listener.until_ended(&mut events, 1).await;
    assert!(matches!(&listener.jobs[&job].end, Some(End::Failed(it)) if it.code == ErrorCode::Internal));
}

#[tokio::test]
async fn silence_ends_jobs_one_after_another_and_cancels_them() {
    let server = server_or_skip!();
    let grace = Duration::from_millis(300);
    for readers in readers() {
        let client = Client::builder(server.url()).readers(readers).grace(grace).build().unwrap();
        let (session, mut events) = client.open(SessionId::fresh());
        let ttl = Duration::from_millis(200);
        let first = session.speak(Job::new("to nobody").ttl(ttl)).await.unwrap();
        let second = session.speak(Job::new("either").ttl(2 * ttl)).await.unwrap();
        let mut listener = Listener::default();
        listener.until_ended(&mut events, 2).await;
        assert_eq!(listener.order, [first.clone(), second]);
        assert!(matches!(&listener.jobs[&first].end, Some(End::Failed(it)) if it.code == ErrorCode::NoAnswer));
        assert_eq!(client.stats().gave_up, 2);
        let cut = format!("makima:{{{}}}:cut", session.id());
        eventually("both are cancelled", async || ask::<u64>(&server, &["XLEN", &cut]).await == 1).await;
    }
}

#[tokio::test]
async fn a_session_goes_on_where_its_listener_was() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    let here = client(&server, Readers::default());
    let (session, mut events) = here.open(SessionId::fresh());
    let first = session.speak(Job::new(LONG)).await.unwrap();
    let second = session.speak(Job::new("And the next one.")).await.unwrap();
    let mut listener = Listener::default();
    listener.until_audio(&mut events, &first).await;
    for _ in 0..4 {
        listener.take(events.next().await.unwrap());
    }
    let saved = serde_json::to_string(&session.resume_point()).unwrap();
    std::mem::forget((session, events)); // a program that is killed leaves nothing
    let (session, mut events) = client(&server, Readers::default()).resume(serde_json::from_str(&saved).unwrap());
    assert_eq!(session.unfinished(), [first.clone(), second.clone()]);
    let third = session.speak(Job::new("One more.")).await.unwrap();
    listener.until_ended(&mut events, 3).await;
    assert_eq!(listener.order, [first.clone(), second.clone(), third.clone()]);
    listener.assert_whole(&first, LONG);
    listener.assert_whole(&second, "And the next one.");
    listener.assert_whole(&third, "One more.");
}

#[tokio::test]
async fn a_session_that_is_left_is_cancelled_and_expires() {
    let server = server_or_skip!();
    // Its last write renews the stream: it comes after the look.
    let _worker = Worker::start(server.url(), Script { pause: Duration::from_millis(500), ..Script::NONE });
    let client = client(&server, Readers::own_connections(0));
    let mut keys = Vec::new();
    for way in ["leave", "drop", "close"] {
        let (session, mut events) = client.open(SessionId::fresh());
        let audio = format!("makima:{{{}}}:audio", session.id());
        let job = session.speak(Job::new(LONG)).await.unwrap();
        let mut listener = Listener::default();
        listener.until_audio(&mut events, &job).await;
        match way {
            "leave" => session.leave().await.unwrap(),
            "drop" => drop(session),
            _ => client.close().await,
        }
        if way != "drop" {
            while let Some(event) = events.next().await {
                listener.take(event);
            }
            assert!(matches!(listener.jobs[&job].end, Some(End::Cancelled(None))));
        }
        drop(events);
        eventually("it expires", async || (0..=10_000).contains(&ask::<i64>(&server, &["PTTL", &audio]).await)).await;
        keys.push(audio);
    }
    for audio in keys {
        let cut = audio.replace(":audio", ":cut");
        assert_eq!(ask::<u64>(&server, &["XLEN", &cut]).await, 1);
        let subscribers: (String, u64) = ask(&server, &["PUBSUB", "NUMSUB", &audio]).await;
        assert_eq!(subscribers.1, 0);
    }
    let (session, mut events) = client.open(SessionId::fresh());
    let job = session.submit(Job::new("too late")).unwrap();
    let mut listener = Listener::default();
    listener.until_ended(&mut events, 1).await;
    assert!(matches!(&listener.jobs[&job].end, Some(End::Failed(it)) if it.code == ErrorCode::Unavailable));
}

#[tokio::test]
async fn what_was_submitted_is_spoken_after_the_session_was_dropped() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), Script::NONE);
    let client = client(&server, Readers::default());
    let (session, events) = client.open(SessionId::fresh());
    session.submit(Job::new("Last words.")).unwrap();
    drop(session);
    let ended = events.filter(|it| std::future::ready(matches!(it, Event::Ended { .. }))).count().await;
    assert_eq!(ended, 1);
    eventually("it is left", async || client.stats().sessions == 0).await;
}
