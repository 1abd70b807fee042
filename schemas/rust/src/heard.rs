use std::collections::BTreeMap;

use crate::wire::Segment;

/// What a listener heard of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heard {
    /// The text.
    pub text: String,
    /// The last segment of which something was played.
    pub segment: Option<u32>,
    /// That segment was not played to its end, or its end is unknown: the last words are an estimate.
    pub is_estimate: bool,
}

/// The segments of one job, and how much of its audio was received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    /// Of one index the later one holds.
    pub segments: BTreeMap<u32, Segment>,
    /// Samples up to which audio was received.
    pub made: u64,
    /// The job's `complete` was read, so that its last segment ends at `made`.
    pub is_complete: bool,
}

impl Received {
    /// What was heard after `played` samples of the job were put out.
    pub fn heard(&self, played: u64) -> Heard {
        let ordered: Vec<&Segment> = self.segments.values().collect();
        let played = played.min(self.made);
        let mut heard = Heard::default();
        for (at, segment) in ordered.iter().enumerate() {
            let (end, is_known) = match ordered.get(at + 1) {
                Some(after) => (after.pos.max(segment.pos), true),
                None => (self.last_end(&ordered), self.is_complete),
            };
            let is_whole = is_known && end <= played;
            if played == 0 || !(is_whole || segment.pos < played) {
                break;
            }
            let text = &segment.text;
            let part = if is_whole { text } else { begun(text, played - segment.pos, end - segment.pos) };
            if heard.text.chars().next_back().is_some_and(|last| !is_dense(last)) && !part.is_empty() {
                heard.text.push(' ');
            }
            heard.text.push_str(part);
            heard.segment = Some(segment.index);
            heard.is_estimate = !is_whole;
        }
        heard
    }

    /// The sample at which the last segment ends: `made`, or later where earlier ones had more samples a character.
    fn last_end(&self, ordered: &[&Segment]) -> u64 {
        let Some((last, before)) = ordered.split_last() else { return self.made };
        let n_chars = |it: &Segment| it.text.chars().count() as u128;
        let n_before: u128 = before.iter().map(|it| n_chars(it)).sum();
        let n_samples = u128::from(last.pos.saturating_sub(ordered[0].pos));
        let expected = if self.is_complete { 0 } else { n_chars(last) * n_samples / n_before.max(1) };
        self.made.max(last.pos.saturating_add(u64::try_from(expected).unwrap_or(u64::MAX)))
    }
}

/// The words whose share of the text's characters ends at or before the share of its samples that was played.
fn begun(text: &str, played: u64, samples: u64) -> &str {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let ends_a_word = |n: usize| {
        let last = chars[n - 1].1;
        let next = chars.get(n).map(|it| it.1);
        !last.is_whitespace() && next.is_none_or(|it| it.is_whitespace() || is_dense(it) || is_dense(last))
    };
    let is_played = |n: usize| n as u128 * u128::from(samples) <= u128::from(played) * chars.len() as u128;
    let n = (1..=chars.len()).rev().find(|&n| is_played(n) && ends_a_word(n)).unwrap_or(0);
    &text[..chars.get(n).map_or(text.len(), |it| it.0)]
}

/// A character of a script that is written without blanks: each counts as a word.
fn is_dense(character: char) -> bool {
    matches!(character, '\u{2e80}'..='\u{2fff}' | '\u{3001}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{ff01}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
}
