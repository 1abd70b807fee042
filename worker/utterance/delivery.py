"""The straight line of an utterance: text to segments, segments to frames, frames to chunks."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from schemas.errors import ErrorCode, JobError
from schemas.jobs import MAX_SEED, Job
from schemas.messages import Audio, Complete
from schemas.wire import pack_codes
from worker.audio.chain import Chain
from worker.audio.encode import bytes_per_sample
from worker.engine.base import FRAME_RATE_HZ, Arithmetic, Finish, Frames, Resume, Segment
from worker.engine.segment_stream import SegmentStream
from worker.engine.thread import EngineThread
from worker.stream.heartbeat import Pulse
from worker.stream.progress import Progress
from worker.stream.session_writer import SessionWriter
from worker.text import SegmentText, frame_budget, join, plan
from worker.voices.card import Card

# The most frames of the first, second, … chunk: sound early, then fewer entries.
RAMP_FRAMES = (1, 2, 4, 8, 12)


@dataclass(slots=True)
class SpeechPlan:
    """What is to be spoken: the job, its voice, its segments. n_begun: segments of which the session has samples."""

    job: Job
    voice: Card
    has_codes: bool
    pieces: tuple[SegmentText, ...] = field(init=False)
    n_begun: int = 0

    def __post_init__(self) -> None:
        self.pieces = plan(self.job.text, self.job.language, self.voice.lexicon)
        if not self.pieces:
            raise JobError(ErrorCode.TEXT_EMPTY, "nothing in the text can be spoken; send letters or digits", "text")

    @property
    def text_spoken(self) -> str:
        return join(self.pieces[: self.n_begun])

    def resumed_by(self, writer: SessionWriter) -> str | None:
        if not writer.delivered:
            return None
        segments = {mark.segment for mark in writer.progress.marks}
        whole = all(writer.progress.codes_of(segment) is not None for segment in range(max(segments, default=-1) + 1))
        return "codes" if self.has_codes and segments and whole else "regenerated"

    def resumed_exactly(self, writer: SessionWriter, arithmetic: Arithmetic | None) -> bool | None:
        """Whether the samples go on as the earlier attempts would have gone on, to the last bit; None at the first."""
        if not writer.delivered:
            return None
        is_alike = arithmetic is not None and arithmetic.is_exact and writer.progress.computed_on == {arithmetic.name}
        # Spoken again, an engine with codes may choose another code at a near tie.
        return is_alike and (not self.has_codes or self.resumed_by(writer) == "codes")

    def segment(self, index: int, progress: Progress) -> Segment:
        """The index-th segment for the engine, with what was spoken of it before."""
        text = self.pieces[index].spoken
        max_frames = frame_budget(text, self.job.language)
        return Segment(
            text=text,
            language=self.job.language,
            voice=self.voice,
            seed=(self.job.seed + index) & MAX_SEED,
            max_frames=max_frames,
            temperature=self.job.temperature,
            resume=self._resume(index, progress, max_frames),
        )

    def _resume(self, index: int, progress: Progress, max_frames: int) -> Resume | None:
        last = progress.marks[-1] if progress.marks else None
        if last is None or index > last.segment:
            return None
        if self.has_codes:  # without its codes it is spoken again, with the same seed
            codes = progress.codes_of(index)
            return None if codes is None else Resume(len(codes), codes)
        if index < last.segment:
            return Resume(max_frames)
        frame_bytes = bytes_per_sample(self.job.encoding) * self.job.sample_rate / FRAME_RATE_HZ
        return Resume(last.first_frame + round(last.n_bytes / frame_bytes))


class Delivery:
    """Runs a Take from the engine into the outbox, and keeps the figures of `complete`."""

    def __init__(
        self, engine: EngineThread, writer: SessionWriter, take: SpeechPlan, pulse: Pulse, begun_ms: int
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._plan = take
        self._pulse = pulse
        self._begun_ms = begun_ms
        self._began_at = monotonic()
        self._chain = Chain(take.job.sample_rate, take.job.encoding)
        self._sample_bytes = bytes_per_sample(take.job.encoding)
        self._to_drop = writer.delivered * self._sample_bytes  # bytes the session has already
        self._resumed_at = writer.resumed_at or 0
        if writer.progress.marks:
            take.n_begun = writer.progress.marks[-1].segment + 1
        self._n_written = 0
        self._audible_after_s: float | None = None
        self._finish = Finish.STOP
        self._speech: SegmentStream | None = None

    async def run(self) -> None:
        """Speak every segment. Raises EngineError, JobError (no_audio) and `worker.stream.session_writer.Stop`."""
        last = len(self._plan.pieces) - 1
        for index in range(last + 1):
            await self._speak(index, is_last=index == last)
        if not self._writer.delivered:
            raise JobError(ErrorCode.NO_AUDIO, "the engine made no sound of this text", "text")

    def cancel(self) -> None:
        """Free the slot; harmless when nothing is open."""
        if self._speech is not None:
            self._speech.cancel()

    async def _speak(self, index: int, is_last: bool) -> None:
        speech = self._speech = self._engine.open(self._plan.segment(index, self._writer.progress))
        self._chain.begin_segment()
        unwritten: list[Frames] = []  # whose samples the chain still holds back, or drops
        while True:
            frames = await self._next(speech)
            unwritten.append(frames)
            data = self._fresh(self._through_chain(frames, is_last))
            if data or frames.ended:
                await self._write(index, unwritten, data, is_final=frames.ended and is_last)
                unwritten = []
            if frames.ended:
                if frames.finish is not None and frames.finish is not Finish.STOP:
                    self._finish = frames.finish
                return

    async def _next(self, speech: SegmentStream) -> Frames:
        self._pulse.waits = False  # for the engine, even where it is a slot that is waited for
        try:
            n_before = len(RAMP_FRAMES) if self._to_drop else self._n_written
            return await speech.take(RAMP_FRAMES[min(n_before, len(RAMP_FRAMES) - 1)])
        finally:
            self._pulse.waits = True

    def _through_chain(self, frames: Frames, is_last: bool) -> bytes:
        if not frames.ended:
            return self._chain.feed(frames.pcm) if frames.pcm.size else b""
        data = self._chain.end_segment(frames.pcm)
        return data + self._chain.flush() if is_last else data

    def _fresh(self, data: bytes) -> bytes:
        """Without what the session was given before a take-over."""
        dropped = min(self._to_drop, len(data))
        self._to_drop -= dropped
        return data[dropped:]

    async def _write(self, index: int, frames: list[Frames], data: bytes, is_final: bool) -> None:
        if self._writer.progress.is_whole or (is_final and not data and not self._writer.delivered):
            return
        if self._to_drop and not is_final:  # more than there is left to drop only where it was spoken again shorter
            return
        first_frame, codes = self._unmarked(index, frames)
        if not (data or is_final or codes):
            return
        message = Audio(
            v=1,
            type="audio",
            job_id=self._plan.job.job_id,
            session_id=self._plan.job.session_id,
            seq=self._writer.next_seq,
            pos=self._writer.delivered,
            data=data,
            is_final=is_final,
        )
        n_samples = len(data) // self._sample_bytes
        await self._writer.write(message, n_samples, pack_codes(index, first_frame, codes))
        self._n_written += 1
        self._plan.n_begun = max(self._plan.n_begun, index + 1)
        if self._audible_after_s is None and self._chain.audible_at is not None:
            self._audible_after_s = monotonic() - self._began_at

    def _unmarked(self, index: int, frames: list[Frames]) -> tuple[int, bytes]:
        """First frame and codes of what is about to be written, without frames whose codes the stream has."""
        first_frame = frames[0].first_frame
        codes = frames[0].codes if len(frames) == 1 else np.concatenate([part.codes for part in frames])
        if not len(codes):
            return first_frame, b""
        known = self._writer.progress.codes_of(index)
        n_known = 0 if known is None else min(max(0, len(known) - first_frame), len(codes))
        return first_frame + n_known, codes[n_known:].astype("<u2").tobytes()

    def complete(self, published_ms: int, model: str) -> Complete:
        """The figures. After a take-over first_audio_ms counts to the first begin on the stream: a lower bound."""
        job, writer = self._plan.job, self._writer
        began_ms = writer.progress.began_ms if self._resumed_at and writer.progress.began_ms else self._begun_ms
        queue_ms = max(0, began_ms - published_ms)
        first_audio_ms = queue_ms + (0 if self._resumed_at else round((self._audible_after_s or 0) * 1000))
        spoken_s = (writer.delivered - self._resumed_at) / job.sample_rate
        return Complete(
            v=1,
            type="complete",
            job_id=job.job_id,
            session_id=job.session_id,
            finish=self._finish.value,
            samples=writer.delivered,
            chunks=writer.next_seq,
            audio_ms=round(writer.delivered * 1000 / job.sample_rate),
            queue_ms=queue_ms,
            first_audio_ms=first_audio_ms,
            leading_silence_ms=round(self._chain.leading_silence_ms),
            rtf=(monotonic() - self._began_at) / spoken_s if spoken_s else 0.0,
            seed=job.seed,
            voice=self._plan.voice.name,
            model=model,
            text_spoken=self._plan.text_spoken,
        )
