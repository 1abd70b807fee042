"""What one session writes to Redis: its jobs, their texts and its cancels, in order and until Redis has them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any

from worker.relay.jobs import UNAVAILABLE, RelayJob
from worker.relay.outbox import Outbox, OutboxStep
from worker.relay.planes import RelayPlanes
from worker.stream.hearing import CANCELLED, Hearing
from worker.stream.transport.advice import sentence_on
from worker.stream.transport.retry import PASSING, OutOfMemory, Refusal

log = logging.getLogger(__name__)


class Publisher:
    """jobs: those without an answer, by job_id, in their order. answer: ends one of them with a message."""

    def __init__(
        self,
        planes: RelayPlanes,
        session_id: str,
        hearing: Hearing,
        answer: Callable[[RelayJob, dict[str, Any]], None],
    ) -> None:
        self._client = planes.client
        self._session_id = session_id
        self._hearing = hearing
        self._answer = answer
        self._outbox = Outbox(planes, OutboxStep(self._publish_again, _note))
        self._lost: set[str] = set()  # jobs that were answered, and may be in Redis all the same
        self._last_entry: str | None = None
        self.jobs: dict[str, RelayJob] = {}

    def publish(self, job: RelayJob) -> None:
        self.jobs[job.job_id] = job
        self._put(partial(self._publish, job), job)

    def write(self, job: RelayJob) -> None:
        """Write what waits of the job's text."""
        self._outbox.put(OutboxStep(partial(self._write, job), partial(self._refuse_text, job)))

    def cancel_stopped(self) -> None:
        """Cancel all jobs, which were stopped."""
        self._put(self._cancel_stopped)

    def cancel_first(self) -> None:
        """Cancel the first job and none behind it: published again, it may have an entry behind theirs too."""
        first, *others = self.jobs.values()
        later = [job.first_entry for job in others if job.first_entry is not None]
        if first.entry_id is not None and first.first_entry is not None:
            is_behind = bool(later) and _order(first.entry_id) > min(map(_order, later))
            self._cancel(first.first_entry if is_behind else first.entry_id)

    def cancel_lost(self, job_id: str, entry_id: str) -> None:
        """A job begins: cancel it where it was answered already, as when its publishing had seemed to fail."""
        if job_id in self._lost:
            self._put(partial(self._cancel_lost, job_id, entry_id))

    def trim(self, stream_id: str) -> None:
        self._put(partial(self._client.trim, self._session_id, stream_id))

    def renew(self) -> None:
        """Keep a stream that is read slowly."""
        self._put(partial(self._client.expire, self._session_id))

    def look(self) -> None:
        """Write all unfinished jobs again, if a connection was lost."""
        self._outbox.look()

    def answered(self, job_id: str) -> None:
        job = self.jobs.pop(job_id)
        job.forget_deadline()
        if job.entry_id is None and job.was_tried:
            self._lost.add(job_id)
        if self._lost and not self.jobs:
            self._put(self._cancel_all_lost)  # nothing is read now, so that their begins would not be found

    async def leave(self, ttl_ms: int) -> None:
        """Cancel what is unfinished and let the session's stream expire. Raises redis-py's errors."""
        if self._lost or any(job.was_tried for job in self.jobs.values()):
            is_sure = not self._lost and all(job.entry_id is not None for job in self.jobs.values())
            await self._client.cancel(self._session_id, self._last_entry if is_sure else None)
        await self._client.expire(self._session_id, ttl_ms)

    async def close(self) -> None:
        """Drop what is not written yet."""
        await self._outbox.close()
        for job in self.jobs.values():
            job.forget_deadline()

    def _cancel(self, upto: str) -> None:
        self._put(partial(self._client.cancel, self._session_id, upto))

    def _put(self, run: Callable[[], Awaitable[Any]], job: RelayJob | None = None) -> None:
        def refused(error: Exception) -> None:
            _note(error)
            if job is not None:
                self._answer(job, UNAVAILABLE)

        self._outbox.put(OutboxStep(run, refused))

    async def _publish(self, job: RelayJob) -> None:
        if job.job_id in self.jobs:
            job.was_tried = True
            self._last_entry = await self._client.publish(job.fields)
            job.confirm(self._last_entry)
            job.signs_at = monotonic()
        if job.was_tried and job.job_id not in self.jobs and not self._has_audible():
            await self._client.cancel(self._session_id, job.entry_id)

    def _has_audible(self) -> bool:
        """Whether Redis has a job that a cancel of everything would wrongly end."""
        return any(job.entry_id is not None and not self._hearing.is_muted(job.job_id) for job in self.jobs.values())

    async def _write(self, job: RelayJob) -> None:
        if job.text is not None and job.job_id in self.jobs and not self._hearing.is_muted(job.job_id):
            await job.text.write()
            job.signs_at = monotonic()

    def _refuse_text(self, job: RelayJob, error: Exception) -> None:
        """The job must not wait for the rest of its text."""
        _note(error)
        if job.job_id in self.jobs:
            if job is next(iter(self.jobs.values())):
                self.cancel_first()
            self._lost.add(job.job_id)
            self._answer(job, UNAVAILABLE)

    async def _cancel_lost(self, job_id: str, entry_id: str) -> None:
        if job_id in self._lost:
            await self._client.cancel(self._session_id, entry_id)
            self._lost.discard(job_id)

    async def _cancel_all_lost(self) -> None:
        if self._lost and not any(job.was_tried for job in self.jobs.values()):
            await self._client.cancel(self._session_id)
            self._lost.clear()

    async def _publish_again(self) -> None:
        """Publish all unfinished jobs again, in their order, with their texts; cancel again what was cancelled.

        A stopped job ends here. Published again it would have an entry behind those of later jobs, and a cancel up to
        that one would end them too.
        """
        for job in [job for job in self.jobs.values() if job.entry_id is not None]:
            if self._hearing.is_muted(job.job_id):
                await self._cancel_stopped()
                self._answer(job, CANCELLED)
            elif job.job_id in self.jobs:
                self._last_entry = await self._client.publish(job.fields)
                job.confirm(self._last_entry)
                job.signs_at = monotonic()
                if job.text is not None:
                    try:
                        await job.text.write_again()
                    except Refusal as error:
                        if isinstance(error, PASSING) and not isinstance(error, OutOfMemory):
                            raise
                        self._refuse_text(job, error)

    async def _cancel_stopped(self) -> None:
        """Later jobs have later entries, because a stop concerns all that were published before it."""
        entries = [job.entry_id for job in self.jobs.values() if self._hearing.is_muted(job.job_id)]
        if known := [entry for entry in entries if entry is not None]:
            await self._client.cancel(self._session_id, max(known, key=_order))


def _order(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))


def _note(error: Exception) -> None:
    log.warning("Redis refuses a command of the relay: %s", sentence_on(error))
