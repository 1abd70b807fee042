"""A rehearsal: an engine speaks texts as a worker does, into memory and without Redis.

The plan, the engine's thread, the delivery and the audio chain are the worker's. Only the session writer is replaced by
a list of chunks, from which another attempt can resume as after a take-over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from schemas.jobs import Job, job_fields, parse_job
from schemas.messages import Audio, SegmentStart
from schemas.wire import unpack_codes
from worker.audio.decode import decode
from worker.engine.base import N_CODEBOOKS, SAMPLE_RATE_HZ, Engine, VoiceUnavailable
from worker.engine.playback import Playback
from worker.engine.thread import EngineThread
from worker.stream.lease import Lease
from worker.stream.progress import DeliveredChunk, Progress
from worker.utterance.delivery import Delivery
from worker.utterance.hold import Hold
from worker.utterance.plan import SpeechPlan
from worker.voices.card import Card

ENCODING = "pcm_f32le"
ENTRY_ID = "0-0"


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance. pcm: float32 [n] at 24 kHz. seams: the samples at which later segments begin.

    texts: of the segments, as written. model: what spoke the first, as in begin.model.
    first_audible_ms: from handing over to the first audible sample's chunk.
    took_s: of the whole. finish: why it ended. chunks: as delivered.
    """

    pcm: NDArray[np.float32]
    seams: tuple[int, ...]
    texts: tuple[str, ...]
    model: str
    first_audible_ms: int
    took_s: float
    finish: str
    chunks: tuple[tuple[DeliveredChunk, bytes], ...]


class Rehearsal:
    """Speaks with one engine while its context is open. `cards` are warmed up. Raises what the engine raises."""

    def __init__(self, engine: Engine, cards: Sequence[Card]) -> None:
        self._cards = cards
        self._thread = EngineThread(engine)

    async def __aenter__(self) -> Self:
        await self._thread.start(self._cards)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._thread.close()

    async def speak(self, text: str, language: str, card: Card, seed: int = 0, after: Spoken | None = None) -> Spoken:
        """Speak a text. after: an attempt of the same text, whose chunks count as delivered. Raises MakimaError."""
        if (problem := self._thread.problem_with(card)) is not None:
            raise VoiceUnavailable(problem)
        plan = SpeechPlan.of(_job(text, language, seed), card, self._thread.engine)
        writer = _Memory([] if after is None else list(after.chunks))
        began = monotonic()
        delivery = Delivery(self._thread, cast(Any, writer), plan, _lease(), 0, Hold(Playback(), 0, asyncio.sleep))
        try:
            await delivery.run()
        finally:
            delivery.cancel()
        took_s = monotonic() - began
        engine = self._thread.engine
        model = engine.name if plan.is_silent else engine.model(plan.segment(0, Progress()))
        complete = delivery.complete(0, model)
        return Spoken(
            pcm=decode(ENCODING, b"".join(data for _, data in writer.chunks)),
            seams=writer.seams(),
            texts=tuple(piece.written for piece in plan.texts),
            model=model,
            first_audible_ms=complete.first_audio_ms,
            took_s=took_s,
            finish=complete.finish,
            chunks=tuple(writer.chunks),
        )


class _Memory:
    """The members of a SessionWriter that a delivery uses."""

    def __init__(self, chunks: list[tuple[DeliveredChunk, bytes]]) -> None:
        self.chunks = chunks
        self.resumed_at = self.delivered
        self.progress = Progress(len(chunks), tuple(chunk for chunk, _ in chunks))

    @property
    def delivered(self) -> int:
        return sum(len(data) for _, data in self.chunks) // 4

    @property
    def next_seq(self) -> int:
        return len(self.chunks)

    async def write(self, message: Audio, n_samples: int, codes: bytes, segment: SegmentStart | None) -> None:
        index, first_frame, raw = unpack_codes(codes)
        frames = np.frombuffer(raw, "<u2").reshape(-1, N_CODEBOOKS)
        self.chunks.append((DeliveredChunk(index, first_frame, frames, len(message.data)), message.data))

    def seams(self) -> tuple[int, ...]:
        """The first sample of each segment after the first."""
        found, n_samples, segment = [], 0, 0
        for chunk, data in self.chunks:
            if chunk.segment != segment:
                found.append(n_samples)
                segment = chunk.segment
            n_samples += len(data) // 4
        return tuple(found)


def _job(text: str, language: str, seed: int) -> Job:
    options = {"language": language, "seed": seed, "encoding": ENCODING, "sample_rate": SAMPLE_RATE_HZ}
    fields = job_fields(session_id="rehearsal", text=text, **cast(Any, options))
    return parse_job(ENTRY_ID, [part.encode() for pair in fields.items() for part in pair])


def _lease() -> Lease:
    """A lease that nobody else can take: a delivery only marks in it that it waits for the engine."""
    return Lease(ENTRY_ID, 1, 1, "rehearsal", [], monotonic(), renewals=cast(Any, None))
