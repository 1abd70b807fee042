"""The playback of one utterance, as far as its worker knows it: a listener who plays from the first audio entry on."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic


class Playback:
    """A listener who plays one utterance at 1x, and waits where its samples have run out.

    lead_s: None for a new utterance. At a take-over: seconds of samples on the stream minus seconds since the job's
    first `begin`, an estimate, below 0 where the listener has run dry. Written on the event loop; the engine's thread
    reads it to choose who gets a slot. clock: seconds, monotonic.
    """

    def __init__(self, lead_s: float | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._dry_at = clock() + (lead_s or 0.0)  # when the last written sample has been played
        self._is_resuming = lead_s is not None
        self.has_begun = self._is_resuming  # the listener has audio, or had some

    def wrote(self, seconds: float) -> None:
        """New samples are on the stream."""
        self.has_begun = True
        self._dry_at = max(self._dry_at, self._clock()) + seconds
        self._is_resuming = False

    @property
    def lead_s(self) -> float:
        """Seconds of samples that the listener has not played; below 0: seconds without a sample to play."""
        return self._dry_at - self._clock()

    @property
    def standing_s(self) -> float:
        """The lead by which slots are given: the smallest goes first.

        -inf from a take-over until its first new samples: the listener has had silence, and where the earlier attempt
        stood is known only roughly.
        """
        return -inf if self._is_resuming else self.lead_s
