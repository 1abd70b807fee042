"""The utterance, one attempt at one job: parse, admission, BEGIN, delivery, END, SETTLE.

An exception leaves that sequence; `run` maps each one to an ending in `outcome`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from schemas.errors import ErrorCode, JobError
from schemas.jobs import Job, field_of, job_id_of, parse_job
from worker.engine.base import EngineClosed, EngineError, EngineSick, VoiceUnavailable
from worker.stream import session_writer as stream
from worker.stream.begin_request import BeginRequest
from worker.stream.lease import Lease, LeaseLost
from worker.stream.progress import Progress
from worker.stream.queue import Settled
from worker.stream.session_writer import SessionWriter
from worker.stream.transport.retry import Refusal
from worker.utterance.admission import Permit, WorkerReserved
from worker.utterance.context import WorkerContext
from worker.utterance.delivery import Delivery
from worker.utterance.hold import Hold, playback_of
from worker.utterance.outcome import Outcome
from worker.utterance.plan import SpeechPlan
from worker.utterance.text_wait import TextWait, taker
from worker.utterance.vigil import READ_S, Vigil
from worker.voices.card import Card
from worker.voices.registry import UnknownVoice

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Utterance:
    """One attempt at one job. job_id: known even if the rest of the job is invalid."""

    context: WorkerContext
    lease: Lease
    job_id: str = field(init=False)
    _writer: SessionWriter = field(init=False)
    _outcome: Outcome = field(init=False)
    _hold: Hold | None = field(init=False, default=None)
    _text_key: str | None = field(init=False)
    _text: TextWait | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.job_id = job_id_of(self.lease.entry_id, self.lease.fields)
        is_open = field_of(self.lease.fields, "text_from") is not None
        self._text_key = self.context.plane.keys.text(self.lease.session_id, self.job_id) if is_open else None
        self._writer = SessionWriter(self.context.plane, self.lease, self.job_id, self._text_key)
        trace = self.context.tracing.attempt(self.lease, self.job_id)
        self._outcome = Outcome(self.context, self.lease, self.job_id, self._writer, trace)

    @property
    def is_resting(self) -> bool:
        """Whether it needs no slot of its worker's now: it waits for text, or its listener is far behind."""
        is_idle = self._text is not None and self._text.is_idle
        return is_idle or (self._hold is not None and self._hold.is_far_ahead)

    async def run(self) -> None:
        """Speak the job and settle it. Cancelling the asyncio task stops all writing and settles nothing."""
        outcome = self._outcome
        with outcome.trace, self.context.admission.permit() as permit:
            try:
                await self._run(permit)
            except LeaseLost:
                outcome.log("was taken over by another worker")
                self.context.metrics.lost_leases.inc()
            except (stream.Displaced, stream.Rewound) as stop:
                await outcome.give_back(stop)
            except stream.AlreadyEnded as ended:
                may_come_again = ended.code in _RETRYABLE
                await outcome.settle("dead" if ended.kind == "error" else "ok", ended.kind, may_come_again)
            except stream.StreamFull:
                await outcome.end_unwritable("a client wrote an entry ID near the maximum, so its stream is exhausted")
            except Refusal as refusal:
                await outcome.give_up_session(refusal)

    async def give_back(self) -> Settled:
        """Return the job to the queue without counting this attempt; only after `run` was cancelled."""
        return await self._outcome.settle("release")

    async def _run(self, permit: Permit) -> None:
        outcome = self._outcome
        try:
            if self.lease.repeats and await self._writer.repeat(self.lease.repeats):
                await outcome.settle("ok")
            else:
                await self._speak(permit)
        except (stream.CancelRequested, stream.RelayLeft) as stop:
            await outcome.end_cancelled(has_left=isinstance(stop, stream.RelayLeft))
        except JobError as error:
            await outcome.end_failed(error)
        except EngineSick:
            await outcome.leave_sick_engine()
        except (EngineClosed, WorkerReserved):
            await outcome.settle("release")
        except VoiceUnavailable as error:
            await outcome.end_failed(JobError(ErrorCode.VOICE_UNAVAILABLE, error.problem, "voice", error.remedy))
        except EngineError as error:
            await outcome.try_again(JobError(ErrorCode.ENGINE_FAILED, f"the speech engine failed: {error}"))
        except tuple(_ERRORS) as stop:
            code, problem = _ERRORS[type(stop)]
            await outcome.end_failed(JobError(code, problem, remedy=PUBLISH_AGAIN))
        except (LeaseLost, Refusal, stream.Stop):
            raise
        except Exception:
            log.exception("job %s failed with an unexpected error", self.lease.entry_id)
            await outcome.try_again(JobError(ErrorCode.INTERNAL, "the worker failed on this job", remedy="see its log"))

    async def _speak(self, permit: Permit) -> None:
        context = self.context
        job, voice = self._read()
        plan = SpeechPlan.of(job, voice, context.engine.engine)
        request = self._begin_request(plan)
        if not plan.is_silent:
            self._check_voice(voice)
            await self._be_admitted(permit, request)
        begun_ms = await self._writer.begin(request)
        context.metrics.attempts.observe(self._writer.attempt)
        self._outcome.trace.begun(request, self._writer, begun_ms - self.lease.published_ms)
        if plan.text is not None:
            plan.resume(self._writer.progress)
        on_piece = None if plan.text is None else taker(plan.text, context.max_text_chars)
        watch = context.watch(self.lease.session_id, self._text_key)
        vigil = Vigil(watch, self._writer, on_piece, min(READ_S, context.text_wait_s))
        limit_ms = context.ahead_ms if job.ahead_ms is None else job.ahead_ms
        playback = playback_of(self._writer, job.sample_rate, begun_ms, limit_ms)
        self._hold = hold = Hold(playback, limit_ms, vigil.wait, lambda: context.admission.is_reserved)
        text = self._text = TextWait(vigil, self.lease, context.text_wait_s, context.on_idle)
        delivery = Delivery(context.engine, self._writer, plan, self.lease, begun_ms, hold, text)
        self._outcome.delivery = delivery
        try:
            await delivery.run()
        finally:
            delivery.cancel()
            self._outcome.trace.audible(delivery.audible_after_s)
            await vigil.close()
        complete = delivery.complete(self.lease.published_ms, self._model(plan) if plan.text else request.model)
        await self._writer.end(complete, held_ms=self._outcome.held_ms)
        context.metrics.completed(complete)
        self._outcome.trace.completed(complete)
        await self._outcome.settle("ok")

    async def _be_admitted(self, permit: Permit, request: BeginRequest) -> None:
        """Wait until the job may run. A suspected poison job spends no attempt while it waits."""
        lease = self.lease
        if lease.attempt > 1:
            await self._writer.peek(request)
        if lease.attempt == 1 or self._writer.n_fruitless == 1:
            await permit.may_speak(is_poison_suspect=False)
            return
        await lease.renew(lease.attempt - 1)
        await permit.may_speak(is_poison_suspect=True)
        await lease.renew(lease.attempt)

    def _read(self) -> tuple[Job, Card]:
        job = parse_job(self.lease.entry_id, self.lease.fields, self.context.max_text_chars)
        name = job.voice or self.context.default_voice
        try:
            voice = self.context.voices().get(name)
        except UnknownVoice as error:
            raise JobError(ErrorCode.UNKNOWN_VOICE, error.problem, "voice", error.remedy) from None
        return job, voice

    def _check_voice(self, voice: Card) -> None:
        if (problem := self.context.engine.problem_with(voice)) is not None:
            raise JobError(ErrorCode.VOICE_UNAVAILABLE, problem, "voice")

    def _model(self, plan: SpeechPlan) -> str:
        engine = self.context.engine.engine
        return engine.name if plan.is_silent else engine.model(plan.segment(0, Progress()))

    def _begin_request(self, plan: SpeechPlan) -> BeginRequest:
        arithmetic = self.context.arithmetic
        return BeginRequest(
            voice=plan.voice.name,
            model=self._model(plan),
            sample_rate=plan.job.sample_rate,
            encoding=plan.job.encoding.value,
            deadline_ms=self.lease.published_ms + plan.job.ttl_ms,
            max_attempts=self.context.max_attempts,
            has_codes=plan.has_codes,
            computed_on=arithmetic.name if arithmetic else None,
            is_exact=arithmetic is not None and arithmetic.is_exact,
            language=plan.language,
            traceparent=self._outcome.trace.traceparent,
        )


_RETRYABLE = frozenset(code.value for code in ErrorCode if code.retryable)
PUBLISH_AGAIN = "publish it again if it is still needed"
_ERRORS: dict[type[Exception], tuple[ErrorCode, str]] = {
    stream.Expired: (
        ErrorCode.EXPIRED,
        "the job waited longer than its ttl_ms",
    ),
    stream.AttemptsSpent: (ErrorCode.WORKER_LOST, "every worker that tried this job died"),
    stream.ProgressLost: (
        ErrorCode.INTERNAL,
        "the session's stream lost this job's delivered audio, so it cannot resume",
    ),
}
