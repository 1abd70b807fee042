//! How fast audio is sent.

use std::time::Duration;

use tokio::time::Instant;

/// The clock of a listener who plays all that is sent, from the first chunk on, and waits for more where it ends.
#[derive(Debug)]
pub(super) struct Pace {
    /// The most audio that may be sent and not played; None for no limit.
    ahead: Option<Duration>,
    rate: u32,
    /// When the listener has played all that was sent.
    until: Instant,
}

impl Pace {
    pub fn new(ahead: Option<Duration>, rate: u32, now: Instant) -> Self {
        Self { ahead, rate, until: now }
    }

    /// The samples that may be sent at once: half of the limit, so that the listener has something to play meanwhile,
    /// and at least 20 ms.
    pub fn piece(&self) -> u64 {
        let samples = |ahead: Duration| ahead.as_millis().max(40) * u128::from(self.rate) / 2_000;
        self.ahead.map_or(u64::MAX, |ahead| u64::try_from(samples(ahead)).unwrap_or(u64::MAX))
    }

    /// When as many samples may be sent: `now`, or later.
    pub fn due(&self, samples: u64, now: Instant) -> Instant {
        let Some(ahead) = self.ahead else { return now };
        (self.until.max(now) + self.duration(samples)).checked_sub(ahead).unwrap_or(now).max(now)
    }

    /// As many samples were sent.
    pub fn sent(&mut self, samples: u64, now: Instant) {
        self.until = self.until.max(now) + self.duration(samples);
    }

    /// The listener has dropped what it had not played.
    pub fn reset(&mut self, now: Instant) {
        self.until = now;
    }

    fn duration(&self, samples: u64) -> Duration {
        Duration::from_nanos(samples.saturating_mul(1_000_000_000) / u64::from(self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 24_000;

    fn pace(ahead_ms: u64) -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::new(Some(Duration::from_millis(ahead_ms)), 24_000, now), now)
    }

    fn waits(pace: &Pace, samples: u64, now: Instant) -> u128 {
        (pace.due(samples, now) - now).as_millis()
    }

    #[test]
    fn audio_is_sent_at_once_up_to_the_limit_and_then_as_fast_as_it_is_played() {
        let (mut pace, now) = pace(2_000);
        for _ in 0..2 {
            assert_eq!(waits(&pace, SECOND, now), 0);
            pace.sent(SECOND, now);
        }
        assert_eq!(waits(&pace, SECOND, now), 1_000);
        let later = now + Duration::from_millis(400);
        assert_eq!(waits(&pace, SECOND, later), 600);
        assert_eq!(waits(&pace, 2 * SECOND / 5, later), 0);
    }

    #[test]
    fn a_listener_that_ran_dry_plays_on_with_the_next_chunk() {
        let (mut pace, now) = pace(2_000);
        pace.sent(SECOND, now);
        let later = now + Duration::from_secs(60);
        pace.sent(2 * SECOND, later);
        assert_eq!(waits(&pace, SECOND, later), 1_000);
    }

    #[test]
    fn after_a_stop_the_listener_has_nothing() {
        let (mut pace, now) = pace(1_000);
        pace.sent(SECOND, now);
        pace.reset(now);
        assert_eq!(waits(&pace, SECOND, now), 0);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let now = Instant::now();
        let mut pace = Pace::new(None, 8_000, now);
        pace.sent(1_000 * SECOND, now);
        assert_eq!(waits(&pace, SECOND, now), 0);
        assert_eq!(pace.piece(), u64::MAX);
    }

    #[test]
    fn a_piece_is_half_of_the_limit_and_at_least_20_ms() {
        assert_eq!(pace(2_000).0.piece(), SECOND);
        assert_eq!(pace(1).0.piece(), SECOND / 50);
        assert_eq!(pace(u64::MAX).0.piece(), u64::MAX);
    }
}
