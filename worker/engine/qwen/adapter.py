"""The Qwen engine behind the worker's Engine protocol: voices from cards, prompts from the cache, one live batch.

A resumed segment emits its delivered frames again, decoded from their codes, which restores the state of the caller's
audio chain. A model that runs away is stopped here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch

from worker.engine.base import (
    FRAME_SAMPLES,
    Arithmetic,
    EngineClosed,
    EngineError,
    Finish,
    Frames,
    Segment,
    VoiceUnavailable,
)
from worker.engine.checkpoint import GIB
from worker.engine.checkpoint.room import SlotCount
from worker.engine.qwen.arithmetic import arithmetic_of
from worker.engine.qwen.batch import Batch
from worker.engine.qwen.chunks import Schedule
from worker.engine.qwen.engine import QwenEngine
from worker.engine.qwen.runaway import Runaway
from worker.engine.qwen.sampler import Sampling
from worker.engine.qwen.speech import SpeechRequest
from worker.engine.qwen.voices import CardVoices
from worker.voices.card import Card
from worker.voices.prompt_cache import PromptCache

log = logging.getLogger(__name__)


class QwenSpeaker:
    """An Engine over a QwenEngine. cache: of prompts; None makes them at every start."""

    has_codes = True
    takes_open_text = True

    def __init__(self, engine: QwenEngine, cache: PromptCache | None) -> None:
        self._engine = engine
        self._batch: Batch = engine.batch(Schedule(), is_live=True)
        self._voices = CardVoices(engine, cache)
        self._runaways: dict[int, Runaway] = {}
        self._is_closed = False

    @classmethod
    def load(cls, model: str, device: str, dtype: str, slots: SlotCount, cache_dir: Path | None) -> QwenSpeaker:
        """Load the model. slots: as in `QwenEngine.load`. cache_dir: None keeps no prompts. Raises ModelError."""
        engine = QwenEngine.load(model, device=device, dtype=dtype, slots=slots, warm=False)
        if engine.model.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            # The event loop needs a core of its own: torch's threads spin while one of them waits for it.
            torch.set_num_threads(max(1, torch.get_num_threads() - 1))
        return cls(engine, None if cache_dir is None else PromptCache(cache_dir / "prompts"))

    @property
    def name(self) -> str:
        return self._engine.model.name

    def model(self, segment: Segment) -> str:
        return self.name

    @property
    def n_slots(self) -> int:
        return self._engine.n_slots

    @property
    def gpu(self) -> str | None:
        device = self._engine.model.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else None

    @property
    def arithmetic(self) -> Arithmetic:
        return arithmetic_of(self._engine.model)

    @property
    def memory_bytes(self) -> int:
        return self._engine.memory_bytes

    @property
    def eager_launches(self) -> dict[str, int] | None:
        return self._engine.eager_launches

    def warm_up(self, voices: Sequence[Card]) -> None:
        """Make every voice's prompt, warm every shape up, and speak one segment through every stage."""
        began = perf_counter()
        self._engine.warm_up()
        speakable = [card for card in voices if self._can_speak(card)]
        if speakable:
            card = speakable[0]
            slot = self.open(Segment("Ready.", card.languages[0], card, seed=0, max_frames=8))
            while slot in self._batch.open_slots:
                self.step()
        log.info(
            "%s is warm after %.1f s: %d voices, %d slots, %.2f GiB",
            self.name, perf_counter() - began, len(speakable), self.n_slots, self.memory_bytes / GIB,
        )  # fmt: skip

    def has_voice(self, voice: Card) -> bool:
        return self._voices.has(voice)

    def check(self, voice: Card) -> None:
        """Make the voice's prompt if it is not made yet, on a CPU with one thread. Raises VoiceUnavailable."""
        self._voices.make(voice, n_threads=1)

    def check_device(self) -> None:
        if (device := self._engine.model.device).type == "cuda":
            torch.cuda.current_stream(device).synchronize()

    def open(self, segment: Segment) -> int:
        """Start a segment; returns its slot. Raises EngineError, VoiceUnavailable."""
        if self._is_closed:
            raise EngineClosed("the engine is closed")
        resume = segment.resume
        if resume is not None and resume.codes is None and resume.n_frames:
            raise EngineError("a segment to resume has no codes")
        utterance = SpeechRequest(
            text=segment.text,
            voice=self._voices.get(segment.voice),
            language=segment.language,
            sampling=_sampling(segment),
            seed=segment.seed,
            resume=None if resume is None or resume.codes is None else resume.codes,
        )
        if segment.voice.text == "streaming":
            active = self._engine.prepare_read_along(utterance, segment.max_frames, segment.is_open)
        else:
            # Without max_frames the budget is the text's, within the slot's room; a text of digits may have a larger.
            active = self._engine.prepare(utterance, emits_resumed=True)
            n_resumed = resume.n_frames if resume else 0
            active.max_frames = max(min(active.max_frames, segment.max_frames), n_resumed)
        active.resumed_lead_s = resume.lead_s if resume else 0.0
        slot = self._batch.open(active)
        self._runaways[slot] = Runaway()
        return slot

    def extend(self, slot: int, text: str, is_end: bool, max_frames: int) -> None:
        """Append text to an open segment. Raises EngineError: then the slot is free."""
        try:
            self._batch.extend(slot, text, is_end, max_frames)
        except Exception:
            self._batch.drop(slot)
            self._runaways.pop(slot, None)
            raise

    def step(self, paused: Collection[int] = ()) -> list[Frames]:
        """Advance every slot that is not paused. Raises EngineError when the batch failed; then every slot is free."""
        try:
            emitted = self._batch.step(paused)
        except Exception as error:
            self._batch.reset()
            self._runaways.clear()
            raise EngineError(f"a step of the model failed: {type(error).__name__}: {error}") from error
        return [self._judged(frames) for frames in emitted if frames.slot in self._runaways]

    def wait_s(self, paused: Collection[int] = ()) -> float:
        """0 while an open slot is neither paused nor held, else inf."""
        return self._batch.wait_s(paused)

    def cancel(self, slot: int) -> None:
        """End this slot's segment with the next step."""
        self._batch.cancel(slot)

    def close(self) -> None:
        """Drop every segment. The memory is freed with the object."""
        self._is_closed = True
        self._batch.reset()
        self._runaways.clear()

    def _judged(self, frames: Frames) -> Frames:
        """The frames up to where the model has run away, or all of them."""
        slot = frames.slot
        for n, codes in enumerate(frames.codes):
            if self._runaways[slot].feed(codes, frames.pcm[n * FRAME_SAMPLES : (n + 1) * FRAME_SAMPLES]):
                log.warning("the model ran away: frame %d ends a long silence or repetition", frames.first_frame + n)
                self._batch.drop(slot)
                del self._runaways[slot]
                return replace(frames.split(n + 1)[0], finish=Finish.RUNAWAY)
        if frames.finish is not None:
            del self._runaways[slot]
        return frames

    def _can_speak(self, card: Card) -> bool:
        try:
            self._voices.make(card)
        except VoiceUnavailable as error:
            log.warning("the voice %s is unavailable: %s", card.name, error)
            return False
        return True


def _sampling(segment: Segment) -> Sampling:
    """The card's sampling with the job's temperature; a temperature of 0 makes the predictor greedy too."""
    card = segment.voice.sampling
    temperature = card.temperature if segment.temperature is None else segment.temperature
    return Sampling(
        greedy=temperature == 0,
        temperature=temperature,
        top_k=card.top_k,
        top_p=card.top_p,
        repetition_penalty=card.repetition_penalty,
    )
