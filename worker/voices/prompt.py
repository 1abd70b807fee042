"""A voice's prompt: the encoder's tensors for its recording, cached between starts.

    prompt = prompt_of(card, PromptCache(folder), model.fingerprint, "bfloat16", encode)

The encoder is an argument, so that nothing here imports torch. A cached prompt is used only for the same weights,
dtype, audio, transcript and mode; otherwise the log has the reason, and the prompt is built again.

Raises UnusableReference. The cache raises nothing: without it, prompts are built at every start.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from worker.audio.resample import ENGINE_RATE_HZ
from worker.voices.card import Card
from worker.voices.prompt_cache import PromptCache, Tensors
from worker.voices.reference import Recording, UnusableReference, recording_of

SAMPLE_RATE_HZ = ENGINE_RATE_HZ  # of the model's encoders
SILENCE_S = 0.5  # after the reference: without it the model begins with the reference's last words
FORMAT = "makima-tts prompt 1"  # part of every fingerprint: raise it when `prepare` or the encoder's tensors change

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reference:
    """The encoder's input. audio: float32 [n], mono. transcript: None in mode "x_vector"."""

    audio: NDArray[np.float32]
    sample_rate_hz: int
    transcript: str | None
    mode: str


Encode: TypeAlias = Callable[[Reference], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A voice's tensors by name, as the encoder returned them. was_cached: they were read from the cache."""

    tensors: Tensors
    reference: Reference
    was_cached: bool


def prepare(card: Card) -> Reference:
    """The encoder's input for a voice: mono, 24 kHz, half a second of silence at the end.

    Raises UnusableReference for an incomplete card, and for a recording that was damaged since it was checked.
    """
    if card.reference_problem is not None:
        raise UnusableReference(f"{card.name}: {card.reference_problem}")
    try:
        recording = recording_of(card)
    except UnusableReference as error:
        raise UnusableReference(f"{card.name}: {error.problem}", error.remedy) from error
    silence = np.zeros(int(SILENCE_S * SAMPLE_RATE_HZ), dtype=np.float32)
    transcript = card.transcript if card.mode == "icl" else None
    return Reference(np.concatenate((_resampled(recording), silence)), SAMPLE_RATE_HZ, transcript, card.mode)


def fingerprint(model: str, dtype: str, reference: Reference) -> str:
    """SHA-256, in hex, over everything that determines a prompt's tensors. model: the fingerprint of all weights."""
    digest = hashlib.sha256()
    texts = (FORMAT, model, dtype, reference.mode, str(reference.sample_rate_hz))
    said = b"" if reference.transcript is None else b"said " + reference.transcript.encode()
    for field in (*map(str.encode, texts), said, reference.audio.astype("<f4").tobytes()):
        digest.update(len(field).to_bytes(8, "little"))  # otherwise "ab" + "c" would equal "a" + "bc"
        digest.update(field)
    return digest.hexdigest()


def prompt_of(card: Card, cache: PromptCache | None, model_fingerprint: str, dtype: str, encode: Encode) -> Prompt:
    """Read a voice's prompt from the cache, or encode it and store it there.

    model_fingerprint: of the model's and the codec's weights. dtype: of their computation, such as "bfloat16".
    encode: returns tensors of numpy's own dtypes. Raises UnusableReference, and the encoder's errors.
    """
    start_s = time.monotonic()
    reference = prepare(card)
    key = fingerprint(model_fingerprint, dtype, reference)
    tensors = None if cache is None else cache.load(card.name, key)
    was_cached = tensors is not None
    if tensors is None:
        tensors = dict(encode(reference))
        if cache is not None:
            cache.store(card.name, key, tensors)
    took_ms = round((time.monotonic() - start_s) * 1000)
    log.info("prompt of %s %s in %d ms", card.name, "read from the cache" if was_cached else "built", took_ms)
    return Prompt(tensors, reference, was_cached)


def _resampled(recording: Recording) -> NDArray[np.float32]:
    if recording.rate_hz == SAMPLE_RATE_HZ:
        return recording.audio
    import soxr

    audio = soxr.resample(recording.audio, recording.rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    return np.asarray(audio, dtype=np.float32)
