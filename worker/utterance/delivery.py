"""Delivery: turns segments into frames and frames into chunks on the session's stream."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any

import numpy as np

from schemas.errors import ErrorCode, JobError
from schemas.messages import MAX_DATA_BYTES, Audio, Complete, SegmentStart
from schemas.wire import CODE_FRAME_BYTES, pack_codes
from worker.audio.chain import Chain
from worker.audio.encode import bytes_per_sample
from worker.engine.base import CHUNK_RAMP, SILENCE, Finish, Frames
from worker.engine.segment_stream import SegmentStream
from worker.engine.thread import EngineThread
from worker.stream.lease import Lease
from worker.stream.session_writer import SessionWriter
from worker.text import SegmentText, frame_budget, join
from worker.utterance.hold import Hold
from worker.utterance.plan import SpeechPlan
from worker.utterance.text_wait import TextWait


class Delivery:
    """Delivers a plan: reads frames from the engine, writes them as chunks, measures for `complete`.

    After a take-over, delivered frames pass through the audio chain again and their bytes are dropped, which restores
    the exact state of the chain's filters. begun_ms: the session Redis' clock at `begin`. text: waits for more of a
    text that is still being written; None where all texts are whole.
    """

    def __init__(
        self,
        engine: EngineThread,
        writer: SessionWriter,
        plan: SpeechPlan,
        lease: Lease,
        begun_ms: int,
        hold: Hold,
        text: TextWait | None = None,
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
        self._text = text
        self._idle_s = 0.0
        self._announced = dict(writer.progress.segments)  # index: text of the segment's entry
        self._n_bytes = 0  # that the chain returned
        self._pos = 0  # the sample at which the open segment begins

    @property
    def text_spoken(self) -> str:
        """The text of the segments of which samples were delivered, as the client wrote it."""
        texts = [self._announced.get(index) or self._plan.written(index) for index in range(self._n_begun)]
        return join([SegmentText(text, text) for text in texts])

    @property
    def audible_after_s(self) -> float | None:
        """From `begin` to the first audible audio that this attempt wrote; None before."""
        return self._audible_after_s

    @property
    def held_s(self) -> float:
        """Seconds for which the utterance waited for its listener or its text."""
        return self._hold.held_s + self._idle_s

    async def run(self) -> None:
        """Speak every segment; without any, write the final chunk without samples and leave the engine alone.

        Raises EngineError, JobError (no_audio), LeaseLost, `session_writer.Stop`, and as TextWait.
        """
        index = 0
        while await self._begins(index):
            await self._speak(index)
            index += 1
        if not index:
            if not self._writer.progress.is_whole:
                await self._append(0, b"", pack_codes(0, 0, b""), is_final=True)
        elif not self._writer.delivered:
            remedy = "send another text, or choose another voice"
            raise JobError(ErrorCode.NO_AUDIO, "the engine made no sound for this text", "text", remedy)

    def cancel(self) -> None:
        """Free the engine's slot; does nothing when no segment is open."""
        if self._stream is not None:
            self._stream.cancel()

    async def _begins(self, index: int) -> bool:
        """Wait until the segment's text can be spoken; False when there is no such segment."""
        rows = self._plan.rows
        while rows.begun(index) is None:
            if rows.follows(index) is False:
                return False
            await self._wait_for_text()
        return True

    async def _wait_for_text(self) -> None:
        assert self._text is not None, "a text that is whole has no more"
        began = monotonic()
        try:
            await self._text.idle()
        finally:
            self._idle_s += monotonic() - began

    async def _speak(self, index: int) -> None:
        if self._text is not None:
            await self._text.speaks()
        segment = self._plan.segment(index, self._writer.progress)
        stream = self._stream = self._engine.open(segment, self._hold.playback)
        self._pos = self._n_bytes // self._sample_bytes
        is_decided = self._plan.is_decided(index)
        self._chain.begin_segment(self._plan.pause_ms(index) if is_decided else None, is_decided=is_decided)
        feeding = None
        if segment.is_open and self._text is not None:
            feeding = asyncio.create_task(self._feed(stream, index, self._text))
        try:
            last = await self._deliver(stream, index, feeding)
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.wait([feeding])
        if last.finish is not None and last.finish is not Finish.STOP:
            self._finish = last.finish

    async def _deliver(self, stream: SegmentStream, index: int, feeding: asyncio.Task[None] | None) -> Frames:
        """Write the segment's chunks; returns its last frames."""
        unwritten: list[Frames] = []  # frames whose samples the chain still holds back or has trimmed
        while True:
            frames = await self._next(stream, feeding)
            unwritten.append(frames)
            if frames.ended and self._plan.is_decided(index):
                break
            data = self._fresh(self._chain.feed(frames.pcm) if frames.pcm.size else b"")
            if data or frames.ended:
                await self._write(index, unwritten, data, is_final=False)
                unwritten = []
            if frames.ended:
                frames = await self._ending(frames, index)
                unwritten.append(frames)
                break
        pause_ms = self._plan.pause_ms(index)
        self._chain.decide(pause_ms)
        data = self._chain.end_segment(frames.pcm)
        is_last = pause_ms is None
        data = self._fresh(data + self._chain.flush() if is_last else data)
        await self._write(index, unwritten, data, is_final=is_last)
        return frames

    async def _ending(self, last: Frames, index: int) -> Frames:
        """Wait until what follows the segment is known; returns its end without samples."""
        while not self._plan.is_decided(index):
            await self._wait_for_text()
        return Frames(last.slot, last.first_frame + last.n_frames, SILENCE, finish=last.finish)

    async def _feed(self, stream: SegmentStream, index: int, more: TextWait) -> None:
        """Give the engine the open segment's text as it comes."""
        n_given = len(stream.segment.text)
        while True:
            text = self._plan.rows.begun(index) or ""
            is_end = self._plan.rows.whole(index) is not None
            if len(text) > n_given or is_end:
                stream.extend(text[n_given:], is_end, frame_budget(text, stream.segment.language))
                n_given = len(text)
            if is_end:
                return
            await more.more()

    async def _next(self, stream: SegmentStream, feeding: asyncio.Task[None] | None) -> Frames:
        n_before = len(CHUNK_RAMP) if self._to_drop else self._n_written
        with self._lease.in_engine():  # waiting for a free slot counts as waiting for the engine
            taking = stream.take(CHUNK_RAMP[min(n_before, len(CHUNK_RAMP) - 1)])
            return await (taking if feeding is None else _unless_failed(taking, feeding))

    def _fresh(self, data: bytes) -> bytes:
        """The data without samples that earlier attempts delivered."""
        self._n_bytes += len(data)
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
            await self._append(index, part, pack_codes(index, first_frame, codes), is_final and part is parts[-1])
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

    async def _append(self, index: int, data: bytes, codes: bytes, is_final: bool) -> None:
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
        segment = self._to_announce(index)
        await self._writer.write(message, n_samples, codes, segment)
        if n_samples:
            self._hold.playback.wrote(n_samples / self._plan.job.sample_rate)
        if segment is not None:
            self._announced[index] = segment.text

    def _to_announce(self, index: int) -> SegmentStart | None:
        """The entry that names the segment: with its first chunk, and again where its text has become complete."""
        text = self._plan.written(index)
        is_known = index in self._announced and (self._announced[index] == text or self._plan.rows.whole(index) is None)
        if is_known or not text:
            return None
        job = self._plan.job
        return SegmentStart(job_id=job.job_id, session_id=job.session_id, index=index, pos=self._pos, text=text)

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
            rtf=(monotonic() - self._began_at - self.held_s) / spoken_s if spoken_s else 0.0,
            seed=job.seed,
            voice=self._plan.voice.name,
            model=model,
            text_spoken=self.text_spoken,
        )


async def _unless_failed(taking: Coroutine[Any, Any, Frames], feeding: asyncio.Task[None]) -> Frames:
    """The frames; raises what ends the feeding before they come."""
    taken = asyncio.create_task(taking)
    try:
        await asyncio.wait({taken, feeding}, return_when=asyncio.FIRST_COMPLETED)
        if not taken.done() and feeding.exception() is None:
            await asyncio.wait({taken})
        if not taken.done():
            feeding.result()
        return taken.result()
    finally:
        taken.cancel()
