"""The hold: an utterance that is far enough ahead of its listener writes nothing until the listener has caught up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic

from worker.engine.base import CHUNK_RAMP, FRAME_S
from worker.engine.playback import Playback
from worker.stream.session_writer import SessionWriter

CHUNK_S = max(CHUNK_RAMP) * FRAME_S


class Hold:
    """Keeps an utterance at most its limit ahead of a listener who plays it from the first audio entry on.

    limit_ms: 0 for no limit. wait: returns after these seconds or earlier, and raises `session_writer.Stop` where the
    session ends the job. is_lifted: True while the worker wants its jobs to end soon. held_s: seconds of waiting so
    far. most_s: the most speech that one message may carry.
    """

    def __init__(
        self,
        playback: Playback,
        limit_ms: int,
        wait: Callable[[float], Awaitable[None]],
        is_lifted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.playback = playback
        self.held_s = 0.0
        self.most_s = 2 * CHUNK_S if limit_ms else inf
        self._limit_s = limit_ms / 1000 if limit_ms else inf
        self._wait = wait
        self._is_lifted = is_lifted

    @property
    def is_far_ahead(self) -> bool:
        """Whether the listener has half the limit to play: the utterance needs no slot of its own."""
        return self._limit_s / 2 < self.playback.lead_s

    async def until_due(self, seconds: float) -> None:
        """Return when so much speech may be written."""
        began = monotonic()
        while (early_s := self.playback.lead_s + seconds - self._limit_s) > 0 and not self._is_lifted():
            await self._wait(early_s)
        self.held_s += monotonic() - began


def playback_of(writer: SessionWriter, sample_rate: int, begun_ms: int, limit_ms: int) -> Playback:
    """The playback of an attempt that has just begun, from what earlier ones left on the stream.

    begun_ms: of this attempt, by the clock of the first `begin`'s epoch. The estimate leaves room for a chunk below the
    limit: an orphan goes on at once, also where an epoch was ahead of the clock.
    """
    began_ms = writer.progress.began_ms
    if began_ms is None:
        return Playback()
    lead_s = writer.delivered / sample_rate - max(0, begun_ms - began_ms) / 1000
    return Playback(min(lead_s, limit_ms / 1000 - CHUNK_S if limit_ms else inf))
