"""The outcome of an attempt: terminal entry for the session, verdict for the job plane, log line."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from schemas.errors import SESSION_UNWRITABLE, ErrorCode, JobError
from schemas.messages import Cancelled, Error
from worker.observe.tracing.off import AttemptTrace
from worker.stream import session_writer as stream
from worker.stream.lease import Lease, LeaseLost
from worker.stream.queue import Settled, Verdict
from worker.stream.session_writer import SessionWriter
from worker.stream.transport.retry import Refusal
from worker.utterance.context import WorkerContext
from worker.utterance.delivery import Delivery

log = logging.getLogger(__name__)

_DELETED = "the job's entry was deleted from the job stream while it was spoken, and the session's next job began"


@dataclass(slots=True)
class Outcome:
    """The endings of one attempt. delivery: None until the attempt has begun."""

    context: WorkerContext
    lease: Lease
    job_id: str
    writer: SessionWriter
    trace: AttemptTrace
    delivery: Delivery | None = None

    async def settle(self, verdict: Verdict, argument: str | int = "", may_come_again: bool = False) -> Settled:
        """End the attempt on the job plane; "fenced" when another worker has the job."""
        queue, metrics = self.context.queue, self.context.metrics
        settled = await queue.retry(lambda: queue.settle(self.lease, verdict, argument, may_come_again))
        self.trace.settled("fenced" if settled == "fenced" else verdict)
        if settled == "fenced":
            metrics.lost_leases.inc()
        else:
            metrics.count(metrics.settled, verdict)
        return settled

    @property
    def held_ms(self) -> int:
        """Milliseconds for which the attempt waited for its listener or its text."""
        return round(self.delivery.held_s * 1000) if self.delivery is not None else 0

    async def end_cancelled(self, has_left: bool) -> None:
        """End a cancelled job. has_left: its stream is gone, so no entry can be written."""
        message = Cancelled(
            v=1,
            type="cancelled",
            job_id=self.job_id,
            session_id=self.lease.session_id,
            samples=self.writer.delivered,
            text_spoken=self.delivery.text_spoken if self.delivery is not None else None,
        )
        try:
            await self.writer.end(message, held_ms=self.held_ms)
        except stream.RelayLeft:
            has_left = True
        if has_left:
            self.context.metrics.gone_listeners.inc()
        self.context.metrics.ended("cancelled")
        self.trace.cancelled(self.writer.delivered)
        await self.settle("ok")

    async def end_failed(self, error: JobError) -> None:
        """End a failed job: an error entry for the session, a dead letter for operators."""
        text = _as_contract_text(error.message)
        queue = self.context.queue
        if error.code.retryable:
            await queue.retry(lambda: queue.announce_retryable_end(self.lease))
        if self.lease.session_id:
            message = Error(
                v=1,
                type="error",
                job_id=self.job_id,
                session_id=self.lease.session_id,
                code=error.code.value,
                message=text,
                field=error.field,
                retryable=error.code.retryable,
            )
            try:
                await self.writer.end(message, error.code.value, text, self.held_ms)
            except stream.RelayLeft:
                self.context.metrics.gone_listeners.inc()
        log.warning(
            "job %s of session %s: %s%s: %s",
            self.lease.entry_id, self.lease.session_id or "(none)", error.code,
            f" ({error.field})" if error.field else "", error.message,
        )  # fmt: skip
        self.context.metrics.ended(error.code.value)
        self.trace.failed(error.code.value, error.field)
        await self.settle("dead", error.code.value, may_come_again=error.code.retryable)

    async def try_again(self, error: JobError) -> None:
        """Retry the job after a back-off, unless this was its last attempt and delivered nothing."""
        attempt = self.writer.n_fruitless
        if attempt >= self.context.max_attempts and not self.writer.has_progressed:
            await self.end_failed(error)
            return
        log.warning("job %s failed, attempt %d: %s", self.lease.entry_id, attempt, error.message)
        self.trace.failed(error.code.value, error.field)
        await self.settle("retry", _delay_ms(attempt))

    async def give_back(self, stop: stream.Stop) -> None:
        """Return the job: the stream does not end with this attempt's last entry. The next attempt resumes from it."""
        self.log(f"is given back: the stream does not end with its last entry ({type(stop).__name__})")
        if await self.settle("release") == "gone" and isinstance(stop, stream.Displaced):
            await self._end_deleted()

    async def _end_deleted(self) -> None:
        """End a job whose entry was deleted, by its settlement on another worker or by an operator."""
        remedy = "publish it again, and cancel a job instead of deleting its entry"
        try:
            await self.end_failed(JobError(ErrorCode.INTERNAL, _DELETED, remedy=remedy))
        except (stream.Stop, LeaseLost):
            self.log("was ended by another worker")
        except Refusal as refusal:
            await self.end_unwritable(str(refusal))

    async def give_up_session(self, refusal: Refusal) -> None:
        """Retry or dead-letter a job whose session's keys Redis rejects writes to, such as a key of a wrong type."""
        attempt = self.lease.attempt
        if attempt < self.context.max_attempts:
            await self.settle("retry", _delay_ms(attempt))
            return
        await self.end_unwritable(str(refusal))

    async def end_unwritable(self, reason: str) -> None:
        """Dead-letter a job whose session is not writable."""
        log.error(
            "job %s is dead-lettered: session %s is not writable: %s; delete its keys, or use another session",
            self.lease.entry_id, self.lease.session_id, reason,
        )  # fmt: skip
        self.context.metrics.ended(SESSION_UNWRITABLE)
        self.trace.failed(SESSION_UNWRITABLE)
        await self.settle("dead", SESSION_UNWRITABLE, may_come_again=True)

    async def leave_sick_engine(self) -> None:
        """Return the job, for a worker with a healthy engine. The attempt does not count the first time.

        Its text may have broken the engine: from the second time on attempts count, and max_attempts ends the job.
        """
        queue = self.context.queue
        is_first = await queue.retry(lambda: queue.record_sick_engine(self.lease))
        await (self.settle("release") if is_first else self.settle("retry", 0))

    def log(self, what: str) -> None:
        log.info("job %s of session %s %s", self.lease.entry_id, self.lease.session_id, what)


def _delay_ms(attempt: int) -> int:
    """Back-off before the next attempt: 0.5 s, doubled each time, 10 s at most."""
    return int(min(10.0, 0.5 * 2 ** min(attempt - 1, 10)) * 1000)


def _as_contract_text(reason: str) -> str:
    """A message within the contract: valid UTF-8, not empty, at most 1,000 characters."""
    return reason.encode("utf-8", "replace").decode()[:1000] or "no reason was given"
