"""Delivery: turns segments into frames and frames into chunks on the session's stream."""

from __future__ import annotations

from time import monotonic

import numpy as np

from schemas.errors import ErrorCode, JobError
from schemas.messages import MAX_DATA_BYTES, Audio, Complete
from schemas.wire import CODE_FRAME_BYTES, pack_codes
from worker.audio.chain import Chain
from worker.audio.encode import bytes_per_sample
from worker.engine.base import CHUNK_RAMP, Finish, Frames
from worker.engine.segment_stream import SegmentStream
from worker.engine.thread import EngineThread
from worker.stream.lease import Lease
from worker.stream.session_writer import SessionWriter
from worker.utterance.hold import Hold
from worker.utterance.plan import SpeechPlan


class Delivery:
    """Delivers a plan: reads frames from the engine, writes them as chunks, measures for `complete`.

    After a take-over, delivered frames pass through the audio chain again and their bytes are dropped, which restores
    the exact state of the chain's filters. begun_ms: the session Redis' clock at `begin`.
    """

    def __init__(
        self, engine: EngineThread, writer: SessionWriter, plan: SpeechPlan, lease: Lease, begun_ms: int, hold: Hold
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._plan = plan
        self._lease = lease
        self._begun_ms = begun_ms
        self._hold = hold
        self._began_at = monotonic()
        self._chain = Chain(plan.job.sample_rate, plan.job.encoding)
        self._sample_bytes = bytes_per_sample(plan.job.encoding)
        self._to_drop = writer.delivered * self._sample_bytes  # bytes of delivered samples, to be replayed
        self._resumed_at = writer.resumed_at or 0
        chunks = writer.progress.chunks
        self._n_begun = chunks[-1].segment + 1 if chunks else 0  # segments of which samples were delivered
        self._n_written = 0
        self._audible_after_s: float | None = None
        self._finish = Finish.STOP
        self._stream: SegmentStream | None = None

    @property
    def text_spoken(self) -> str:
        """The text of the segments of which samples were delivered, as the client wrote it."""
        return self._plan.text_of(self._n_begun)

    @property
    def audible_after_s(self) -> float | None:
        """From `begin` to the first audible audio that this attempt wrote; None before."""
        return self._audible_after_s

    async def run(self) -> None:
        """Speak every segment; without any, write the final chunk without samples and leave the engine alone.

        Raises EngineError, JobError (no_audio), LeaseLost and `session_writer.Stop`.
        """
        if not self._plan.texts:
            if not self._writer.progress.is_whole:
                await self._append(b"", pack_codes(0, 0, b""), is_final=True)
            return
        last = len(self._plan.texts) - 1
        for index in range(last + 1):
            await self._speak(index, is_last=index == last)
        if not self._writer.delivered:
            remedy = "send another text, or choose another voice"
            raise JobError(ErrorCode.NO_AUDIO, "the engine made no sound for this text", "text", remedy)

    def cancel(self) -> None:
        """Free the engine's slot; does nothing when no segment is open."""
        if self._stream is not None:
            self._stream.cancel()

    async def _speak(self, index: int, is_last: bool) -> None:
        stream = self._stream = self._engine.open(self._plan.segment(index, self._writer.progress), self._hold.playback)
        self._chain.begin_segment(self._plan.pause_ms(index))
        unwritten: list[Frames] = []  # frames whose samples the chain still holds back or has trimmed
        while True:
            frames = await self._next(stream)
            unwritten.append(frames)
            data = self._fresh(self._through_chain(frames, is_last))
            if data or frames.ended:
                await self._write(index, unwritten, data, is_final=frames.ended and is_last)
                unwritten = []
            if frames.ended:
                if frames.finish is not None and frames.finish is not Finish.STOP:
                    self._finish = frames.finish
                return

    async def _next(self, stream: SegmentStream) -> Frames:
        n_before = len(CHUNK_RAMP) if self._to_drop else self._n_written
        with self._lease.in_engine():  # waiting for a free slot counts as waiting for the engine
            return await stream.take(CHUNK_RAMP[min(n_before, len(CHUNK_RAMP) - 1)])

    def _through_chain(self, frames: Frames, is_last: bool) -> bytes:
        if not frames.ended:
            return self._chain.feed(frames.pcm) if frames.pcm.size else b""
        data = self._chain.end_segment(frames.pcm)
        return data + self._chain.flush() if is_last else data

    def _fresh(self, data: bytes) -> bytes:
        """The data without samples that earlier attempts delivered."""
        dropped = min(self._to_drop, len(data))
        self._to_drop -= dropped
        return data[dropped:]

    async def _write(self, index: int, frames: list[Frames], data: bytes, is_final: bool) -> None:
        if self._writer.progress.is_whole or (is_final and not data and not self._writer.delivered):
            return
        if self._to_drop and not is_final:  # replay: this segment is shorter than the delivered one
            return
        first_frame, codes = self._new_codes(index, frames)
        if not (data or is_final or codes):
            return
        parts = self._messages_data(data)
        for part in parts:
            await self._append(part, pack_codes(index, first_frame, codes), is_final and part is parts[-1])
            first_frame, codes = first_frame + len(codes) // CODE_FRAME_BYTES, b""
        self._n_written += 1
        self._n_begun = max(self._n_begun, index + 1)
        if self._audible_after_s is None and self._chain.audible_at is not None:
            self._audible_after_s = monotonic() - self._began_at

    def _messages_data(self, data: bytes) -> list[bytes]:
        """The data cut into what one message may carry: silence that the chain held back comes with what follows it."""
        most = int(min(MAX_DATA_BYTES // self._sample_bytes, self._hold.most_s * self._plan.job.sample_rate))
        most *= self._sample_bytes
        return [data[at : at + most] for at in range(0, len(data), most)] or [b""]

    async def _append(self, data: bytes, codes: bytes, is_final: bool) -> None:
        n_samples = len(data) // self._sample_bytes
        await self._hold.until_due(n_samples / self._plan.job.sample_rate)
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
        await self._writer.write(message, n_samples, codes)
        if n_samples:
            self._hold.playback.wrote(n_samples / self._plan.job.sample_rate)

    def _new_codes(self, index: int, frames: list[Frames]) -> tuple[int, bytes]:
        """Codes ([n, 16] uint16, little-endian) that are not on the stream yet, and the index of their first frame."""
        first_frame = frames[0].first_frame
        codes = frames[0].codes if len(frames) == 1 else np.concatenate([part.codes for part in frames])
        if not len(codes):
            return first_frame, b""
        known = self._writer.progress.codes_of(index)
        n_known = 0 if known is None else min(max(0, len(known) - first_frame), len(codes))
        return first_frame + n_known, codes[n_known:].astype("<u2").tobytes()

    def complete(self, published_ms: int, model: str) -> Complete:
        """The complete message. After a take-over first_audio_ms ends at the first `begin`: a lower bound.

        A text without speech has no first audio: the figure is 0.
        """
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
            finish=self._finish.value if writer.delivered else "silent",
            samples=writer.delivered,
            chunks=writer.next_seq,
            audio_ms=round(writer.delivered * 1000 / job.sample_rate),
            queue_ms=queue_ms,
            first_audio_ms=first_audio_ms if writer.delivered else 0,
            leading_silence_ms=round(self._chain.leading_silence_ms),
            rtf=(monotonic() - self._began_at - self._hold.held_s) / spoken_s if spoken_s else 0.0,
            seed=job.seed,
            voice=self._plan.voice.name,
            model=model,
            text_spoken=self.text_spoken,
        )
