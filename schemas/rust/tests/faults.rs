//! Faults of Redis and of the way to it. What is heard is compared with the whole speech.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used)]

mod support;

use makima_tts_client::{Client, End, ErrorCode, Job, JobId, Readers, SessionId, SpeakFailed};
use std::time::{Duration, Instant};
use support::{Listener, Proxy, Script, Server, Worker, client, eventually, readers};

const LONG: &str = "The quick brown fox jumps over the lazy dog, again and again, until it is tired of it, \
                    and then it lies down beside the dog, who was not as lazy as it seemed, and sleeps.";
const NEXT: &str = "And another day.";
const PACED: Script = Script { pause: Duration::from_millis(40), ..Script::NONE };
const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn ask(server: &Server, command: &[&str]) {
    let connect = || redis::Client::open(server.url()).unwrap().get_connection();
    let mut connection = std::iter::repeat_with(connect).find_map(Result::ok).unwrap();
    redis::cmd(command[0]).arg(&command[1..]).exec(&mut connection).unwrap();
}

fn length(server: &Server, stream: &str) -> u64 {
    let client = redis::Client::open(server.url()).unwrap();
    client.get_connection().map_or(0, |mut it| redis::cmd("XLEN").arg(stream).query(&mut it).unwrap())
}

/// Some sessions speak two jobs each while `fault` happens. Everything must be heard whole.
async fn disturbed(client: &Client, fault: impl AsyncFnOnce()) {
    let speaking = (0..4).map(|_| {
        let (session, mut events) = client.open(SessionId::fresh());
        async move {
            let jobs = [session.speak(Job::new(LONG)).await.unwrap(), session.submit(Job::new(NEXT)).unwrap()];
            let mut listener = Listener::default();
            listener.until_audio(&mut events, &jobs[0]).await;
            tokio::task::yield_now().await;
            listener.until_ended(&mut events, 2).await;
            assert_eq!(listener.order, jobs);
            listener.assert_whole(&jobs[0], LONG);
            listener.assert_whole(&jobs[1], NEXT);
        }
    });
    let fault = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        fault().await;
    };
    tokio::join!(futures_util::future::join_all(speaking), fault);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_back_with_everything() {
    let mut server = server_or_skip!(AOF[0], AOF[1], AOF[2], AOF[3]);
    let _worker = Worker::start(server.url(), PACED);
    for readers in readers() {
        let client = client(&server, readers);
        disturbed(&client, async || {
            server.kill();
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.start_again();
        })
        .await;
        let stats = client.stats();
        assert!(stats.republished > 0 && stats.reconnects > 0, "{stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_back_empty_gets_everything_again() {
    let mut server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    for readers in readers() {
        let client = client(&server, readers);
        disturbed(&client, async || {
            server.kill();
            server.start_again();
        })
        .await;
        assert!(client.stats().republished > 0, "{:?}", client.stats());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_are_made_again() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    for readers in readers() {
        let client = client(&server, readers);
        disturbed(&client, async || {
            for _ in 0..4 {
                ask(&server, &["CLIENT", "KILL", "TYPE", "normal"]);
                ask(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]);
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_delays_and_loses_nothing() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    let client = client(&server, Readers::own_connections(2));
    disturbed(&client, async || {
        server.signal("-STOP");
        tokio::time::sleep(Duration::from_secs(3)).await;
        server.signal("-CONT");
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_reply_was_lost_is_spoken_once() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), Script::NONE);
    let proxy = Proxy::to(server.port).await;
    let client = Client::builder(format!("redis://127.0.0.1:{}", proxy.port)).build().unwrap();
    let (session, mut events) = client.open(SessionId::fresh());
    proxy.lose_replies(1);
    let job = session.speak(Job::new(NEXT)).await.unwrap();
    assert_eq!(proxy.n_left(), 0);
    let text = session.open_text(Job::open()).unwrap();
    let open = text.job_id().clone();
    proxy.lose_replies(1);
    text.write("Written ").unwrap();
    text.write("once.").unwrap();
    text.end();
    let mut listener = Listener::default();
    listener.until_ended(&mut events, 2).await;
    listener.assert_whole(&job, NEXT);
    listener.assert_whole(&open, "Written once.");
}

fn is_unavailable(listener: &Listener, job: &JobId) -> bool {
    matches!(&listener.jobs[job].end, Some(End::Failed(it)) if it.code == ErrorCode::Unavailable)
}

#[tokio::test]
async fn a_redis_that_is_away_is_waited_for_until_the_deadline() {
    let mut server = server_or_skip!();
    server.kill();
    let client = Client::builder(server.url()).deadline(Duration::from_millis(300)).build().unwrap();
    assert!(client.ping().await.unwrap_err().is_retryable());
    let (session, mut events) = client.open(SessionId::fresh());
    let first = session.submit(Job::new(NEXT)).unwrap();
    let mut listener = Listener::default();
    listener.until_ended(&mut events, 1).await;
    assert!(is_unavailable(&listener, &first));
    assert!(matches!(session.speak(Job::new(NEXT)).await, Err(SpeakFailed::Unavailable(it)) if it.is_retryable()));
    let stopped = session.submit(Job::new(NEXT)).unwrap();
    assert_eq!(session.stop(), std::slice::from_ref(&stopped));
    listener.until_ended(&mut events, 3).await;
    assert!(matches!(listener.jobs[&stopped].end, Some(End::Cancelled(None))));
    server.start_again();
    let _worker = Worker::start(server.url(), Script::NONE);
    eventually("it is back", async || client.ping().await.is_ok()).await;
    let last = session.speak(Job::new(NEXT)).await.unwrap();
    listener.until_ended(&mut events, 4).await;
    listener.assert_whole(&last, NEXT);
}

#[tokio::test]
async fn a_job_that_was_given_up_while_redis_had_it_is_cancelled() {
    let server = server_or_skip!();
    let client = Client::builder(server.url()).deadline(Duration::from_millis(300)).build().unwrap();
    let (session, mut events) = client.open(SessionId::fresh());
    client.ping().await.unwrap();
    server.signal("-STOP");
    let first = session.submit(Job::new(LONG)).unwrap();
    let mut listener = Listener::default();
    listener.until_ended(&mut events, 1).await;
    assert!(is_unavailable(&listener, &first));
    server.signal("-CONT");
    eventually("it is back", async || client.ping().await.is_ok()).await;
    let second = session.speak(Job::new(NEXT)).await.unwrap();
    assert!(length(&server, "makima:{speak}:jobs") >= 2);
    assert_eq!(length(&server, &format!("makima:{{{}}}:cut", session.id())), 1);
    let _worker = Worker::start(server.url(), PACED);
    listener.until_ended(&mut events, 2).await;
    listener.assert_whole(&second, NEXT);
}

#[tokio::test]
async fn a_stop_without_redis_silences_at_once_and_cancels_later() {
    let mut server = server_or_skip!(AOF[0], AOF[1], AOF[2], AOF[3]);
    let _worker = Worker::start(server.url(), PACED);
    let client = client(&server, Readers::default());
    let (session, mut events) = client.open(SessionId::fresh());
    let job = session.speak(Job::new(LONG)).await.unwrap();
    let mut listener = Listener::default();
    listener.until_audio(&mut events, &job).await;
    server.kill();
    session.stop();
    let n_bytes = listener.jobs[&job].samples.len();
    while listener.jobs[&job].n_final == 0 {
        listener.take(events.next().await.unwrap());
    }
    server.start_again();
    listener.until_ended(&mut events, 1).await;
    assert_eq!(listener.jobs[&job].samples.len(), n_bytes);
    assert!(matches!(listener.jobs[&job].end, Some(End::Cancelled(_))), "{:?}", listener.jobs[&job].end);
    let cut = format!("makima:{{{}}}:cut", session.id());
    eventually("it is cancelled", async || length(&server, &cut) == 1).await;
}

#[tokio::test]
async fn a_cancel_that_is_sent_again_spares_the_jobs_behind_it() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    let proxy = Proxy::to(server.port).await;
    let client = Client::builder(format!("redis://127.0.0.1:{}", proxy.port)).build().unwrap();
    for _ in 0..3 {
        let (session, mut events) = client.open(SessionId::fresh());
        let first = session.speak(Job::new(LONG)).await.unwrap();
        let mut listener = Listener::default();
        listener.until_audio(&mut events, &first).await;
        session.stop();
        let second = session.speak(Job::new(NEXT)).await.unwrap();
        proxy.lose_replies(1); // of the third job: the first two are known to Redis
        let third = session.submit(Job::new(LONG)).unwrap();
        listener.until_ended(&mut events, 3).await;
        assert!(listener.jobs[&first].is_muted);
        listener.assert_whole(&second, NEXT);
        listener.assert_whole(&third, LONG);
    }
}

#[tokio::test]
async fn a_job_that_redis_refuses_fails_at_once() {
    let server = server_or_skip!();
    let client = client(&server, Readers::default());
    let (session, mut events) = client.open(SessionId::fresh());
    client.ping().await.unwrap();
    ask(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    let started = Instant::now();
    let failed = session.speak(Job::new(NEXT)).await;
    assert!(matches!(&failed, Err(SpeakFailed::Unavailable(it)) if !it.is_retryable()), "{failed:?}");
    assert!(started.elapsed() < Duration::from_secs(4), "it is not repeated until the deadline of 5 s");
    let mut listener = Listener::default();
    listener.until_ended(&mut events, 1).await;
}

#[tokio::test]
async fn a_text_that_redis_refuses_holds_up_no_job_behind_it() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    let client = client(&server, Readers::default());
    let (session, mut events) = client.open(SessionId::fresh());
    let first = session.speak(Job::new(LONG)).await.unwrap();
    let text = session.open_text(Job::open()).unwrap();
    let refused = text.job_id().clone();
    text.write("Never ").unwrap();
    let key = format!("makima:{{{}}}:text:{refused}", session.id());
    eventually("it is written", async || length(&server, &key) == 1).await;
    ask(&server, &["DEL", &key]);
    ask(&server, &["SET", &key, "another program's"]);
    text.write("heard.").unwrap();
    let mut listener = Listener::default();
    while listener.jobs.get(&refused).is_none_or(|it| it.end.is_none()) {
        listener.take(events.next().await.unwrap());
    }
    assert!(is_unavailable(&listener, &refused));
    ask(&server, &["DEL", &key]);
    let last = session.speak(Job::new(NEXT)).await.unwrap();
    listener.until_ended(&mut events, 3).await;
    listener.assert_whole(&first, LONG);
    listener.assert_whole(&last, NEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn either_of_two_servers_may_lose_everything() {
    let mut jobs = server_or_skip!();
    let mut sessions = server_or_skip!();
    let _worker = Worker::on_planes(&jobs.url(), &sessions.url(), PACED);
    for readers in readers() {
        let client = Client::builder(jobs.url()).sessions(sessions.url()).readers(readers).build().unwrap();
        disturbed(&client, async || {
            jobs.kill();
            jobs.start_again();
        })
        .await;
        disturbed(&client, async || {
            sessions.kill();
            sessions.start_again();
        })
        .await;
        assert!(client.stats().republished > 0);
        assert!(client.ping().await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_written_again_to_a_server_that_lost_it() {
    let mut server = server_or_skip!();
    let _worker = Worker::start(server.url(), PACED);
    let (session, mut events) = client(&server, Readers::default()).open(SessionId::fresh());
    let text = session.open_text(Job::open()).unwrap();
    let job = text.job_id().clone();
    text.write("Once upon a time, ").unwrap();
    let mut listener = Listener::default();
    listener.until_audio(&mut events, &job).await;
    server.kill();
    server.start_again();
    text.write("there was a fox.").unwrap();
    text.end();
    listener.until_ended(&mut events, 1).await;
    listener.assert_whole(&job, "Once upon a time, there was a fox.");
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn text(&mut self) -> String {
        (0..1 + self.below(40)).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

/// A session that speaks, writes texts and stops as the dice have it. What was not stopped must be whole.
async fn any_conversation(client: Client, seed: u64) {
    let mut dice = Dice(seed);
    let (session, mut events) = client.open(SessionId::fresh());
    let (mut listener, mut texts) = (Listener::default(), Vec::new());
    for _ in 0..30 {
        match dice.below(6) {
            0 | 1 => {
                let text = dice.text();
                texts.push((session.submit(Job::new(&text)).unwrap(), text));
            }
            2 => {
                let writer = session.open_text(Job::open()).unwrap();
                let pieces: Vec<String> = (0..=dice.below(3)).map(|_| dice.text()).collect();
                pieces.iter().for_each(|it| writer.write(it).unwrap());
                texts.push((writer.job_id().clone(), pieces.concat()));
            }
            3 => listener.stopped.extend(session.stop()),
            _ => {
                let listening = async {
                    loop {
                        listener.take(events.next().await.unwrap());
                    }
                };
                let _ = tokio::time::timeout(Duration::from_millis(dice.below(80)), listening).await;
            }
        }
    }
    listener.until_ended(&mut events, texts.len()).await;
    for (job, text) in texts.iter().filter(|it| !listener.stopped.contains(&it.0)) {
        listener.assert_whole(job, text);
    }
    assert!(session.unfinished().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_conversation_survives_lost_connections() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), Script { pause: Duration::from_millis(5), ..Script::NONE });
    for (n, readers) in readers().into_iter().enumerate() {
        let builder = Client::builder(server.url()).readers(readers).deadline(Duration::from_secs(60));
        let client = builder.queue(3).build().unwrap();
        let all: Vec<_> =
            (0..8).map(|it| tokio::spawn(any_conversation(client.clone(), 100 * n as u64 + it))).collect();
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(170)).await;
            ask(&server, &["CLIENT", "KILL", "TYPE", "normal"]);
            ask(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
        futures_util::future::try_join_all(all).await.unwrap();
        assert_eq!(client.stats().unfinished, 0);
    }
}
