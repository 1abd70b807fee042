"""How far the audio that was sent is ahead of the client's listener, and what of it was played at a `stop`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic

REMEMBERED = 32  # utterances


class Pace:
    """Holds back audio that a listener would not play for a long time.

    The listener plays from the first chunk on at 1x, and waits where its audio has run out. limit_s: seconds of audio
    that may be sent and not played; 0 for no limit. clock: seconds, monotonic.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._dry_at = 0.0  # when the listener has played all that was sent

    @property
    def piece_s(self) -> float:
        """Longer chunks are sent in pieces: half of the limit, so that the listener does not run dry meanwhile."""
        return self._limit_s / 2 or inf

    def wait_s(self, seconds: float) -> float:
        """How long so many seconds of audio have to wait; 0 when they may be sent."""
        if not self._limit_s:
            return 0.0
        return max(0.0, max(self._dry_at, now := self._clock()) + seconds - self._limit_s - now)

    def sent(self, seconds: float) -> None:
        self._dry_at = max(self._dry_at, self._clock()) + seconds

    def stop(self) -> None:
        """The client drops what its player has not played."""
        self._dry_at = 0.0


@dataclass(slots=True)
class PlayedPart:
    """Samples of one utterance that were sent since the last stop."""

    utterance: int
    job_id: str
    n_samples: int


class PlayedTimeline:
    """The samples that were sent since `start` or the last `stop`, by utterance. Only the last ones are remembered."""

    def __init__(self) -> None:
        self._parts: deque[PlayedPart] = deque()
        self._n_forgotten = 0  # samples before the first part

    def sent(self, utterance: int, job_id: str, n_samples: int) -> None:
        if not n_samples:
            return
        if self._parts and self._parts[-1].utterance == utterance:
            self._parts[-1].n_samples += n_samples
            return
        self._parts.append(PlayedPart(utterance, job_id, n_samples))
        if len(self._parts) > REMEMBERED:
            self._n_forgotten += self._parts.popleft().n_samples

    def stop(self, n_played: int) -> PlayedPart | None:
        """The last utterance of which something was played, with the number of its samples that were; then forget all.

        n_played: samples that the client's player has put out; more than were sent counts as all. None where nothing
        was played, or only what is forgotten.
        """
        left, last = n_played - self._n_forgotten, None
        for part in self._parts:
            if left <= 0:
                break
            last = PlayedPart(part.utterance, part.job_id, min(left, part.n_samples))
            left -= part.n_samples
        self._parts.clear()
        self._n_forgotten = 0
        return last
