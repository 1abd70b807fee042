//! What the trial prints.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::trial::{Chunk, Fallible, Trial, locked};

/// All figures of the trial, in ms where a name ends so.
pub fn summary(trial: &Trial, chunks: &[Chunk], direct: &[Chunk]) -> Fallible<Value> {
    let options = &trial.options;
    let expected = options.sockets * options.utterances * options.chunks;
    if chunks.len() != expected {
        return Err(format!("{} of {expected} chunks arrived", chunks.len()).into());
    }
    let published: HashMap<_, _> = (0..options.sockets)
        .flat_map(|socket| (0..options.utterances).map(move |number| (socket, number)))
        .filter_map(|it| Some((it, difference(trial.taken.get(it)?, trial.sent.get(it)?))))
        .collect();
    let read: HashMap<_, _> = direct.iter().map(|it| (it.of, it.received)).collect();
    let added: HashMap<_, _> =
        chunks.iter().filter_map(|it| Some((it.of, difference(it.received, *read.get(&it.of)?)))).collect();
    let both = published.iter().filter_map(|(it, up)| Some(up + added.get(&(*it, 0))?));
    Ok(json!({
        "bytes": chunks.len() * trial.chunk_bytes(),
        "speak_to_job_ms": of(published.values().copied()),
        "xadd_to_job_ms": of(locked(&trial.published).iter().map(|it| millis(*it))),
        "entry_to_client_ms": of(chunks.iter().map(|it| difference(it.received, it.written))),
        "entry_to_reader_ms": of(direct.iter().map(|it| difference(it.received, it.written))),
        "client_after_reader_ms": of(added.values().copied()),
        "added_to_first_audio_ms": of(both),
        "worker_late_ms": of(locked(&trial.late).iter().map(|it| millis(*it))),
    }))
}

fn difference(later: u64, earlier: u64) -> f64 {
    millis(later) - millis(earlier)
}

fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn of(values: impl Iterator<Item = f64>) -> Value {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).map(|it| (it * 1000.0).round() / 1000.0);
    json!({"n": sorted.len(), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99)})
}
