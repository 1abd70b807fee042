//! The counters of a relay, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::reply::Reply;
use crate::ErrorCode;

#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub opened: AtomicU64,
    pub utterances: AtomicU64,
    pub slow: AtomicU64,
    audio_bytes: AtomicU64,
    complete: AtomicU64,
    cancelled: AtomicU64,
    /// By code. A code of a newer worker counts as `other`, so that their number stays bounded.
    errors: Mutex<BTreeMap<String, u64>>,
    /// By HTTP status.
    refused: Mutex<BTreeMap<u16, u64>>,
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn increment<K: Ord>(counts: &Mutex<BTreeMap<K, u64>>, key: K) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
}

impl Metrics {
    pub fn sent(&self, reply: &Reply) {
        match reply {
            Reply::Samples(samples) | Reply::AudioChunk { data: samples, .. } => {
                add(&self.audio_bytes, samples.len() as u64);
            }
            Reply::Complete { cancelled: false } => add(&self.complete, 1),
            Reply::Complete { cancelled: true } => add(&self.cancelled, 1),
            Reply::Error { code, .. } => {
                let is_known = !matches!(ErrorCode::from(code.as_str()), ErrorCode::Other(_));
                increment(&self.errors, if is_known { code.clone() } else { "other".into() });
            }
            _ => {}
        }
    }

    pub fn refused(&self, status: u16) {
        increment(&self.refused, status);
    }

    pub fn text(&self, n_sockets: usize) -> String {
        let mut page = Page(String::new());
        page.one("sockets", "gauge", "Open sockets.", n_sockets);
        page.one("sockets_opened_total", "counter", "Sockets since the start.", get(&self.opened));
        page.one("slow_sockets_total", "counter", "Sockets closed because they took nothing.", get(&self.slow));
        page.one("utterances_total", "counter", "Utterances, also refused ones.", get(&self.utterances));
        page.about("answers_total", "counter", "Utterances that ended.");
        page.line("answers_total{answer=\"complete\"}", get(&self.complete));
        page.line("answers_total{answer=\"cancelled\"}", get(&self.cancelled));
        page.about("errors_total", "counter", "Errors that were sent.");
        page.labelled("errors_total", "code", &self.errors);
        page.about("refused_requests_total", "counter", "Requests for a socket that were refused.");
        page.labelled("refused_requests_total", "status", &self.refused);
        page.one("audio_bytes_total", "counter", "Samples that were sent, in bytes.", get(&self.audio_bytes));
        page.0
    }
}

struct Page(String);

impl Page {
    fn about(&mut self, name: &str, kind: &str, about: &str) {
        let _ = writeln!(self.0, "# HELP makima_tts_relay_{name} {about}\n# TYPE makima_tts_relay_{name} {kind}");
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "makima_tts_relay_{name} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, about: &str, value: impl std::fmt::Display) {
        self.about(name, kind, about);
        self.line(name, value);
    }

    fn labelled<K: std::fmt::Display>(&mut self, name: &str, label: &str, counts: &Mutex<BTreeMap<K, u64>>) {
        for (key, n) in counts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.line(&format!("{name}{{{label}=\"{key}\"}}"), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_counts_what_was_sent() {
        let metrics = Metrics::default();
        metrics.sent(&Reply::Complete { cancelled: true });
        metrics.sent(&Reply::error(ErrorCode::NoAnswer, ""));
        metrics.sent(&Reply::error(ErrorCode::Other("\"\n".into()), ""));
        metrics.sent(&Reply::Samples(vec![0; 80].into()));
        metrics.refused(503);
        let text = metrics.text(7);
        for line in [
            "makima_tts_relay_sockets 7",
            "makima_tts_relay_answers_total{answer=\"cancelled\"} 1",
            "makima_tts_relay_errors_total{code=\"no_answer\"} 1",
            "makima_tts_relay_errors_total{code=\"other\"} 1",
            "makima_tts_relay_audio_bytes_total 80",
            "makima_tts_relay_refused_requests_total{status=\"503\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
    }
}
