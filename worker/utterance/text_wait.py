"""The wait for a text that is still being written, on behalf of one attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from time import monotonic

from schemas.errors import ErrorCode, JobError
from schemas.pieces import Mark, PieceReader
from worker.stream.lease import Lease
from worker.text.open_text import OpenText
from worker.utterance.vigil import Vigil

SLICE_CHARS = 64  # of a long piece: marked-up text may take a millisecond a character
SPARED_AFTER_S = 1.0  # of idleness, for which the attempt would count if the worker died
LEAST_WAIT_S = 0.05  # the vigil's read that is under way does not count yet


def taker(text: OpenText, max_text_chars: int) -> Callable[[Sequence[bytes]], Iterator[bool]]:
    """What feeds entries of a text's stream to the text in slices, for a Vigil. It raises JobError for a bad entry."""
    reader = PieceReader(max_text_chars)

    def take(fields: Sequence[bytes]) -> Iterator[bool]:
        for part in reader.add(fields):
            if part is Mark.FLUSH:
                text.flush()
            elif part is Mark.END:
                text.end()
            else:
                for at in range(0, len(part), SLICE_CHARS):
                    text.feed(part[at : at + SLICE_CHARS])
                    yield True
        yield not reader.has_ended

    return take


class TextWait:
    """Waits for more text. limit_s: the longest wait for one piece. on_idle: called when `is_idle` has changed.

    is_idle: the attempt has nothing to speak before more text comes, and holds no slot of the engine.

    A worker that dies while an attempt has been idle for a while has spent no attempt on the job, unless samples were
    delivered before.
    """

    def __init__(self, vigil: Vigil, lease: Lease, limit_s: float, on_idle: Callable[[], None]) -> None:
        self._vigil = vigil
        self._lease = lease
        self._limit_s = limit_s
        self._on_idle = on_idle
        self._has_spoken = False
        self._idle_since = inf
        self._is_spared = False
        self.is_idle = False

    async def more(self, at_most_s: float = inf) -> None:
        """Return when more text has come, or for another reason. Raises JobError (text_stalled) and as the vigil."""
        left_s = self._limit_s - self._vigil.quiet_s
        if left_s <= 0:
            raise JobError(
                ErrorCode.TEXT_STALLED,
                f"the text's stream got no piece and no end for {self._limit_s:g} s",
                "text_from",
                "write end 1 when the text is complete; if its key has expired, publish the rest as another job",
            )
        await self._vigil.wait(min(max(left_s, LEAST_WAIT_S), at_most_s))

    async def idle(self) -> None:
        """Wait as `more` does, with nothing to speak meanwhile."""
        self._set_idle(True)
        if self._has_spoken or self._is_spared:
            await self.more()
            return
        self._idle_since = min(self._idle_since, monotonic())
        spare_in_s = self._idle_since + SPARED_AFTER_S - monotonic()
        if spare_in_s > 0:  # most texts come sooner, and would pay for it with their first sound
            await self.more(spare_in_s)
            return
        self._is_spared = True
        await self._lease.renew(self._lease.attempt - 1)

    async def speaks(self) -> None:
        """There is something to speak: the attempt counts from now on."""
        self._set_idle(False)
        self._has_spoken = True
        if self._is_spared:
            self._is_spared = False
            await self._lease.renew(self._lease.attempt)

    def _set_idle(self, is_idle: bool) -> None:
        if self.is_idle != is_idle:
            self.is_idle = is_idle
            self._on_idle()
