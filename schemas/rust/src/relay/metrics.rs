//! The counters of a relay, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::reply::Reply;
use crate::{Encoding, ErrorCode};

#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub opened: AtomicU64,
    pub utterances: AtomicU64,
    pub slow: AtomicU64,
    audio_us: AtomicU64,
    /// `complete`, `cancelled`, or an error's code. A code of a newer worker counts as `other`, so that their number
    /// stays bounded.
    answers: Mutex<BTreeMap<String, u64>>,
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
    pub fn sent(&self, reply: &Reply, (rate, encoding): (u32, Encoding)) {
        let answer = match reply {
            Reply::Samples(samples) | Reply::AudioChunk { data: samples, .. } => {
                let n = (samples.len() / encoding.sample_bytes()) as u64;
                add(&self.audio_us, n * 1_000_000 / u64::from(rate.max(1)));
                return;
            }
            Reply::Complete { cancelled: false } => "complete",
            Reply::Complete { cancelled: true } => "cancelled",
            Reply::Error { code, .. } if matches!(ErrorCode::from(code.as_str()), ErrorCode::Other(_)) => "other",
            Reply::Error { code, .. } => code,
            _ => return,
        };
        increment(&self.answers, answer.into());
    }

    pub fn refused(&self, status: u16) {
        increment(&self.refused, status);
    }

    pub fn text(&self, n_sockets: usize) -> String {
        let mut page = Page(String::new());
        page.one("sockets", "gauge", "Open sockets.", n_sockets);
        page.one("sockets_opened_total", "counter", "Sockets since the start.", get(&self.opened));
        page.one("slow_sockets_total", "counter", "Sockets closed because they took nothing.", get(&self.slow));
        page.one("utterances_total", "counter", "Utterances begun by clients.", get(&self.utterances));
        page.one("audio_seconds_total", "counter", "Seconds of audio sent.", seconds(get(&self.audio_us)));
        page.about("answers_total", "counter", "Answers: complete, cancelled, or an error's code.");
        page.labelled("answers_total", "answer", &self.answers);
        page.about("refused_total", "counter", "Sockets refused, by status.");
        page.labelled("refused_total", "status", &self.refused);
        page.0
    }
}

#[allow(clippy::cast_precision_loss)] // microseconds of 285 years are exact
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
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
        let (metrics, format) = (Metrics::default(), (24_000, Encoding::PcmS16le));
        metrics.sent(&Reply::Complete { cancelled: true }, format);
        metrics.sent(&Reply::error(ErrorCode::NoAnswer, ""), format);
        metrics.sent(&Reply::error(ErrorCode::Other("\"\n".into()), ""), format);
        metrics.sent(&Reply::Samples(vec![0; 24_000].into()), format);
        metrics.refused(503);
        let text = metrics.text(7);
        for line in [
            "makima_tts_relay_sockets 7",
            "makima_tts_relay_answers_total{answer=\"cancelled\"} 1",
            "makima_tts_relay_answers_total{answer=\"no_answer\"} 1",
            "makima_tts_relay_answers_total{answer=\"other\"} 1",
            "makima_tts_relay_audio_seconds_total 0.5",
            "makima_tts_relay_refused_total{status=\"503\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
    }
}
