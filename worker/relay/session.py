"""One session on Redis: publishes a client's jobs, reads what becomes of them, and answers each of them once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from schemas.heard import Heard
from worker.relay.outbox import Outbox, OutboxStep
from worker.relay.planes import LEAVE_S, RelayPlanes
from worker.relay.reader import SessionReader
from worker.relay.silence import limit_s
from worker.stream.client import LEAVE_TTL_MS
from worker.stream.hearing import CANCELLED, Hearing, ReadEntry, Sent, SentAnswer
from worker.stream.text_writer import MAX_PIECE_BYTES, TextWriter
from worker.stream.transport.retry import PASSING, Refusal

PUBLISH_WITHIN_S = 5.0
RENEW_S = 60.0
MAX_TEXT_CHARS = 100_000  # of an open text; more than any worker's limit, so a longer one fails either way


class SessionListener(Protocol):
    """What receives a session's audio and answers."""

    async def ready_for(self, n_samples: int) -> bool:
        """Wait until so many samples may be sent; False after a stop meanwhile."""

    def send(self, sent: Sent) -> None:
        """Send these on, in this order, without waiting."""


@dataclass(slots=True, eq=False)
class RelayJob:
    """A job that is not answered. entry_id: its entry in the job stream, once Redis has confirmed it.

    was_tried: it may be in Redis all the same. signs_at: when it was published, or its text last written.
    """

    job_id: str
    fields: dict[str, str]
    writer: TextWriter | None = None
    has_whole_text: bool = True
    entry_id: str | None = None
    was_tried: bool = False
    signs_at: float = field(default_factory=monotonic)
    n_chars: int = 0
    deadline: asyncio.TimerHandle | None = None


class RelaySession:
    """Never waits for Redis where its methods are not coroutines. options: of all its jobs."""

    def __init__(
        self, planes: RelayPlanes, listener: SessionListener, session_id: str, options: dict[str, str], ttl_ms: int,
        text_wait_s: float,
    ) -> None:  # fmt: skip
        self._planes = planes
        self._client = planes.client
        self._listener = listener
        self._options = options
        self._ttl_ms, self._text_wait_s = ttl_ms, text_wait_s
        self.session_id = session_id
        self.hearing = Hearing()
        self._jobs: dict[str, RelayJob] = {}  # in the order in which they were published
        self._lost: set[str] = set()  # jobs that were answered and may be in Redis
        self._n_jobs = 0
        self._last_entry: str | None = None  # of the last job that Redis confirmed
        self._outbox = Outbox(planes, OutboxStep(self._publish_again, self._ignore))
        self._reader = SessionReader(planes, session_id)
        self._reading: asyncio.Task[None] | None = None
        self._n_breaks = 0
        self._renewed_at = 0.0

    @property
    def n_unfinished(self) -> int:
        return len(self._jobs)

    def speak(self, text: str | None) -> str:
        """Publish a job and return its job_id. text: None for an open text, which `write` continues."""
        self._n_jobs += 1
        job_id = f"u{self._n_jobs}"
        whose = {"session_id": self.session_id, "job_id": job_id}
        job = RelayJob(job_id, whose | ({"text_from": "stream"} if text is None else {"text": text}) | self._options)
        if text is None:
            job.writer = self._client.text(self.session_id, job_id, repeat_s=0.0)
            job.has_whole_text = False
        self.hearing.published(job_id)
        self._jobs[job_id] = job
        loop = asyncio.get_running_loop()
        job.deadline = loop.call_later(PUBLISH_WITHIN_S, self._give_up, job, "Redis did not answer in time")
        self._activate()
        self._outbox.put(OutboxStep(lambda: self._publish(job), lambda error: self._give_up(job, str(error))))
        return job_id

    def write(self, job_id: str, piece: str) -> None:
        """Continue an open text. Nothing happens where its job was answered."""
        job = self._jobs.get(job_id)
        if job is None or job.n_chars > MAX_TEXT_CHARS:
            return
        job.n_chars += len(piece)
        step = MAX_PIECE_BYTES // 4
        for at in range(0, len(piece), step):
            self._write(job, lambda writer, part=piece[at : at + step]: writer.write(part))  # type: ignore[misc]

    def flush(self, job_id: str) -> None:
        if (job := self._jobs.get(job_id)) is not None:
            self._write(job, TextWriter.flush)

    def end(self, job_id: str) -> None:
        if (job := self._jobs.get(job_id)) is not None:
            job.has_whole_text = True
            self._write(job, TextWriter.end)

    def stop(self) -> tuple[Sent, Sent]:
        """Mute and cancel all jobs. Returns the closing chunks, and the answers to jobs that were not published yet."""
        closing, ended = self.hearing.stop(), []
        for job in list(self._jobs.values()):
            if job.entry_id is None:
                ended += self._drop(job, CANCELLED)
        published = [job.entry_id for job in self._jobs.values() if job.entry_id is not None]
        if published:
            self._cancel(published[-1])
        return closing, ended

    def heard(self, job_id: str, played: int) -> Heard | None:
        """What was heard of a job; None where it is forgotten."""
        job = self.hearing.jobs.get(job_id)
        return None if job is None else job.heard(played)

    async def leave(self) -> None:
        """Cancel what is unfinished and let the session's stream expire."""
        await self._deactivate()
        await self._outbox.close()
        for job in self._jobs.values():
            if job.deadline is not None:
                job.deadline.cancel()
        if self._n_jobs:
            with suppress(TimeoutError, Refusal, *PASSING):
                async with asyncio.timeout(LEAVE_S):
                    if self._jobs or self._lost:
                        is_sure = self._last_entry is not None and not self._lost
                        sure = all(job.entry_id is not None for job in self._jobs.values())
                        await self._client.cancel(self.session_id, self._last_entry if is_sure and sure else None)
                    await self._client.expire(self.session_id, LEAVE_TTL_MS)

    def look(self, now: float) -> None:
        """Once a second while jobs are unfinished: connections, silence, the stream's time to live."""
        if self._n_breaks != self._planes.n_breaks:
            self._n_breaks = self._planes.n_breaks
            self._outbox.repeat()
        if now - self._renewed_at > RENEW_S:
            self._renewed_at = now
            self._put(lambda: self._client.expire(self.session_id))
        self._check_silence(now)

    # Writing.

    def _put(self, run: Callable[[], Awaitable[Any]]) -> None:
        self._outbox.put(OutboxStep(run, self._ignore))

    def _ignore(self, error: Exception) -> None:
        self._planes.failed(error)

    def _cancel(self, upto: str | None) -> None:
        self._put(lambda: self._client.cancel(self.session_id, upto))

    async def _publish(self, job: RelayJob) -> None:
        if job.job_id in self._jobs:
            job.was_tried = True
            entry_id = await self._client.publish(job.fields)
            if job.deadline is not None:
                job.deadline.cancel()
            job.entry_id = self._last_entry = entry_id
            job.signs_at = monotonic()
        if job.was_tried and job.job_id not in self._jobs and not self._has_audible():
            await self._client.cancel(self.session_id)

    def _has_audible(self) -> bool:
        """Whether Redis has a job that a cancel of everything would wrongly end."""
        return any(job.entry_id is not None and not self.hearing.is_muted(job.job_id) for job in self._jobs.values())

    async def _publish_again(self) -> None:
        """Publish all unfinished jobs again, in their order, with their texts, and cancel again what was cancelled."""
        is_cancelled = True
        last_muted: str | None = None
        for job in list(self._jobs.values()):
            if job.entry_id is None or job.job_id not in self._jobs:
                continue
            if is_cancelled and not self.hearing.is_muted(job.job_id):
                is_cancelled = False
                if last_muted is not None:
                    await self._client.cancel(self.session_id, last_muted)
            job.entry_id = self._last_entry = await self._client.publish(job.fields)
            if job.writer is not None:
                await job.writer.write_again()
            last_muted = job.entry_id if is_cancelled else last_muted
        if is_cancelled and last_muted is not None:
            await self._client.cancel(self.session_id, last_muted)

    def _write(self, job: RelayJob, write: Callable[[TextWriter], Awaitable[None]]) -> None:
        has_begun = False

        async def run() -> None:
            nonlocal has_begun
            if job.writer is None or job.job_id not in self._jobs or self.hearing.is_muted(job.job_id):
                return
            if has_begun:  # the writer has the piece and writes what is missing
                await job.writer.write_again()
            else:
                has_begun = True
                await write(job.writer)
            job.signs_at = monotonic()

        self._put(run)

    def _give_up(self, job: RelayJob, reason: str) -> None:
        """Answer a job that could not be published."""
        if job.job_id not in self._jobs or job.entry_id is not None:
            return
        problem = f"the text was not handed to a worker: {reason}; send it again later"
        self._listener.send(self._drop(job, {"type": "error", "code": "unavailable", "message": problem}))

    def _drop(self, job: RelayJob, answer: dict[str, Any]) -> Sent:
        if job.was_tried:
            self._lost.add(job.job_id)
        return self._note(self.hearing.end(job.job_id, answer))

    # Reading.

    def _activate(self) -> None:
        if self._reading is None:
            self._n_breaks = self._planes.n_breaks
            self._renewed_at = monotonic()
            self._planes.watched.add(self)
            self._reading = asyncio.create_task(self._read(), name="session")

    async def _deactivate(self) -> None:
        reading, self._reading = self._reading, None
        self._planes.watched.discard(self)
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        self._reader.leave()

    async def _read(self) -> None:
        """Read the stream while jobs are unfinished."""
        while self._jobs:
            async with self._reader:
                while self._jobs:
                    for stream_id, fields in await self._reader.next():
                        await self._forward(stream_id, ReadEntry.of(fields))
        self._planes.watched.discard(self)
        self._reading = None

    async def _forward(self, stream_id: str, entry: ReadEntry) -> None:
        while n_samples := self.hearing.samples_of(entry):
            if await self._listener.ready_for(n_samples):
                break
        self._reader.took(stream_id)
        if entry.kind == "begin" and entry.job_id in self._lost:
            self._cancel(entry.entry)
        sent = self._note(self.hearing.take(entry))
        if any(isinstance(one, SentAnswer) for one in sent):
            self._put(lambda: self._client.trim(self.session_id, stream_id))
        self._listener.send(sent)

    def _note(self, sent: Sent) -> Sent:
        for one in sent:
            if isinstance(one, SentAnswer):
                job = self._jobs.pop(one.job_id)
                if job.deadline is not None:
                    job.deadline.cancel()
        return sent

    def _check_silence(self, now: float) -> None:
        while self._jobs and self._reader.silent_since is not None:
            job = next(iter(self._jobs.values()))
            received = self.hearing.jobs[job.job_id]
            if job.entry_id is None:
                return
            since = max(self._reader.silent_since, job.signs_at)
            limit = limit_s(received.has_begun, job.has_whole_text, self._ttl_ms, self._text_wait_s)
            if now - since < limit:
                return
            self._cancel(job.entry_id)
            problem = f"no worker gave a sign for {limit:.0f} s; send the text again, or start a worker"
            answer = {"type": "error", "code": "no_answer", "message": problem}
            self._listener.send(self._note(self.hearing.end(job.job_id, answer)))
