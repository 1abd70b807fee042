//! The golden streams, through a session's reader and the utterances of a socket; and what was played.

use std::path::Path;

use axum::extract::ws::Message;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::*;
use crate::{Entry, ErrorCode, Failure, Hearing};

fn bytes(value: &Json) -> Vec<u8> {
    value["base64"].as_str().map_or_else(|| value.as_str().unwrap().into(), |it| STANDARD.decode(it).unwrap())
}

fn streams() -> Vec<Json> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/streams");
    let files = std::fs::read_dir(folder).unwrap().map(|it| std::fs::read(it.unwrap().path()).unwrap());
    files.map(|it| serde_json::from_slice(&it).unwrap()).collect()
}

/// A reply as its frame; a binary one as `{"binary": …}`.
fn frame(reply: Reply) -> Json {
    match reply.into_message().unwrap() {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        Message::Binary(samples) => json!({"binary": STANDARD.encode(samples)}),
        other => panic!("{other:?}"),
    }
}

/// What a client that asked for binary frames receives for this message.
fn as_binary(message: &Json) -> Vec<Json> {
    let samples = message["data"].as_str().filter(|it| !it.is_empty()).map(|it| json!({"binary": it}));
    let closing = json!({"type": "audio_chunk", "data": "", "is_final": true});
    match message["type"].as_str() {
        Some("audio_chunk") => samples.into_iter().chain((message["is_final"] == true).then_some(closing)).collect(),
        _ => vec![message.clone()],
    }
}

fn play(case: &Json, is_binary: bool) {
    let mut hearing = Hearing::new();
    let mut utterances = Utterances::new(Encoding::PcmS16le, is_binary, false);
    for step in case["steps"].as_array().unwrap() {
        let mut replies = Vec::new();
        let mut events = Vec::new();
        if let Some(job) = step["publish"].as_str() {
            let (job, number) = (JobId::new(job).unwrap(), utterances.number());
            hearing.published(&job);
            if !utterances.known.iter().any(|it| it.job == job) {
                utterances.published(number, job);
            }
        } else if let Some(fields) = step["entry"]["fields"].as_array() {
            let field = |name: &str| fields.iter().find(|it| it[0] == name).map(|it| bytes(&it[1])).unwrap_or_default();
            let [kind, job_id, data] = ["type", "job_id", "data"].map(field);
            let [kind, job_id] = [kind, job_id].map(|it| String::from_utf8(it).unwrap());
            let id = step["entry"]["id"].as_str().unwrap().parse().unwrap();
            events = hearing.entry(&Entry { id, kind: &kind, job_id: &job_id, data: &data });
        } else if step["stop"] == true {
            replies = utterances.stop();
            events = hearing.stop();
        }
        replies.extend(events.into_iter().flat_map(|it| utterances.take(it)));
        let found: Vec<Json> = replies.into_iter().map(frame).collect();
        let wanted = step["sends"].as_array().cloned().unwrap_or_default();
        let wanted = if is_binary { wanted.iter().flat_map(as_binary).collect() } else { wanted };
        assert_eq!(found, wanted, "{}: {step}", case["note"]);
    }
    assert_eq!(utterances.n_unanswered(), 0, "{}", case["note"]);
}

#[test]
fn golden_streams_give_the_messages_that_they_name() {
    assert!(streams().len() > 20);
    for case in streams() {
        play(&case, false);
        play(&case, true);
    }
}

fn utterances(n: u64) -> Utterances {
    let mut utterances = Utterances::new(Encoding::PcmS16le, false, false);
    for _ in 0..n {
        let number = utterances.number();
        utterances.published(number, job(number));
    }
    utterances
}

fn job(number: u64) -> JobId {
    JobId::new(format!("u{number}")).unwrap()
}

fn audio(number: u64, samples: usize, is_final: bool) -> Event {
    Event::Audio { job: job(number), pos: 0, samples: vec![0; 2 * samples].into(), is_final }
}

fn cancelled(number: u64) -> Event {
    Event::Ended { job: job(number), end: End::Cancelled(None), is_muted: false }
}

fn played(utterances: &Utterances, n: u64) -> Option<(u64, u64)> {
    utterances.played(n).map(|(number, _, samples)| (number, samples))
}

#[test]
fn what_was_played_is_found_in_the_last_utterance_that_was_begun() {
    let mut known = utterances(3);
    for (number, samples) in [(1, 10), (1, 10), (3, 30)] {
        known.take(audio(number, samples, false));
    }
    for (n, wanted) in [(0, None), (1, Some((1, 1))), (20, Some((1, 20))), (21, Some((3, 1))), (50, Some((3, 30)))] {
        assert_eq!(played(&known, n), wanted, "{n}");
    }
    assert_eq!(played(&known, u64::MAX), Some((3, 30)));
    known.take(cancelled(1));
    assert_eq!(played(&known, 5), Some((1, 5)), "its audio may be played after its end");
}

#[test]
fn after_a_stop_playing_is_counted_from_nothing() {
    let mut known = utterances(1);
    known.take(audio(1, 10, false));
    assert_eq!(known.stop().len(), 1);
    assert_eq!(known.stop().len(), 0, "one final chunk");
    assert_eq!(played(&known, 5), None);
    let number = known.number();
    known.published(number, job(2));
    assert_eq!(known.take(audio(1, 10, true)), []);
    known.take(audio(2, 7, false));
    assert_eq!(played(&known, 5), Some((2, 5)));
    assert_eq!(known.take(cancelled(1)), [Reply::Complete { cancelled: true }]);
}

#[test]
fn utterances_beyond_32_are_forgotten_but_their_audio_counts() {
    let mut known = utterances(40);
    for number in 1..=40 {
        known.take(audio(number, 10, true));
        known.take(cancelled(number));
    }
    assert_eq!(known.known.len(), KEPT);
    assert_eq!(played(&known, 80), None);
    assert_eq!(played(&known, 81), Some((9, 1)));
    assert_eq!(played(&known, 400), Some((40, 10)));
}

#[test]
fn each_utterance_has_one_answer_and_at_most_one_final_chunk() {
    let mut known = utterances(2);
    assert_eq!(known.take(audio(1, 0, true)).len(), 1);
    assert_eq!(known.take(audio(1, 5, true)), []);
    let failed = || Event::Ended {
        job: job(1),
        end: End::Failed(Failure::new(ErrorCode::EngineFailed, "broken")),
        is_muted: false,
    };
    assert_eq!(known.take(failed()), [Reply::error(ErrorCode::EngineFailed, "broken")]);
    assert_eq!(known.take(failed()), []);
    assert_eq!(known.take(cancelled(2)), [Reply::Complete { cancelled: true }]);
    assert_eq!(known.take(cancelled(7)), []);
}
