"""A job that is not answered yet, and what is still to be written of its text."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from time import monotonic

from worker.stream.text_writer import MAX_PIECE_BYTES, TextConflict, TextWriter

log = logging.getLogger(__name__)

MAX_TEXT_CHARS = 100_000  # of an open text: more than any worker takes, so dropping the rest changes nothing
MAX_PIECE_CHARS = MAX_PIECE_BYTES // 4
UNAVAILABLE = {
    "type": "error",
    "code": "unavailable",
    "message": "the text cannot be handed to a worker now; send it again later",
}


class PendingText:
    """The pieces of an open text on their way to Redis. Pieces that wait are joined."""

    def __init__(self, writer: TextWriter) -> None:
        self._writer = writer
        self._pieces: deque[str] = deque()  # "" is a flush
        self._n_chars = 0
        self._is_unsure = False  # the writer has a piece that Redis may not have
        self._ends_with_flush = False
        self.is_whole = False

    def add(self, text: str) -> None:
        if self._n_chars > MAX_TEXT_CHARS or self.is_whole:
            return
        self._n_chars += len(text)
        self._ends_with_flush = False
        if self._pieces and self._pieces[-1]:
            text = self._pieces.pop() + text
        self._pieces.extend(text[at : at + MAX_PIECE_CHARS] for at in range(0, len(text), MAX_PIECE_CHARS))

    def flush(self) -> None:
        """A second flush without text between them would do nothing."""
        if not self._ends_with_flush and not self.is_whole:
            self._ends_with_flush = True
            self._pieces.append("")

    def end(self) -> None:
        self.is_whole = True

    async def write(self) -> None:
        """Write all that waits. After an error call it again: nothing is lost or doubled."""
        if self._is_unsure:
            await self.write_again()
        while self._pieces:
            piece = self._pieces.popleft()
            await self._repeatable(self._writer.write(piece) if piece else self._writer.flush())
        if self.is_whole and not self._writer.has_ended:
            await self._repeatable(self._writer.end())

    async def write_again(self) -> None:
        """Write what Redis may have lost."""
        await self._repeatable(self._writer.write_again())

    async def _repeatable(self, write: Awaitable[None]) -> None:
        self._is_unsure = True
        try:
            await write
        except TextConflict as error:  # another program writes this text, and the job's worker speaks what is there
            log.warning("%s", error)
        self._is_unsure = False


@dataclass(slots=True, eq=False)
class RelayJob:
    """One job. entry_id: its latest entry in the job stream, once Redis has confirmed one; first_entry: its first.

    was_tried: it may be in Redis without a confirmation. signs_at: when it was published, or its text last written.
    deadline: gives it up where it is not published in time.
    """

    job_id: str
    fields: dict[str, str]
    text: PendingText | None = None
    first_entry: str | None = None
    entry_id: str | None = None
    was_tried: bool = False
    signs_at: float = field(default_factory=monotonic)
    deadline: asyncio.TimerHandle | None = None

    def confirm(self, entry_id: str) -> None:
        self.first_entry = self.first_entry or entry_id
        self.entry_id = entry_id
        self.forget_deadline()

    def forget_deadline(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
