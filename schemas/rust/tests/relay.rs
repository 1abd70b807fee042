//! The relay over a real Redis, with a scripted worker.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used)]

mod relay_kit;
mod support;

use std::time::Duration;

use futures_util::SinkExt as _;
use makima_tts_client::RelayOptions;
use relay_kit::{Caller, Served, samples, worker};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

fn binary() -> Json {
    json!({"binary": true})
}

fn done() -> Json {
    json!({"type": "complete"})
}

fn cancelled() -> Json {
    json!({"type": "complete", "cancelled": true})
}

#[tokio::test]
async fn utterances_arrive_whole_and_in_order() {
    let redis = server_or_skip!();
    let (worker, mut relay) = (worker(&redis), Served::start(&redis, RelayOptions::new()).await);
    let mut caller = relay.started(json!({"segments": true})).await;
    caller.speak("1 4 complete").await;
    let segment = json!({"type": "segment", "utterance": 1, "index": 0, "pos": 0, "text": "Hello there."});
    assert_eq!(caller.receive().await, segment);
    assert_eq!(caller.receive().await, json!({"type": "audio_chunk", "data": "AAABAAIAAwA=", "is_final": true}));
    assert_eq!(caller.receive().await, done());
    let mut caller = relay.started(binary()).await;
    for n in [480, 48_000, 7] {
        caller.speak(&format!("3 {n} complete")).await;
        assert!(caller.utterance().await == (samples(0, 3 * n), done()), "{n}");
    }
    worker.abort();
    relay.shut_down();
    assert_eq!(caller.status().await, 1001);
    relay.ended().await;
}

#[tokio::test]
async fn audio_keeps_its_pace_and_a_stop_overtakes_what_waits() {
    let redis = server_or_skip!();
    let (worker, ahead) = (worker(&redis), Duration::from_secs(1));
    let relay = Served::start(&redis, RelayOptions::new().pace_ahead(ahead)).await;
    let mut caller = relay.started(binary()).await;
    let begun = Instant::now();
    caller.speak("4 24000 complete").await;
    caller.speak("1 24000 complete").await;
    let mut n = 0;
    while n < 2 * 48_000 {
        let Message::Binary(samples) = caller.next().await else { panic!() };
        n += samples.len();
        let played = begun.elapsed().as_secs_f64();
        assert!(n as f64 / 48_000.0 <= played + ahead.as_secs_f64() + 0.01, "{n} bytes after {played} s");
    }
    caller.stop(json!({"played_ms": 500})).await;
    let is_at_once = timeout(Duration::from_millis(450), caller.receive()).await; // the next piece is due after 500 ms
    assert_eq!(is_at_once.unwrap(), json!({"type": "audio_chunk", "data": "", "is_final": true}));
    let heard = json!({"type": "text_heard", "utterance": 1, "text": "", "is_estimate": true});
    assert_eq!(caller.receive().await, heard);
    assert_eq!(caller.receive().await, cancelled());
    assert_eq!(caller.receive().await, cancelled());
    caller.speak("1 4 complete").await;
    assert_eq!(caller.utterance().await, (samples(0, 4), done()));
    worker.abort();
}

#[tokio::test]
async fn a_socket_that_does_not_read_delays_no_other_and_can_still_stop() {
    let redis = server_or_skip!();
    let (worker, relay) = (worker(&redis), Served::start(&redis, RelayOptions::new().pace_ahead(Duration::ZERO)).await);
    let mut deaf = relay.started(binary()).await;
    for _ in 0..3 {
        deaf.speak("100 24000 complete").await; // 4.8 MB each: all is more than the kernel's buffers hold
    }
    let mut other = relay.started(binary()).await;
    for _ in 0..5 {
        other.speak("3 480 complete").await;
        assert_eq!(other.utterance().await, (samples(0, 1_440), done()));
    }
    deaf.stop(json!({})).await;
    deaf.speak("1 4 complete").await;
    let mut n_answers = 0;
    let last = loop {
        let (samples, answer) = deaf.utterance().await;
        n_answers += 1;
        if answer == done() && samples.len() < 4_800_000 {
            break samples;
        }
    };
    assert_eq!((n_answers, last), (4, samples(0, 4)));
    worker.abort();
}

#[tokio::test]
async fn unread_answers_do_not_pile_up() {
    let redis = server_or_skip!();
    let relay = Served::start(&redis, RelayOptions::new()).await;
    let mut deaf = relay.started(json!({})).await;
    let flood = async {
        loop {
            deaf.stop(json!({"played_ms": "x"})).await;
        }
    };
    assert!(timeout(Duration::from_secs(3), flood).await.is_err());
    let mut other = relay.started(json!({})).await;
    other.stop(json!({"played_ms": 0})).await;
    assert_eq!(other.receive().await["type"], "text_heard");
}

/// A generator with a fixed seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn message(&mut self) -> Message {
        const PARTS: [&str; 24] = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"type\"",
            "\"start\"",
            "\"speak\"",
            "\"stop\"",
            "\"played_ms\"",
            "\"text\"",
            "1e999",
            "-1",
            "NaN",
            "null",
            "\\ud800",
            "\"\\u0000\"",
            "true",
            "\u{feff}",
            "語",
            "\"sample_rate\"",
            " ",
            "0x1",
        ];
        match self.below(12) {
            0 => Message::binary((0..self.below(300)).map(|it| it as u8).collect::<Vec<_>>()),
            1 => Message::text("[".repeat(self.below(70_000))),
            2 => Message::text(
                r#"{"type":"speak","text":"1 4 complete""#.get(..self.below(38)).unwrap_or("{").to_string(),
            ),
            3 => Message::Ping(vec![7; self.below(126)].into()),
            _ => Message::text((0..1 + self.below(12)).map(|_| PARTS[self.below(PARTS.len())]).collect::<String>()),
        }
    }
}

async fn answered(caller: &mut Caller, dice: &mut Dice, n: usize) {
    for _ in 0..n {
        let message = dice.message();
        let is_ping = matches!(message, Message::Ping(_));
        caller.socket.send(message).await.unwrap();
        if !is_ping {
            let answer = caller.receive().await;
            assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("bad_message")));
        }
    }
}

#[tokio::test]
async fn ten_thousand_malformed_messages_disturb_nobody() {
    let redis = server_or_skip!();
    let (worker, relay) = (worker(&redis), Served::start(&redis, RelayOptions::new()).await);
    let mut neighbour = relay.started(binary()).await;
    let malformed = async {
        let mut dice = Dice(13);
        for _ in 0..10 {
            let mut caller = relay.call().await;
            answered(&mut caller, &mut dice, 1_000).await;
            caller.send(json!({"type": "start"}), binary()).await;
            assert_eq!(caller.receive().await["type"], "ready");
            caller.speak("1 4 complete").await;
            assert_eq!(caller.utterance().await, (samples(0, 4), done()));
        }
    };
    let speech = async {
        for _ in 0..20 {
            neighbour.speak("3 480 complete").await;
            assert_eq!(neighbour.utterance().await, (samples(0, 1_440), done()));
        }
    };
    tokio::join!(malformed, speech);
    timeout(Duration::from_secs(10), async {
        while relay.relay.n_sockets() > 1 {
            tokio::task::yield_now().await
        }
    })
    .await
    .unwrap();
    worker.abort();
}

#[tokio::test]
async fn frames_that_break_the_protocol_close_the_socket_with_a_status() {
    let redis = server_or_skip!();
    let relay = Served::start(&redis, RelayOptions::new()).await;
    let frame = |data: Vec<u8>, kind| Message::Frame(Frame::message(data, OpCode::Data(kind), true));
    for (status, message) in [
        (1009, Message::text("a".repeat(1024 * 1024 + 1))),
        (1007, frame(vec![0xff; 4], Data::Text)),
        (1002, frame(vec![], Data::Reserved(3))),
    ] {
        let mut caller = relay.call().await;
        caller.socket.send(message).await.unwrap();
        assert_eq!(caller.status().await, status);
    }
}
