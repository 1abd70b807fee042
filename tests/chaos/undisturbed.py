"""The samples of an undisturbed utterance, which must be equal to the received ones to the last bit.

Preview: a worker speaks the job again. Qwen: its codes are sampled, so those on the job's own entries are decoded,
each segment in one call, and sent through the audio chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack
from itertools import count
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ErrorCode, JobError
from schemas.jobs import parse_job
from schemas.messages import Audio, Error
from schemas.wire import Entry, unpack_codes
from tests.chaos.ledger import Published
from tests.conftest import make_settings, running
from worker.audio.chain import Chain
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
CHANGES_NO_SAMPLE = {"session_id", "job_id", "ttl_ms", "traceparent"}

Codes = NDArray[np.uint16]
T = TypeVar("T")


class Expected(Protocol):
    """What a job is to sound like."""

    def pcm(self, job: Published, chunks: Sequence[Entry]) -> bytes:
        """The utterance's bytes in the job's encoding. chunks: its audio entries as heard, in their order.

        Raises JobError for a job that is to end with this error.
        """


class Preview:
    """Speaks jobs again with a worker and a Valkey of its own, in a thread; the same speech once only.

    settings: of that worker, as `make_settings` takes them. Jobs that name no seed are the same speech: espeak-ng
    samples nothing.
    """

    def __init__(self, **settings: object) -> None:
        self._changes = settings
        self._spoken: dict[frozenset[tuple[str, str]], bytes | JobError] = {}
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
            self._client = self._run(self._start(server.url))
            stack.callback(lambda: self._run(self._worker.aclose()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def pcm(self, job: Published, chunks: Sequence[Entry] = ()) -> bytes:
        key = frozenset((name, value) for name, value in job.fields.items() if name not in CHANGES_NO_SAMPLE)
        if key not in self._spoken:
            self._spoken[key] = self._run(self._speak(dict(key)))
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

    async def _speak(self, fields: dict[str, str]) -> bytes | JobError:
        session_id = next(self._session_ids)
        await self._client.publish({"session_id": session_id, **fields})
        data = b""
        async for _, entry in self._client.listen(session_id):
            if isinstance(entry.message, Audio):
                data += entry.message.data
            elif isinstance(entry.message, Error):
                return JobError(ErrorCode(entry.message.code), entry.message.message, entry.message.field)
            elif entry.type in TERMINAL:
                break
        return data


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

    def pcm(self, job: Published, chunks: Sequence[Entry]) -> bytes:
        asked = parse_job(job.entry_id, [word.encode() for pair in job.fields.items() for word in pair])
        voice = self._card(asked.voice or self._default_voice)
        state = self._state(voice)
        plan = SpeechPlan.of(asked, voice, self._speaker)
        if not plan.texts:
            return b""
        chain = Chain(asked.sample_rate, asked.encoding)
        data = b""
        for segment, codes in _codes(chunks).items():
            chain.begin_segment(plan.pause_ms(segment))
            data += chain.feed(self._decoded(codes, state)) + chain.end_segment()
        return data + chain.flush()

    def _card(self, name: str) -> Card:
        try:
            return self._voices.get(name)
        except UnknownVoice as error:
            raise JobError(ErrorCode.UNKNOWN_VOICE, str(error), "voice") from None

    def _state(self, voice: Card) -> Any:
        """The codec's after the voice's reference, as every slot begins."""
        try:
            return self._speaker._voice(voice).state
        except VoiceUnavailable as error:
            raise JobError(ErrorCode.VOICE_UNAVAILABLE, str(error), "voice") from None

    def _decoded(self, codes: Codes, state: Any) -> NDArray[np.float32]:
        """One call of the codec: [n, 16] -> float32 [n * 1920]."""
        import torch

        if not len(codes):
            return np.zeros(0, np.float32)
        runner = self._engine._runner
        with torch.inference_mode():
            runner.reset(0, state)
            pcm: NDArray[np.float32] = runner.decode([0], codes[None]).wait()[0]
        return pcm


def _codes(chunks: Sequence[Entry]) -> dict[int, Codes]:
    """The codes on these entries, [n, 16] by the segment's index."""
    written: dict[int, bytes] = {}
    for chunk in chunks:
        segment, _, codes = unpack_codes(chunk.codes or b"")
        written[segment] = written.get(segment, b"") + codes
    return {n: np.frombuffer(codes, "<u2").reshape(-1, N_CODEBOOKS).astype(np.uint16) for n, codes in written.items()}
