"""The voices of the cards that a Qwen engine speaks: prompts from the cache or the encoders, and their tensors.

A prompt is made on any thread and held as arrays. Its tensors are made on the engine's thread, when the voice is first
spoken, so that everything a step reads was written on the step's own CUDA stream.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.base import VoiceUnavailable
from worker.engine.qwen.cuda import upload
from worker.engine.qwen.engine import QwenEngine
from worker.engine.qwen.prompt import Voice
from worker.voices.card import Card
from worker.voices.prompt import Prompt, Reference, prompt_of
from worker.voices.prompt_cache import PromptCache
from worker.voices.reference import UnusableReference

log = logging.getLogger(__name__)

STATE = "state."  # prefix of the codec state's tensors in a cached prompt
KEPT = 2  # cards of one name: the current one, and the one before a reload, for utterances under way


class CardVoices:
    """The voices by card. cache: of prompts; None makes them at every start."""

    def __init__(self, engine: QwenEngine, cache: PromptCache | None) -> None:
        self._engine = engine
        self._cache = cache
        self._encoding = threading.Lock()
        self._prompts: dict[str, tuple[tuple[Card, Prompt], ...]] = {}  # by name, the newest last
        self._voices: dict[str, list[tuple[Card, Voice]]] = {}  # the same, of the engine's thread
        is_cuda = engine.model.device.type == "cuda"
        self._stream = torch.cuda.Stream(engine.model.device) if is_cuda else None

    def has(self, card: Card) -> bool:
        return self._prompt(card) is not None

    def make(self, card: Card, n_threads: int | None = None) -> None:
        """Make the prompt of exactly this card, if it is not made yet. Raises VoiceUnavailable. For any thread.

        n_threads: of torch, on a CPU, for this thread; None leaves them as they are.
        """
        with self._encoding:
            if self._prompt(card) is None:
                made = self._made(card, n_threads)
                self._prompts[card.name] = (*self._prompts.get(card.name, ())[1 - KEPT :], (card, made))

    def get(self, card: Card) -> Voice:
        """The voice of exactly this card, on the engine's thread. Raises VoiceUnavailable where it cannot be made."""
        known = self._voices.get(card.name, [])
        for its_card, voice in known:
            if its_card == card:
                return voice
        while (prompt := self._prompt(card)) is None:
            self.make(card)
        voice = self._restored(prompt.tensors, prompt.reference)
        self._voices[card.name] = [*known[1 - KEPT :], (card, voice)]
        return voice

    def _prompt(self, card: Card) -> Prompt | None:
        its_name = self._prompts.get(card.name, ())
        return next((prompt for its_card, prompt in its_name if its_card == card), None)

    def _made(self, card: Card, n_threads: int | None) -> Prompt:
        model = self._engine.model
        dtype = str(model.dtype).removeprefix("torch.")
        try:
            with torch.cuda.stream(self._stream), _threads(n_threads if model.device.type == "cpu" else None):
                return prompt_of(card, self._cache, self._engine.fingerprint, dtype, self._encode)
        except UnusableReference as error:
            raise VoiceUnavailable(error.problem, error.remedy) from error
        except Exception as error:
            log.exception("the recording of %s cannot be encoded", card.name)
            raise VoiceUnavailable(
                f"{card.name}: {card.reference} cannot be encoded ({type(error).__name__}: {error})",
                "save it as 24 kHz mono 16-bit WAV",
            ) from error

    def _encode(self, reference: Reference) -> Mapping[str, NDArray[Any]]:
        voice = self._engine.prompt(reference.audio, reference.sample_rate_hz, reference.transcript, _mode(reference))
        tensors = {"speaker": voice.speaker} | {STATE + name: part for name, part in voice.state.items()}
        if voice.codes is not None:
            tensors["codes"] = voice.codes
        return {name: _array(tensor) for name, tensor in tensors.items()}

    def _restored(self, tensors: Mapping[str, NDArray[Any]], reference: Reference) -> Voice:
        model = self._engine.model

        def tensor(name: str) -> Tensor:
            found = upload(tensors[name], model.device)
            dtype = model.codec_dtype if name.startswith(STATE) else model.dtype
            return found.to(dtype) if found.is_floating_point() else found

        codes = tensor("codes") if "codes" in tensors else None
        state = {name.removeprefix(STATE): tensor(name) for name in tensors if name.startswith(STATE)}
        return self._engine.voice(_mode(reference), tensor("speaker"), codes, reference.transcript, state)


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    """torch's threads for the calls of this thread, which a thread that calls torch for the first time takes over."""
    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        if n is not None:
            torch.set_num_threads(before)


def _mode(reference: Reference) -> Literal["icl", "x_vector"]:
    return "icl" if reference.mode == "icl" else "x_vector"


def _array(tensor: Tensor) -> NDArray[Any]:
    """The tensor on the host. numpy has no bfloat16, so halves become float32, which is exact."""
    is_half = tensor.dtype in (torch.bfloat16, torch.float16)
    array: NDArray[Any] = (tensor.float() if is_half else tensor).cpu().numpy()
    return array
