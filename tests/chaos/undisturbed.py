"""The samples of an undisturbed utterance, which must be equal to the received ones to the last bit.

Preview: a worker speaks the job again. Qwen: its codes are sampled, so those on the job's own entries are decoded,
each segment in one call, and sent through the audio chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import redis
from numpy.typing import NDArray

from schemas.errors import ErrorCode, JobError
from schemas.jobs import parse_job
from schemas.messages import Audio, Error, SegmentStart
from schemas.wire import Entry, unpack_codes
from tests.chaos.ledger import Published
from tests.chaos.segments import Place
from tests.conftest import make_settings, running
from worker.audio.chain import Chain
from worker.audio.encode import bytes_per_sample
from worker.embedded import embedded_valkey
from worker.engine.base import N_CODEBOOKS, VoiceUnavailable
from worker.engine.choose import preview_engine
from worker.stream.client import TERMINAL, Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses
from worker.utterance.plan import SpeechPlan
from worker.voices.card import Card
from worker.voices.registry import Registry, UnknownVoice

if TYPE_CHECKING:
    from worker.engine.qwen.engine import QwenEngine
    from worker.voices.prompt_cache import PromptCache

WITHIN_S = 60.0
CHANGES_NO_SAMPLE = {"session_id", "job_id", "text_from", "ttl_ms", "traceparent", "ahead_ms"}

Codes = NDArray[np.uint16]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Speech:
    """An utterance. data: its bytes in the job's encoding. segments: where each begins, and its text."""

    data: bytes
    segments: tuple[Place, ...]


class Expected(Protocol):
    """What a job is to sound like."""

    def speech(self, job: Published, chunks: Sequence[Entry]) -> Speech:
        """The utterance. chunks: its audio entries as heard, in their order.

        A text without an end is spoken as if it ended with its last piece. Raises JobError for a job that is to end so.
        """


class Preview:
    """Speaks jobs again with a worker and a Valkey of its own, in a thread; the same speech once only.

    settings: of that worker, as `make_settings` takes them. Jobs that name no seed are the same speech: espeak-ng
    samples nothing.
    """

    def __init__(self, **settings: object) -> None:
        self._changes = settings
        self._spoken: dict[tuple[frozenset[tuple[str, str]], tuple[str, ...]], Speech | JobError] = {}
        self._session_ids = (f"undisturbed-{n}" for n in count())
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="undisturbed", daemon=True)

    def __enter__(self) -> Preview:
        with ExitStack() as stack:
            stack.callback(self._loop.close)
            self._thread.start()
            stack.callback(self._thread.join)
            stack.callback(self._loop.call_soon_threadsafe, self._loop.stop)
            server = stack.enter_context(embedded_valkey())
            self._redis = stack.enter_context(redis.Redis.from_url(server.url, protocol=2))
            self._client = self._run(self._start(server.url))
            stack.callback(lambda: self._run(self._worker.aclose()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def speech(self, job: Published, chunks: Sequence[Entry] = ()) -> Speech:
        parts = _parts(job)
        fields = frozenset((name, value) for name, value in job.fields.items() if name not in CHANGES_NO_SAMPLE)
        if (key := (fields, parts)) not in self._spoken:
            self._spoken[key] = self._run(self._speak(dict(fields), parts))
        spoken = self._spoken[key]
        if isinstance(spoken, JobError):
            raise spoken
        return spoken

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WITHIN_S)

    async def _start(self, url: str) -> Client:
        settings = make_settings(url, **self._changes)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(running(settings, preview_engine(settings, settings.slots)))
            client = await stack.enter_async_context(Client(*addresses(settings), Keys(settings.prefix)))
            self._worker = stack.pop_all()
        return client

    async def _speak(self, fields: dict[str, str], parts: Sequence[str]) -> Speech | JobError:
        """parts: of an open text. One that was never flushed sounds like any other text: that is the contract."""
        session_id = next(self._session_ids)
        job = {"session_id": session_id, "job_id": "job", "ahead_ms": "0"} | fields
        if len(parts) == 1:
            job["text"] = parts[0]
        elif parts:
            job["text_from"] = "stream"
            self._write(Keys().text(session_id, "job"), parts)
        await self._client.publish(job)
        data, places = b"", dict[int, Place]()
        async for _, entry in self._client.listen(session_id):
            if isinstance(entry.message, Audio):
                data += entry.message.data
            elif isinstance(entry.message, SegmentStart):
                places[entry.message.index] = (entry.message.pos, entry.message.text)
            elif isinstance(entry.message, Error):
                return JobError(ErrorCode(entry.message.code), entry.message.message, entry.message.field)
            elif entry.type in TERMINAL:
                break
        return Speech(data, tuple(places[index] for index in sorted(places)))

    def _write(self, key: str, parts: Sequence[str]) -> None:
        """The whole text at once, flushed after each part but the last."""
        for n, part in enumerate(parts):
            mark = "end" if n == len(parts) - 1 else "flush"
            self._redis.xadd(key, {"text": part, mark: "1"} if part else {mark: "1"})
        self._redis.expire(key, round(WITHIN_S))


class Qwen:
    """Decodes the codes in a job's entries.

    engine: of the weights and the dtype that the workers have, used by nobody else meanwhile.
    """

    def __init__(self, engine: QwenEngine, cache: PromptCache | None, voices: Registry, default_voice: str) -> None:
        from worker.engine.qwen.adapter import QwenSpeaker

        self._engine = engine
        self._speaker = QwenSpeaker(engine, cache)
        self._voices = voices
        self._default_voice = default_voice

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, voices_dir: Path, cache_dir: Path) -> Qwen:
        """Load the model on the CPU; cache_dir is the workers', so that their prompts are taken."""
        from worker.engine.qwen.engine import QwenEngine
        from worker.voices.prompt_cache import PromptCache

        engine = QwenEngine.load(str(checkpoint), device="cpu", dtype=dtype, slots=1, warm=False)
        return cls(engine, PromptCache(cache_dir / "prompts"), Registry.load(voices_dir), "placeholder")

    def speech(self, job: Published, chunks: Sequence[Entry]) -> Speech:
        parts = _parts(job)
        fields = {**job.fields, "text": "".join(parts)} if parts else {**job.fields}
        if parts:
            del fields["text_from"]
        asked = parse_job(job.entry_id, [word.encode() for pair in fields.items() for word in pair])
        voice = self._card(asked.voice or self._default_voice)
        state = self._state(voice)
        plan = SpeechPlan.of(asked, voice, self._speaker)
        if not plan.texts:
            return Speech(b"", ())
        chain = Chain(asked.sample_rate, asked.encoding)
        sample_bytes = bytes_per_sample(asked.encoding)
        data, places = b"", []
        for segment, codes in _codes(chunks).items():
            places.append((len(data) // sample_bytes, plan.texts[segment].written))
            chain.begin_segment(plan.pause_ms(segment))
            data += chain.feed(self._decoded(codes, state)) + chain.end_segment()
        return Speech(data + chain.flush(), tuple(places))

    def _card(self, name: str) -> Card:
        try:
            return self._voices.get(name)
        except UnknownVoice as error:
            raise JobError(ErrorCode.UNKNOWN_VOICE, str(error), "voice") from None

    def _state(self, voice: Card) -> Any:
        """The codec's after the voice's reference, as every slot begins."""
        try:
            return self._speaker._voices.get(voice).state
        except VoiceUnavailable as error:
            raise JobError(ErrorCode.VOICE_UNAVAILABLE, str(error), "voice") from None

    def _decoded(self, codes: Codes, state: Any) -> NDArray[np.float32]:
        """One call of the codec: [n, 16] -> float32 [n * 1920]."""
        import torch

        if not len(codes):
            return np.zeros(0, np.float32)
        codec = self._engine._runner.codec
        with torch.inference_mode():
            codec.reset(0, state)
            pcm: NDArray[np.float32] = codec.decode([0], codes[None]).wait()[0]
        return pcm


def _parts(job: Published) -> tuple[str, ...]:
    """An open text, cut where it was flushed. Raises JobError for a bad one."""
    if job.writing is None:
        return ()
    if job.writing.is_bad:
        raise JobError(ErrorCode.INVALID_FIELD, "an entry of its text is bad", None)
    return job.writing.parts


def _codes(chunks: Sequence[Entry]) -> dict[int, Codes]:
    """The codes on these entries, [n, 16] by the segment's index."""
    written: dict[int, bytes] = {}
    for chunk in chunks:
        segment, _, codes = unpack_codes(chunk.codes or b"")
        written[segment] = written.get(segment, b"") + codes
    return {n: np.frombuffer(codes, "<u2").reshape(-1, N_CODEBOOKS).astype(np.uint16) for n, codes in written.items()}
