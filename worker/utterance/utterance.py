"""One utterance's life: read the job, begin, speak segment after segment, end, settle.

The speaking is a straight line; whatever takes it off that line is an exception, and `run` says once what each of them
means for the session's stream and for the job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from schemas.errors import ErrorCode, JobError
from schemas.jobs import Job, job_id_of, parse_job
from schemas.messages import Begin, Cancelled, Complete, Error
from worker.engine.base import Arithmetic, EngineClosed, EngineError, EngineSick, VoiceUnavailable
from worker.engine.thread import EngineThread
from worker.observe.metrics import Metrics
from worker.stream import session_writer as stream
from worker.stream.heartbeat import Pulse
from worker.stream.queue import JobQueue, Lease, Settled, Verdict
from worker.stream.session_writer import SessionPlane, SessionWriter
from worker.stream.transport.retry import Refusal, RetryPolicy
from worker.utterance.admission import Admission, Permit, WorkerReserved
from worker.utterance.delivery import Delivery, SpeechPlan
from worker.voices.card import Card
from worker.voices.registry import Registry, UnknownVoice

log = logging.getLogger(__name__)

SESSION_UNWRITABLE = "session_unwritable"  # why a job is dead that its session cannot be told of


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Everything an utterance needs of its worker; shared by all of them."""

    queue: JobQueue
    retry: RetryPolicy
    plane: SessionPlane
    engine: EngineThread
    voices: Callable[[], Registry]
    metrics: Metrics
    default_voice: str
    max_text_chars: int
    max_attempts: int
    lease_s: float
    admission: Admission = field(default_factory=Admission)
    arithmetic: Arithmetic | None = None  # of an engine that says what its samples depend on


@dataclass(slots=True)
class Utterance:
    """One attempt at one job. job_id is known before the rest of the job could be read."""

    context: WorkerContext
    pulse: Pulse
    job_id: str = field(init=False)
    _writer: SessionWriter = field(init=False)
    _permit: Permit = field(init=False)
    _plan: SpeechPlan | None = None

    def __post_init__(self) -> None:
        self.job_id = job_id_of(self.lease.entry_id, self.lease.fields)
        self._writer = SessionWriter(self.context.plane, self.lease, self.job_id, self._confirm_lease)

    @property
    def lease(self) -> Lease:
        return self.pulse.lease

    async def run(self) -> None:
        """Speak, or say why not. Cancelling the running asyncio task stops all writing and settles nothing."""
        with self.context.admission.permit() as self._permit:
            try:
                await self._run()
            except stream.Fenced:
                self._note("was taken over by another worker")
                self.context.metrics.lost_leases.inc()
            except (stream.Displaced, stream.Rewound) as stop:
                self._note(f"does not find its last entry on the stream ({type(stop).__name__}) and is given back")
                if await self.settle("release") == "gone" and isinstance(stop, stream.Displaced):
                    await self._end_taken_out()
            except stream.AlreadyEnded as ended:
                await self.settle("dead" if ended.kind == "error" else "ok", ended.kind)
            except stream.StreamFull:
                await self._end_unwritable("an entry with an id near the greatest there is has exhausted its stream")
            except Refusal as refusal:
                await self._give_up_session(refusal)

    async def _run(self) -> None:
        try:
            if self.lease.repeats and await self._writer.repeat(self.lease.repeats):
                await self.settle("ok")
                return
            complete = await self._speak()
        except (stream.CancelRequested, stream.RelayLeft) as stop:
            await self._end_cancelled(has_left=isinstance(stop, stream.RelayLeft))
        except JobError as error:
            await self._end_failed(error)
        except EngineSick:
            await self._leave_sick_engine()
        except (EngineClosed, WorkerReserved):
            await self.settle("release")
        except VoiceUnavailable as error:
            await self._end_failed(JobError(ErrorCode.VOICE_UNAVAILABLE, str(error), "voice"))
        except EngineError as error:
            await self._try_again(JobError(ErrorCode.ENGINE_FAILED, f"the speech engine failed: {error}"))
        except stream.Stop as stop:
            if type(stop) not in _ERRORS:
                raise
            await self._end_failed(JobError(*_ERRORS[type(stop)]))
        except Exception as error:
            if isinstance(error, Refusal):
                raise
            log.exception("job %s failed in a way nobody foresaw", self.lease.entry_id)
            await self._try_again(JobError(ErrorCode.INTERNAL, "the worker failed on this job; its log says where"))
        else:
            self.context.metrics.completed(complete)
            await self.settle("ok")

    async def settle(self, verdict: Verdict, argument: str | int = "", may_come_again: bool = False) -> Settled:
        """End the attempt on the job plane; "fenced" means that another worker does it."""
        settled = await self.context.retry(
            lambda: self.context.queue.settle(self.lease, verdict, argument, may_come_again)
        )
        if settled == "fenced":
            self.context.metrics.lost_leases.inc()
        else:
            self.context.metrics.count(self.context.metrics.settled, verdict)
        return settled

    async def _speak(self) -> Complete:
        job, voice = self._read()
        take = SpeechPlan(job, voice, self.context.engine.engine.has_codes)
        terms = stream.BeginRequest(
            lambda writer: self._begin_message(take, writer),
            deadline_ms=self.lease.published_ms + job.ttl_ms,
            max_attempts=self.context.max_attempts,
        )
        await self._be_admitted(terms)
        begun_ms = await self._writer.begin(terms)
        self._plan = take
        self.context.metrics.attempts.observe(self._writer.attempt)
        delivery = Delivery(self.context.engine, self._writer, take, self.pulse, begun_ms)
        try:
            await delivery.run()
        finally:
            delivery.cancel()
        complete = delivery.complete(self.lease.published_ms, self.context.engine.engine.name)
        await self._writer.end(complete)
        return complete

    async def _be_admitted(self, terms: stream.BeginRequest) -> None:
        """Wait until this may be spoken. A suspect that waits spends no attempt: others may cost it its worker."""
        if self.lease.attempt > 1:
            await self._writer.look(terms)
        if self.lease.attempt == 1 or self._writer.n_fruitless == 1:
            await self._permit.may_speak(is_poison_suspect=False)
            return
        await self._renew(self.lease.attempt - 1)
        await self._permit.may_speak(is_poison_suspect=True)
        await self._renew(self.lease.attempt)

    def _read(self) -> tuple[Job, Card]:
        job = parse_job(self.lease.entry_id, self.lease.fields, self.context.max_text_chars)
        name = job.voice or self.context.default_voice
        try:
            voice = self.context.voices().get(name)
        except UnknownVoice as error:
            raise JobError(ErrorCode.UNKNOWN_VOICE, str(error), "voice") from None
        if (why := self.context.engine.refusals.get(name)) is not None:
            raise JobError(ErrorCode.VOICE_UNAVAILABLE, why, "voice")
        return job, voice

    def _begin_message(self, take: SpeechPlan, writer: SessionWriter) -> Begin:
        arithmetic = self.context.arithmetic
        return Begin(
            v=1,
            type="begin",
            job_id=self.job_id,
            session_id=self.lease.session_id,
            voice=take.voice.name,
            model=self.context.engine.engine.name,
            sample_rate=take.job.sample_rate,
            encoding=take.job.encoding.value,
            attempt=writer.attempt,
            resumed_at=writer.delivered,
            resumed_by=take.resumed_by(writer),
            computed_on=arithmetic.name if arithmetic else None,
            resumed_exactly=take.resumed_exactly(writer, arithmetic),
        )

    async def _end_cancelled(self, has_left: bool) -> None:
        text = self._plan.text_spoken if self._plan is not None else None
        message = Cancelled(
            v=1,
            type="cancelled",
            job_id=self.job_id,
            session_id=self.lease.session_id,
            samples=self._writer.delivered,
            text_spoken=text,
        )
        try:
            await self._writer.end(message)
        except stream.RelayLeft:
            has_left = True
        if has_left:
            self.context.metrics.gone_listeners.inc()
        self.context.metrics.ended("cancelled")
        await self.settle("ok")

    async def _end_failed(self, error: JobError) -> None:
        text = _sayable(error.message)
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
                await self._writer.end(message, error.code.value, text)
            except stream.RelayLeft:
                self.context.metrics.gone_listeners.inc()
        log.warning(
            "job %s of session %s: %s%s: %s",
            self.lease.entry_id, self.lease.session_id or "(none)", error.code,
            f" ({error.field})" if error.field else "", error.message,
        )  # fmt: skip
        self.context.metrics.ended(error.code.value)
        await self.settle("dead", error.code.value, may_come_again=error.code.retryable)

    async def _end_taken_out(self) -> None:
        """The entry is gone: another worker has ended the job, or somebody deleted it, and its session must hear so."""
        try:
            await self._end_failed(JobError(ErrorCode.INTERNAL, _TAKEN_OUT))
        except stream.Stop:
            self._note("was ended by another worker")
        except Refusal as refusal:
            await self._end_unwritable(str(refusal))

    async def _give_up_session(self, refusal: Refusal) -> None:
        """The session's keys refuse what a worker writes, such as one of another type: try again, or dead-letter."""
        attempt = self.lease.attempt
        if attempt < self.context.max_attempts:
            await self.settle("retry", _delay_ms(attempt))
            return
        await self._end_unwritable(str(refusal))

    async def _end_unwritable(self, reason: str) -> None:
        log.error(
            "job %s is dead-lettered, for session %s cannot be told: %s; delete its keys, or use another session",
            self.lease.entry_id, self.lease.session_id, reason,
        )  # fmt: skip
        self.context.metrics.ended(SESSION_UNWRITABLE)
        await self.settle("dead", SESSION_UNWRITABLE, may_come_again=True)

    async def _try_again(self, error: JobError) -> None:
        """The attempt failed, not the job: later, unless this was the last one and it got nowhere."""
        attempt = self._writer.n_fruitless
        if attempt >= self.context.max_attempts and not self._writer.has_progressed:
            await self._end_failed(error)
            return
        log.warning("job %s failed, attempt %d: %s", self.lease.entry_id, attempt, error.message)
        await self.settle("retry", _delay_ms(attempt))

    async def _leave_sick_engine(self) -> None:
        """Let another worker speak this. The attempt does not count, the first time.

        The text may be what broke the engine, so from the second time on it counts, and max_attempts ends the job.
        """
        is_first = await self.context.retry(lambda: self.context.queue.note_sick_engine(self.lease))
        await (self.settle("release") if is_first else self.settle("retry", 0))

    async def _confirm_lease(self, now: bool) -> None:
        pulse = self.pulse
        if not now and monotonic() - pulse.last_beat > self.context.lease_s / 2:
            await pulse.answer()  # Redis is far: it was asked already
        if pulse.is_lost:
            raise stream.Fenced
        if now or monotonic() - pulse.last_beat > self.context.lease_s / 2:
            await self._renew()

    async def _renew(self, n_attempts: int | None = None) -> None:
        at = monotonic()
        if not await self.context.retry(lambda: self.context.queue.beat(self.lease, n_attempts)):
            raise stream.Fenced
        self.pulse.last_beat = at

    def _note(self, what: str) -> None:
        log.info("job %s of session %s %s", self.lease.entry_id, self.lease.session_id, what)


def _delay_ms(attempt: int) -> int:
    return int(min(10.0, 0.5 * 2 ** min(attempt - 1, 10)) * 1000)


def _sayable(reason: str) -> str:
    """An engine's own words as the contract takes them: not empty, of a bounded length, UTF-8."""
    return reason.encode("utf-8", "replace").decode()[:1000] or "no reason was given"


_TAKEN_OUT = (
    "the job's entry was taken out of the job stream while it was spoken, and the session's next job began; publish it "
    "again, and cancel a job instead of deleting its entry"
)
_ERRORS: dict[type[Exception], tuple[ErrorCode, str]] = {
    stream.Expired: (
        ErrorCode.EXPIRED,
        "the job waited longer than its ttl_ms; publish it anew if it still matters",
    ),
    stream.AttemptsSpent: (ErrorCode.WORKER_LOST, "every worker that tried this job was lost; publish it anew"),
    stream.ProgressLost: (
        ErrorCode.INTERNAL,
        "the session's stream lost what was already spoken of this job, so it cannot go on; publish it anew",
    ),
}
