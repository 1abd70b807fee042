"""One client's session: publishes its jobs, reads what becomes of them, and answers each of them once."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

from schemas.heard import Heard
from worker.relay.jobs import UNAVAILABLE, PendingText, RelayJob
from worker.relay.planes import LEAVE_S, RelayPlanes
from worker.relay.publisher import Publisher
from worker.relay.reader import SessionReader
from worker.relay.silence import limit_s
from worker.stream.client import LEAVE_TTL_MS
from worker.stream.hearing import CANCELLED, Hearing, ReadEntry, Sent, SentAnswer
from worker.stream.transport.retry import PASSING, Refusal

log = logging.getLogger(__name__)

PUBLISH_WITHIN_S = 5.0
RENEW_S = 60.0


class SessionListener(Protocol):
    """What receives a session's audio and answers. max_samples: of one piece."""

    @property
    def max_samples(self) -> int: ...

    async def ready_for(self, n_samples: int) -> bool:
        """Wait until so many samples may be sent; False to be called again, as after a stop."""

    def send(self, sent: Sent) -> None:
        """Send these on, in this order, without waiting."""

    def failed(self) -> None:
        """The session ended by an error of the relay itself."""


class RelaySession:
    """Only `leave` waits for Redis. fields: of all its jobs. ttl_ms, text_wait_s: as its workers have them."""

    def __init__(
        self, planes: RelayPlanes, listener: SessionListener, session_id: str, fields: dict[str, str], ttl_ms: int,
        text_wait_s: float,
    ) -> None:  # fmt: skip
        self.session_id = session_id
        self._planes = planes
        self._listener = listener
        self._fields = {"session_id": session_id} | fields
        self._ttl_ms, self._text_wait_s = ttl_ms, text_wait_s
        self._hearing = Hearing()
        self._publisher = Publisher(planes, session_id, self._hearing, self._answer)
        self._jobs = self._publisher.jobs
        self._reader = SessionReader(planes, session_id)
        self._reading: asyncio.Task[None] | None = None
        self._n_jobs = 0
        self._renewed_at = 0.0

    @property
    def n_unfinished(self) -> int:
        return len(self._jobs)

    def speak(self, text: str | None) -> str:
        """Publish a job and return its job_id. text: None for an open text, which `write` continues."""
        self._n_jobs += 1
        job_id = f"u{self._n_jobs}"
        source = {"text_from": "stream"} if text is None else {"text": text}
        job = RelayJob(job_id, self._fields | {"job_id": job_id} | source)
        if text is None:
            job.text = PendingText(self._planes.client.text(self.session_id, job_id, repeat_s=0.0))
        self._hearing.published(job_id)
        self._publisher.publish(job)
        job.deadline = asyncio.get_running_loop().call_later(PUBLISH_WITHIN_S, self._answer, job, UNAVAILABLE)
        self._activate()
        return job_id

    def open_text(self, job_id: str) -> PendingText | None:
        """The text of an open job; None where the job was answered. Call `written` after a change."""
        job = self._jobs.get(job_id)
        return None if job is None else job.text

    def written(self, job_id: str) -> None:
        self._publisher.write(self._jobs[job_id])

    def stop(self) -> tuple[Sent, Sent]:
        """Mute and cancel all jobs. Returns the closing chunks, and the answers to jobs that were not published yet."""
        closing, ended = self._hearing.stop(), []
        for job in list(self._jobs.values()):
            if job.entry_id is None:
                ended += self._end(job, CANCELLED)
        if self._jobs:
            self._publisher.cancel_stopped()
        return closing, ended

    def heard(self, job_id: str, played: int) -> Heard | None:
        """What was heard of a job; None where it is forgotten."""
        job = self._hearing.jobs.get(job_id)
        return None if job is None else job.heard(played)

    async def leave(self) -> None:
        """Cancel what is unfinished and let the session's stream expire. Given up when Redis is away."""
        await self._stop_reading()
        await self._publisher.close()
        if self._n_jobs:
            with suppress(TimeoutError, Refusal, *PASSING):
                async with asyncio.timeout(LEAVE_S):
                    await self._publisher.leave(LEAVE_TTL_MS)

    def look(self, now: float) -> None:
        """Once a second while jobs are unfinished: lost connections, silence, the stream's time to live."""
        self._publisher.look()
        if now - self._renewed_at > RENEW_S:
            self._renewed_at = now
            self._publisher.renew()
        while self._jobs and self._is_silent(now):
            self._no_answer()

    def _is_silent(self, now: float) -> bool:
        job = next(iter(self._jobs.values()))
        if job.entry_id is None or self._reader.silent_since is None:
            return False
        return now - max(self._reader.silent_since, job.signs_at) >= self._limit_s(job)

    def _limit_s(self, job: RelayJob) -> float:
        has_begun = self._hearing.jobs[job.job_id].has_begun
        return limit_s(has_begun, job.text is None or job.text.is_whole, self._ttl_ms, self._text_wait_s)

    def _no_answer(self) -> None:
        job = next(iter(self._jobs.values()))
        self._publisher.cancel_first()
        log.warning("session %s: no worker gave a sign of %s", self.session_id, job.job_id)
        problem = f"no worker gave a sign for {self._limit_s(job):.0f} s; send the text again later"
        self._answer(job, {"type": "error", "code": "no_answer", "message": problem})

    def _answer(self, job: RelayJob, answer: dict[str, Any]) -> None:
        if job.job_id in self._jobs:
            self._listener.send(self._end(job, answer))

    def _end(self, job: RelayJob, answer: dict[str, Any]) -> Sent:
        self._publisher.answered(job.job_id)
        return self._hearing.end(job.job_id, answer)

    # Reading.

    def _activate(self) -> None:
        if self._reading is None:
            self._renewed_at = monotonic()
            self._planes.watched.add(self)
            self._reading = asyncio.create_task(self._read(), name="session")

    async def _stop_reading(self) -> None:
        reading, self._reading = self._reading, None
        self._planes.watched.discard(self)
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        self._reader.leave()

    async def _read(self) -> None:
        """Read the stream while jobs are unfinished."""
        try:
            while self._jobs:
                async with self._reader:
                    while self._jobs:
                        for stream_id, fields in await self._reader.next():
                            await self._forward(stream_id, ReadEntry.of(fields))
        except Exception:
            log.exception("session %s cannot be read further; please report it", self.session_id)
            self._listener.failed()
        self._planes.watched.discard(self)
        self._reading = None

    async def _forward(self, stream_id: str, entry: ReadEntry) -> None:
        if entry.kind == "begin":
            self._publisher.cancel_lost(entry.job_id, entry.entry)
        for part in self._hearing.parts(entry, self._listener.max_samples):
            while n_samples := self._hearing.samples_of(part):
                if await self._listener.ready_for(n_samples):
                    break
            sent = self._hearing.take(part)
            for one in sent:
                if isinstance(one, SentAnswer):
                    self._publisher.answered(one.job_id)
                    self._publisher.trim(stream_id)
            self._listener.send(sent)
        self._reader.took(stream_id)
