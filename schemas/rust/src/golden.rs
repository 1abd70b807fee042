//! The contract's vectors: messages, variants, what was heard, streams, codes.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Value as Json, json};

use crate::heard::Received;
use crate::wire::{Segment, read};
use crate::{End, Entry, EntryId, Event, Hearing, Job, JobId, SessionId};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(vectors().join(name)).unwrap()
}

fn json_of(name: &str) -> Json {
    serde_json::from_slice(&bytes(name)).unwrap()
}

fn list(value: &Json) -> &Vec<Json> {
    value.as_array().unwrap()
}

fn plain(value: &Json) -> Vec<u8> {
    let decode = |it| base64::engine::general_purpose::STANDARD.decode(it).unwrap();
    value["base64"].as_str().map_or_else(|| value.as_str().unwrap_or_default().into(), decode)
}

fn segment(index: &Json, pos: &Json, text: &Json) -> Segment {
    let map = json!({"v": 1, "type": "segment", "job_id": "u1", "session_id": "s1", "index": index, "pos": pos, "text": text});
    serde_json::from_value(map).unwrap()
}

#[test]
fn golden_messages_are_written_as_the_bytes_that_were_read() {
    for golden in list(&json_of("index.json")["messages"]) {
        let bytes = bytes(golden["file"].as_str().unwrap());
        let message = read(golden["value"]["type"].as_str().unwrap(), &bytes).unwrap().unwrap();
        assert_eq!(message.to_bytes().unwrap(), bytes, "{}", golden["file"]);
    }
}

#[test]
fn a_variant_reads_as_its_own_type_and_as_no_other() {
    for variant in list(&json_of("index.json")["variants"]) {
        let bytes = bytes(variant["file"].as_str().unwrap());
        for kind in ["begin", "segment", "audio", "complete", "cancelled", "error"] {
            let is_read = matches!(read(kind, &bytes), Ok(Some(_)));
            assert_eq!(is_read, variant["reads_as"] == kind, "{} as {kind}", variant["file"]);
        }
    }
}

#[test]
fn bytes_behind_a_message_are_an_error() {
    let complete = bytes("complete.msgpack");
    assert!(read("complete", &[&complete[..], b"\xc0"].concat()).is_err());
    for n in 0..complete.len() {
        assert!(read("complete", &complete[..n]).is_err(), "cut after {n} bytes");
    }
}

#[test]
fn golden_cases_of_what_was_heard() {
    for case in list(&json_of("heard.json")) {
        let segments = list(&case["segments"]).iter().map(|it| segment(&it["index"], &it["pos"], &it["text"]));
        let received = Received {
            segments: segments.map(|it| (it.index, it)).collect(),
            made: case["made"].as_u64().unwrap(),
            is_complete: case["is_complete"].as_bool().unwrap(),
        };
        for wanted in list(&case["heard"]) {
            let heard = received.heard(wanted["played"].as_u64().unwrap());
            let found = json!({"played": wanted["played"], "text": heard.text, "segment": heard.segment,
                "is_estimate": heard.is_estimate});
            assert_eq!(&found, wanted, "{}", case["note"]);
        }
    }
}

/// An event as a relay sends it; `None` for what its clients do not receive.
fn sent(event: Event) -> Option<Json> {
    match event {
        Event::Audio { samples, is_final, .. } => {
            let data = base64::engine::general_purpose::STANDARD.encode(samples);
            Some(json!({"type": "audio_chunk", "data": data, "is_final": is_final}))
        }
        Event::Ended { end: End::Failed(it), .. } => {
            Some(json!({"type": "error", "code": it.code.as_str(), "message": it.message}))
        }
        Event::Ended { end: End::Complete(_), is_muted: false, .. } => Some(json!({"type": "complete"})),
        Event::Ended { .. } => Some(json!({"type": "complete", "cancelled": true})),
        _ => None,
    }
}

fn compare(events: Vec<Event>, step: &Json, name: &Path) {
    let sent: Vec<Json> = events.into_iter().filter_map(sent).collect();
    assert_eq!(Json::Array(sent), step["sends"], "{name:?}: {step}");
}

#[test]
fn golden_streams_give_the_messages_that_they_name() {
    for file in std::fs::read_dir(vectors().join("streams")).unwrap() {
        let name = file.unwrap().path();
        let case: Json = serde_json::from_slice(&std::fs::read(&name).unwrap()).unwrap();
        let mut hearing = Hearing::new();
        for step in list(&case["steps"]) {
            if let Some(job) = step["publish"].as_str() {
                hearing.published(&JobId::new(job).unwrap());
            } else if let Some(fields) = step["entry"]["fields"].as_array() {
                let field = |wanted: &str| fields.iter().find(|it| it[0] == wanted).map(|it| plain(&it[1]));
                let [kind, job_id, data] = ["type", "job_id", "data"].map(|it| field(it).unwrap_or_default());
                let (kind, job_id) = (String::from_utf8(kind).unwrap(), String::from_utf8(job_id).unwrap());
                let id: EntryId = step["entry"]["id"].as_str().unwrap().parse().unwrap();
                let entry = Entry { id, kind: &kind, job_id: &job_id, data: &data };
                compare(hearing.entry(&entry), step, &name);
                assert_eq!(hearing.cursor(), id);
            } else if step["stop"] == true {
                compare(hearing.stop(), step, &name);
            } else {
                let (job, wanted) = (JobId::new(step["job_id"].as_str().unwrap()).unwrap(), &step["heard"]);
                let heard = hearing.heard(&job, wanted["played"].as_u64().unwrap()).unwrap();
                assert_eq!(
                    (heard.text.as_str(), heard.is_estimate),
                    (wanted["text"].as_str().unwrap(), wanted["is_estimate"] == true)
                );
                assert_eq!(json!(heard.segment), wanted["segment"], "{name:?}");
            }
        }
        assert!(hearing.unfinished().is_empty(), "{name:?}");
    }
}

#[test]
fn the_segments_of_the_last_jobs_are_kept() {
    let mut hearing = Hearing::new();
    let jobs: Vec<JobId> = (0..40).map(|n| JobId::new(format!("u{n}")).unwrap()).collect();
    jobs.iter().for_each(|it| hearing.published(it));
    for job in &jobs {
        assert_eq!(hearing.end(job, End::Cancelled(None)).len(), 1);
        assert!(hearing.end(job, End::Cancelled(None)).is_empty(), "one answer for each job");
    }
    let known: Vec<bool> = jobs.iter().map(|it| hearing.heard(it, 7).is_some()).collect();
    assert_eq!(known.iter().filter(|it| **it).count(), 32);
    assert!(known[8..].iter().all(|it| *it));
}

#[test]
fn codes_and_what_may_be_retried_are_the_contracts() {
    let relay = ["not_started", "already_started", "bad_message", "unavailable", "no_answer"];
    let page = std::fs::read_to_string(vectors().join("../../docs/errors.md")).unwrap();
    for (code, is_retryable) in crate::errors::CODES.iter().filter(|it| !relay.contains(&it.0)) {
        let row = page.lines().find(|it| it.starts_with(&format!("| `{code}` |"))).unwrap_or_else(|| panic!("{code}"));
        assert_eq!(row.contains("| yes |"), *is_retryable, "{row}");
    }
}

#[test]
fn the_fields_of_a_job_are_the_contracts() {
    let (session, job_id) = (SessionId::new("web:7f.3-a_b").unwrap(), JobId::new("greeting-1").unwrap());
    let job = Job::new("こんにちは。マキマです。").voice("makima").language("JAPANESE").sample_rate(48_000);
    let job = job.encoding(crate::Encoding::PcmF32le).ttl(std::time::Duration::from_secs(300)).seed(i64::MAX as u64);
    let fields = job.temperature(0.75).ahead(std::time::Duration::from_secs(3)).fields(&session, &job_id).unwrap();
    let golden = &json_of("index.json")["jobs"][1]["fields"];
    for (name, value) in fields {
        let wanted = list(golden).iter().find(|it| it[0] == name).unwrap_or_else(|| panic!("{name}"));
        let wanted = String::from_utf8(plain(&wanted[1])).unwrap();
        match name {
            "temperature" => assert_eq!(value.parse::<f64>(), wanted.parse::<f64>()),
            _ => assert_eq!(value, wanted, "{name}"),
        }
    }
}

#[test]
fn a_value_that_the_contract_does_not_allow_is_an_error_that_names_its_field() {
    let (session, job_id) = (SessionId::new("s1").unwrap(), JobId::new("u1").unwrap());
    let ms = std::time::Duration::from_millis;
    for (job, field) in [
        (Job::new("x").sample_rate(24_001), "sample_rate"),
        (Job::new("x").language("Klingon"), "language"),
        (Job::new("x").voice(""), "voice"),
        (Job::new("x").ttl(ms(0)), "ttl_ms"),
        (Job::new("x").ttl(ms(300_001)), "ttl_ms"),
        (Job::new("x").seed(1 << 63), "seed"),
        (Job::new("x").temperature(f64::NAN), "temperature"),
        (Job::new("x").temperature(2.01), "temperature"),
        (Job::new("x").ahead(ms(2_999)), "ahead_ms"),
    ] {
        assert_eq!(job.fields(&session, &job_id).unwrap_err().field, field);
    }
    let written = Job::open().temperature(-0.0).ahead(ms(0)).fields(&session, &job_id).unwrap();
    assert!(written.contains(&("temperature", "0.000000".into())) && written.contains(&("text_from", "stream".into())));
    for id in ["", "a b", "ü", &"x".repeat(129)] {
        assert!(SessionId::new(id).is_err() && JobId::new(id).is_err());
    }
    for id in ["", "x", "1-", "-1", "1-2-3", "18446744073709551616-0"] {
        assert!(id.parse::<EntryId>().is_err(), "{id}");
    }
}
