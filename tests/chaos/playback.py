"""A model of a player: from the arrival times of the chunks, when it had nothing to play.

The rule: playback starts as soon as START_BUFFER_S of audio, or the final chunk, has arrived. From then on it plays
without a break; when it runs dry it is silent and goes on the moment the next samples arrive, without filling the
buffer anew. Silence of less than one sample is none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

START_BUFFER_S = 0.3

Chunk = tuple[float, int]  # arrival_s, n_samples


@dataclass(frozen=True, slots=True)
class Underrun:
    """Silence in mid-utterance: it began at at_s and lasted missing_s."""

    at_s: float
    missing_s: float


@dataclass(frozen=True, slots=True)
class Playback:
    """One utterance as it was heard. starts_at_s .. ends_at_s: underruns included; all times on the arrivals' clock."""

    starts_at_s: float
    ends_at_s: float
    underruns: tuple[Underrun, ...]
    _arrivals_s: tuple[float, ...]
    _plays_until_s: tuple[float, ...]  # with what had arrived by then

    def ahead_s(self, at_s: float) -> float:
        """Audio that had arrived by then and was not yet played; a pause of up to so much is not heard."""
        n_arrived = bisect_right(self._arrivals_s, at_s)
        if not n_arrived:
            return 0.0
        return max(0.0, self._plays_until_s[n_arrived - 1] - max(at_s, self.starts_at_s))

    def missing_s(self, from_s: float, to_s: float) -> float:
        """How much silence fell between the two moments."""
        ends = [(one.at_s, one.at_s + one.missing_s) for one in self.underruns]
        return sum(max(0.0, min(end_s, to_s) - max(at_s, from_s)) for at_s, end_s in ends)


def play(chunks: Sequence[Chunk], rate_hz: int, start_buffer_s: float = START_BUFFER_S) -> Playback:
    """Play an utterance whose last chunk is the final one. Raises ValueError without chunks or out of order."""
    arrivals_s = tuple(arrival_s for arrival_s, _ in chunks)
    if not chunks or list(arrivals_s) != sorted(arrivals_s):
        raise ValueError("an utterance has at least one chunk, and they come in the order of their arrival")
    starts_at_s = _start_s(chunks, rate_hz, start_buffer_s)
    underruns: list[Underrun] = []
    plays_until_s: list[float] = []
    n_samples, silent_s = 0, 0.0
    for arrival_s, n_new in chunks:
        dry_at_s = starts_at_s + n_samples / rate_hz + silent_s
        if n_new and arrival_s - dry_at_s >= 1 / rate_hz:
            underruns.append(Underrun(dry_at_s, arrival_s - dry_at_s))
            silent_s += arrival_s - dry_at_s
        n_samples += n_new
        plays_until_s.append(starts_at_s + n_samples / rate_hz + silent_s)
    return Playback(starts_at_s, plays_until_s[-1], tuple(underruns), arrivals_s, tuple(plays_until_s))


def _start_s(chunks: Sequence[Chunk], rate_hz: int, start_buffer_s: float) -> float:
    n_samples = 0
    for arrival_s, n_new in chunks:
        n_samples += n_new
        if n_samples >= start_buffer_s * rate_hz:
            return arrival_s
    return chunks[-1][0]
