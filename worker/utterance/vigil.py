"""The vigil: what an utterance waits for while it writes nothing, and what others write meanwhile.

It reads the job's text stream while the text is being written, and the session's audio stream for entries of others: a
client's cancel, another worker's attempt. The writer's own entries do not wake it, since it reads beyond their epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import monotonic

from schemas.errors import ErrorCode, JobError
from worker.stream.session_writer import SessionWriter
from worker.stream.transport.advice import sentence_on
from worker.stream.transport.retry import MissingRight
from worker.stream.watch import FlatEntry, SessionWatch, WrongTextKey

READ_S = 1.0  # of one blocking read
POLL_S = 0.1  # between two looks where the session cannot be watched
RIGHTS_S = 5.0  # for which the right to read a text may be missing, as while an operator changes rights
LOOK_S = 60.0  # between two looks of a waiting attempt, which also renew its keys' lifetimes

Fields = Sequence[bytes]


class Vigil:
    """Watches one attempt's session. on_piece: takes an entry of the text's stream; None for a text that is known.

    on_piece yields True after each part of an entry, and False after the text's last one. What it raises ends the
    reading and is raised by `wait`. read_s: the longest blocking read.
    """

    def __init__(
        self,
        watch: SessionWatch,
        writer: SessionWriter,
        on_piece: Callable[[Fields], Iterator[bool]] | None = None,
        read_s: float = READ_S,
    ) -> None:
        self._watch = watch
        self._writer = writer
        self._on_piece = on_piece
        self._read_s = read_s
        self._text_after = None if on_piece is None else "0"
        self._changed = asyncio.Event()
        self._problem: Exception | None = None
        self._is_foreign = False  # an entry of another writer was found
        self._looked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._looked_at = monotonic()
        self._lacks_right_since: float | None = None

    @property
    def quiet_s(self) -> float:
        """For how long the text's stream has had no new entry."""
        return self._watch.quiet_s

    def start(self) -> None:
        """Begin to watch; later calls do nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="vigil")

    async def wait(self, timeout_s: float) -> None:
        """Wait for new text, at most this long, and not beyond the time of the next look.

        Raises Stop or LeaseLost when another's entry ends this attempt, and what `on_piece` raised.
        """
        self.start()
        if self._problem is None and not self._is_foreign:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(timeout_s, self._looked_at + LOOK_S - monotonic())):
                    await self._changed.wait()
        if self._problem is not None:
            raise self._problem
        if self._is_foreign or monotonic() - self._looked_at >= LOOK_S:
            self._is_foreign, self._looked_at = False, monotonic()
            await self._writer.look()
            self._looked.set()

    async def close(self) -> None:
        """End the watch."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._watch.close()

    async def _run(self) -> None:
        try:
            while True:
                try:
                    answer = await self._watch.wait(self._read_s, self._writer.epoch, self._text_after)
                except MissingRight as error:
                    await self._do_without(error)
                    continue
                self._lacks_right_since = None
                await self._take(answer.text)
                if answer.foreign is not None:  # it would be found again until the writer has a later epoch
                    await self._have_looked()
        except WrongTextKey as error:
            self._fail(JobError(ErrorCode.INVALID_FIELD, error.problem, "text_from", error.remedy))
        except Exception as error:
            self._fail(error)

    async def _do_without(self, error: MissingRight) -> None:
        """Look at the session in place of a read, as with rights of an earlier version. Raises JobError."""
        self._lacks_right_since = self._lacks_right_since or monotonic()
        if self._text_after is not None and monotonic() - self._lacks_right_since >= RIGHTS_S:
            problem = f"this worker may not read a text that is being written: {sentence_on(error)}"
            raise JobError(ErrorCode.INTERNAL, problem, remedy="give its Redis user the rights of deploy/redis")
        await asyncio.sleep(POLL_S)
        await self._have_looked()

    async def _have_looked(self) -> None:
        """Wait until the one who waits has looked at the session."""
        self._looked.clear()
        self._is_foreign = True
        self._wake()
        await self._looked.wait()

    def _fail(self, problem: Exception) -> None:
        self._problem = problem
        self._wake()

    def _wake(self) -> None:
        """Wake all that wait now."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _take(self, entries: Sequence[FlatEntry]) -> None:
        for stream_id, fields in entries:
            assert self._on_piece is not None
            self._text_after = stream_id.decode()
            for more_follows in self._on_piece(fields):
                if not more_follows:
                    self._text_after = None
                self._wake()
                await asyncio.sleep(0)  # a long piece keeps the event loop busy
            if self._text_after is None:
                return
